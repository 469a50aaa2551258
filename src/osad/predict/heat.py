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
from osad.features.tiles import Frame
from osad.report.wrong import heat_limits

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = "plasma"
OPACITY = 191
"""Of the highest colour, of 255: 75 %. The lowest is transparent."""
SIDES = (224, 512)
"""Smallest and largest length of a heat map's longer side, pixels, without its scale."""
BAR, GAP = 14, 4
"""Height of the scale below a heat map, and space beside its numbers, pixels."""


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
    """Return the scale that position scores (n, h, w) suggest, as on the page of the results.

    Example:
        >>> scale_of(np.arange(1001, dtype=np.float32).reshape(1, 7, 143), "here")
        Scale(low=900.0, high=999.0, source='here')
    """
    return Scale(*heat_limits(maps), source)


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


def overlay(
    image: Image,
    scores: NDArray[np.float32],
    *,
    frame: Frame,
    scale: Scale,
) -> Image:
    """Lay the position scores of an image over it.

    Args:
        image: RGB, any size.
        scores: (h, w) float32, positions of the image brought to a square.
        frame: the square; its side is at least h and w.
        scale: what the colours mean.

    Returns:
        RGB, of the size `shown_size` and, below it, the scale (see `bar`).

    Raises:
        ConfigError: the scores are not of such a shape.
    """
    from PIL import Image as pil

    if scores.ndim != 2 or not all(1 <= side <= frame.side for side in scores.shape):
        raise ConfigError(f"position scores {scores.shape} do not fit {frame.side} pixels")
    width, height = shown_size(*image.size)
    rows, columns = frame.content(*image.size)
    square = levels(upsample(scores[None], frame.side)[0, :rows, :columns], scale)
    heat = np.asarray(pil.fromarray(square).resize((width, height), pil.Resampling.BILINEAR))
    drawn = pil.new("RGB", (width, height + BAR))
    drawn.paste(_laid(heat, image.resize((width, height), pil.Resampling.BICUBIC)))
    drawn.paste(bar(width, scale), (0, height))
    return drawn


def bar(width: int, scale: Scale) -> Image:
    """Draw a scale: its colours over white, between the scores of its ends if there is room.

    Returns:
        RGB, of ``width`` and the height `BAR`.
    """
    from PIL import Image as pil
    from PIL import ImageDraw, ImageFont

    drawn = pil.new("RGB", (width, BAR), "white")
    # A font of pixels, whose bytes depend on no library of outlines.
    font = ImageFont.load_default_imagefont()
    texts = [f"{end:.4g}" for end in (scale.low, scale.high)]
    left, right = (int(font.getbbox(text)[2]) + 2 * GAP for text in texts)
    if left + right > width // 2:
        left = right = 0
    else:
        draw = ImageDraw.Draw(drawn)
        for text, x in zip(texts, (GAP, width - right + GAP), strict=True):
            draw.text((x, 1), text, fill="black", font=font)
    length = width - left - right
    ramp = np.arange(length) * 255 // max(length - 1, 1)
    heat = np.broadcast_to(ramp.astype(np.uint8), (BAR, length))
    drawn.paste(_laid(heat, pil.new("RGB", (length, BAR), "white")), (left, 0))
    return drawn


def _laid(heat: NDArray[np.uint8], image: Image) -> Image:
    """Lay levels (h, w) as colours over an image of their size."""
    from PIL import Image as pil

    base: NDArray[Any] = np.asarray(image, dtype=np.int64)
    opacity = (OPACITY * heat.astype(np.int64))[..., None]
    whole = 255 * 255
    mixed = (base * (whole - opacity) + colours()[heat] * opacity + whole // 2) // whole
    return pil.fromarray(mixed.astype(np.uint8))
