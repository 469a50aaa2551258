"""The heat maps of a prediction."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osad.core.errors import ConfigError
from osad.core.files import replacing
from osad.data.images import open_verified
from osad.features.tiles import Frame
from osad.predict.heat import Scale, overlay
from osad.predict.images import Found


def map_names(images: Sequence[Found]) -> list[str]:
    """Return the path of each heat map below ``maps``: the image's, without ``..``.

    Raises:
        ConfigError: two images would have the same.

    Example:
        >>> map_names([Found("../new/a.jpg", "11")])
        ['new/a.jpg.png']
    """
    names: dict[str, str] = {}
    for image in images:
        parts = [part for part in image.path.split("/") if part != ".."]
        name = "/".join(parts) + ".png"
        if name in names:
            raise ConfigError(
                f"{image.path} and {names[name]} would have the same heat map; score them apart"
            )
        names[name] = image.path
    return list(names)


def claim(folder: Path, images: Sequence[Found]) -> None:
    """Make an empty file for each heat map, so that a name that cannot be is known beforehand.

    Raises:
        ConfigError: a heat map cannot be written, or two images would have the same.
    """
    for image, name in zip(images, map_names(images), strict=True):
        try:
            with replacing(folder / name) as temporary:
                temporary.touch()
        except OSError as error:
            raise ConfigError(
                f"{image.path}: its heat map maps/{name} cannot be written ({error.strerror}); "
                "rename the image, or score it apart"
            ) from error


def write_maps(
    folder: Path,
    images: Sequence[Found],
    maps: NDArray[np.float32],
    *,
    frame: Frame,
    scale: Scale,
    workers: int,
) -> None:
    """Write a heat map over each image as PNG.

    Args:
        folder: where to write.
        images: n images.
        maps: (n, h, w) float32, their position scores.
        frame: the square to which the images were brought.
        scale: what the colours mean.
        workers: number of threads.
    """

    def write(number: int, name: str) -> None:
        image = open_verified(Path(images[number].path), images[number].sha256)
        drawn = overlay(image, maps[number], frame=frame, scale=scale)
        with replacing(folder / name) as temporary:
            drawn.save(temporary, "PNG", compress_level=1)

    names = map_names(images)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, range(len(images)), names))
