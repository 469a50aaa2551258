"""DPDL: distribution prototypes, a Schrödinger bridge to them, and three scoring heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from osad.core.seeds import numpy_generator, torch_generator
from osad.learn.batches import NORMAL, Batch, balanced_batches
from osad.learn.density import density, energies, fit_density
from osad.learn.gaussian import scales, standardised, summed, whiten, whitened_training
from osad.learn.heads import adapter, deviation_loss, init_adapter, init_linear, init_mlp
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import F, torch
from osad.learn.loop import minimise
from osad.learn.vectors import codebook, sample_positions
from osad.methods.dpdl.bridge import Bridge, initial_bridge, scaled_log_alpha
from osad.methods.dpdl.heads import (
    Form,
    dense_outputs,
    image_logits,
    position_logits,
    sparse_outputs,
)
from osad.methods.dpdl.losses import (
    OBJECTIVES,
    bridge_matching_loss,
    clamp_literal,
    dispersion_loss,
    level_objective,
)
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
from osad.methods.registry import method

HEADS = ("anomaly", "residual", "normal")
LOG_S_RANGE = (-7.0, 1.0)
MARGIN = 5.0
"""Of the deviation loss. S_n starts there: all is normal until anomalies say otherwise. From 0 its
|.| grows with the length of a feature, and after few steps the farthest is the most normal."""
CROSS_ENTROPY: dict[str, Any] = {
    "loss": "cross_entropy", "lengths": False, "residual": "learned", "standardised": False,
    "epochs": 50, "lr": 1e-3,
}  # fmt: skip
"""The paper's words taken as they are: a binary classification loss, a residual that is learned."""


@method(
    title={
        "": "DPDL",
        "no_anomaly": "DPDL[Mn+Mr]",
        "no_normal": "DPDL[Ma+Mr]",
        "only_residual": "DPDL[Mr]",
    },
    paper="Distribution Prototype Diffusion Learning, CVPR 2025 (arXiv 2502.20981)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
    maps=True,
    full_budget={"adapter": 128},
    variants={
        "no_dpl": {"dpl": False},
        "no_dfl": {"dispersion": 0.0},
        "no_anomaly": {"without": "anomaly"},
        "no_residual": {"without": "residual"},
        "no_normal": {"without": "normal"},
        "only_residual": {"without": "anomaly+normal"},
        "cross_entropy": CROSS_ENTROPY,
        "literal": CROSS_ENTROPY | {"objective": "literal"},
        "ranking": CROSS_ENTROPY | {"objective": "ranking"},
        "bridge_matching": CROSS_ENTROPY | {"objective": "bridge_matching"},
        "flattened": {"flattened": True},
    },
    images={
        "images": {
            "epochs": 50,
            "lr": 2e-4,
            "adapter": not_negative(0, "hidden width of the residual adapter; 0 leaves it out"),
        }
    },
)
@dataclass(frozen=True)
class DPDL:
    """DPDL on cached features (LightSB form)."""

    epochs: int = at_least(1, 5, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(1, 48, "images of a step; a third are seen anomalies")
    pseudo: float = probability(0.5, "that a normal draw is replaced by a CutMix view")
    lr: float = positive(3e-4, "learning rate of AdamW")
    weight_decay: float = not_negative(1e-5, "of AdamW, not applied to the bridge's S and alpha")
    adapter: int = at_least(1, 32, "hidden width of the residual adapter")
    head_width: int = at_least(1, 256, "hidden width of the normality head")
    prototypes: int = at_least(1, 32, "C, at most a third of the number of normals")
    eps: float = positive(0.001, "noise level of the bridge")
    s0: float = parameter(0.1, "initial S of the bridge", "in (0, 1)", lambda value: 0 < value < 1)
    dpl: bool = flag(True, "train the bridge by `objective` besides the heads' losses")
    objective: str = choice("anchored", "what the bridge is trained by", OBJECTIVES)
    flattened: bool = flag(
        False, "the bridge carries an image's flattened map, as printed, not its positions"
    )
    without: str = parameter(
        "",
        "heads whose loss and score are left out, joined by +",
        f"empty or one or two of {', '.join(HEADS)}, joined by +",
        lambda value: not value or set(value.split("+")) < set(HEADS),
    )
    loss: str = choice("deviation", "of the heads", ("deviation", "cross_entropy"))
    lengths: bool = flag(True, "vectors keep their lengths; without, each has length 1")
    residual: str = choice(
        "energy",
        "S_r: the energy of an image at its prototype, or a head on the bridge's residual",
        ("energy", "learned"),
    )
    standardised: bool = flag(True, "bring the heads to one scale before they are added")
    dispersion: float = not_negative(0.01, "lambda, weight of the dispersion loss")
    kappa: float = positive(10.0, "concentration of the dispersion loss")
    margin: float = not_negative(
        0.1, "m of the anchored and the ranking objective, on the scale of eps log c"
    )
    temperature: float = positive(0.05, "T of the anchored and the ranking objective")
    codebook_samples: int = at_least(
        1, 4000, "vectors that the codebook is made from, at least `prototypes`"
    )
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def __post_init__(self) -> None:
        """Check what depends on two hyper-parameters."""
        if self.codebook_samples < self.prototypes:
            raise ValueError(f"codebook_samples is {self.codebook_samples}, less than prototypes")
        not_learned = {"residual"} if self.residual == "energy" else set()
        learned = set(HEADS) - self._left_out - not_learned
        if not (learned or self.dpl or self.dispersion):
            raise ValueError("nothing is learned: no head, no objective, no dispersion loss")

    def fit(self, data: TrainingData) -> State:
        """Train adapter, bridge and heads.

        The state has ``codes`` (C, d) too, the anchors, from which the maps' energies are measured.
        """
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        device = data.normal.deepest.device
        codes = self._codes(white, data).to(device)
        state = init_adapter(channels, self.adapter, generator)
        state |= init_linear("anomaly", channels, 1, generator)
        if self.residual == "learned":
            state |= init_linear("residual", channels, 1, generator)
        state |= init_mlp("normal", (channels, self.head_width, 1), generator)
        if self._form.absolute:
            state["normal.1.bias"] += MARGIN
        # All heads are drawn, so that those that stay start alike in every variant.
        state = {k: value for k, value in state.items() if k.split(".")[0] not in self._left_out}
        state |= initial_bridge(codes, self.eps, self.s0) | data.started(white)
        seen, anchors = self.batch // 3, torch_generator(data.key, "anchors")
        trained = minimise(
            state,
            balanced_batches(
                data,
                self.epochs * self.iterations,
                normals=self.batch - seen,
                anomalies=seen,
                pseudo=self.pseudo,
            ),
            _Loss(self, codes, anchors),
            device=device,
            lr=self.lr,
            weight_decay=self.weight_decay,
            decoupled=True,
            no_decay=frozenset({"bridge.log_s", "bridge.a"}),
            after_step=self._project,
            journal=data.journal,
            draws=anchors,
        )
        fitted = white | trained | {"codes": codes}
        normal = data.normal.through(fitted)
        left_out: State = {}
        if self._measured:
            image, left_out["residual"] = fit_density(
                normal.deepest,
                lambda maps: self._form.scaled(whiten(white, maps)),
                len(codes),
                data.key,
                self.shrinkage,
            )
            fitted |= image
        if self.standardised:
            parts = self._parts(fitted, normal) | left_out
            fitted |= scales({name: parts[name] for name in parts if name != "map"})
        return fitted

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return S_r + S_a - S_n, (n,), these parts, and maps of S_r + S_a.

        A head that is left out scores 0.
        """
        parts = self._parts(state, images)
        heads = {name: parts[name] for name in HEADS}
        heads = standardised(state, heads) if self.standardised else heads
        total = heads["anomaly"] + heads["residual"] + heads["normal"]
        return Scores(total, heads, parts["map"].unflatten(1, images.deepest.size))

    def _parts(self, state: State, images: ImageSet) -> State:
        """Return the heads' scores (n,), higher for anomalies, and ``map`` (n, P).

        ``energy`` (n,), of positions, gives the scale of its part of the map alone.
        """
        bridge, form = Bridge.from_state(state, self.eps), self._form

        def apply(maps: torch.Tensor) -> State:
            frozen = whiten(state, maps)
            features = adapter(state, frozen)
            x = form.points(features)
            local = position_logits(state, bridge, features, x, scaled_log_alpha(bridge, x), form)
            if self._measured:
                local["energy"] = energies(form.points(frozen), state["codes"])
            parts = image_logits(state, features, local, form)
            if self._measured:
                parts["residual"] = density(state, form.scaled(frozen))
            if "normal" in parts:
                parts["normal"] = -parts["normal"]
            zeros = {name: torch.zeros_like(features[:, 0, 0]) for name in HEADS}
            local = local or {"none": torch.zeros_like(features[..., 0])}
            return zeros | parts | {"map": summed(state, local)}

        return images.deepest.map_parts(apply)

    @property
    def _form(self) -> Form:
        return Form(self.lengths, self.flattened, absolute=self.loss == "deviation")

    @property
    def _measured(self) -> bool:
        """Whether S_r is an energy, which nothing is learned for."""
        return self.residual == "energy" and "residual" not in self._left_out

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
        vectors = sample_positions(
            lambda part: self._form.points(whiten(white, rows.take(part))),
            (len(rows), 1 if self.flattened else math.prod(rows.size)),
            self.codebook_samples,
            numpy_generator(data.key, "codebook"),
        )
        n_codes = min(self.prototypes, max(len(rows) // 3, 1))
        return codebook(vectors.cpu(), n_codes, data.key)


@dataclass(frozen=True)
class _Loss:
    """Sum of the heads' losses, the bridge's objective and the dispersion loss."""

    method: DPDL
    codes: torch.Tensor
    generator: torch.Generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        method, normal = self.method, batch.labels == NORMAL
        features = adapter(state, batch.features)
        bridge = Bridge.from_state(state, method.eps)
        on_levels = method.dpl and method.objective != "bridge_matching"
        form = method._form
        if method.flattened:
            outputs = dense_outputs(state, bridge, features, normal, form)
        else:
            outputs = sparse_outputs(state, bridge, features, normal, form, levels=on_levels)
        if on_levels:
            noise = torch.randn(self.codes.shape, generator=self.generator).to(self.codes)
            total = level_objective(
                method.objective,
                bridge,
                outputs.normal,
                outputs.anomalous,
                batch.labels[~normal],
                self.codes + math.sqrt(method.eps) * noise,
                margin=method.margin,
                temperature=method.temperature,
            )
        elif method.dpl:
            x = outputs.x[normal].flatten(0, 1)
            total = bridge_matching_loss(bridge, x, self.codes, self.generator)
        else:
            total = torch.zeros((), device=features.device)
        anomalous = (~normal).to(features.dtype)
        loss = deviation_loss if form.absolute else F.binary_cross_entropy_with_logits
        for name, logit in outputs.logits.items():
            # M_n is trained on 1 - y: its score is subtracted, so it must measure normality.
            target = 1 - anomalous if name == "normal" else anomalous
            total = total + loss(logit, target)
        if method.dispersion:
            spread = dispersion_loss(features.flatten(1), kappa=method.kappa)
            total = total + method.dispersion * spread
        return total
