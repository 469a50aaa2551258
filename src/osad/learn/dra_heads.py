"""The four heads of DRA, which methods built on it share."""

from __future__ import annotations

from osad.learn.batches import NORMAL, PSEUDO, SEEN, averaged
from osad.learn.gaussian import scales, standardised, summed, whiten
from osad.learn.heads import (
    adapter,
    deviation_loss,
    fused,
    init_linear,
    init_mlp,
    linear,
    mlp,
    positions,
    top_k_mean,
)
from osad.learn.images import ImageSet, Rows, Scores, State
from osad.learn.lazy_torch import F, torch

HEADS = ("normal", "seen", "pseudo", "residual")
BATCHNORM_MOMENTUM = 0.1
REFERENCES = ("reference", "reference.coarse")
"""Names of the maps that the residual is taken from, by scale."""


def init_heads(
    channels: int, *, holistic_width: int, residual_width: int, generator: torch.Generator
) -> State:
    """Initialise the four heads on maps of ``channels`` channels."""
    state = init_mlp("normal", (channels, holistic_width, 1), generator)
    state |= init_linear("seen", channels, 1, generator)
    state |= init_linear("pseudo", channels, 1, generator)
    state |= init_linear("residual.conv", channels * 9, residual_width, generator)
    state["residual.conv.weight"] = state["residual.conv.weight"].unflatten(1, (channels, 3, 3))
    state["residual.norm.weight"] = torch.ones(residual_width)
    state["residual.norm.bias"] = torch.zeros(residual_width)
    state["residual.running_mean"] = torch.zeros(residual_width)
    state["residual.running_var"] = torch.ones(residual_width)
    return state | init_linear("residual.head", residual_width, 1, generator)


def apply_heads(
    state: State,
    x: torch.Tensor,
    reference: torch.Tensor,
    size: tuple[int, int],
    *,
    training: bool,
) -> tuple[State, State]:
    """Apply the four heads to adapted position vectors.

    Args:
        state: parameters (see `init_heads`); in training the running statistics are updated.
        x: (n, P, c) float32.
        reference: (P, c), the map that the residual is taken from.
        size: height and width of the map, with product P.
        training: normalise by the batch's statistics instead of the running ones.

    Returns:
        each head's output (n,), 0 or more, by the names in `HEADS`; and the scores (n, P) of the
        positions, 0 or more, of the three heads that average their top 10 %.

    Source:
        DRA (arXiv 2203.14506), section 3, and its released code (top-K of absolute values).
    """
    residual = (reference - x).transpose(1, 2).unflatten(2, size)
    hidden = F.conv2d(
        residual, state["residual.conv.weight"], state["residual.conv.bias"], padding=1
    )
    hidden = F.batch_norm(
        hidden,
        state["residual.running_mean"],
        state["residual.running_var"],
        state["residual.norm.weight"],
        state["residual.norm.bias"],
        training=training,
        momentum=BATCHNORM_MOMENTUM,
    )
    normal = mlp(state, "normal", x.mean(1)).abs()
    local = {
        "seen": linear(state, "seen", x).squeeze(-1).abs(),
        "pseudo": linear(state, "pseudo", x).squeeze(-1).abs(),
        "residual": linear(state, "residual.head", positions(F.relu(hidden))).squeeze(-1).abs(),
    }
    return {"normal": normal} | {name: top_k_mean(scores) for name, scores in local.items()}, local


def heads_loss(heads: State, labels: torch.Tensor) -> torch.Tensor:
    """Sum the deviation losses of the four heads' outputs (n,) on the labels (n,) of each."""
    not_pseudo, not_seen = labels != PSEUDO, labels != SEEN
    return (
        deviation_loss(heads["normal"], labels == NORMAL)
        + deviation_loss(heads["seen"][not_pseudo], labels[not_pseudo] == SEEN)
        + deviation_loss(heads["pseudo"][not_seen], labels[not_seen] == PSEUDO)
        + deviation_loss(heads["residual"], labels != NORMAL)
    )


def with_scales(state: State, normal: ImageSet) -> State:
    """Add the heads' scales on training normals, on which `score_heads` then brings them."""
    return state | scales(_oriented(state, normal)[0])


def score_heads(state: State, images: ImageSet) -> Scores:
    """Score images by -g_n + g_s + g_p + g_r, (n,), with ``reference`` (P, c) of the state.

    At two scales, of which the coarse one has ``reference.coarse``, each head's score is the mean.
    Where the state has the heads' scales (see `with_scales`), the four are standardised first.

    Returns:
        the total, its four oriented parts, and maps (n, h, w) of the sum of the position scores
        of the seen, the pseudo and the residual head; the normality head sees no positions.
    """
    result, maps = _oriented(state, images)
    if "scale.seen.mean" in state:
        result = standardised(state, result)
    total = sum(result.values(), start=torch.zeros((), device=maps.device))
    return Scores(total, result, maps)


def _oriented(state: State, images: ImageSet) -> tuple[State, torch.Tensor]:
    """Return the heads' scores (n,), higher for anomalies, and their maps' sum (n, h, w)."""
    found = [_at_scale(state, *pair) for pair in zip(images.scales, REFERENCES, strict=False)]
    parts = averaged([heads for heads, _ in found])
    result = {name: parts[name] for name in HEADS} | {"normal": -parts["normal"]}
    return result, fused([maps for _, maps in found])


def _at_scale(state: State, rows: Rows, reference: str) -> tuple[State, torch.Tensor]:
    """Return the heads' outputs (n,) and their maps' sum (n, h, w) at one scale."""

    def apply(maps: torch.Tensor) -> State:
        x = adapter(state, whiten(state, maps))
        heads, local = apply_heads(state, x, state[reference], rows.size, training=False)
        return heads | {"map": summed(state, local)}

    parts = rows.map_parts(apply)
    maps = parts.pop("map")
    return parts, maps.unflatten(1, rows.size)
