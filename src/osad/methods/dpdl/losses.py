"""What the prototypes of DPDL are trained by: four objectives of a light Schrödinger bridge.

All but bridge matching compare levels l(x) = eps log c(x), which are O(1) for vectors whose mean
squared length is 1. An image's level is the mean over its positions for a normal, over their top
10 % for an anomaly.

Source:
    DPDL (arXiv 2502.20981), eqs. 16 and 17; LightSB-M (Gushchin et al., arXiv 2402.03207).
"""

from __future__ import annotations

import math

from osad.learn.batches import SEEN
from osad.learn.lazy_torch import F, torch
from osad.learn.products import gram
from osad.methods.dpdl.bridge import Bridge, drift, scaled_log_potential

OBJECTIVES = ("anchored", "literal", "ranking", "bridge_matching")
PSEUDO_WEIGHT = 0.5
MATCHING_POSITIONS = 256
MATCHING_TIMES = 4
LATEST_TIME = 0.99


def level_objective(
    objective: str,
    bridge: Bridge,
    normal: torch.Tensor,
    anomalous: torch.Tensor,
    kinds: torch.Tensor,
    anchors: torch.Tensor,
    *,
    margin: float,
    temperature: float,
) -> torch.Tensor:
    """Compute one of the objectives on the images' levels.

    In the anchored form L_n + L_a restores LightSB's objective for normals (the anchors are samples
    of the target distribution) and bounds the push on anomalies, which the printed losses, with no
    bound below, do not. Seen anomalies have weight 1 in it, pseudo anomalies 0.5.

    Args:
        objective: ``anchored``, ``literal`` or ``ranking``.
        bridge: the bridge.
        normal: (a,), levels of normals.
        anomalous: (b,), levels of anomalies.
        kinds: (b,) in {1, 2}, seen and pseudo anomalies.
        anchors: (C, c), noisy codes, without gradient, of ``anchored``.
        margin: distance that anomalies must keep from the normals, but for ``literal``.
        temperature: smoothness of the hinge, but for ``literal``.

    Returns:
        scalar on the scale of the levels, 0 for batches that lack what the objective needs.

    Source:
        DPDL (arXiv 2502.20981), eqs. 16 and 17, corrected; see `literal_loss`, `ranking_loss`.
    """
    if objective == "literal":
        return literal_loss(bridge, normal, anomalous)
    if objective == "ranking":
        return ranking_loss(normal, anomalous, margin=margin, temperature=temperature)
    if not len(normal):
        return 0 * anomalous.sum()
    mean_normal = normal.mean()
    loss_normal = mean_normal - scaled_log_potential(bridge, anchors).mean()
    if not len(anomalous):
        return loss_normal
    weights = torch.where(kinds == SEEN, 1.0, PSEUDO_WEIGHT)
    gap = margin + mean_normal.detach() - anomalous
    hinge = temperature * F.softplus(gap / temperature)
    return loss_normal + (weights * hinge).sum() / weights.sum()


def literal_loss(bridge: Bridge, normal: torch.Tensor, anomalous: torch.Tensor) -> torch.Tensor:
    """Compute L_n + L_a as printed, times eps, with the trainable means as target samples.

    In the sum the potentials at the means cancel: what is left is the difference of two mean
    levels. It is unbounded below, so the parameters must be clamped (see `clamp_literal`).

    Arguments: see `level_objective`; anomalies all have weight 1, a term without images is left
    out.

    Source:
        DPDL (arXiv 2502.20981), eqs. 16, 17 and their sum in 23.
    """
    potential = scaled_log_potential(bridge, bridge.r).mean()
    total = 0 * potential
    if len(normal):
        total = total + (normal.mean() - potential)
    if len(anomalous):
        total = total - (anomalous.mean() - potential)
    return total


def clamp_literal(r: torch.Tensor, log_s: torch.Tensor) -> None:
    """Project the bridge in place on S in [1e-3, 10] and |r_c| <= 2.

    Source:
        Choice of this benchmark: without bounds the printed objective diverges.
    """
    log_s.clamp_(math.log(1e-3), math.log(10.0))
    r.mul_((2 / r.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)).clamp_max(1))


def ranking_loss(
    normal: torch.Tensor, anomalous: torch.Tensor, *, margin: float, temperature: float
) -> torch.Tensor:
    """Compute the mean over pairs of softplus((l_normal - l_anomalous + margin) / temperature).

    Arguments: see `level_objective`; 0 without a pair.

    Source:
        Choice of this benchmark: the contrast that is left of eqs. 16 + 17, bounded.

    Example:
        >>> import torch
        >>> zero = torch.zeros(1)
        >>> ranking_loss(zero, zero, margin=0.0, temperature=1.0)
        tensor(0.6931)
    """
    if not len(normal) or not len(anomalous):
        return 0 * (normal.sum() + anomalous.sum())
    gaps = normal.unsqueeze(1) - anomalous + margin
    return F.softplus(gaps / temperature).mean()


def bridge_matching_loss(
    bridge: Bridge, x: torch.Tensor, codes: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Compute the bridge-matching loss for random normals, end points, times and noises.

    It is the mean of |g(x_t, t) - (x1 - x_t) / (1 - t)|², x_t on the Brownian bridge from x to
    x1; 0 without normals. Normals and end points are drawn independently; up to 256 normals, in 4
    groups that share a time each (one from each quarter of [0, 0.99]), so that g needs matrix
    products only. Only the bridge gets a gradient.

    Args:
        bridge: the bridge.
        x: (N, d), what the bridge carries of normals; samples of the start.
        codes: (C, d); the end's distribution is their mixture with variance eps.
        generator: source of the draws.

    Source:
        LightSB-M (arXiv 2402.03207), with the drift in closed form.
    """
    start = x.detach()
    chosen = torch.randperm(len(start), generator=generator)[:MATCHING_POSITIONS]
    total = 0 * bridge.a.sum()
    for number, rows in enumerate(chosen.tensor_split(MATCHING_TIMES)):
        place = number + float(torch.rand((), generator=generator))
        t = LATEST_TIME * place / MATCHING_TIMES
        number_of_code = torch.randint(len(codes), (len(rows),), generator=generator)
        spread = torch.randn(2, len(rows), codes.shape[1], generator=generator).to(codes)
        end = codes[number_of_code.to(codes.device)] + math.sqrt(bridge.eps) * spread[0]
        errors = matching_errors(bridge, start[rows.to(start.device)], end, spread[1], t)
        total = total + errors.sum()
    return total / max(len(chosen), 1)


def matching_errors(
    bridge: Bridge, start: torch.Tensor, end: torch.Tensor, noise: torch.Tensor, t: float
) -> torch.Tensor:
    """Compute |g(x_t, t) - (x1 - x_t) / (1 - t)|² for given ends and noises: (m, d) -> (m,)."""
    at = t * end + (1 - t) * start + math.sqrt(bridge.eps * t * (1 - t)) * noise
    return (drift(bridge, at, t) - (end - at) / (1 - t)).square().sum(-1)


def dispersion_loss(features: torch.Tensor, *, kappa: float) -> torch.Tensor:
    """Compute how little feature directions are spread: (U, D) -> scalar in [-kappa, kappa].

    Mean over i of logsumexp over j != i of kappa x_i.x_j, minus log(U - 1), U >= 2, with unit
    vectors x; the lower, the more spread.

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
