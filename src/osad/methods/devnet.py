"""DevNet: one top-K head on feature maps, trained with the deviation loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.lazy import lazy
from osad.learn.batches import Batch, balanced_batches
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import adapter, init_adapter, init_linear, plain_head
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import batched, divided, minimise
from osad.learn.losses import deviation_loss
from osad.learn.ranges import check_ranges
from osad.methods.registry import method
from osad.seeds import torch_generator

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


@method(
    title="DevNet",
    paper="Pang et al., Explainable Deep Few-shot Anomaly Detection, 2021 (arXiv 2108.00462)",
    packs=("plain", "rotated"),
)
@dataclass(frozen=True)
class DevNet:
    """Hyper-parameters of DevNet on cached features.

    Attributes:
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step, half normal and half seen anomalies.
        lr: learning rate of Adam, divided by 10 every ``lr_step`` epochs.
        lr_step: epochs between divisions.
        weight_decay: L2 term.
        adapter: hidden width of the residual adapter; 0 leaves it out.
        shrinkage: of the whitening of the normals' position vectors, in (0, 1].
    """

    epochs: int = 50
    iterations: int = 20
    batch: int = 48
    lr: float = 1e-3
    lr_step: int = 10
    weight_decay: float = 1e-5
    adapter: int = 32
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=["epochs", "iterations", "batch", "lr_step"],
            positive=["lr"],
            not_negative=["weight_decay", "adapter"],
            shares=["shrinkage"],
        )

    def fit(self, data: TrainingData) -> State:
        """Train adapter and head; all tensors of the model are returned."""
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        state = init_linear("head", channels, 1, generator)
        if self.adapter:
            state |= init_adapter(channels, self.adapter, generator)
        steps = self.epochs * self.iterations
        half = self.batch // 2
        device = data.normal.deepest.device
        trained = minimise(
            {name: value.to(device) for name, value in state.items()},
            balanced_batches(data, steps, normals=self.batch - half, anomalies=half),
            self._loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, self.iterations),
        )
        return white | trained

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the head's output, (n,)."""
        rows = images.deepest
        parts = [self._head(state, whiten(state, rows.take(part))) for part in batched(len(images))]
        return Scores(torch.cat(parts))

    def _head(self, state: State, x: torch.Tensor) -> torch.Tensor:
        if self.adapter:
            x = adapter(state, x)
        return plain_head(state, "head", x, absolute=True)

    def _loss(self, state: State, batch: Batch) -> torch.Tensor:
        return deviation_loss(self._head(state, batch.features), batch.labels > 0)
