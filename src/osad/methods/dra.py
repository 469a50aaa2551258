"""DRA: disentangled heads for seen, pseudo and residual abnormality and for normality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn.batches import Batch, balanced_batches
from osad.learn.dra_heads import (
    HEADS,
    RUNNING,
    adapt,
    apply_heads,
    heads_loss,
    init_heads,
    score_heads,
)
from osad.learn.gaussian import whitened_training
from osad.learn.heads import init_adapter
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import divided, minimise
from osad.learn.ranges import check_ranges
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


@method(
    title="DRA",
    paper="Ding et al., Catching Both Gray and Black Swans, CVPR 2022 (arXiv 2203.14506)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
    maps=True,
    full_budget={"epochs": 30, "adapter": 128, "residual_width": 512},
)
@dataclass(frozen=True)
class DRA:
    """Hyper-parameters of DRA on cached features.

    Attributes:
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step; a third are seen anomalies.
        pseudo: probability that a normal draw is replaced by a CutMix view.
        references: normal images whose mean map the residual is taken from.
        lr: learning rate of Adam, divided by 10 every ``lr_step`` epochs.
        lr_step: epochs between divisions.
        weight_decay: L2 term.
        adapter: hidden width of the residual adapter; 0 leaves it out.
        holistic_width: hidden width of the normality head.
        residual_width: output channels of the residual head's 3x3 convolution.
        shrinkage: of the whitening of the normals' position vectors, in (0, 1].
    """

    epochs: int = 30
    iterations: int = 20
    batch: int = 48
    pseudo: float = 0.5
    references: int = 5
    lr: float = 2e-3
    lr_step: int = 10
    weight_decay: float = 1e-5
    adapter: int = 32
    holistic_width: int = 256
    residual_width: int = 32
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=[
                "epochs",
                "iterations",
                "batch",
                "references",
                "lr_step",
                "holistic_width",
                "residual_width",
            ],
            positive=["lr"],
            not_negative=["weight_decay", "adapter"],
            probabilities=["pseudo"],
            shares=["shrinkage"],
        )

    def fit(self, data: TrainingData) -> State:
        """Train adapter and heads; ``reference`` (P, c) is the mean adapted map for scoring."""
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        state = init_heads(
            channels,
            holistic_width=self.holistic_width,
            residual_width=self.residual_width,
            generator=generator,
        )
        if self.adapter:
            state |= init_adapter(channels, self.adapter, generator)
        device = data.normal.deepest.device
        height, width = data.normal.deepest.tensor.shape[2:]
        loss = _Loss(self.references, (height, width))
        steps = self.epochs * self.iterations
        seen = self.batch // 3
        batches = balanced_batches(
            data, steps, normals=self.batch - seen, anomalies=seen, pseudo=self.pseudo
        )
        # The last reference batch belongs to scoring: it is drawn once and kept.
        references = balanced_batches(
            data,
            steps + 1,
            normals=self.references,
            anomalies=0,
            pseudo=self.pseudo,
            purpose="references",
        )
        trained = minimise(
            {name: value.to(device) for name, value in state.items()},
            _with_references(references, batches),
            loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            # The released recipe steps its scheduler at the start of an epoch, so that the first
            # division comes one epoch early.
            schedule=divided(self.lr_step, self.iterations, early=1),
            fixed=RUNNING,
        )
        # As in training: the mean of the adapted maps, not the adapted mean.
        reference = adapt(trained, next(references).features).mean(0)
        return white | trained | {"reference": reference}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return -g_n + g_s + g_p + g_r, (n,), these parts, and maps (see `score_heads`)."""
        return score_heads(state, images)


@dataclass(frozen=True)
class _Loss:
    """Sum of the four deviation losses on a batch whose first images are the references."""

    references: int
    size: tuple[int, int]

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        n = self.references
        x = adapt(state, batch.features)
        heads, _ = apply_heads(state, x[n:], x[:n].mean(0), self.size, training=True)
        return heads_loss(heads, batch.labels[n:])


def _with_references(references: Iterator[Batch], batches: Iterator[Batch]) -> Iterator[Batch]:
    """Put the step's reference images before its batch."""
    for batch in batches:
        reference = next(references)
        yield Batch(
            torch.cat([reference.features, batch.features]),
            torch.cat([reference.labels, batch.labels]),
        )
