"""Prototypes by vector quantisation of normal features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import derive_seed
from osad.learn.products import eigh, gram, matmul

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


def codebook(vectors: torch.Tensor, n_codes: int, key: str, *, restarts: int = 10) -> torch.Tensor:
    """Compute k-means centres of vectors.

    Args:
        vectors: (n, d) float32 on the CPU, n >= n_codes.
        n_codes: number of centres.
        key: text that keys the draws.
        restarts: k-means++ starts, of which the best is kept.

    Returns:
        (n_codes, d) float32.

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
