"""Original images on their way into the project: listed, read, checked, cut up, encoded."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osad.core.errors import DataError, listed
from osad.data.images import FORMATS, decode
from osad.data.layouts.folder import divided, is_hidden
from osad.data.manifest import byte_order, is_image_name, path_problem
from osad.data.marks import check_traces, marks, mask_numbers
from osad.data.remarks import EMPTY, LARGE, Remarks
from osad.data.source import Files, read

AGAIN = "get the data set again"
ORIENTATION = 0x0112
"""EXIF's number of the orientation; 1 is upright, 5 to 8 swap width and height."""
Pixels = NDArray[np.uint8]
"""(height, width) grey or (height, width, 3) RGB."""

BLOCK = 65_535
"""Largest stored block of a zlib stream, bytes."""


def read_image(path: Path, *, mask_of: Path | None = None, remarks: Remarks | None = None) -> bytes:
    """Return the content of an image, or of a mask of another image, after decoding it once.

    What is odd about it but not wrong is added to ``remarks``.

    Raises:
        DataError: a file cannot be read or decoded, or the mask does not lie over its image.
    """
    content = read(path)
    if mask_of is None:
        pixels = decoded(content, path)
        if remarks is not None:
            remarks.add(str(path), content, pixels)
        return content
    values, image = mask_numbers(content, str(path)), read(mask_of)
    check_traces(values, str(path))
    size, image_size = values.shape[::-1], decoded(image, mask_of).size
    check_size(path, size, image_size, "make them equal or remove the mask")
    turned, mask_turned = orientation(image), orientation(content)
    if turned != mask_turned and (size[0] == size[1] or max(turned, mask_turned) < 5):
        raise DataError(
            f"{path}: the mask has EXIF orientation {mask_turned} and its image {turned}, so how "
            "the mask lies over the image is unclear; save both upright, without orientation"
        )
    if remarks is not None and not values.any():
        remarks.found[EMPTY].append(str(path))
    elif remarks is not None and 2 * np.count_nonzero(values) > values.size:
        remarks.found[LARGE].append(str(path))
    return content


def decoded(content: bytes, path: Path | str) -> Image.Image:
    """Decode an image without Pillow's warning of a large one; too large a one is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return decode(content, str(path))


def check_size(
    mask: object, size: tuple[int, ...], image_size: tuple[int, ...], remedy: str = AGAIN
) -> None:
    """Check that a mask has as many pixels as its image; sizes are width and height.

    Raises:
        DataError: it has not; the message ends with the remedy.
    """
    if size != image_size:
        raise DataError(
            f"{mask}: the mask has {size[0]} x {size[1]} pixels and its image "
            f"{image_size[0]} x {image_size[1]}; {remedy}"
        )


def orientation(content: bytes) -> int:
    """Return the EXIF orientation of an image, 1 (upright) to 8; 1 without any."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def read_pixels(path: Path) -> Pixels:
    """Return the pixels of an image file, grey if its three channels are equal.

    Raises:
        DataError: it cannot be read or decoded.
    """
    colours = np.asarray(decode(read(path), str(path)))
    grey = colours[:, :, 0]
    return grey if (colours == grey[:, :, None]).all() else colours


def read_marks(path: Path) -> NDArray[np.bool_]:
    """Return where a mask's file marks a defect (see `osad.data.marks.marks`).

    Raises:
        DataError: it cannot be read or decoded.
    """
    return marks(read(path), str(path))


def list_files(raw_path: Path, *, leave: bool = False) -> list[str]:
    """List the files of a folder as sorted relative paths.

    Hidden folders and those of systems are not entered: each is one entry that ends in ``/``, as is
    an empty folder.

    Args:
        raw_path: the folder.
        leave: whether links may lead to files outside the folder.

    Raises:
        DataError: a folder cannot be read, a link is a folder or leaves ``raw_path``, a file is
            none, or a name cannot be written as text or begins or ends with a blank; the message
            names all of them, up to 10.
    """
    root = os.path.realpath(raw_path)
    found: list[str] = []
    problems: list[str] = []
    for place, folders, names in os.walk(
        raw_path,
        onerror=lambda error: problems.append(
            f"{error.filename}: cannot be read ({error.strerror}); check its rights or move it away"
        ),
    ):
        entries = [(name, True) for name in folders] + [(name, False) for name in names]
        folders[:] = []
        if not entries:
            found.append(f"{Path(place).relative_to(raw_path).as_posix()}/")
        for name, is_folder in entries:
            path = Path(place, name)
            relative = path.relative_to(raw_path).as_posix()
            fault = path_problem(relative) or blank_problem(name)
            if is_folder and is_hidden(name):
                found.append(relative.encode(errors="backslashreplace").decode() + "/")
            elif fault:
                problems.append(f"{str(path)!a}: its name {fault}; rename it")
            elif is_folder and path.is_symlink():
                problems.append(f"{path}: links to folders are not followed; copy the folder")
            elif is_folder:
                folders.append(name)
            elif not path.is_file():
                problems.append(f"{path}: is not a regular file; remove it")
            elif not leave and not Path(os.path.realpath(path)).is_relative_to(root):
                problems.append(f"{path}: is a link to a place outside {raw_path}; copy the file")
            else:
                found.append(relative)
    if problems:
        raise DataError(listed(sorted(problems)))
    return sorted(found, key=byte_order)


def blank_problem(name: str) -> str | None:
    """Say why a name is easily taken for another, or return None."""
    return None if name == name.strip() else "begins or ends with a blank"


def list_images(folder: Path, *, ending: str = "") -> list[Path]:
    """List the images directly in a folder, sorted by name; hidden files are left out.

    ``ending`` is another ending of file names than those of images, for example ``.npy``.

    Raises:
        DataError: there are none, or one is no file.
    """
    names = _names(folder) if folder.is_dir() else []
    images = [
        folder / name
        for name in names
        if (name.lower().endswith(ending) if ending else is_image_name(name))
    ]
    strange = [
        f"{image}: is not a regular file; {AGAIN}" for image in images if not image.is_file()
    ]
    if strange:
        raise DataError(listed(strange))
    if not images:
        raise DataError(f"{folder}: there are no images; {AGAIN}")
    return images


def list_folders(folder: Path) -> list[Path]:
    """List the folders directly in a folder, sorted by name; hidden ones are left out."""
    return [path for name in _names(folder) if (path := folder / name).is_dir()]


def _names(folder: Path) -> list[str]:
    """Return the names in a folder that are not hidden, sorted.

    Raises:
        DataError: it cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check its rights") from error
    return sorted((name for name in names if not is_hidden(name)), key=byte_order)


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels as a PNG file, the same bytes everywhere.

    The pixels are stored without compression: compressors give other bytes on other processors.

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


def cut_image(path: Path, *window: slice) -> bytes:
    """Return the part of an image with some rows (and columns) as a PNG file."""
    return encode_png(read_pixels(path)[window])


def cut_mask(path: Path, *window: slice) -> bytes:
    """Return the part of a mask as a grey PNG file, 255 where it marks a defect."""
    return encode_png(read_marks(path)[window].astype(np.uint8) * 255)


def divided_files(normal: Mapping[str, Callable[[], bytes]], *, ending: str = "") -> Files:
    """Return normal images by their paths, ``train/good/NAME`` or ``test/good/NAME``, divided 3:1.

    ``ending`` is that of the files, where the names have none.
    """
    splits = divided(normal)
    return {f"{splits[name]}/good/{name}{ending}": content for name, content in normal.items()}
