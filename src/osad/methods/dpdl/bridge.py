"""The light Schrödinger bridge: an entropic transport plan given by a Gaussian mixture.

Reference process dX = sqrt(eps) dW. The adjusted potential is a mixture
``v(y) = sum_c alpha_c N(y; r_c, eps S_c)`` with diagonal ``S_c > 0``; the plan's conditional is

    pi(y | x) = sum_c w_c(x) N(y; m_c(x), eps S_c),      m_c(x) = r_c + S_c x,
    log alpha~_c(x) = log alpha_c + (x' S_c x + 2 r_c' x) / (2 eps),
    w = softmax_c log alpha~,   log c(x) = logsumexp_c log alpha~_c(x).

All functions take a `Bridge` and vectors in any batch shape (..., d). Everything stays in the log
domain and in float32; quantities that the losses use are multiplied by eps, which makes them and
their gradients O(1) for vectors whose mean squared length is 1.

Source:
    Korotin, Gushchin, Burnaev, Light Schrödinger Bridge (arXiv 2310.01174), re-derived; DPDL's
    symbols are mu_c = r_c and sigma_c = eps S_c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from osad.learn.images import State
from osad.learn.lazy_torch import F, torch
from osad.learn.products import matmul


@dataclass(frozen=True)
class Bridge:
    """Parameters of a light Schrödinger bridge.

    Attributes:
        r: (C, d), means of the adjusted potential's components.
        log_s: (C, d), logarithm of the diagonals S_c.
        a: (C,), eps times log alpha_c, so that Adam's steps have the right scale.
        eps: noise level of the reference process, > 0.
    """

    r: torch.Tensor
    log_s: torch.Tensor
    a: torch.Tensor
    eps: float

    def __post_init__(self) -> None:
        """Compute what is cached: a first use without gradient would cut that of later uses."""
        _ = self.s, self.inverse_s

    @cached_property
    def s(self) -> torch.Tensor:
        """The diagonals S_c, (C, d)."""
        return self.log_s.exp()

    @cached_property
    def inverse_s(self) -> torch.Tensor:
        """Their inverses, (C, d)."""
        return torch.exp(-self.log_s)

    @classmethod
    def from_state(cls, state: State, eps: float) -> Bridge:
        """Take the parameters ``bridge.r``, ``bridge.log_s`` and ``bridge.a`` of a state."""
        return cls(state["bridge.r"], state["bridge.log_s"], state["bridge.a"], eps)


def initial_bridge(codes: torch.Tensor, eps: float, s0: float) -> State:
    """Initialise a bridge whose fixed points are the codes.

    With r_c = (1 - S0) e_c, S_c = S0 and log alpha_c = -(1 - S0)|e_c|²/(2 eps) - log C, each code
    is mapped to itself (m_c(e_c) = e_c) and w is the nearest-code rule.

    Args:
        codes: (C, d) float32, prototypes.
        eps: noise level, > 0.
        s0: initial S in (0, 1).
    """
    return {
        "bridge.r": (1 - s0) * codes,
        "bridge.log_s": torch.full_like(codes, math.log(s0)),
        "bridge.a": -(1 - s0) * codes.square().sum(1) / 2 - eps * math.log(len(codes)),
    }


def scaled_log_alpha(bridge: Bridge, x: torch.Tensor) -> torch.Tensor:
    """Compute eps log alpha~_c(x): (..., d) -> (..., C), by two matrix products."""
    quadratic = matmul(x * x, (0.5 * bridge.s).T)
    return quadratic + matmul(x, bridge.r.T) + bridge.a


def scaled_log_normaliser(log_alpha: torch.Tensor, eps: float) -> torch.Tensor:
    """Compute eps log c(x) from `scaled_log_alpha`: (..., C) -> (...)."""
    return eps * (log_alpha / eps).logsumexp(-1)


def component_weights(log_alpha: torch.Tensor, eps: float) -> torch.Tensor:
    """Compute w_c(x) from `scaled_log_alpha`: (..., C), sums to 1."""
    return (log_alpha / eps).softmax(-1)


def barycentric_map(bridge: Bridge, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Compute the plan's conditional mean psi(x) = sum_c w_c (r_c + S_c x): (..., d)."""
    return torch.addcmul(matmul(weights, bridge.r), matmul(weights, bridge.s), x)


def scaled_log_potential(bridge: Bridge, y: torch.Tensor) -> torch.Tensor:
    """Compute eps log v(y) of the adjusted potential: (..., d) -> (...)."""
    return bridge.eps * (component_log_density(bridge, y) + bridge.a / bridge.eps).logsumexp(-1)


def component_log_density(bridge: Bridge, y: torch.Tensor) -> torch.Tensor:
    """Compute log N(y; r_c, eps S_c) for every component: (..., d) -> (..., C)."""
    precision = bridge.inverse_s / bridge.eps
    mahalanobis = (
        matmul(y * y, precision.T)
        - matmul(y, (2 * bridge.r * precision).T)
        + (bridge.r.square() * precision).sum(1)
    )
    log_determinant = (bridge.log_s + math.log(2 * math.pi * bridge.eps)).sum(1)
    return -0.5 * (mahalanobis + log_determinant)


def nearest_residual(bridge: Bridge, psi: torch.Tensor) -> torch.Tensor:
    """Compute (psi - r_c*) / sqrt(S_c*), c* the component under which psi is most likely.

    Mapped vectors (..., d) -> (..., d). The choice of c* has no gradient.

    Source:
        DPDL (arXiv 2502.20981), eq. 21. The printed division by the covariance eps S would scale
        it by about 1000.
    """
    with torch.no_grad():
        nearest = component_log_density(bridge, psi).argmax(-1)
    # Look-ups as embeddings: the gradient of plain indexing is slow.
    scale = F.embedding(nearest, torch.exp(-0.5 * bridge.log_s))
    return (psi - F.embedding(nearest, bridge.r)) * scale


def drift(bridge: Bridge, x: torch.Tensor, t: float) -> torch.Tensor:
    """Compute the drift g(x, t) of the bridge's diffusion dX = g dt + sqrt(eps) dW: (..., d).

    It is eps times the gradient in x of the log of the potential convolved with
    N(0, eps (1 - t) I), t in [0, 1), in closed form.
    """
    # With h = x / (1 - t) + r / S, h / a and h² / a are polynomials in x: no (..., C, d) tensor.
    near = 1 / (1 - t)
    pull = bridge.r * bridge.inverse_s
    inverse_a = 1 / (t * near + bridge.inverse_s)
    constant = (
        bridge.r * pull - pull.square() * inverse_a + bridge.eps * (bridge.log_s - inverse_a.log())
    )
    scaled_log_b = bridge.a + (
        matmul(x * x, (0.5 * near**2 * inverse_a).T)
        + matmul(x, (near * pull * inverse_a).T)
        - 0.5 * constant.sum(1)
    )
    weights = component_weights(scaled_log_b, bridge.eps)
    expected_end = near * matmul(weights, inverse_a) * x + matmul(weights, pull * inverse_a)
    return near * (expected_end - x)
