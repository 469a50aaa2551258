"""Anomaly maps of one run: the position scores of its test images in one file.

``results/maps/{cell}.safetensors`` holds ``maps`` (n, h, w) at the resolution of the feature map;
they are upsampled when they are used. The scores stay float32: as float16 a score could overflow,
and scores with a common offset (such as log-likelihoods) would become equal, which moves every
metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osad.core.arrays import read_arrays, write_arrays
from osad.core.errors import CheckError, DataError, TrainingError
from osad.core.files import read_metadata
from osad.evaluation.localisation import upsample

FORMAT = 1
TENSOR = "maps"
KEYS = {"format", "cell", "paths", "sha256", "image_size"}
REMEDY = "delete it and score the cell again"


@dataclass(frozen=True, eq=False)
class AnomalyMaps:
    """The anomaly maps of one run.

    Attributes:
        cell: id of the run.
        paths: n image paths, in the order of the maps.
        sha256: their digests.
        image_size: side of the square to which the images were resized, pixels.
        maps: (n, h, w) float32, higher is more anomalous.
    """

    cell: str
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    image_size: int
    maps: NDArray[np.float32]


def problem(found: AnomalyMaps) -> str | None:
    """Say why maps cannot be stored or used, or return None."""
    maps, size = found.maps, found.image_size
    if maps.dtype != np.float32 or maps.ndim != 3 or len(maps) != len(found.paths):
        return (
            f"its maps are {maps.shape} {maps.dtype}, expected ({len(found.paths)}, h, w) float32"
        )
    if len(found.sha256) != len(found.paths) or len(set(found.paths)) != len(found.paths):
        return "its paths are not unique or not as many as its digests"
    if not all(1 <= side <= size for side in maps.shape[1:]):
        return f"its maps of {maps.shape[1]} x {maps.shape[2]} do not fit an image of {size} pixels"
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    return f"{found.paths[bad[0]]}: its anomaly map is not finite" if len(bad) else None


def write(path: Path, maps: AnomalyMaps) -> None:
    """Write anomaly maps; equal maps give equal bytes.

    Raises:
        TrainingError: they are not finite, or of the wrong type or shape.
    """
    wrong = problem(maps)
    if wrong:
        raise TrainingError(f"{maps.cell}: {wrong}")
    metadata = {
        "format": FORMAT,
        "cell": maps.cell,
        "paths": maps.paths,
        "sha256": maps.sha256,
        "image_size": maps.image_size,
    }
    write_arrays(path, {TENSOR: maps.maps}, metadata)


def read(path: Path) -> AnomalyMaps:
    """Read and check anomaly maps.

    Raises:
        DataError: the file is missing, damaged, of another format, or contradicts itself.
    """
    metadata: dict[str, Any] = read_metadata(path)
    if metadata.keys() != KEYS or metadata["format"] != FORMAT:
        raise DataError(f"{path}: does not hold anomaly maps of format {FORMAT}; {REMEDY}")
    arrays = read_arrays(path)
    if set(arrays) != {TENSOR}:
        raise DataError(f"{path}: holds {', '.join(arrays)}, expected only {TENSOR}; {REMEDY}")
    found = AnomalyMaps(
        cell=metadata["cell"],
        paths=tuple(metadata["paths"]),
        sha256=tuple(metadata["sha256"]),
        image_size=metadata["image_size"],
        maps=arrays[TENSOR],
    )
    wrong = problem(found)
    if wrong:
        raise DataError(f"{path}: {wrong}; {REMEDY}")
    return found


def check(maps: AnomalyMaps, images: Sequence[tuple[str, str]], *, cell: str, where: Path) -> None:
    """Check that maps are those of a run and of exactly these images, in this order.

    Args:
        maps: the maps.
        images: path and digest of each image.
        cell: id of the run.
        where: their file, for the message.

    Raises:
        CheckError: they are not; the first image that differs is named.
    """
    if maps.cell != cell:
        raise CheckError(f"{where}: is of cell {maps.cell}, expected {cell}; {REMEDY}")
    for found, wanted in zip(zip(maps.paths, maps.sha256, strict=True), images, strict=False):
        if found != wanted:
            raise CheckError(
                f"{where}: has the map of {found[0]} (sha256 {found[1][:12]}...) where that of "
                f"{wanted[0]} ({wanted[1][:12]}...) belongs; {REMEDY}"
            )
    if len(images) != len(maps.paths):
        raise CheckError(
            f"{where}: has {len(maps.paths)} maps for {len(images)} test images; {REMEDY}"
        )


def select(source: Path, target: Path, *, cell: str, images: Sequence[tuple[str, str]]) -> None:
    """Write the maps of some images of another run as those of a run that shares its results.

    Args:
        source: file of the other run.
        target: file to write.
        cell: id of the run that it is for.
        images: path and digest of each image, in the order wanted.

    Raises:
        CheckError: an image has no map, or one of other bytes.
        DataError: the source is missing or damaged.
    """
    maps = read(source)
    row = {image: n for n, image in enumerate(zip(maps.paths, maps.sha256, strict=True))}
    missing = [image for image in images if image not in row]
    if missing:
        raise CheckError(
            f"{source}: has no map of {missing[0][0]} with sha256 {missing[0][1][:12]}...; {REMEDY}"
        )
    write(
        target,
        AnomalyMaps(
            cell=cell,
            paths=tuple(path for path, _ in images),
            sha256=tuple(digest for _, digest in images),
            image_size=maps.image_size,
            maps=maps.maps[[row[image] for image in images]],
        ),
    )


def at_image_size(
    maps: NDArray[np.float32], size: int, *, sigma: float = 0.0
) -> NDArray[np.float32]:
    """Bring maps (n, h, w) to (n, size, size); see `osad.evaluation.localisation.upsample`.

    Args:
        maps: float32 position scores.
        size: side of the result, pixels.
        sigma: standard deviation of a Gaussian applied afterwards, pixels; 0 for none.
    """
    return upsample(maps, size, sigma=sigma)
