"""The images that a method gets most wrong, and small pictures of them.

An image's standing in a run is the share of the run's test images that it outranks (half of those
with an equal score); over seeds it is the mean of the runs that tested the image. Unlike scores,
standings of different runs compare.
"""

from __future__ import annotations

import base64
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osad.evaluation.scores import ScoredImage

if TYPE_CHECKING:
    from PIL import Image

COUNT = 6
"""Images of each kind."""
SIDE = 120
"""Longer side of a picture, pixels."""
QUALITY = 60
LIMITS = (0.9, 0.999)
"""Quantiles of the position scores of normal images that become 0 and 255 in heat maps. By those
of all images, of which gross defects have the highest, thin cracks would stay without colour."""


@dataclass(frozen=True)
class Ranked:
    """One image over all runs that tested it.

    Attributes:
        image: of the first of these runs.
        standing: mean standing in [0, 1]; 1 is the most anomalous.
        scores: by seed.
    """

    image: ScoredImage
    standing: float
    scores: Mapping[int, float]


def standings(scores: Sequence[float]) -> NDArray[np.float64]:
    """Return the standing of each of n scores in [0, 1].

    Example:
        >>> standings([3.0, 1.0, 1.0, 2.0]).tolist()
        [0.875, 0.25, 0.25, 0.625]
    """
    values = np.asarray(scores, dtype=np.float64)
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    until = np.searchsorted(ordered, values, side="right")
    standing: NDArray[np.float64] = (below + until) / (2 * len(values))
    return standing


def rank(runs: Mapping[int, Sequence[ScoredImage]]) -> list[Ranked]:
    """Return every image that some run tested, sorted by path; ``runs`` are by seed."""
    images: dict[str, ScoredImage] = {}
    found: dict[str, dict[int, float]] = defaultdict(dict)
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for seed, tested in runs.items():
        of_run = standings([image.score for image in tested])
        for image, standing in zip(tested, of_run.tolist(), strict=True):
            images.setdefault(image.path, image)
            found[image.path][seed] = standing
            scores[image.path][seed] = image.score
    return [
        Ranked(image, sum(found[path].values()) / len(found[path]), scores[path])
        for path, image in sorted(images.items())
    ]


def most_wrong(
    ranked: Sequence[Ranked], *, count: int = COUNT
) -> tuple[list[Ranked], list[Ranked]]:
    """Return the normal images that stand highest and the anomalous ones that stand lowest.

    Returns:
        False alarms and missed anomalies, the worst first; equal ones in their order.
    """
    normal = [one for one in ranked if one.image.label == 0]
    anomalous = [one for one in ranked if one.image.label == 1]
    normal.sort(key=lambda one: -one.standing)
    anomalous.sort(key=lambda one: one.standing)
    return normal[:count], anomalous[:count]


def thumbnail(image: Image.Image) -> str:
    """Return a small picture as a data URI; its longer side has at most `SIDE` pixels."""
    from PIL import Image as pillow

    small = image.copy()
    small.thumbnail((SIDE, SIDE), pillow.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def heat_limits(maps: NDArray[np.float32]) -> tuple[float, float]:
    """Return the scores that are drawn as nothing and as full heat by those of maps (n, h, w).

    Both are scores that occur: the smallest that 90 % and 99.9 % of all do not exceed.
    """
    ordered = np.sort(maps, axis=None)
    low, high = (float(ordered[math.ceil(share * ordered.size) - 1]) for share in LIMITS)
    return low, high


def heat(positions: NDArray[np.float32], limits: tuple[float, float]) -> dict[str, int | str]:
    """Return one map (h, w) with 8 bits a position, to be drawn over a picture.

    Returns:
        ``height``, ``width``, and ``bytes``: the rows, 0 to 255, as base64.
    """
    low, high = limits
    scale = 255 / (high - low) if high > low else 0.0
    values = np.rint(np.clip((positions.astype(np.float64) - low) * scale, 0, 255))
    height, width = positions.shape
    text = base64.b64encode(values.astype(np.uint8).tobytes()).decode()
    return {"height": height, "width": width, "bytes": text}
