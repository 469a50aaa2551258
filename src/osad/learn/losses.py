"""Losses on image scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from osad.lazy import lazy
from osad.learn.products import gram

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")


def deviation_loss(
    scores: torch.Tensor, targets: torch.Tensor, *, margin: float = 5.0
) -> torch.Tensor:
    """Compute the deviation loss, mean of (1-y)|dev| + y max(0, margin - dev).

    The prior's mean and standard deviation are its exact 0 and 1 instead of those of 5000 fresh
    draws per call, whose noise (0.014) changes nothing measurable.

    Args:
        scores: (n,) float32.
        targets: (n,) in {0, 1}; 1 means the score must lie ``margin`` above the prior's mean.
        margin: distance in standard deviations of the prior.

    Returns:
        scalar; 0 for an empty batch.

    Source:
        DevNet (arXiv 2108.00462), eqs. 3 and 4.

    Example:
        >>> import torch
        >>> deviation_loss(torch.tensor([0.5, 3.0]), torch.tensor([0, 1]))
        tensor(1.2500)
    """
    if not len(scores):
        return scores.sum()
    y = targets.to(scores.dtype)
    return ((1 - y) * scores.abs() + y * F.relu(margin - scores)).mean()


def dispersion_loss(features: torch.Tensor, *, kappa: float = 10.0) -> torch.Tensor:
    """Compute how little the images' feature directions are spread (lower is more spread).

    Mean over i of logsumexp over j != i of kappa x_i.x_j, minus log(U - 1), with unit vectors x.

    Args:
        features: (U, D) float32 with U >= 2, any norm.
        kappa: concentration.

    Returns:
        scalar in [-kappa, kappa].

    Source:
        DPDL (arXiv 2502.20981), eq. 19.
    """
    # Normalising the small matrix of products instead of the features is several times faster.
    products = gram(features)
    norms = products.diagonal().clamp_min(1e-12).sqrt()
    similarity = kappa * products / (norms.unsqueeze(1) * norms)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    others = similarity.masked_fill(itself, float("-inf"))
    return (others.logsumexp(1) - math.log(len(features) - 1)).mean()
