"""Heat maps: the scores of positions as colours over the image.

The colours are those of ``plasma``, from blue (low) over purple and orange to yellow (high), whose
lightness rises evenly, so that people with colour-vision deficiency can order them too; they
cover the image more, the higher the score is. Only integers are computed after the scores have
become 256 levels, so the bytes do not depend on the processor.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osad.core.errors import ConfigError
from osad.evaluation.localisation import upsample

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = "plasma"
LOW, HIGH = 0.5, 0.999
"""The quantiles of the position scores that become the lowest and the highest colour."""
OPACITY = 191
"""Of the highest colour, of 255: 75 %. The lowest is transparent."""
SIDES = (224, 512)
"""Smallest and largest length of a heat map's longer side, pixels."""


@dataclass(frozen=True)
class Scale:
    """What the colours mean.

    Attributes:
        low: position score of the lowest colour, and of everything below.
        high: position score of the highest colour, and of everything above.
        source: which scores the two are quantiles of.
    """

    low: float
    high: float
    source: str


def scale_of(maps: NDArray[np.float32], source: str) -> Scale:
    """Return the scale that position scores (n, h, w) suggest.

    Both ends are scores that occur: the smallest that 50 % and 99.9 % of all do not exceed.

    Example:
        >>> scale_of(np.arange(1001, dtype=np.float32).reshape(1, 7, 143), "here")
        Scale(low=500.0, high=999.0, source='here')
    """
    ordered = np.sort(maps, axis=None)
    low, high = (
        float(ordered[max(int(np.ceil(share * ordered.size)) - 1, 0)]) for share in (LOW, HIGH)
    )
    return Scale(low, high, source)


def levels(maps: NDArray[np.float32], scale: Scale) -> NDArray[np.uint8]:
    """Turn position scores into levels 0 to 255.

    Args:
        maps: any shape, float32.
        scale: its ends become 0 and 255. Where they are equal, every higher score is 255.

    Example:
        >>> levels(np.array([0, 1, 2, 3, 9], np.float32), Scale(1.0, 3.0, "")).tolist()
        [0, 0, 128, 255, 255]
    """
    values = maps.astype(np.float64)
    if scale.high <= scale.low:
        return np.where(values > scale.low, 255, 0).astype(np.uint8)
    share = np.clip((values - scale.low) / (scale.high - scale.low), 0, 1)
    return np.rint(255 * share).astype(np.uint8)


def shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of the heat map of an image: as large, within `SIDES` at its longer side.

    Example:
        >>> shown_size(300, 200), shown_size(1024, 512), shown_size(3, 500), shown_size(1, 1)
        ((300, 200), (512, 256), (3, 500), (224, 224))
    """
    longer = max(width, height)
    wanted = min(max(longer, SIDES[0]), SIDES[1])
    return (
        max((2 * width * wanted + longer) // (2 * longer), 1),
        max((2 * height * wanted + longer) // (2 * longer), 1),
    )


@functools.cache
def colours() -> NDArray[np.int64]:
    """Return the 256 colours, (256, 3), 0 to 255."""
    import matplotlib

    table = matplotlib.colormaps[COLOURS](np.arange(256), bytes=True)
    return np.asarray(table, dtype=np.int64)[:, :3]


def overlay(image: Image, scores: NDArray[np.float32], *, image_size: int, scale: Scale) -> Image:
    """Lay the position scores of an image over it.

    Args:
        image: RGB, any size.
        scores: (h, w) float32, positions of the image stretched to a square.
        image_size: side of that square, pixels, at least h and w.
        scale: what the colours mean.

    Returns:
        RGB, of the size `shown_size`.

    Raises:
        ConfigError: the scores are not of such a shape.
    """
    from PIL import Image as pil

    if scores.ndim != 2 or not all(1 <= side <= image_size for side in scores.shape):
        raise ConfigError(f"position scores {scores.shape} do not fit {image_size} pixels")
    size = shown_size(*image.size)
    square = levels(upsample(scores[None], image_size)[0], scale)
    heat = np.asarray(pil.fromarray(square).resize(size, pil.Resampling.BILINEAR))
    base: NDArray[Any] = np.asarray(image.resize(size, pil.Resampling.BICUBIC), dtype=np.int64)
    opacity = (OPACITY * heat.astype(np.int64))[..., None]
    whole = 255 * 255
    mixed = (base * (whole - opacity) + colours()[heat] * opacity + whole // 2) // whole
    return pil.fromarray(mixed.astype(np.uint8))
