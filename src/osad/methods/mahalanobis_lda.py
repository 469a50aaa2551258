"""Baseline: whitened Gaussian of the normals plus one linear direction from the seen anomalies."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.gaussian import moments, scales, standardised, whitening
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.learn.products import matmul
from osad.learn.vectors import pooled
from osad.methods.fields import flag, real, share, stride_list
from osad.methods.registry import method


@method(
    title="Mahalanobis + LDA",
    paper="baseline of this benchmark (closed form, no training)",
    packs=("plain",),
    heads=("normal", "seen"),
)
@dataclass(frozen=True)
class MahalanobisLDA:
    """Distance from the normals plus the projection on the direction of the seen anomalies.

    In the whitened space of the normals the direction from their mean to the mean of the seen
    anomalies is Fisher's linear discriminant. Both parts are put on the scale of the training
    normals (mean 0, standard deviation 1) before they are added.
    """

    strides: tuple[int, ...] = stride_list((32,), "maps that are pooled")
    spread: bool = flag(True, "use the standard deviation over positions beside the mean")
    shrinkage: float = share(0.02, "weight of the identity in the covariance")
    weight: float = real(1.0, "factor of the linear part")

    def fit(self, data: TrainingData) -> State:
        """Return the whitening, the direction (d,) and the scale of both parts on the normals."""
        normal = pooled(data.normal, self.strides, spread=self.spread)
        mean, matrix = whitening(*moments(normal), self.shrinkage)
        seen = pooled(data.anomaly, self.strides, spread=self.spread)
        difference = matmul(seen - mean, matrix).double().mean(0)
        direction = (difference / difference.norm().clamp_min(1e-12)).float()
        state = {"mean": mean, "matrix": matrix, "direction": direction}
        return state | scales(self._parts(state, normal))

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the sum of the two standardised parts, (n,)."""
        features = pooled(images, self.strides, spread=self.spread)
        heads = standardised(state, self._parts(state, features))
        return Scores(heads["normal"] + self.weight * heads["seen"], heads)

    def _parts(self, state: State, features: torch.Tensor) -> State:
        white = matmul(features - state["mean"], state["matrix"])
        seen = matmul(white, state["direction"].unsqueeze(1)).squeeze(1)
        return {"normal": white.square().mean(1).sqrt(), "seen": seen}
