"""One vector per image from its feature maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osad.core.errors import ConfigError
from osad.core.lazy import lazy
from osad.learn.images import ImageSet
from osad.learn.loop import batched

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


def pooled(images: ImageSet, strides: tuple[int, ...], *, spread: bool) -> torch.Tensor:
    """Pool the maps of several strides over positions and concatenate them.

    Args:
        images: n images with plain maps.
        strides: which maps, in this order.
        spread: add the standard deviation over positions to the mean.

    Returns:
        (n, d) float32, d = (1 or 2) * sum of channels.

    Raises:
        ConfigError: a stride is not in the cache.
    """
    parts = []
    for stride in strides:
        if stride not in images.maps:
            raise ConfigError(
                f"stride {stride} is not cached; add it to features.strides "
                f"(cached: {', '.join(map(str, images.maps))})"
            )
        rows = images.maps[stride]
        means, spreads = [], []
        for part in batched(len(rows)):
            flat = rows.take(part).flatten(2)
            means.append(flat.mean(2))
            spreads.append(flat.std(2, unbiased=False))
        parts.append(torch.cat(means))
        if spread:
            parts.append(torch.cat(spreads))
    return torch.cat(parts, dim=1)
