"""MPFM: flow matching from normal features to prototypes, with a mixture as velocity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, Batch, balanced_batches
from osad.learn.density import density, fit_density
from osad.learn.gaussian import scales, standardised, whiten, whitened_training
from osad.learn.heads import (
    adapter,
    deviation_loss,
    init_adapter,
    init_mlp,
    linear,
    mlp,
    top_k_mean,
)
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData, batched
from osad.learn.lazy_torch import F, torch
from osad.learn.loop import minimise
from osad.learn.products import eigh, matmul
from osad.methods.fields import (
    at_least,
    choice,
    flag,
    not_negative,
    parameter,
    positive,
    probability,
    share,
)
from osad.methods.mpfm import transformer
from osad.methods.mpfm.mixture import (
    initial_prototypes,
    mutual_information_loss,
    nearest_mean,
    prototype_log_joint,
    repulsion_loss,
    surprise,
)
from osad.methods.registry import method

HEADS = ("gaussian", "anomaly", "residual", "normal")
PROTOTYPE = ("prototype.mean", "prototype.log_weight", "prototype.log_std")
CALIBRATION = ("gaussian.a", "gaussian.b")
FIXED = frozenset({"pca.mean", "pca.matrix", transformer.PLACES})
DROPOUT = 0.1
CROSS_ENTROPY: dict[str, Any] = {
    "loss": "cross_entropy", "lengths": False, "density": "mapped", "standardised": False,
    "epochs": 16,
}  # fmt: skip
"""Heads as in the released part: four cross-entropies, LayerNorm, a density that is one of them."""


@method(
    title="MPFM",
    paper="Mixture Prototype Flow Matching, ICML 2026 (arXiv 2605.02438)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
    maps=True,
    full_budget={
        "adapter": 128,
        "head_width": 512,
        "dims": 128,
        "width": 256,
        "blocks": 4,
        "positions": 49,
    },
    variants={
        "cross_entropy": CROSS_ENTROPY,
        "independent": {"coupled": False},
        "no_mixture": {"components": 1},
        "no_anomaly_flow": {"beta": 0.0},
        "no_mutual_information": {"mutual_information": 0.0},
    },
)
@dataclass(frozen=True)
class MPFM:
    """MPFM on cached features."""

    epochs: int = at_least(1, 3, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(1, 48, "images of a step; a third are seen anomalies")
    pseudo: float = probability(0.5, "that a normal draw is replaced by a CutMix view")
    lr: float = positive(3e-4, "learning rate of AdamW; a tenth of it for the prototypes")
    weight_decay: float = not_negative(1e-5, "of AdamW, not of prototypes and calibration")
    adapter: int = at_least(1, 32, "hidden width of the residual adapter")
    head_width: int = at_least(1, 64, "hidden width of the three heads with a network")
    dims: int = at_least(1, 64, "d, principal components that the flow works on, if there are many")
    components: int = at_least(
        1, 8, "K, of the velocity and of the prototypes, at most a third of the normals"
    )
    coupled: bool = flag(
        True, "the flow ends at the prototype nearest to the image, not at noise N(0, I)"
    )
    width: int = parameter(
        64,
        "channels of the transformer",
        "a multiple of 4, 4 or more",
        lambda value: value >= 4 and value % 4 == 0,
    )
    blocks: int = at_least(1, 1, "blocks of the transformer")
    loss: str = choice("deviation", "of the heads", ("deviation", "cross_entropy"))
    lengths: bool = flag(True, "vectors keep their lengths; without, LayerNorm takes them away")
    density: str = choice(
        "frozen",
        "S_g: of an image's frozen features at prototypes of their own, or of psi under the "
        "trained ones",
        ("frozen", "mapped"),
    )
    standardised: bool = flag(True, "bring the heads to one scale before they are added")
    positions: int = at_least(
        1, 16, "positions of each image that the flow loss is computed on, drawn each step"
    )
    beta: float = not_negative(0.1, "weight of the anomalies' flow loss")
    margin: float = not_negative(
        1.0, "excess of the anomalies' negative log likelihood per dimension"
    )
    mutual_information: float = not_negative(
        0.1, "lambda, weight of the mutual information between images and prototypes"
    )
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def fit(self, data: TrainingData) -> State:
        """Train adapter, flow, prototypes and heads together."""
        white, data = whitened_training(data, self.shrinkage)
        rows = data.normal.deepest
        projection, pooled = principal_components(white, rows, self.dims, lengths=self.lengths)
        n_components = min(self.components, max(len(rows) // 3, 1))
        state = initial_prototypes(pooled.cpu(), n_components, data.key)
        state |= self._initial(state, pooled.cpu(), rows, torch_generator(data.key, "init"))
        seen = self.batch // 3
        trained = minimise(
            state | projection,
            balanced_batches(
                data,
                self.epochs * self.iterations,
                normals=self.batch - seen,
                anomalies=seen,
                pseudo=self.pseudo,
            ),
            _Loss(self, torch_generator(data.key, "flow")),
            device=rows.device,
            lr=self.lr,
            weight_decay=self.weight_decay,
            decoupled=True,
            lr_factor=dict.fromkeys(PROTOTYPE, 0.1),
            no_decay=frozenset(PROTOTYPE + CALIBRATION),
            fixed=FIXED,
        )
        fitted = white | trained
        left_out: State = {}
        if self.density == "frozen":
            image, left_out["gaussian"] = fit_density(
                rows,
                lambda maps: scaled(whiten(white, maps), lengths=self.lengths),
                n_components,
                data.key,
                self.shrinkage,
            )
            fitted |= image
        if self.standardised:
            parts = self._parts(fitted, data.normal) | left_out
            fitted |= scales({name: parts[name] for name in HEADS})
        return fitted

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return S_g + S_a + S_r - S_n, (n,), these parts, and M_a's maps."""
        parts = self._parts(state, images)
        result = {name: parts[name] for name in HEADS}
        result = standardised(state, result) if self.standardised else result
        total = sum(result.values(), start=torch.zeros((), device=images.deepest.device))
        return Scores(total, result, parts["map"].unflatten(1, images.deepest.size))

    def _parts(self, state: State, images: ImageSet) -> State:
        """Return the heads' scores (n,), higher for anomalies, and ``map`` (n, P)."""

        def apply(maps: torch.Tensor) -> State:
            frozen = whiten(state, maps)
            features, z = encode(state, frozen, lengths=self.lengths)
            parts = heads(state, features, mapped(state, z), calibrated=self._calibrated)
            if self.density == "frozen":
                parts["gaussian"] = density(state, scaled(frozen, lengths=self.lengths))
            return parts | {"normal": -parts["normal"]}

        return images.deepest.map_parts(apply)

    @property
    def _calibrated(self) -> bool:
        """Whether heads give logits, among them a calibrated density, instead of deviations."""
        return self.loss == "cross_entropy"

    def _initial(
        self, prototypes: State, pooled: torch.Tensor, rows: Rows, generator: torch.Generator
    ) -> State:
        channels = rows.tensor.shape[1]
        state = init_adapter(channels, self.adapter, generator)
        state |= transformer.init_transformer(
            prototypes["prototype.mean"],
            width=self.width,
            blocks=self.blocks,
            size=rows.size,
            generator=generator,
        )
        state |= init_mlp("anomaly", (channels, self.head_width, 1), generator)
        state |= init_mlp("normal", (channels, self.head_width, 1), generator)
        state |= init_mlp("residual", (pooled.shape[1], self.head_width, 1), generator)
        if not self._calibrated:
            return state
        # The flow starts at velocity 0, so psi starts as the pooled feature.
        level = surprise(prototypes, pooled)
        scale = 1 / level.std(unbiased=False).clamp_min(1e-2)
        # The inverse of softplus, in the form that does not overflow.
        state["gaussian.a"] = (scale + (-torch.expm1(-scale)).log()).view(1)
        state["gaussian.b"] = level.mean().view(1)
        return state


def principal_components(
    white: State, maps: Rows, dims: int, *, lengths: bool
) -> tuple[State, torch.Tensor]:
    """Fit the projection of whitened position vectors of normals (n, c, h, w); see `scaled`.

    Returns:
        ``pca.mean`` (c,) and ``pca.matrix`` (c, d), d = min(dims, c), and the images' projected
        mean features (n, d), all float32.
    """
    means = []
    square: torch.Tensor | float = 0.0
    for part in batched(len(maps)):
        x = scaled(whiten(white, maps.take(part)), lengths=lengths)
        means.append(x.mean(1))
        flat = x.flatten(0, 1)
        square = square + matmul(flat.T, flat).double() / x.shape[1]
    pooled = torch.cat(means)
    mean = pooled.double().mean(0)
    _, vectors = eigh(square / len(pooled) - torch.outer(mean, mean))
    matrix = vectors.flip(1)[:, :dims].float().contiguous()
    projection = {"pca.mean": mean.float(), "pca.matrix": matrix}
    return projection, matmul(pooled - projection["pca.mean"], matrix)


def scaled(x: torch.Tensor, *, lengths: bool) -> torch.Tensor:
    """Return vectors (..., c), without ``lengths`` with mean 0 and variance 1 over channels."""
    return x if lengths else F.layer_norm(x, x.shape[-1:])


def projected(state: State, x: torch.Tensor) -> torch.Tensor:
    """Project vectors on the principal components: (..., c) -> (..., d)."""
    # The mean is subtracted after the projection, from fewer numbers.
    matrix = state["pca.matrix"]
    return matmul(x, matrix) - matmul(state["pca.mean"], matrix)


def encode(state: State, x: torch.Tensor, *, lengths: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn whitened position vectors (n, P, c) into adapted ones (n, P, c) and z_0 (n, P, d)."""
    features = scaled(adapter(state, x), lengths=lengths)
    return features, projected(state, features)


def mapped(state: State, z: torch.Tensor) -> torch.Tensor:
    """Compute psi: one Euler step of the mean velocity from t = 0 to 1, averaged over positions.

    z_0 (n, P, d) -> (n, d), with a gradient in z_0 and the flow's parameters.
    """
    time = transformer.encoded_time(state, torch.zeros(1, device=z.device))
    return z.mean(1) + transformer.pooled_velocity(state, transformer.trunk(state, z, time))


def heads(
    state: State,
    features: torch.Tensor,
    psi: torch.Tensor,
    generator: torch.Generator | None = None,
    *,
    calibrated: bool,
) -> State:
    """Compute the four heads' scores.

    Args:
        state: parameters.
        features: (n, P, c), adapted position vectors.
        psi: (n, d), see `mapped`.
        generator: source of the dropout's draws, in training only.
        calibrated: give logits, also of the density; otherwise |.|, which belongs to the deviation
            loss, and the density as it is.

    Returns:
        ``gaussian``, ``anomaly``, ``residual`` (higher: anomalous) and ``normal`` (higher:
        normal), each (n,), and ``map`` (n, P), the anomaly head's output at every position.

    Source:
        MPFM (arXiv 2605.02438), scoring heads M_g, M_a, M_r and M_n.
    """
    level = surprise(state, psi)
    places = mlp(state, "anomaly", features)
    means = state["prototype.mean"]
    nearest = nearest_mean(psi.detach(), means)
    residual = (psi - F.embedding(nearest, means)) * torch.exp(-state["prototype.log_std"])
    outputs = {
        "map": places,
        "residual": _dropout_mlp(state, "residual", residual, generator),
        "normal": _dropout_mlp(state, "normal", features.mean(1), generator),
    }
    if calibrated:
        level = F.softplus(state["gaussian.a"]) * (level - state["gaussian.b"])
    else:
        outputs = {name: value.abs() for name, value in outputs.items()}
    return outputs | {"gaussian": level, "anomaly": top_k_mean(outputs["map"])}


def _dropout_mlp(
    state: State, prefix: str, x: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Apply two affine maps with ReLU and, in training, dropout between them: (n, c) -> (n,)."""
    hidden = F.relu(linear(state, f"{prefix}.0", x))
    if generator is not None:
        kept = torch.rand(hidden.shape, generator=generator) >= DROPOUT
        hidden = hidden * kept.to(hidden) / (1 - DROPOUT)
    return linear(state, f"{prefix}.1", hidden).squeeze(-1)


@dataclass(frozen=True)
class _Loss:
    """Sum of the heads' losses, the flow losses and the mutual information."""

    method: MPFM
    generator: torch.Generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        method, normal = self.method, batch.labels == NORMAL
        features, z = encode(state, batch.features, lengths=method.lengths)
        psi = mapped(state, z)
        calibrated = method._calibrated
        outputs = heads(state, features, psi, self.generator, calibrated=calibrated)
        anomalous = (~normal).float()
        loss = F.binary_cross_entropy_with_logits if calibrated else deviation_loss
        # M_n is trained on 1 - y: its score is subtracted, so it must measure normality.
        total = (
            loss(outputs["anomaly"], anomalous)
            + loss(outputs["residual"], anomalous)
            + loss(outputs["normal"], 1 - anomalous)
        )
        if calibrated:
            total = total + loss(outputs["gaussian"], anomalous)
        if method.mutual_information:
            shared = mutual_information_loss(prototype_log_joint(state, psi[normal]))
            total = total + method.mutual_information * shared
        if not bool(normal.any()):
            return total
        nll = transformer.flow_nll(
            state, z.detach(), self.generator, coupled=method.coupled, n_positions=method.positions
        )
        reference = nll[normal].mean()
        total = total + reference
        if method.beta:
            push = repulsion_loss(nll[~normal], reference, method.margin)
            total = total + method.beta * push
        return total
