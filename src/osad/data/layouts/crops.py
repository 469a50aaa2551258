"""Original images on their way into the project: read, checked, cut up, encoded, divided.

Data sets that come with the package are laid out as `osad.data.layouts.folder` reads them:
``train/good``, ``test/good``, ``test/{class}`` and ``ground_truth/{class}/{stem}_mask.png``.
"""

from __future__ import annotations

import io
import itertools
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osad.core.errors import DataError
from osad.data.images import decode, is_image_name
from osad.data.manifest import NORMAL_CLASS, byte_order, three_to_one

Pixels = NDArray[np.uint8]
"""(height, width) grey or (height, width, 3) RGB."""

BLOCK = 65_535
"""Largest stored block of a zlib stream, bytes."""


def read(path: Path) -> bytes:
    """Return the content of an original file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its rights, or get the data set "
            "again"
        ) from error


def read_image(path: Path) -> bytes:
    """Return the content of an image file after decoding it once.

    Raises:
        DataError: it cannot be read or decoded.
    """
    content = read(path)
    decode(content, str(path))
    return content


def read_pixels(path: Path) -> Pixels:
    """Return the pixels of an image file, grey if its three channels are equal.

    Raises:
        DataError: it cannot be read or decoded.
    """
    colours = np.asarray(decode(read(path), str(path)))
    grey = colours[:, :, 0]
    return grey if (colours == grey[:, :, None]).all() else colours


def read_marks(path: Path) -> NDArray[np.bool_]:
    """Return where a mask marks a defect: any colour channel is not 0; transparency is ignored.

    Returns:
        (height, width).

    Raises:
        DataError: it cannot be read or decoded.
    """
    content = read(path)
    decode(content, str(path))
    with Image.open(io.BytesIO(content)) as image:
        colours = np.asarray(image.convert("RGBA"))[:, :, :3]
    marks: NDArray[np.bool_] = colours.max(axis=2) > 0
    return marks


def list_images(folder: Path, *, ending: str = "") -> list[Path]:
    """List the images directly in a folder, sorted by name; hidden files are left out.

    Args:
        folder: the folder.
        ending: another ending of file names than those of images, for example ``.npy``.

    Raises:
        DataError: there are none.
    """
    names = sorted(
        (path.name for path in folder.iterdir()) if folder.is_dir() else (), key=byte_order
    )
    found = [
        folder / name
        for name in names
        if not name.startswith(".")
        and (name.lower().endswith(ending) if ending else is_image_name(name))
        and (folder / name).is_file()
    ]
    if not found:
        raise DataError(f"{folder}: there are no images; get the data set again")
    return found


def list_folders(folder: Path) -> list[Path]:
    """List the folders directly in a folder, sorted by name; hidden ones are left out."""
    names = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=byte_order)
    return [folder / name for name in names if not name.startswith(".")]


def thirds(height: int) -> list[tuple[int, int]]:
    """Return the first and the last row + 1 of three pieces of an image.

    Source: DRA (Ding et al., CVPR 2022), which cuts at floor(H / 3) and floor(2 H / 3).

    Example:
        >>> thirds(1259)
        [(0, 419), (419, 839), (839, 1259)]
    """
    cuts = [0, height // 3, 2 * height // 3, height]
    return list(itertools.pairwise(cuts))


def columns(width: int, side: int) -> list[tuple[int, int, int]]:
    """Return the square crops of a strip.

    The last column of a strip whose width is no multiple of ``side`` is narrower. Its crop is
    moved to the left until it is inside the strip, so that it has real pixels only.

    Args:
        width: of the strip, pixels, >= ``side``.
        side: of the crops, pixels.

    Returns:
        for each crop the first pixel and the last + 1 of its own column, and its left edge.

    Example:
        >>> columns(600, 256)
        [(0, 256, 0), (256, 512, 256), (512, 600, 344)]
    """
    return [
        (start, min(start + side, width), min(start, width - side))
        for start in range(0, width, side)
    ]


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels as a PNG file, the same bytes everywhere.

    The pixels are stored without compression: compressors give other bytes on other processors.

    Args:
        pixels: (height, width) grey or (height, width, 3) RGB, uint8.

    Source: PNG specification (W3C), sections 5 and 11; RFC 1950 and RFC 1951, section 3.2.4.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each row begins with filter 0
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    blocks = [raw[start : start + BLOCK] for start in range(0, len(raw), BLOCK)]
    stream = b"".join(
        struct.pack("<BHH", number == len(blocks), len(block), len(block) ^ 0xFFFF) + block
        for number, block in enumerate(blocks, start=1)
    )
    stream = b"\x78\x01" + stream + struct.pack(">I", zlib.adler32(raw))
    colour = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def encode_mask(marks: NDArray[np.bool_]) -> bytes:
    """Encode a mask as a grey PNG file, 255 where it marks a defect."""
    return encode_png(marks.astype(np.uint8) * 255)


def divided(names: Iterable[str]) -> dict[str, str]:
    """Return the folder of each normal image, ``train/good`` or ``test/good``, divided 3:1."""
    train, test = three_to_one(names)
    folders = dict.fromkeys(train, f"train/{NORMAL_CLASS}")
    return folders | dict.fromkeys(test, f"test/{NORMAL_CLASS}")


def tell(dataset: str, text: str) -> None:
    """Tell a fault of the data that was dealt with, on standard error."""
    print(f"{dataset}: {text}", file=sys.stderr, flush=True)
