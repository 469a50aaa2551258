"""Gaussian mixtures with one spread: likelihood of a velocity, prototypes of images.

A mixture has K components with means mu_k, logarithms of weights log pi_k and one standard
deviation s shared by all components and dimensions. Everything stays in the log domain.

Source:
    MPFM (arXiv 2605.02438), whose mixture velocity is GMFlow's (arXiv 2504.05304).
"""

from __future__ import annotations

import math

from osad.learn.images import State
from osad.learn.lazy_torch import F, torch
from osad.learn.vectors import codebook


def joint_log_density(
    x: torch.Tensor, means: torch.Tensor, log_weights: torch.Tensor, log_std: torch.Tensor
) -> torch.Tensor:
    """Compute log pi_k + log N(x; mu_k, s² I) for every component.

    The difference is divided by s before it is squared, which stays finite for a small s.

    Args:
        x: (..., d).
        means: (..., K, d), with the leading axes of x or none of them.
        log_weights: (..., K).
        log_std: logarithm of s, broadcastable to (..., 1).

    Returns:
        (..., K).
    """
    d = x.shape[-1]
    scaled = (x.unsqueeze(-2) - means) * torch.exp(-log_std).unsqueeze(-1)
    constant = 0.5 * d * math.log(2 * math.pi)
    return log_weights - 0.5 * scaled.square().sum(-1) - d * log_std - constant


def mixture_nll(
    x: torch.Tensor, means: torch.Tensor, log_weights: torch.Tensor, log_std: torch.Tensor
) -> torch.Tensor:
    """Compute the negative log density of a mixture (see `joint_log_density`): (..., d) -> (...).

    Example:
        >>> import torch
        >>> zero = torch.zeros(1)  # One component with mean 0 and s = 1 in one dimension.
        >>> mixture_nll(torch.tensor([2.0]), zero.view(1, 1), zero, zero)  # 2²/2 + log(2 pi)/2
        tensor(2.9189)
    """
    return -joint_log_density(x, means, log_weights, log_std).logsumexp(-1)


def mutual_information_loss(log_joint: torch.Tensor) -> torch.Tensor:
    """Compute minus the mutual information between images and components.

    For log joints (n, K), see `joint_log_density`, it is the mean entropy of the posteriors minus
    the entropy of their mean, in [-log K, 0]: -log K for sharp and balanced assignments, 0 for
    uniform ones, for all images in one component and for no images.

    Source:
        MPFM (arXiv 2605.02438), MIMR with two corrections. As printed, it is plus the mutual
        information, whose descent makes all assignments uniform; and its second term is the fixed
        weights' entropy, which has no gradient, instead of the mean posterior's.

    Example:
        >>> import torch
        >>> mutual_information_loss(torch.tensor([[0.0, -99.0], [-99.0, 0.0]]))
        tensor(-0.6931)
    """
    if not len(log_joint):
        return log_joint.sum()
    log_p = log_joint.log_softmax(1)
    p = log_p.exp()
    mean_entropy = -(p * log_p).sum(1).mean()
    mean = p.mean(0)
    return mean_entropy + (mean * mean.clamp_min(1e-12).log()).sum()


def repulsion_loss(nll: torch.Tensor, reference: torch.Tensor, margin: float) -> torch.Tensor:
    """Compute how far the anomalies' negative log likelihood is from exceeding the normals'.

    It is the mean of softplus(reference + margin - nll), nll (n,) of the anomalies and reference
    the normals' mean, both per dimension; 0 for no anomalies. The reference gets no gradient.

    Source:
        MPFM (arXiv 2605.02438), L_flow of anomalies, bounded: as printed it is minus their negative
        log likelihood, which has no minimum.
    """
    if not len(nll):
        return nll.sum()
    return F.softplus(reference.detach() + margin - nll).mean()


def nearest_mean(x: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Return the index of the mean (K, d) nearest to each vector (n, d): (n,) int64."""
    return (x.unsqueeze(1) - means).square().sum(2).argmin(1)


def initial_prototypes(vectors: torch.Tensor, n_prototypes: int, key: str) -> State:
    """Fit K prototypes of images by k-means++ with 32 restarts (see `codebook`).

    Returns:
        ``prototype.mean`` (K, d), ``prototype.log_weight`` (K,), the logarithms of the shares of
        vectors, and ``prototype.log_std`` (1,), of the root mean square distance to the own centre
        per dimension.

    Source:
        MPFM (arXiv 2605.02438), prototype initialisation.
    """
    means = codebook(vectors, n_prototypes, key, restarts=32)
    own = nearest_mean(vectors, means)
    # Half a vector more for each, so that a centre without vectors (of equal ones) has a weight.
    share = (torch.bincount(own, minlength=n_prototypes) + 0.5) / (len(own) + 0.5 * n_prototypes)
    variance = (vectors - means[own]).square().mean()
    return {
        "prototype.mean": means,
        "prototype.log_weight": share.log(),
        "prototype.log_std": 0.5 * variance.clamp_min(1e-6).log().view(1),
    }


def prototype_log_joint(state: State, psi: torch.Tensor) -> torch.Tensor:
    """Compute log pi_k + log N(psi; mu_k, s² I) of the prototypes: (n, d) -> (n, K)."""
    log_weight = state["prototype.log_weight"].log_softmax(0)
    return joint_log_density(psi, state["prototype.mean"], log_weight, state["prototype.log_std"])


def surprise(state: State, psi: torch.Tensor) -> torch.Tensor:
    """Compute -log p(psi)/d under the mixture of prototypes: (n, d) -> (n,)."""
    return -prototype_log_joint(state, psi).logsumexp(1) / psi.shape[1]
