"""Random draws from all position vectors of a set of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.learn.loop import batched

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    torch = lazy("torch")


def sample_positions(
    vectors: Callable[[slice], torch.Tensor],
    shape: tuple[int, int],
    count: int,
    generator: np.random.Generator,
) -> torch.Tensor:
    """Draw position vectors without replacement, with few images in memory at once.

    Args:
        vectors: gives the vectors (k, P, d) of a slice of the images.
        shape: number of images n and of positions P.
        count: how many to draw; all when there are fewer.
        generator: source of the draws.

    Returns:
        (min(count, n P), d), in the order of images and positions.
    """
    n, per_image = shape
    chosen = torch.from_numpy(generator.permutation(n * per_image)[:count]).sort().values
    parts = []
    for part in batched(n):
        inside = (chosen >= part.start * per_image) & (chosen < part.stop * per_image)
        parts.append(vectors(part).flatten(0, 1)[chosen[inside] - part.start * per_image])
    return torch.cat(parts)
