"""Anomaly maps of one run: the position scores of its test images in one file.

``results/maps/{run}.safetensors`` holds ``maps`` (n, h, w) at the resolution of the feature map;
they are upsampled when they are used. Of padded images it also holds ``content`` (n, 2) int32. Of a
method that gives no maps the file holds no image (n = 0). The scores stay float32: as float16 a
score could overflow, and scores with a common offset (such as log-likelihoods) would become equal,
which moves every metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osad.core.arrays import read_arrays, write_arrays
from osad.core.errors import CheckError, DataError, TrainingError
from osad.core.files import read_metadata
from osad.core.kinds import fits
from osad.features.tiles import inside

FORMAT = 1
TENSOR, CONTENT = "maps", "content"
KINDS = {
    "format": int, "cell": str, "paths": list[str], "sha256": list[str], "image_size": int,
}  # fmt: skip
"""What the description holds."""
REMEDY = "delete it and run the cell again"


@dataclass(frozen=True, eq=False)
class AnomalyMaps:
    """The anomaly maps of one run; without images if its method gives none.

    Attributes:
        cell: id of the run.
        paths: n image paths, in the order of the maps.
        sha256: their digests.
        image_size: side of the square to which the images were resized, pixels.
        maps: (n, h, w) float32, higher is more anomalous.
        content: (n, 2) int32, height and width of each image in the upper left corner of the
            square; None where they fill it.
    """

    cell: str
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    image_size: int
    maps: NDArray[np.float32]
    content: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Return the number of images n; 0 means that there are no maps."""
        return len(self.paths)

    def positions(self, number: int) -> NDArray[np.float32]:
        """Return the map of an image (h, w) without the padding."""
        found: NDArray[np.float32] = self.maps[number]
        if self.content is None:
            return found
        shape = (found.shape[0], found.shape[1])
        height, width = inside(self.content[number].tolist(), self.image_size, shape)
        return found[:height, :width]

    def select(self, paths: Sequence[str]) -> AnomalyMaps:
        """Return the maps of some of the images, in the order given.

        Raises:
            KeyError: an image has no map.
        """
        number = {path: number for number, path in enumerate(self.paths)}
        chosen = [number[path] for path in paths]
        return replace(
            self,
            paths=tuple(paths),
            sha256=tuple(self.sha256[number] for number in chosen),
            maps=self.maps[chosen],
            content=None if self.content is None else self.content[chosen],
        )


def problem(pack: AnomalyMaps) -> str | None:
    """Say why maps cannot be stored or used, or return None."""
    maps, size = pack.maps, pack.image_size
    if maps.dtype != np.float32 or maps.ndim != 3 or len(maps) != len(pack.paths):
        return f"its maps are {maps.shape} {maps.dtype}, expected ({len(pack.paths)}, h, w) float32"
    if len(pack.sha256) != len(pack.paths) or len(set(pack.paths)) != len(pack.paths):
        return "its paths are not unique or not as many as its digests"
    content = pack.content
    if content is not None and (
        content.shape != (len(maps), 2) or not ((content >= 1) & (content <= size)).all()
    ):
        return f"the sizes of its images do not lie in 1 to {size} pixels, two for each map"
    if len(pack) and not all(1 <= side <= size for side in maps.shape[1:]):
        return f"its maps of {maps.shape[1]} x {maps.shape[2]} do not fit an image of {size} pixels"
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    return f"{pack.paths[bad[0]]}: its anomaly map is not finite" if len(bad) else None


def write(path: Path, maps: AnomalyMaps | None, *, cell: str) -> None:
    """Write the anomaly maps of a run; equal maps give equal bytes.

    Args:
        path: the file.
        maps: None for a method that gives none: then the file holds no image.
        cell: id of the run.

    Raises:
        TrainingError: they are not finite, or of the wrong type or shape.
    """
    nothing = AnomalyMaps(cell, (), (), 0, np.zeros((0, 0, 0), np.float32))
    pack = nothing if maps is None else maps
    wrong = problem(pack)
    if wrong:
        raise TrainingError(f"{cell}: {wrong}")
    metadata = {
        "format": FORMAT,
        "cell": cell,
        "paths": pack.paths,
        "sha256": pack.sha256,
        "image_size": pack.image_size,
    }
    arrays = {TENSOR: pack.maps} | ({} if pack.content is None else {CONTENT: pack.content})
    write_arrays(path, arrays, metadata)


def read(path: Path) -> AnomalyMaps:
    """Read and check anomaly maps.

    Raises:
        DataError: the file is missing, damaged, of another format, or contradicts itself.
    """
    metadata = read_metadata(path)
    if not fits(metadata, KINDS) or metadata["format"] != FORMAT:
        raise DataError(f"{path}: does not hold anomaly maps of format {FORMAT}; {REMEDY}")
    arrays = read_arrays(path)
    if set(arrays) - {CONTENT} != {TENSOR}:
        raise DataError(f"{path}: holds {', '.join(arrays)}, expected only {TENSOR}; {REMEDY}")
    pack = AnomalyMaps(
        cell=metadata["cell"],
        paths=tuple(metadata["paths"]),
        sha256=tuple(metadata["sha256"]),
        image_size=metadata["image_size"],
        maps=arrays[TENSOR],
        content=arrays.get(CONTENT),
    )
    wrong = problem(pack)
    if wrong:
        raise DataError(f"{path}: {wrong}; {REMEDY}")
    return pack


def check_cell(maps: AnomalyMaps, *, cell: str, where: Path) -> None:
    """Check that maps are those of a run.

    Raises:
        CheckError: they are of another.
    """
    if maps.cell != cell:
        raise CheckError(f"{where}: is of cell {maps.cell}, expected {cell}; {REMEDY}")


def check(maps: AnomalyMaps, images: Sequence[tuple[str, str]], *, cell: str, where: Path) -> None:
    """Check that maps are those of a run and of exactly these images, in this order.

    Args:
        maps: the maps.
        images: path and digest of each image; without maps they do not matter.
        cell: id of the run.
        where: their file, for the message.

    Raises:
        CheckError: they are not; the first image that differs is named.
    """
    check_cell(maps, cell=cell, where=where)
    stored = zip(maps.paths, maps.sha256, strict=True)
    for image, expected in zip(stored, images, strict=False):
        if image != expected:
            raise CheckError(
                f"{where}: has the map of {image[0]} (sha256 {image[1][:12]}...) where that of "
                f"{expected[0]} ({expected[1][:12]}...) belongs; {REMEDY}"
            )
    if len(maps) not in (0, len(images)):
        raise CheckError(f"{where}: has {len(maps)} maps for {len(images)} test images; {REMEDY}")
