"""DPDL: distribution prototypes, a Schrödinger bridge to them, and three scoring heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import numpy_generator, torch_generator
from osad.learn.batches import NORMAL, Batch, balanced_batches
from osad.learn.codebook import codebook
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import (
    adapter,
    init_adapter,
    init_linear,
    init_mlp,
)
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import batched, minimise
from osad.learn.losses import dispersion_loss
from osad.learn.ranges import check_ranges
from osad.learn.sampling import sample_positions
from osad.methods.dpdl.bridge import (
    Bridge,
    initial_bridge,
    scaled_log_alpha,
)
from osad.methods.dpdl.heads import (
    heads,
    image_logits,
    points,
    position_logits,
    sparse_outputs,
)
from osad.methods.dpdl.losses import (
    OBJECTIVES,
    LevelSettings,
    bridge_matching_loss,
    clamp_literal,
    level_objective,
    prototype_losses,
)
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

HEADS = ("anomaly", "residual", "normal")
LOG_S_RANGE = (-7.0, 1.0)


@method(
    title="DPDL",
    paper="Distribution Prototype Diffusion Learning, CVPR 2025 (arXiv 2502.20981)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
    maps=True,
    full_budget={"epochs": 50, "iterations": 20, "adapter": 128},
    variants={
        "no_dpl": {"dpl": False},
        "no_dfl": {"dispersion": 0.0},
        "no_anomaly": {"without": "anomaly"},
        "no_residual": {"without": "residual"},
        "no_normal": {"without": "normal"},
        "only_residual": {"without": "anomaly+normal"},
        "literal": {"objective": "literal"},
        "ranking": {"objective": "ranking"},
        "bridge_matching": {"objective": "bridge_matching"},
        "flattened": {"flattened": True},
    },
)
@dataclass(frozen=True)
class DPDL:
    """Hyper-parameters of DPDL on cached features (LightSB form).

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
        dpl: train the bridge by ``objective`` besides the heads' losses.
        objective: "anchored", or one of the ablations "literal" (as printed), "ranking" and
            "bridge_matching".
        flattened: the bridge carries an image's flattened map, as printed, not its positions.
        without: heads whose loss and score are left out, joined by "+"; none when empty.
        dispersion: lambda, weight of the dispersion loss.
        kappa: concentration of the dispersion loss.
        margin: m of the anchored and the ranking objective, on the scale of eps log c.
        temperature: T of the anchored and the ranking objective.
        codebook_samples: vectors that the codebook is made from.
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
    objective: str = "anchored"
    flattened: bool = False
    without: str = ""
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
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}, must be one of {OBJECTIVES}")
        left_out = self._left_out
        if not left_out <= set(HEADS) or left_out == set(HEADS):
            raise ValueError(
                f"without is {self.without!r}, must be empty or one or two of {HEADS}, joined by +"
            )

    def fit(self, data: TrainingData) -> State:
        """Train adapter, bridge and heads; the anchors ``codes`` (C, d) are kept for the record."""
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        codes = self._codes(white, data)
        state = init_adapter(channels, self.adapter, generator)
        state |= init_linear("anomaly", channels, 1, generator)
        state |= init_linear("residual", channels, 1, generator)
        state |= init_mlp("normal", (channels, self.head_width, 1), generator)
        # All heads are drawn, so that those that stay start alike in every variant.
        state = {k: value for k, value in state.items() if k.split(".")[0] not in self._left_out}
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
            after_step=self._project,
        )
        return white | trained | {"codes": codes}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return S_r + S_a - S_n from the heads' logits, (n,), these parts, and maps of S_r + S_a.

        A head that is left out scores 0.
        """
        rows = images.deepest
        bridge = Bridge.from_state(state, self.eps)
        parts: list[State] = []
        maps = []
        for part in batched(len(images)):
            features = adapter(state, whiten(state, rows.take(part)))
            x = points(features, flattened=self.flattened)
            local = position_logits(state, bridge, features, x, scaled_log_alpha(bridge, x))
            maps.append(sum(local.values(), start=torch.zeros_like(features[..., 0])))
            zeros = {name: torch.zeros_like(features[:, 0, 0]) for name in HEADS}
            parts.append(zeros | image_logits(state, features, local))
        scores = {name: torch.cat([part[name] for part in parts]) for name in HEADS}
        scores["normal"] = -scores["normal"]
        total = scores["anomaly"] + scores["residual"] + scores["normal"]
        return Scores(total, scores, torch.cat(maps).unflatten(1, tuple(rows.tensor.shape[2:])))

    @property
    def _left_out(self) -> set[str]:
        return set(self.without.split("+")) if self.without else set()

    def _project(self, tensors: State) -> None:
        """Keep the bridge's parameters in their ranges, in place."""
        if self.objective == "literal":
            clamp_literal(tensors["bridge.r"], tensors["bridge.log_s"])
        else:
            tensors["bridge.log_s"].clamp_(*LOG_S_RANGE)

    def _codes(self, white: State, data: TrainingData) -> torch.Tensor:
        """Quantise the points of the plain normals, (C, d)."""
        rows = data.normal.deepest
        height, width = rows.tensor.shape[2:]
        vectors = sample_positions(
            lambda part: points(whiten(white, rows.take(part)), flattened=self.flattened),
            (len(rows), 1 if self.flattened else height * width),
            self.codebook_samples,
            numpy_generator(data.key, "codebook"),
        )
        n_codes = min(self.prototypes, max(len(rows) // 3, 1))
        return codebook(vectors.cpu(), n_codes, data.key)


@dataclass(frozen=True)
class _Loss:
    """Sum of the heads' binary losses, the prototype losses and the dispersion loss."""

    method: DPDL
    codes: torch.Tensor
    generator: torch.Generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        method = self.method
        features = adapter(state, batch.features)
        bridge = Bridge.from_state(state, method.eps)
        evaluate = self._dense if method.flattened else self._sparse
        logits, total = evaluate(state, bridge, features, batch.labels)
        anomalous = (batch.labels != NORMAL).to(features.dtype)
        for name, logit in logits.items():
            # M_n is trained on 1 - y: its score is subtracted, so it must measure normality.
            target = 1 - anomalous if name == "normal" else anomalous
            total = total + F.binary_cross_entropy_with_logits(logit, target)
        if method.dispersion:
            spread = dispersion_loss(features.flatten(1), kappa=method.kappa)
            total = total + method.dispersion * spread
        return total

    def _dense(
        self, state: State, bridge: Bridge, features: torch.Tensor, labels: torch.Tensor
    ) -> tuple[State, torch.Tensor]:
        """Return the heads' logits and the prototype losses."""
        x = points(features, flattened=self.method.flattened)
        log_alpha = scaled_log_alpha(bridge, x)
        logits = heads(state, bridge, features, x, log_alpha)
        if not self._on_levels:
            return logits, self._matching(bridge, x[labels == NORMAL])
        return logits, prototype_losses(
            bridge, log_alpha, labels, self._anchors(), **self._settings
        )

    def _sparse(
        self, state: State, bridge: Bridge, features: torch.Tensor, labels: torch.Tensor
    ) -> tuple[State, torch.Tensor]:
        """Return the same, by `sparse_outputs`."""
        normal = labels == NORMAL
        found = sparse_outputs(state, bridge, features, normal, levels=self._on_levels)
        if not self._on_levels:
            return found.logits, self._matching(bridge, found.x[normal])
        return found.logits, level_objective(
            bridge,
            found.normal,
            found.anomalous,
            labels[~normal],
            self._anchors(),
            **self._settings,
        )

    @property
    def _on_levels(self) -> bool:
        return self.method.dpl and self.method.objective != "bridge_matching"

    @property
    def _settings(self) -> LevelSettings:
        method = self.method
        return {
            "objective": method.objective,
            "margin": method.margin,
            "temperature": method.temperature,
        }

    def _anchors(self) -> torch.Tensor:
        noise = torch.randn(self.codes.shape, generator=self.generator).to(self.codes)
        return self.codes + math.sqrt(self.method.eps) * noise

    def _matching(self, bridge: Bridge, normals: torch.Tensor) -> torch.Tensor:
        if not self.method.dpl:
            return torch.zeros((), device=normals.device)
        return bridge_matching_loss(bridge, normals.flatten(0, 1), self.codes, self.generator)
