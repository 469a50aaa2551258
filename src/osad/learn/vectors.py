"""Vectors of a set of images: one pooled per image, some drawn from all positions, prototypes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osad.core.errors import ConfigError
from osad.core.seeds import derive_seed
from osad.learn.images import ImageSet, batched
from osad.learn.lazy_torch import torch
from osad.learn.products import eigh, gram, matmul


def pooled(images: ImageSet, strides: tuple[int, ...], *, spread: bool) -> torch.Tensor:
    """Pool the maps of several strides over positions and concatenate them, (n, d) float32.

    ``spread`` adds the standard deviation over positions to the mean of each channel.

    Raises:
        ConfigError: a stride is not in the cache.
    """

    def pool(maps: torch.Tensor) -> torch.Tensor:
        flat = maps.flatten(2)
        return torch.stack([flat.mean(2), flat.std(2, unbiased=False)], 1)

    parts: list[torch.Tensor] = []
    for stride in strides:
        if stride not in images.maps:
            raise ConfigError(
                f"stride {stride} is not cached; add it to features.strides "
                f"(cached: {', '.join(map(str, images.maps))})"
            )
        means, deviations = images.maps[stride].map(pool).unbind(1)
        parts += [means, deviations] if spread else [means]
    return torch.cat(parts, dim=1)


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
    for part in batched(n, positions=per_image):
        inside = (chosen >= part.start * per_image) & (chosen < part.stop * per_image)
        parts.append(vectors(part).flatten(0, 1)[chosen[inside] - part.start * per_image])
    return torch.cat(parts)


def codebook(vectors: torch.Tensor, n_codes: int, key: str, *, restarts: int = 3) -> torch.Tensor:
    """Compute k-means centres (n_codes, d) of vectors (n, d), n >= n_codes, float32 on the CPU.

    The best of ``restarts`` k-means++ starts, whose draws are keyed on ``key``, is kept.

    Source:
        DPDL (arXiv 2502.20981), eq. 15, is the objective of k-means; scikit-learn minimises it.
    """
    from sklearn.cluster import KMeans

    fitted = KMeans(
        n_codes, n_init=restarts, max_iter=100, random_state=derive_seed(key, "codebook") % 2**32
    ).fit(coordinates(vectors).numpy())
    if fitted.cluster_centers_.shape[1] == vectors.shape[1]:
        return torch.from_numpy(fitted.cluster_centers_).float()
    members = torch.from_numpy(fitted.labels_).unsqueeze(0) == torch.arange(n_codes).unsqueeze(1)
    shares = members / members.sum(1, keepdim=True).clamp_min(1)
    return matmul(shares.float(), vectors)


def coordinates(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors with the same distances and at most n dimensions: (n, d) -> (n, min(n, d)).

    k-means sees nothing but distances, and with fewer dimensions it takes less time.
    """
    n, d = vectors.shape
    if d <= n:
        return vectors
    values, basis = eigh(gram(vectors - vectors.mean(0)).double())
    return (basis * values.clamp_min(0).sqrt()).float()
