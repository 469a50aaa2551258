"""Losses on image scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
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


def focal_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, alpha: float = 1.0, gamma: float = 2.0
) -> torch.Tensor:
    """Compute the focal loss, mean of -alpha (1 - p_t)^gamma log p_t.

    p_t is the probability of the true class; ``alpha`` is the same for both classes.

    Args:
        logits: (n,) float32, of class 1.
        targets: (n,) in {0, 1}.
        alpha: factor of the whole loss.
        gamma: 0 gives the cross-entropy; the larger, the less well classified images count.

    Returns:
        scalar.

    Source:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017 (arXiv 1708.02002), eq. 5.

    Example:
        >>> import torch
        >>> focal_loss(torch.tensor([0.0, 0.0]), torch.tensor([0, 1]))  # log(2) / 4
        tensor(0.1733)
    """
    wrong = torch.where(targets.bool(), -logits, logits)  # 1 - p_t = sigmoid(wrong)
    return alpha * (torch.sigmoid(wrong) ** gamma * F.softplus(wrong)).mean()


def uniform_cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy between the uniform distribution and the predicted one.

    Args:
        logits: (n, C) float32.

    Returns:
        scalar, at least log C, which it takes when every prediction is uniform.

    Source:
        Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019
        (arXiv 1812.04606), section 4.3.

    Example:
        >>> import torch
        >>> uniform_cross_entropy(torch.zeros(2, 3))  # log(3)
        tensor(1.0986)
    """
    return -F.log_softmax(logits, dim=1).mean()


def triplet_loss(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, *, margin: float = 1.0
) -> torch.Tensor:
    """Compute the triplet loss, mean of max(0, d(a, p) - d(a, n) + margin), d Euclidean.

    Args:
        anchor: (n, d) float32.
        positive: (n, d), to be nearer to the anchor.
        negative: (n, d), to be farther from it by ``margin``.
        margin: in units of the vectors.

    Returns:
        scalar.

    Source:
        Schroff et al., FaceNet, CVPR 2015 (arXiv 1503.03832), eq. 3, with distances instead of
        their squares.

    Example:
        >>> import torch
        >>> a, p = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
        >>> triplet_loss(a, p, torch.tensor([[0.0, 2.0]]))
        tensor(4.)
    """
    return F.relu(_distance(anchor, positive) - _distance(anchor, negative) + margin).mean()


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return distances of rows, with gradient 0 where they coincide (the root has none there)."""
    return (a - b).square().sum(1).clamp_min(1e-12).sqrt()
