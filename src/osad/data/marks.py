"""Masks of defects: labels, not pictures. Every number but 0 marks a pixel, at any depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from osad.core.errors import DataError
from osad.data.images import GREY_16, depth, loaded, white_is_zero

NUMBERS = frozenset({"1", "L", "I", "F", *GREY_16})
"""Modes of Pillow in which a pixel is one number."""
LOSSY = frozenset({"jpeg", "tiff_jpeg", "webp"})
"""Compressions of TIFF that change pixels."""
NEAR = 16
"""Traces of a lossy compression mostly lie nearer than this to 0 and 255, in more pixels."""


def mask_numbers(content: bytes, name: str, *, upright: bool = True) -> NDArray[np.generic]:
    """Return the numbers of a mask's pixels, 0 where nothing is marked.

    Of a palette the index counts, of colours the strongest channel; what is fully transparent is
    not marked. ``name`` is for messages.

    Args:
        content: the file.
        name: of the file.
        upright: whether an EXIF orientation is applied.

    Returns:
        (height, width); ``bool`` of 1 bit, ``uint8`` of 8 bits without palette, else wider.

    Raises:
        DataError: it cannot be decoded, or its compression or its palette leave open what it marks.
    """
    with loaded(content, name) as stored:
        image = ImageOps.exif_transpose(stored) if upright else stored
        if image.mode in NUMBERS:
            values = np.asarray(image)
        elif image.mode in ("P", "PA"):
            values = np.asarray(image.getchannel(0)).astype(np.uint16)
            _check_palette(values, np.asarray(image.convert("RGB")).max(axis=2), name)
        elif depth(content, stored) > 8:
            raise DataError(
                f"{name}: a mask of 16-bit colours loses numbers; save it as 16-bit grey"
            )
        else:
            values = np.asarray(image.convert("RGBA"))[:, :, :3].max(axis=2)
        if white_is_zero(stored):
            values = 2 ** depth(content, stored) - 1 - values
        if image.has_transparency_data:
            values = np.where(np.asarray(image.convert("RGBA"))[:, :, 3] > 0, values, 0)
        if not np.isfinite(values).all():
            raise DataError(f"{name}: a mask with numbers that are not finite; write 0 or 1 there")
        if _lossy(content, stored):
            check_traces(values, name, lossy=True)
        return values


def marks(content: bytes, name: str) -> NDArray[np.bool_]:
    """Return where a mask marks a defect (height, width), upright; see `mask_numbers`."""
    marked: NDArray[np.bool_] = mask_numbers(content, name) != 0
    return marked


def _check_palette(index: NDArray[np.uint16], colour: NDArray[np.uint8], name: str) -> None:
    """Refuse a palette whose background can be index 0 or black: then only a person knows."""
    if colour[index == 0].any() and not colour[index != 0].all():
        raise DataError(
            f"{name}: colour 0 of the mask's palette is not black but another one is, so what it "
            "marks is unclear; save it as grey with 0 where there is no defect"
        )


def _lossy(content: bytes, image: Image.Image) -> bool:
    """Tell whether the file's compression changes pixels."""
    if image.format == "WEBP":
        return b"VP8 " in content  # the chunk of lossy pixels; that of lossless ones is VP8L
    return image.format in ("JPEG", "MPO") or image.info.get("compression") in LOSSY


def check_traces(values: NDArray[np.generic], name: str, *, lossy: bool = False) -> None:
    """Refuse numbers of a mask with traces of a lossy compression.

    Of a file that is compressed so (``lossy``) only 0 and 255 are believed. A lossless copy of such
    a file is known by numbers that mostly lie just above 0 and just below 255.

    Raises:
        DataError: they have such traces; ``name`` is for the message.
    """
    if values.dtype != np.uint8:
        return
    counts = np.bincount(values.ravel(), minlength=256)[1:255]
    low, high = counts[: NEAR - 1].sum(), counts[-NEAR + 1 :].sum()
    # The soft edges of a brush hold all numbers alike.
    copied = high and 4 * low > counts.sum() and 2 * (low + high) > counts.sum() > NEAR
    if (lossy and counts.any()) or copied:
        raise DataError(
            f"{name}: {counts.sum()} pixels of the mask are neither 0 nor 255, traces of a "
            "compression with losses, so what it marks is unclear; make the mask again with 0 and "
            "255 alone and save it as PNG"
        )
