"""Opening images: verified, completely decoded, always 8-bit RGB.

How other kinds of images become 8-bit RGB:

- 1, 2, 4 and 8-bit grey, palette, CMYK, YCbCr: Pillow's conversion to RGB; colour profiles are not
  applied;
- transparency (alpha channel, transparent palette entry or colour): composed on black;
- 12 and 16-bit grey: scaled to 0..255 and rounded; white is 255 also where TIFF stores it as 0;
- 16-bit colour: Pillow keeps the upper 8 bits;
- the EXIF orientation is applied;
- refused, since their header does not say what is meant or Pillow would not do it: numbers with a
  sign, with floating point or of 32 bits, Lab colours, channels without a meaning, missing strips,
  a transparent colour at other depths than 1 and 8 bits, colours that a palette lacks, images
  without any opaque pixel, files with several pages or frames (except the preview in photographs of
  format MPO), and images of more pixels than Pillow's limit against decompression bombs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from osad.core.errors import DataError
from osad.core.files import sha256_bytes

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that are decoded, whatever the file name; MPO comes in by way of JPEG."""

GREY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
CONVERTIBLE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
BITS, PHOTOMETRIC, PLANES, COLOUR_MAP, INK_SET = 258, 262, 284, 320, 332
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
"""Tags of TIFF."""
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
    with loaded(content, name) as image:
        white = 2 ** depth(content, image) - 1
        inverted = white_is_zero(image)
        return _to_rgb(ImageOps.exif_transpose(image), name, white=white, inverted=inverted)


@contextmanager
def loaded(content: bytes, name: str) -> Iterator[Image.Image]:
    """Give an image with its pixels as they are stored; ``name`` is for messages.

    Raises:
        DataError: it cannot be decoded or its header does not say what its pixels mean; also for
            every other error below the ``with``.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check(content, image, name)
            image.load()
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: cannot be decoded ({_tiff_kind(content)}); replace or remove it, or save it "
            "as PNG with 8 or 16 bits a channel"
        ) from error
    except Exception as error:  # damaged files make the decoders raise nearly anything
        reason = str(error).split(" <_io", maxsplit=1)[0]
        raise DataError(
            f"{name}: cannot be decoded ({reason or type(error).__name__}); replace or remove it"
        ) from error


def depth(content: bytes, image: Image.Image) -> int:
    """Return the bits of a number in the file, before any palette; 8 where they are not stored."""
    if image.format == "PNG":
        return content[24]  # after the signature, and length, name and sides of the first chunk
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(BITS, (8,))))
    return 8


def white_is_zero(image: Image.Image) -> bool:
    """Tell whether 0 means white; Pillow sees to it at 1 to 8 bits."""
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.mode in GREY_16
        and image.tag_v2.get(PHOTOMETRIC) == 0
    )


def _tiff_kind(content: bytes) -> str:
    """Say what a TIFF file holds, for the message that it cannot be read."""
    with suppress(Exception):  # It is damaged or no TIFF at all.
        directory = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
        stream = io.BytesIO(content)
        stream.seek(directory.next)
        directory.load(stream)
        signs = directory.get(SAMPLE_FORMAT, (1,))
        return (
            f"TIFF of {max(directory[BITS])} bits a sample, photometric {directory[PHOTOMETRIC]}, "
            f"sample format {max(signs)}, {'big' if content[:1] == b'M' else 'little'}-endian, "
            "cannot be read"
        )
    return f"it is no readable {', '.join(FORMATS)}"


def _check(content: bytes, image: Image.Image, name: str) -> None:
    """Refuse an image before it is decoded, by what its header says."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(
            f"{name}: has {image.width} x {image.height} pixels, more than {MAX_PIXELS}; "
            "make it smaller or remove it"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise DataError(f"{name}: holds {frames} images; save each as a file of its own")
    problem = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        problem = _tiff_problem(image)
    bits = depth(content, image)
    told = image.mode == "P" or bits in (1, 8)
    if image.format == "PNG" and "transparency" in image.info and not told:
        problem = f"a transparent colour at {bits} bits a channel cannot be told"
    if image.mode == "P" and image.palette and image.format != "TIFF":
        entry = (image.palette.rawmode or image.palette.mode).split(";")[0]
        # The palette is the whole one of Pillow once the pixels are there.
        size = len(image.palette.palette) // len(entry)
        highest = int(np.asarray(image).max())
        if highest >= size:
            problem = f"a pixel has colour {highest} of a palette of {size}"
    if problem:
        raise DataError(f"{name}: {problem}; save it with 8 or 16 bits a channel in grey or RGB")


def _tiff_problem(image: TiffImagePlugin.TiffImageFile) -> str | None:
    """Say what of a TIFF file Pillow would read otherwise than its header says, or return None."""
    tags = image.tag_v2
    if image.mode == "L" and set(tags.get(SAMPLE_FORMAT, (1,))) != {1}:
        return f"{depth(b'', image)}-bit numbers with a sign are not supported"
    alpha = tags.get(EXTRA_SAMPLES, (0,) if image.mode in ("RGBA", "LA", "PA") else ())
    if not {1, 2}.issuperset(alpha) or tags.get(INK_SET, 1) != 1:
        return "it has channels whose meaning is not stated"
    # What no strip or tile covers would be black. One by libtiff covers all, or it raises.
    raw = all(tile.codec_name == "raw" for tile in image.tile)
    planes = len(image.getbands()) if raw and tags.get(PLANES) == 2 else 1
    places = [tile.extents or (0, 0, 0, 0) for tile in image.tile]
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in places)
    if area < planes * image.width * image.height:
        return "a part of its pixels is missing"
    if max(tags.get(COLOUR_MAP, (256,))) < 256:
        return "its palette has no 16-bit colours"
    if image.mode == "YCbCr":
        return "YCbCr without JPEG is not supported"
    return None


def _to_rgb(image: Image.Image, name: str, *, white: int, inverted: bool) -> Image.Image:
    """Convert a loaded image to RGB; of 16 bits ``white`` is the largest number."""
    if image.mode in GREY_16:
        values = np.asarray(image).astype(np.uint32)
        values = white - values if inverted else values
        grey = ((values * 255 + white // 2) // white).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        if not colours.getchannel("A").getbbox():
            raise DataError(
                f"{name}: is transparent everywhere, nothing of it is seen; save it without "
                "transparency, or remove it"
            )
        black = Image.new("RGBA", colours.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, colours).convert("RGB")
    if image.mode not in CONVERTIBLE:
        raise DataError(
            f"{name}: pixels of kind {image.mode!r} are not supported; save it with 8 or 16 bits "
            "a channel in grey or RGB"
        )
    return image.convert("RGB")
