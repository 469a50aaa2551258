"""Baseline: whitened Gaussian of the normals plus one linear direction from the seen anomalies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.learn.gaussian import moments, whitening
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.pooling import pooled
from osad.learn.products import matmul
from osad.learn.ranges import check_ranges
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


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

    Attributes:
        strides: maps that are pooled.
        spread: use the standard deviation over positions beside the mean.
        shrinkage: weight of the identity in the covariance, in (0, 1].
        weight: factor of the linear part.
    """

    strides: tuple[int, ...] = (32,)
    spread: bool = True
    shrinkage: float = 0.02
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, shares=["shrinkage"])

    def fit(self, data: TrainingData) -> State:
        """Return the whitening, the direction (d,) and the scale of both parts on the normals."""
        normal = pooled(data.normal, self.strides, spread=self.spread)
        mean, matrix = whitening(*moments(normal), self.shrinkage)
        seen = pooled(data.anomaly, self.strides, spread=self.spread)
        difference = matmul(seen - mean, matrix).double().mean(0)
        direction = (difference / difference.norm().clamp_min(1e-12)).float()
        state = {"mean": mean, "matrix": matrix, "direction": direction}
        for name, value in self._parts(state, normal).items():
            state[f"{name}.mean"] = value.double().mean().float()
            state[f"{name}.std"] = value.double().std(unbiased=False).clamp_min(1e-6).float()
        return state

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the sum of the two standardised parts, (n,)."""
        features = pooled(images, self.strides, spread=self.spread)
        heads = {
            name: (value - state[f"{name}.mean"]) / state[f"{name}.std"]
            for name, value in self._parts(state, features).items()
        }
        return Scores(heads["normal"] + self.weight * heads["seen"], heads)

    def _parts(self, state: State, features: torch.Tensor) -> dict[str, torch.Tensor]:
        white = matmul(features - state["mean"], state["matrix"])
        seen = matmul(white, state["direction"].unsqueeze(1)).squeeze(1)
        return {"normal": white.square().mean(1).sqrt(), "seen": seen}
