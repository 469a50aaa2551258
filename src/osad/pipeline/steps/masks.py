"""Step ``masks``: pack the masks of a category's anomalous images at the size of the features.

A pixel is anomalous where any channel of the mask is not 0. In JPEG and WebP files, whose
compression leaves traces around edges, it is anomalous from 128 on.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from osad.core.errors import ConfigError, DataError
from osad.data.images import decode, open_verified, read_verified
from osad.data.layouts.reading import check_size
from osad.data.manifest import Record, read_manifest
from osad.data.masks import Mask, MaskPack, pack_bits, write_masks
from osad.data.source import Source, read_source

LOSSY = ("JPEG", "MPO", "WEBP")


def full_mask(content: bytes, name: str) -> Mask:
    """Decode the content of a mask's file; ``name`` is for messages.

    Returns:
        (height, width), true where the image is anomalous.

    Raises:
        DataError: it cannot be decoded, or marks no pixel.
    """
    values = np.asarray(decode(content, name)).max(axis=2)
    with Image.open(io.BytesIO(content)) as image:
        lowest = 128 if image.format in LOSSY else 1
    mask: Mask = values >= lowest
    if not mask.any():
        raise DataError(
            f"{name}: the mask of an anomalous image marks no pixel; correct it, or remove it and "
            "fetch the data set again (without it there are no pixel metrics)"
        )
    return mask


def shrink(mask: Mask, size: int) -> Mask:
    """Resize a mask to (size, size) as the images are, aspect ignored; nearest pixel.

    A defect thinner than the distance of the pixels taken can vanish.
    """
    image = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST)) > 0


def read_mask(record: Record, digest: str, size: int) -> Mask:
    """Read the mask of an image, and the image; ``digest`` is that of the mask.

    Returns:
        (size, size), true where the image is anomalous.

    Raises:
        DataError: a file is missing, changed or cannot be decoded; the mask marks nothing or has
            another size than the image.
    """
    full = full_mask(read_verified(Path(record.mask), digest), record.mask)
    image = open_verified(Path(record.path), record.sha256)
    remedy = "make them equal or remove the mask, and fetch again"
    check_size(record.mask, full.shape[::-1], image.size, remedy)
    return shrink(full, size)


def pack(records: Sequence[Record], source: Source, size: int) -> MaskPack:
    """Read the masks of all anomalous images of a manifest; ``size`` is their side, pixels.

    Raises:
        DataError: an image or a mask is missing, changed, or not usable.
    """
    anomalies = [record for record in records if record.label == 1]
    masked = [record for record in anomalies if record.mask]
    digests = [source.digest(record.mask) for record in masked]
    masks = [
        read_mask(record, digest, size) for record, digest in zip(masked, digests, strict=True)
    ]
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
    """Write the masks of one category; a category without masks gives a pack without rows."""
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
