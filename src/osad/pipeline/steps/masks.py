"""Step ``masks``: pack the masks of a category's anomalous images at the size of the features."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from osad.core.errors import ConfigError, DataError
from osad.data.manifest import Record, read_manifest
from osad.data.masks import Mask, MaskPack, pack_bits, read_mask, write_masks
from osad.data.source import Source, read_source


def mask_digest(mask: str, source: Source) -> str:
    """Return the digest that ``SOURCE.json`` has of a mask.

    The manifest holds the path of a mask only; its digest was written when it was fetched.

    Raises:
        DataError: the mask is not listed.
    """
    digest = source.files.get(mask.removeprefix(f"{source.root}/"))
    if digest is None or not mask.startswith(f"{source.root}/"):
        raise DataError(f"{mask}: is not listed in {source.root}/SOURCE.json; fetch again")
    return digest


def pack(records: Sequence[Record], source: Source, size: int) -> MaskPack:
    """Read the masks of all anomalous images.

    Args:
        records: the manifest.
        source: the raw files with their digests.
        size: side of the packed masks, pixels.

    Raises:
        DataError: an image or a mask is missing, changed, or not usable.
    """
    anomalies = [record for record in records if record.label == 1]
    masked = [record for record in anomalies if record.mask]
    digests = [mask_digest(record.mask, source) for record in masked]
    masks: list[Mask] = []
    for record, digest in zip(masked, digests, strict=True):
        masks.append(read_mask((record.mask, digest), (record.path, record.sha256), size))
    gone = [record.mask for record, mask in zip(masked, masks, strict=True) if not mask.any()]
    if gone:
        print(
            f"masks: {len(gone)} of {len(masks)} have no pixel left at {size} x {size} pixels, "
            f"their images count as normal in pixel metrics (the first is {gone[0]}); use a "
            "larger image_size",
            file=sys.stderr,
        )
    return MaskPack(
        paths=tuple(record.path for record in masked),
        sha256=tuple(record.sha256 for record in masked),
        mask_sha256=tuple(digests),
        unmasked=tuple(record.path for record in anomalies if not record.mask),
        image_size=size,
        bits=pack_bits(masks, size),
    )


def main(argv: Sequence[str]) -> list[Path]:
    """Write the masks of one category; a category without masks gives a pack without rows.

    Args:
        argv: ``--manifest CSV --source SOURCE.json --size PIXELS --output FILE``.

    Raises:
        ConfigError: the size is out of range.
        DataError: see `pack`.
    """
    parser = argparse.ArgumentParser(prog="osad masks", description=__doc__)
    parser.add_argument("--manifest", required=True, help="CSV of the category's images")
    parser.add_argument("--source", required=True, type=Path, help="data/raw/DATASET/SOURCE.json")
    parser.add_argument("--size", required=True, type=int, help="side of the features' images")
    parser.add_argument("--output", required=True, type=Path, help="safetensors file to write")
    options = parser.parse_args(argv)
    if options.size < 1:
        raise ConfigError(f"--size {options.size}: must be 1 or more")
    records = read_manifest(options.manifest)
    write_masks(options.output, pack(records, read_source(options.source), options.size))
    return [options.output]
