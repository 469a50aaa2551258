"""A method in one file: distance of an image's mean feature from that of the training normals.

``osad check-method examples/nearest_mean.py`` tries what every method must do.
"""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.methods.fields import positive
from osad.methods.registry import method


@method(title="Nearest Mean", paper="ours", packs=("plain",), normal_only=True)
@dataclass(frozen=True)
class NearestMean:
    """The squared distance, scaled."""

    scale: float = positive(1.0, "factor of the distance")

    def fit(self, data: TrainingData) -> State:
        """Remember the mean of the normals, (c,)."""
        return {"mean": pooled(data.normal).mean(0)}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the distance of each image, (n,)."""
        return Scores(self.scale * (pooled(images) - state["mean"]).square().sum(1))


def pooled(images: ImageSet) -> torch.Tensor:
    """Return the means over positions of the deepest map, (n, c)."""
    return images.deepest.map(lambda maps: maps.mean((2, 3)))
