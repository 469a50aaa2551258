"""DevNet: one top-K head on feature maps, trained with the deviation loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.learn.batches import Batch
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import divided, minimise
from osad.learn.losses import deviation_loss
from osad.learn.ranges import check_ranges
from osad.learn.single_head import half_and_half, image_scores, score_maps
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="DevNet",
    paper="Pang et al., Explainable Deep Few-shot Anomaly Detection, 2021 (arXiv 2108.00462)",
    packs=("plain", "rotated"),
    maps=True,
    full_budget={"epochs": 50, "adapter": 128},
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
        white, state, batches = half_and_half(
            data,
            steps=self.epochs * self.iterations,
            batch=self.batch,
            adapter_width=self.adapter,
            shrinkage=self.shrinkage,
        )
        trained = minimise(
            state,
            batches,
            _loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, self.iterations),
        )
        return white | trained

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the head's output (n,) and its absolute position scores (n, h, w)."""
        return score_maps(state, images, absolute=True)


def _loss(state: State, batch: Batch) -> torch.Tensor:
    return deviation_loss(image_scores(state, batch.features, absolute=True), batch.labels > 0)
