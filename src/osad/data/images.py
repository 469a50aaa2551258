"""Opening images: verified, completely decoded, always 8-bit RGB.

How other kinds of images become 8-bit RGB:

- 1-bit, 8-bit grey, palette, CMYK, YCbCr: Pillow's conversion to RGB;
- transparency (alpha channel, transparent palette entry or colour): composed on black;
- 16-bit grey: divided by 257 and rounded, so that 0..65535 becomes 0..255;
- 16-bit colour: Pillow keeps the upper 8 bits;
- the EXIF orientation is applied;
- refused: floating point and 32-bit integer pixels (their range is not known), Lab colours, files
  with several pages or frames (except the preview in photographs of format MPO), and images of
  more pixels than Pillow's limit against decompression bombs.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from osad.core.errors import DataError
from osad.core.files import sha256_bytes

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that are decoded, whatever the file name; MPO comes in by way of JPEG."""

GREY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
CONVERTIBLE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485


def read_verified(path: Path, sha256: str) -> bytes:
    """Read a file once and check that it has the digest of the manifest.

    Raises:
        DataError: the file is missing or its content is not that of the manifest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); restore the file with `dvc checkout` or "
            "fetch the data set again"
        ) from error
    digest = sha256_bytes(content)
    if digest != sha256:
        raise DataError(
            f"{path}: its content has changed (sha256 {digest[:12]}..., the manifest says "
            f"{sha256[:12]}...); restore the file with `dvc checkout` or rebuild the manifest"
        )
    return content


def open_verified(path: Path, sha256: str) -> Image.Image:
    """Open an image after checking that it has the digest of the manifest.

    Returns:
        The image in mode RGB, 8 bits a channel, completely in memory.

    Raises:
        DataError: the file is missing, changed, truncated, too large or of a kind not supported.
    """
    return decode(read_verified(path, sha256), str(path))


def decode(content: bytes, name: str) -> Image.Image:
    """Decode an image completely; ``name`` is for messages.

    Returns:
        The image in mode RGB, 8 bits a channel (see the module's text).

    Raises:
        DataError: it cannot be decoded or is of a kind that is not supported.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check(image, name)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), name)
    except DataError:
        raise
    except Exception as error:  # damaged files make the decoders raise nearly anything
        reason = str(error).split(" <_io", maxsplit=1)[0]
        raise DataError(
            f"{name}: cannot be decoded ({reason or type(error).__name__}); replace or remove it"
        ) from error


def _check(image: Image.Image, name: str) -> None:
    """Refuse an image that is too large or has several frames, before it is decoded."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(
            f"{name}: has {image.width} x {image.height} pixels, more than {MAX_PIXELS}; "
            "make it smaller or remove it"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise DataError(f"{name}: holds {frames} images; save each as a file of its own")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a loaded image to RGB."""
    if image.mode in GREY_16:
        values = np.asarray(image).astype(np.uint32)
        grey = ((values + 128) // 257).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        black = Image.new("RGBA", colours.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, colours).convert("RGB")
    if image.mode not in CONVERTIBLE:
        raise DataError(
            f"{name}: pixels of kind {image.mode!r} are not supported; save it with 8 or 16 bits "
            "a channel in grey or RGB"
        )
    return image.convert("RGB")
