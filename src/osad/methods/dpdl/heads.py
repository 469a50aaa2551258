"""The scoring heads of DPDL on position vectors and on what its bridge makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from osad.learn.heads import linear, mlp, top_k_mean
from osad.learn.images import State
from osad.learn.lazy_torch import F, torch
from osad.methods.dpdl.bridge import (
    Bridge,
    barycentric_map,
    component_weights,
    nearest_residual,
    scaled_log_alpha,
    scaled_log_normaliser,
)

TOP = 0.1
"""Share of positions whose mean is an image's value."""


@dataclass(frozen=True)
class Form:
    """What the heads and the bridge see.

    Attributes:
        lengths: the bridge carries vectors with their lengths, not unit vectors.
        flattened: it carries an image's flattened map, not its positions.
        absolute: heads give |.|, which belongs to the deviation loss.
    """

    lengths: bool
    flattened: bool
    absolute: bool

    def scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        """Bring vectors (..., d) to the scale of the bridge.

        Whitened vectors have a mean squared length of d: all are divided by √d, or each by its own
        length.
        """
        return vectors / math.sqrt(vectors.shape[-1]) if self.lengths else unit(vectors)

    def points(self, features: torch.Tensor) -> torch.Tensor:
        """Return what the bridge carries: vectors (n, P, c), or (n, 1, P c) of whole maps."""
        return self.scaled(features.flatten(1).unsqueeze(1) if self.flattened else features)

    def output(self, scores: torch.Tensor) -> torch.Tensor:
        """Return what a head gives of its affine output."""
        return scores.abs() if self.absolute else scores


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Scale vectors (..., d) to unit norm; its gradient takes fewer passes than torch's own."""
    return vectors * vectors.square().sum(-1, keepdim=True).clamp_min(1e-12).rsqrt()


def residual_logits(
    state: State, bridge: Bridge, x: torch.Tensor, log_alpha: torch.Tensor
) -> torch.Tensor:
    """Score R = (psi(x) - r_c*) / sqrt(S_c*), with LayerNorm over channels, position by position.

    Args:
        state: ``residual.weight`` (1, c) and ``residual.bias`` (1,).
        bridge: the bridge of vectors of d = c or d = P c elements.
        x: (n, p, d), what the bridge carries, see `Form.points`.
        log_alpha: (n, p, C), see `scaled_log_alpha`.

    Returns:
        (n, p d / c).

    Source:
        DPDL (arXiv 2502.20981), section on multi-instance learning, eqs. 20 to 22.
    """
    psi = barycentric_map(bridge, x, component_weights(log_alpha, bridge.eps))
    channels = state["residual.weight"].shape[1]
    residual = nearest_residual(bridge, psi).reshape(len(x), -1, channels)
    return linear(state, "residual", F.layer_norm(residual, (channels,))).squeeze(-1)


def position_logits(
    state: State,
    bridge: Bridge,
    features: torch.Tensor,
    x: torch.Tensor,
    log_alpha: torch.Tensor,
    form: Form,
) -> State:
    """Compute the scores (n, P) of the heads on positions, ``anomaly`` and ``residual``.

    Args:
        state: parameters of the heads; those without are left out.
        bridge: the bridge.
        features: (n, P, c), adapted position vectors.
        x: what the bridge carries, see `Form.points`.
        log_alpha: (n, P, C) or (n, 1, C), see `scaled_log_alpha`.
        form: what the heads give.
    """
    local: State = {}
    if "anomaly.weight" in state:
        local["anomaly"] = linear(state, "anomaly", features).squeeze(-1)
    if "residual.weight" in state:
        local["residual"] = residual_logits(state, bridge, x, log_alpha)
    return {name: form.output(scores) for name, scores in local.items()}


def image_logits(state: State, features: torch.Tensor, local: State, form: Form) -> State:
    """Average the top 10 % of position scores and add the normality head's, each (n,)."""
    logits = {name: top_k_mean(values, TOP) for name, values in local.items()}
    if "normal.0.weight" in state:
        logits["normal"] = form.output(mlp(state, "normal", features.mean(1)))
    return logits


def top_rows(scores: torch.Tensor) -> torch.Tensor:
    """Return where in (n P) the scores (n, P) lie that `top_k_mean` averages, (n, K) int64."""
    n, n_positions = scores.shape
    best = scores.topk(max(int(TOP * n_positions), 1), dim=1).indices
    return best + n_positions * torch.arange(n, device=scores.device).unsqueeze(1)


@dataclass(frozen=True)
class Outputs:
    """What a batch's losses are made of.

    Attributes:
        logits: or absolute scores of the heads that have parameters, each (n,): ``anomaly``,
            ``residual`` (higher: anomalous) and ``normal`` (higher: normal).
        normal: (a,), levels eps log c of the normals, means over their positions.
        anomalous: (b,), levels of the anomalies, means over their top 10 % of positions.
        x: what the bridge carries, see `Form.points`.
    """

    logits: State
    normal: torch.Tensor
    anomalous: torch.Tensor
    x: torch.Tensor


def dense_outputs(
    state: State, bridge: Bridge, features: torch.Tensor, normal: torch.Tensor, form: Form
) -> Outputs:
    """Compute heads and levels of a batch; arguments: see `sparse_outputs`."""
    x = form.points(features)
    log_alpha = scaled_log_alpha(bridge, x)
    local = position_logits(state, bridge, features, x, log_alpha, form)
    logits = image_logits(state, features, local, form)
    level = scaled_log_normaliser(log_alpha, bridge.eps)
    return Outputs(logits, level[normal].mean(1), top_k_mean(level[~normal], TOP), x)


def sparse_outputs(
    state: State,
    bridge: Bridge,
    features: torch.Tensor,
    normal: torch.Tensor,
    form: Form,
    *,
    levels: bool,
) -> Outputs:
    """Compute heads and levels of a batch, with gradients only where there are any.

    A top-K mean has no gradient for the positions that it leaves out. So all positions are ranked
    without gradient, and the chosen ones are computed again with it: values and gradients are
    those of `dense_outputs`; a training step takes a quarter less time.

    Args:
        state: parameters of the heads and the bridge.
        bridge: the bridge of position vectors.
        features: (n, P, c), adapted position vectors.
        normal: (n,) bool.
        form: what heads and bridge see.
        levels: compute the levels; without, they are empty.
    """
    n, n_positions = features.shape[:2]
    with torch.no_grad():
        x = form.scaled(features)
        log_alpha = scaled_log_alpha(bridge, x)
        local = position_logits(state, bridge, features, x, log_alpha, form)
        level = scaled_log_normaliser(log_alpha[~normal & levels], bridge.eps)
    chosen = {name: top_rows(scores) for name, scores in local.items()}
    places = torch.arange(n * n_positions, device=features.device).view(n, n_positions)
    chosen["normal"] = places[normal & levels]
    chosen["anomalous"] = places[~normal & levels].flatten()[top_rows(level)]
    sizes = [rows.numel() for rows in chosen.values()]
    # Look-ups as embeddings: the gradient of plain indexing is slow.
    index = torch.cat([rows.flatten() for rows in chosen.values()])
    taken = F.embedding(index, features.flatten(0, 1))
    outputs: State = {}
    if "anomaly" in chosen:
        projected = form.output(linear(state, "anomaly", taken[: sizes.pop(0)]))
        outputs["anomaly"] = projected.view_as(chosen["anomaly"]).mean(1)
    on_bridge = form.scaled(taken[len(taken) - sum(sizes) :])
    parts = scaled_log_alpha(bridge, on_bridge).split(sizes)
    if "residual" in chosen:
        shape = (*chosen["residual"].shape, -1)
        vectors, alpha = on_bridge[: sizes[0]].view(shape), parts[0].view(shape)
        scores = form.output(residual_logits(state, bridge, vectors, alpha))
        outputs["residual"] = scores.mean(1)
    return Outputs(
        outputs | image_logits(state, features, {}, form),
        scaled_log_normaliser(parts[-2], bridge.eps).view_as(chosen["normal"]).mean(1),
        scaled_log_normaliser(parts[-1], bridge.eps).view_as(chosen["anomalous"]).mean(1),
        x,
    )
