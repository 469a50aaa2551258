"""Baseline on normal images only: Mahalanobis distance of pooled features."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.gaussian import moments, whitening
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.products import matmul
from osad.learn.vectors import pooled
from osad.methods.fields import flag, share, stride_list
from osad.methods.registry import method


@method(
    title="Mahalanobis",
    paper="baseline of this benchmark; compare Rippel et al. 2021 (arXiv 2005.14140)",
    packs=("plain",),
    normal_only=True,
)
@dataclass(frozen=True)
class Mahalanobis:
    """One Gaussian of the normals' pooled features; seen anomalies are ignored."""

    strides: tuple[int, ...] = stride_list((32,), "maps that are pooled")
    spread: bool = flag(True, "use the standard deviation over positions beside the mean")
    shrinkage: float = share(0.02, "weight of the identity in the covariance")

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
