"""The images that a user names: found, hashed and decoded once before anything is computed."""

import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from osad.core.errors import ConfigError, DataError, listed
from osad.core.files import sha256_bytes
from osad.data.images import decode
from osad.data.layouts.reading import list_files
from osad.data.manifest import byte_order, is_image_name
from osad.data.remarks import Remarks


@dataclass(frozen=True)
class Found:
    """An image to score.

    Attributes:
        path: its path relative to the current directory, with ``/`` between its parts.
        sha256: digest of its content.
    """

    path: str
    sha256: str


def find(arguments: Sequence[Path], *, output: Path) -> list[str]:
    """List the images that files and folders name.

    Folders are searched to any depth for files with the ending of an image; others, and what is
    hidden, are named in a note on standard error. A file is taken whatever its ending.

    Returns:
        Paths relative to the current directory, without repeats, in byte order.

    Raises:
        ConfigError: the output lies inside a folder of images.
        DataError: a path does not exist or is not a file, a folder holds no image or a link to a
            folder, or a name is not text.
    """
    found: set[Path] = set()
    problems: list[str] = []
    for argument in arguments:
        if os.path.isdir(argument):  # noqa: PTH112 - Path's raises if it may not look.
            if output.resolve().is_relative_to(argument.resolve()):
                raise ConfigError(
                    f"--output {output}: lies in the folder of images {argument}; choose another"
                )
            found |= set(_search(argument))
        elif os.path.isfile(argument):  # noqa: PTH113
            found.add(argument)
        else:
            problems.append(f"{argument}: is no file or folder; correct the path")
    names = {Path(os.path.relpath(path)).as_posix() for path in found}
    problems += [
        f"{name!a}: its name is not plain text; rename the file"
        for name in sorted(names)
        if not name.isprintable()
    ]
    if problems:
        raise DataError(listed(problems))
    return sorted(names, key=byte_order)


def _search(folder: Path) -> list[Path]:
    """Return the images of a folder."""
    files = list_files(folder, leave=True)
    images = [path for path in files if is_image_name(path) and "/." not in f"/{path}"]
    if not images:
        raise DataError(
            f"{folder}: holds no images (png, jpg, jpeg, bmp, tif, tiff or webp); correct the path"
        )
    others = sorted({*files} - {*images}, key=byte_order)
    if others:
        print(
            f"{folder}: {len(others)} files and folders are hidden or no images and are skipped: "
            f"{listed(others, between=', ')}",
            file=sys.stderr,
        )
    return [folder / path for path in images]


def read(paths: Sequence[str], *, workers: int) -> list[Found]:
    """Hash and decode images, so that bad ones are known before anything is computed.

    Raises:
        DataError: some cannot be read or decoded; the message has a line for each, up to 10.
    """
    remarks = Remarks()
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Too large an image is refused; Pillow's warning would stand beside the message.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        results = list(pool.map(partial(_read, remarks=remarks), paths))
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        raise DataError(listed(problems))
    for line in remarks.lines():
        print(line, file=sys.stderr)
    return [result for result in results if isinstance(result, Found)]


def _read(path: str, *, remarks: Remarks) -> Found | str:
    """Return an image, or the message why it cannot be scored."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); check its rights"
    try:
        remarks.add(path, content, decode(content, path))
    except DataError as error:
        return str(error)
    return Found(path, sha256_bytes(content))
