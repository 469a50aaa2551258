"""The images that a user names: found, hashed and decoded once before anything is computed."""

import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from osad.core.errors import ConfigError, DataError
from osad.core.files import sha256_bytes
from osad.data.images import decode
from osad.data.manifest import byte_order, is_image_name

SHOWN = 10
"""How many files a message names."""


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

    Folders are searched to any depth for files with the ending of an image; hidden files are
    left out, others counted in a note on standard error. A file is taken whatever its ending.

    Returns:
        Paths relative to the current directory, without repeats, in byte order.

    Raises:
        ConfigError: the output lies inside a folder of images.
        DataError: a path does not exist or is not a file, a folder holds no image or a link to a
            folder, or a name is not text.
    """
    found: set[str] = set()
    for argument in arguments:
        if argument.is_dir():
            if output.resolve().is_relative_to(argument.resolve()):
                raise ConfigError(
                    f"--output {output}: lies in the folder of images {argument}; choose another"
                )
            found |= {_relative(path) for path in _search(argument)}
        elif argument.is_file():
            found.add(_relative(argument))
        else:
            raise DataError(f"{argument}: is no file or folder; correct the path")
    return sorted(found, key=byte_order)


def _search(folder: Path) -> list[Path]:
    """Return the images of a folder."""
    paths: list[Path] = []
    others = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if Path(place, name).is_symlink():
                raise DataError(
                    f"{Path(place, name)}: links to folders are not followed; name the folder "
                    "that it leads to"
                )
        kept = [name for name in names if not name.startswith(".")]
        images = [Path(place, name) for name in kept if is_image_name(name)]
        others += len(kept) - len(images)
        paths += images
    if not paths:
        raise DataError(
            f"{folder}: holds no images (png, jpg, jpeg, bmp, tif, tiff or webp); correct the path"
        )
    if others:
        print(f"{folder}: {others} files are no images and are skipped", file=sys.stderr)
    return paths


def _relative(path: Path) -> str:
    """Return a path relative to the current directory, as text of one UTF-8 line."""
    text = Path(os.path.relpath(path)).as_posix()
    if not text.isprintable():
        raise DataError(f"{text!a}: its name is not plain text; rename the file")
    return text


def read(paths: Sequence[str], *, workers: int) -> list[Found]:
    """Hash and decode images, so that bad ones are known before anything is computed.

    Raises:
        DataError: some cannot be read or decoded; the message has a line for each, up to 10.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Too large an image is refused; Pillow's warning would stand beside the message.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        results = list(pool.map(_read, paths))
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        more = len(problems) - SHOWN
        lines = [*problems[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise DataError("\n".join(lines))
    return [result for result in results if isinstance(result, Found)]


def _read(path: str) -> Found | str:
    """Return an image, or the message why it cannot be scored."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); check its rights"
    try:
        decode(content, path)
    except DataError as error:
        return str(error)
    return Found(path, sha256_bytes(content))
