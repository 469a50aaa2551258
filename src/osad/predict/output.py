"""Writing a prediction: a folder that appears only when it is complete, and the heat maps."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osad.core.errors import ConfigError
from osad.core.files import replacing
from osad.data.images import open_verified
from osad.predict.heat import Scale, overlay
from osad.predict.images import Found


@contextmanager
def filling(output: Path) -> Iterator[Path]:
    """Give a folder that becomes ``output`` on success and vanishes on an error.

    Raises:
        ConfigError: there is something at ``output`` already, or it cannot be written.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(f"--output {output}: is there and no empty folder; choose another")
    part = output.resolve().with_name(f".{output.resolve().name}.{os.getpid()}.part")
    try:
        try:
            part.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(
                f"--output {output}: cannot be made ({error.strerror}); choose another"
            ) from error
        yield part
        os.replace(part, output)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def write_maps(
    folder: Path,
    images: Sequence[Found],
    maps: NDArray[np.float32],
    *,
    image_size: int,
    scale: Scale,
    workers: int,
) -> None:
    """Write a heat map over each image as PNG.

    Args:
        folder: where to write.
        images: n images.
        maps: (n, h, w) float32, their position scores.
        image_size: side of the square to which the images were resized, pixels.
        scale: what the colours mean.
        workers: number of threads.
    """

    def write(number: int, name: str) -> None:
        image = open_verified(Path(images[number].path), images[number].sha256)
        drawn = overlay(image, maps[number], image_size=image_size, scale=scale)
        with replacing(folder / name) as temporary:
            drawn.save(temporary, "PNG", compress_level=1)

    names = map_names(images)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, range(len(images)), names))
