"""DevNet: one top-K head on feature maps, trained with the deviation loss."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.batches import Batch, averaged
from osad.learn.heads import deviation_loss
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.learn.single_head import image_scores, score_maps, train_head
from osad.methods.fields import at_least, not_negative, positive, share
from osad.methods.images import SCALES
from osad.methods.registry import method


@method(
    title="DevNet",
    paper="Pang et al., Explainable Deep Few-shot Anomaly Detection, 2021 (arXiv 2108.00462)",
    packs=("plain", "rotated"),
    maps=True,
    full_budget={"epochs": 50, "adapter": 128},
    images={"images": {"epochs": 50, "lr": 2e-4, "adapter": 0, "scales": SCALES}},
)
@dataclass(frozen=True)
class DevNet:
    """DevNet on cached features."""

    epochs: int = at_least(1, 20, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(1, 48, "images of a step, half normal and half seen anomalies")
    lr: float = positive(1e-3, "learning rate of Adam")
    lr_step: int = at_least(1, 10, "epochs between divisions of the learning rate by 10")
    weight_decay: float = not_negative(1e-5, "L2 term")
    adapter: int = not_negative(32, "hidden width of the residual adapter; 0 leaves it out")
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def fit(self, data: TrainingData) -> State:
        """Train adapter and head; all tensors of the model are returned."""
        return train_head(data, self, _loss)

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the head's output (n,) and its absolute position scores (n, h, w)."""
        return score_maps(state, images, absolute=True)


def _loss(state: State, batch: Batch) -> torch.Tensor:
    scores = averaged([image_scores(state, x, absolute=True) for x in batch.scales])
    return deviation_loss(scores, batch.labels > 0)
