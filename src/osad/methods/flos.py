"""FLOS: DevNet's network, trained with the focal loss on its logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.learn.batches import Batch
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import divided, minimise
from osad.learn.losses import focal_loss
from osad.learn.ranges import check_ranges
from osad.learn.single_head import half_and_half, image_scores, score_maps
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="FLOS",
    paper="focal loss (Lin et al., ICCV 2017), as a baseline of Ding et al., CVPR 2022",
    packs=("plain", "rotated"),
    maps=True,
    full_budget={"epochs": 50, "adapter": 128},
    variants={"signed": {"absolute": False}},
)
@dataclass(frozen=True)
class FLOS:
    """Hyper-parameters of FLOS on cached features.

    Attributes:
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step, half normal and half seen anomalies.
        lr: learning rate of Adam, divided by 10 every ``lr_step`` epochs.
        lr_step: epochs between divisions.
        weight_decay: L2 term.
        absolute: take |.| of the position scores, as the released recipe does; without it the
            head starts in the direction of the seen anomalies.
        gamma: how much less images count that are classified well already.
        adapter: hidden width of the residual adapter; 0 leaves it out.
        shrinkage: of the whitening of the normals' position vectors, in (0, 1].
    """

    epochs: int = 50
    iterations: int = 20
    batch: int = 48
    lr: float = 1e-3
    lr_step: int = 10
    weight_decay: float = 1e-5
    absolute: bool = True
    gamma: float = 2.0
    adapter: int = 32
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=["epochs", "iterations", "batch", "lr_step"],
            positive=["lr"],
            not_negative=["weight_decay", "gamma", "adapter"],
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
            aim=not self.absolute,
        )
        trained = minimise(
            state,
            batches,
            self._loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, self.iterations),
        )
        return white | trained

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the logits (n,) and those of the positions (n, h, w)."""
        return score_maps(state, images, absolute=self.absolute)

    def _loss(self, state: State, batch: Batch) -> torch.Tensor:
        logits = image_scores(state, batch.features, absolute=self.absolute)
        return focal_loss(logits, batch.labels > 0, gamma=self.gamma)
