"""Step ``masks``: pack the masks of a category's anomalous images at the size of the features.

Masks are optional: one that cannot be used counts as absent, with a note that names it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from osad.core.errors import ConfigError, DataError, listed
from osad.data.images import open_verified, read_verified
from osad.data.layouts.reading import check_size
from osad.data.manifest import Record, read_manifest
from osad.data.marks import marks
from osad.data.masks import Mask, MaskPack, pack_bits, write_masks
from osad.data.source import Source, read_source
from osad.features.tiles import RESIZES, SQUASH, Frame


def shrink(mask: Mask, size: int, resize: str = SQUASH) -> Mask:
    """Resize a mask to (size, size) as the images are; nearest pixel, nothing in the padding.

    A defect thinner than the distance of the pixels taken can vanish.
    """
    image = Image.fromarray(mask.astype(np.uint8))
    height, width = Frame(size, resize).content(*image.size)
    result = np.zeros((size, size), dtype=bool)
    result[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.NEAREST))
    return result


def read_mask(record: Record, digest: str, size: int, resize: str = SQUASH) -> Mask | str:
    """Read the mask of an image, and the image; ``digest`` is that of the mask.

    Returns:
        (size, size), true where the image is anomalous; or why the mask cannot be used.

    Raises:
        DataError: a file is missing or changed, or the image cannot be decoded.
    """
    content = read_verified(Path(record.mask), digest)
    image = open_verified(Path(record.path), record.sha256)
    try:
        full = marks(content, record.mask)
        check_size(record.mask, full.shape[::-1], image.size, "make them equal and fetch again")
    except DataError as error:
        return str(error)
    return shrink(full, size, resize) if full.any() else f"{record.mask}: marks no pixel"


def pack(records: Sequence[Record], source: Source, size: int, resize: str = SQUASH) -> MaskPack:
    """Read the masks of all anomalous images of a manifest; ``size`` is their side, pixels.

    ``resize`` is that of the features (see `osad.features.tiles.Frame`).

    Raises:
        DataError: an image or a mask is missing or changed, or an image cannot be decoded.
    """
    anomalies = [record for record in records if record.label == 1]
    found = {
        record: read_mask(record, source.digest(record.mask), size, resize)
        for record in anomalies
        if record.mask
    }
    unusable = [mask for mask in found.values() if isinstance(mask, str)]
    if unusable:
        print(
            f"masks: {len(unusable)} of {len(found)} cannot be used; their images count as images "
            f"without a mask\n{listed(unusable)}",
            file=sys.stderr,
        )
    usable = {record: mask for record, mask in found.items() if not isinstance(mask, str)}
    masked, masks = list(usable), list(usable.values())
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
        mask_sha256=tuple(source.digest(record.mask) for record in masked),
        unmasked=tuple(record.path for record in anomalies if record not in usable),
        image_size=size,
        bits=pack_bits(masks, size),
    )


def main(argv: Sequence[str]) -> list[Path]:
    """Write the masks of one category; a category without masks gives a pack without rows."""
    parser = argparse.ArgumentParser(prog="osad masks", description=__doc__)
    parser.add_argument("--manifest", required=True, help="CSV of the category's images")
    parser.add_argument("--source", required=True, type=Path, help="data/raw/DATASET/SOURCE.json")
    parser.add_argument("--size", required=True, type=int, help="side of the features' images")
    parser.add_argument("--resize", choices=RESIZES, default=SQUASH, help="of the features")
    parser.add_argument("--output", required=True, type=Path, help="safetensors file to write")
    options = parser.parse_args(argv)
    if options.size < 1:
        raise ConfigError(f"--size {options.size}: must be 1 or more")
    records = read_manifest(options.manifest)
    source = read_source(options.source)
    write_masks(options.output, pack(records, source, options.size, options.resize))
    return [options.output]
