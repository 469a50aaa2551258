"""Baseline on normal images only: Mahalanobis distance of pooled features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.learn.gaussian import moments, whitening
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.pooling import pooled
from osad.learn.products import matmul
from osad.learn.ranges import check_ranges
from osad.methods.registry import SETTINGS, method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


@method(
    title="Mahalanobis",
    paper="baseline of this benchmark; compare Rippel et al. 2021 (arXiv 2005.14140)",
    packs=("plain",),
    settings=SETTINGS,
    normal_only=True,
)
@dataclass(frozen=True)
class Mahalanobis:
    """One Gaussian of the normals' pooled features; seen anomalies are ignored.

    Attributes:
        strides: maps that are pooled.
        spread: use the standard deviation over positions beside the mean.
        shrinkage: weight of the identity in the covariance, in (0, 1].
    """

    strides: tuple[int, ...] = (32,)
    spread: bool = True
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, shares=["shrinkage"])

    def fit(self, data: TrainingData) -> State:
        """Return the whitening of the normals: ``mean`` (d,), ``matrix`` (d, d)."""
        features = pooled(data.normal, self.strides, spread=self.spread)
        mean, matrix = whitening(*moments(features), self.shrinkage)
        return {"mean": mean, "matrix": matrix}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the distance to the mean in the whitened space, over √d, (n,)."""
        features = pooled(images, self.strides, spread=self.spread)
        white = matmul(features - state["mean"], state["matrix"])
        return Scores(white.square().mean(1).sqrt())
