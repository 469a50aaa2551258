"""DPDL: distribution prototypes, a Schrödinger bridge to them, and three scoring heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.lazy import lazy
from osad.learn.batches import NORMAL, SEEN, Batch, balanced_batches
from osad.learn.codebook import codebook
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import (
    adapter,
    init_adapter,
    init_linear,
    init_mlp,
    mlp,
    plain_head,
    top_k_mean,
)
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lightsb import (
    Bridge,
    barycentric_map,
    component_log_density,
    component_weights,
    initial_bridge,
    scaled_log_alpha,
    scaled_log_normaliser,
    scaled_log_potential,
)
from osad.learn.loop import batched, minimise
from osad.learn.losses import dispersion_loss
from osad.learn.ranges import check_ranges
from osad.learn.sampling import sample_positions
from osad.methods.registry import method
from osad.seeds import numpy_generator, torch_generator

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

HEADS = ("anomaly", "residual", "normal")
LOG_S_RANGE = (-7.0, 1.0)
PSEUDO_WEIGHT = 0.5


@method(
    title="DPDL",
    paper="Distribution Prototype Diffusion Learning, CVPR 2025 (arXiv 2502.20981)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
    variants={"no_dpl": {"dpl": False}, "no_dfl": {"dispersion": 0.0}},
)
@dataclass(frozen=True)
class DPDL:
    """Hyper-parameters of DPDL on cached features (LightSB form, anchored objective).

    Attributes:
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step; a third are seen anomalies.
        pseudo: probability that a normal draw is replaced by a CutMix view.
        lr: learning rate of AdamW.
        weight_decay: decay of the weights, not applied to the bridge's S and alpha.
        adapter: hidden width of the residual adapter.
        head_width: hidden width of the normality head.
        prototypes: C, at most a third of the number of normals.
        eps: noise level of the bridge.
        s0: initial S of the bridge.
        dpl: use the prototype losses L_n and L_a.
        dispersion: lambda, weight of the dispersion loss.
        kappa: concentration of the dispersion loss.
        margin: m of L_a, on the scale of eps log c.
        temperature: T of L_a.
        codebook_samples: position vectors that the codebook is made from.
        shrinkage: of the whitening of the normals' position vectors, in (0, 1].
    """

    epochs: int = 50
    iterations: int = 20
    batch: int = 48
    pseudo: float = 0.5
    lr: float = 1e-3
    weight_decay: float = 1e-5
    adapter: int = 32
    head_width: int = 256
    prototypes: int = 32
    eps: float = 0.001
    s0: float = 0.1
    dpl: bool = True
    dispersion: float = 0.01
    kappa: float = 10.0
    margin: float = 0.1
    temperature: float = 0.05
    codebook_samples: int = 4000
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=["epochs", "iterations", "batch", "adapter", "head_width", "prototypes"],
            positive=["lr", "eps", "kappa", "temperature"],
            not_negative=["weight_decay", "dispersion", "margin"],
            probabilities=["pseudo"],
            shares=["shrinkage"],
        )
        if not 0 < self.s0 < 1:
            raise ValueError(f"s0 is {self.s0}, must lie in (0, 1)")
        if self.codebook_samples < self.prototypes:
            raise ValueError(f"codebook_samples is {self.codebook_samples}, less than prototypes")

    def fit(self, data: TrainingData) -> State:
        """Train adapter, bridge and heads; the anchors ``codes`` (C, c) are kept for the record."""
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        codes = self._codes(white, data)
        state = init_adapter(channels, self.adapter, generator)
        state |= init_linear("anomaly", channels, 1, generator)
        state |= init_linear("residual", channels, 1, generator)
        state |= init_mlp("normal", (channels, self.head_width, 1), generator)
        state |= initial_bridge(codes, self.eps, self.s0)
        device = data.normal.deepest.device
        seen = self.batch // 3
        trained = minimise(
            {name: value.to(device) for name, value in state.items()},
            balanced_batches(
                data,
                self.epochs * self.iterations,
                normals=self.batch - seen,
                anomalies=seen,
                pseudo=self.pseudo,
            ),
            _Loss(self, codes.to(device), torch_generator(data.key, "anchors")),
            lr=self.lr,
            weight_decay=self.weight_decay,
            decoupled=True,
            no_decay=frozenset({"bridge.log_s", "bridge.a"}),
            after_step=lambda tensors: tensors["bridge.log_s"].clamp_(*LOG_S_RANGE),
        )
        return white | trained | {"codes": codes}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return S_r + S_a - S_n from the heads' logits, (n,), and these parts."""
        rows = images.deepest
        bridge = Bridge.from_state(state, self.eps)
        parts = []
        for part in batched(len(images)):
            features = adapter(state, whiten(state, rows.take(part)))
            x = unit(features)
            log_alpha = scaled_log_alpha(bridge, x)
            parts.append(heads(state, bridge, features, x, log_alpha))
        scores = {name: torch.cat([part[name] for part in parts]) for name in HEADS}
        scores["normal"] = -scores["normal"]
        return Scores(scores["anomaly"] + scores["residual"] + scores["normal"], scores)

    def _codes(self, white: State, data: TrainingData) -> torch.Tensor:
        """Quantise unit position vectors of the plain normals, (C, c)."""
        rows = data.normal.deepest
        vectors = sample_positions(
            lambda part: unit(whiten(white, rows.take(part))),
            (len(rows), rows.tensor.shape[2] * rows.tensor.shape[3]),
            self.codebook_samples,
            numpy_generator(data.key, "codebook"),
        )
        n_codes = min(self.prototypes, max(len(rows) // 3, 1))
        return codebook(vectors.cpu(), n_codes, data.key)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Scale vectors (..., d) to unit norm; its gradient takes fewer passes than torch's own."""
    return vectors * vectors.square().sum(-1, keepdim=True).clamp_min(1e-12).rsqrt()


def heads(
    state: State,
    bridge: Bridge,
    features: torch.Tensor,
    x: torch.Tensor,
    log_alpha: torch.Tensor,
) -> State:
    """Compute the three heads' logits.

    The residual head sees R = (psi(x) - r_c*) / sqrt(S_c*) with LayerNorm over channels, c* the
    component under which psi(x) is most likely; the printed division by the covariance eps S
    would scale its input by about 1000.

    Args:
        state: parameters of the heads.
        bridge: the bridge.
        features: (n, P, c), adapted position vectors.
        x: (n, P, c), the same with unit norm.
        log_alpha: (n, P, C), see `scaled_log_alpha`.

    Returns:
        ``anomaly``, ``residual`` (higher: anomalous) and ``normal`` (higher: normal), each (n,).

    Source:
        DPDL (arXiv 2502.20981), section on multi-instance learning, eqs. 20 to 22.
    """
    psi = barycentric_map(bridge, x, component_weights(log_alpha, bridge.eps))
    with torch.no_grad():
        nearest = component_log_density(bridge, psi).argmax(-1)
    # Look-ups as embeddings: the gradient of plain indexing is slow.
    scale = F.embedding(nearest, torch.exp(-0.5 * bridge.log_s))
    residual = (psi - F.embedding(nearest, bridge.r)) * scale
    normed = F.layer_norm(residual, residual.shape[-1:])
    return {
        "anomaly": plain_head(state, "anomaly", features, absolute=False),
        "residual": plain_head(state, "residual", normed, absolute=False),
        "normal": mlp(state, "normal", features.mean(1)),
    }


def prototype_losses(
    bridge: Bridge,
    log_alpha: torch.Tensor,
    labels: torch.Tensor,
    anchors: torch.Tensor,
    *,
    margin: float,
    temperature: float,
) -> torch.Tensor:
    """Compute L_n + L_a in the anchored form.

    The printed losses are unbounded below; this form restores LightSB's objective for normals
    (the anchors are samples of the target distribution) and bounds the push on anomalies.

    Args:
        bridge: the bridge.
        log_alpha: (n, P, C), see `scaled_log_alpha`.
        labels: (n,) in {0, 1, 2}.
        anchors: (C, c), noisy codes, without gradient.
        margin: distance that anomalies must keep from the normals' mean of eps log c.
        temperature: smoothness of the hinge.

    Returns:
        scalar, on the scale of eps log c; 0 without normals, L_n without anomalies.

    Source:
        DPDL (arXiv 2502.20981), eqs. 16 and 17, corrected.
    """
    level = scaled_log_normaliser(log_alpha, bridge.eps)
    normal = labels == NORMAL
    if not bool(normal.any()):
        return 0 * level.sum()
    mean_normal = level[normal].mean()
    loss_normal = mean_normal - scaled_log_potential(bridge, anchors).mean()
    anomalous = ~normal
    if not bool(anomalous.any()):
        return loss_normal
    weights = torch.where(labels[anomalous] == SEEN, 1.0, PSEUDO_WEIGHT)
    gap = margin + mean_normal.detach() - top_k_mean(level[anomalous])
    hinge = temperature * F.softplus(gap / temperature)
    return loss_normal + (weights * hinge).sum() / weights.sum()


@dataclass(frozen=True)
class _Loss:
    """Sum of the heads' binary losses, the prototype losses and the dispersion loss."""

    method: DPDL
    codes: torch.Tensor
    generator: torch.Generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        bridge = Bridge.from_state(state, self.method.eps)
        features = adapter(state, batch.features)
        x = unit(features)
        log_alpha = scaled_log_alpha(bridge, x)
        logits = heads(state, bridge, features, x, log_alpha)
        anomalous = (batch.labels != NORMAL).float()
        binary = F.binary_cross_entropy_with_logits
        # M_n is trained on 1 - y: its score is subtracted, so it must measure normality.
        total = (
            binary(logits["anomaly"], anomalous)
            + binary(logits["residual"], anomalous)
            + binary(logits["normal"], 1 - anomalous)
        )
        if self.method.dpl:
            noise = torch.randn(self.codes.shape, generator=self.generator).to(self.codes)
            total = total + prototype_losses(
                bridge,
                log_alpha,
                batch.labels,
                self.codes + math.sqrt(self.method.eps) * noise,
                margin=self.method.margin,
                temperature=self.method.temperature,
            )
        if self.method.dispersion:
            spread = dispersion_loss(features.flatten(1), kappa=self.method.kappa)
            total = total + self.method.dispersion * spread
        return total
