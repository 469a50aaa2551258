"""How far an image lies from the normals: the energy of what its positions are as a whole.

Nothing here learns from anomalies, so ten of them cannot bend it.
"""

from __future__ import annotations

from collections.abc import Callable

from osad.learn.images import Rows, State
from osad.learn.lazy_torch import torch
from osad.learn.left_out import Gaussian
from osad.learn.products import distances, matmul
from osad.learn.vectors import codebook

IMAGES = 15
"""Normals that a prototype of images needs at least, or a few would be one of their own."""


def summary(x: torch.Tensor) -> torch.Tensor:
    """Return mean and standard deviation over positions: (n, P, c) -> (n, 2 c).

    Example:
        >>> summary(torch.tensor([[[1.0], [3.0]]])).tolist()
        [[2.0, 1.0]]
    """
    return torch.cat([x.mean(1), x.std(1, unbiased=False)], 1)


def energies(x: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Compute |x - mu_c*|², mu_c* the nearest prototype: (..., d) and (C, d) -> (...).

    Up to a constant it is minus twice the log density of a mixture of narrow Gaussians at the
    prototypes, so that it grows without bound away from the normals, in whatever direction.

    Example:
        >>> energies(torch.tensor([[0.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])).tolist()
        [4.0, 25.0]
    """
    squares = prototypes.square().sum(1) - 2 * matmul(x, prototypes.T)
    return x.square().sum(-1) + squares.amin(-1)


def fit_density(
    maps: Rows,
    vectors: Callable[[torch.Tensor], torch.Tensor],
    n_prototypes: int,
    key: str,
    shrinkage: float,
) -> tuple[State, torch.Tensor]:
    """Fit prototypes of the normals' summaries, and a covariance around them that all share.

    Args:
        maps: plain views of the normals, (n, c, h, w).
        vectors: turns maps (k, c, h, w) into position vectors (k, P, c).
        n_prototypes: C, if there are `IMAGES` normals for each.
        key: keys the draws of k-means.
        shrinkage: weight of the identity in the covariance.

    Returns:
        ``image.mean`` (2 c,), ``image.matrix`` (2 c, 2 c) and ``image.prototypes`` (C, 2 c); and
        the normals' energies (n,) as they would be had each been left out of the covariance and of
        the mean of its prototype. A single normal has nothing to be left out of.
    """
    summaries = maps.map(lambda part: summary(vectors(part)))
    n = len(summaries)
    n_prototypes = max(min(n_prototypes, n // IMAGES), 1)
    centres = codebook(summaries.cpu(), n_prototypes, f"{key}/images").to(summaries.device)
    own = distances(summaries, centres).argmin(1)
    gaussian = Gaussian.fit((summaries - centres[own]).unsqueeze(1), shrinkage)
    mean, matrix = gaussian.whitening()
    state = {
        "image.mean": mean,
        "image.matrix": matrix,
        "image.prototypes": matmul(centres, matrix),
    }
    if n == 1:
        return state, summaries.new_zeros(1)
    # An image alone with its prototype would be infinitely far from nothing: it counts as two.
    members = torch.bincount(own, minlength=n_prototypes)[own].clamp_min(2)
    return state, gaussian.around(members.double()).float()


def density(state: State, x: torch.Tensor) -> torch.Tensor:
    """Return the energies of images from their position vectors: (n, P, c) -> (n,)."""
    z = matmul(summary(x) - state["image.mean"], state["image.matrix"])
    return energies(z, state["image.prototypes"])
