"""Baseline without a network: how unusual is the image's mean intensity."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.methods.registry import method


@method(
    title="Mean intensity",
    paper="baseline of this benchmark: no network at all",
    packs=("pixels",),
    normal_only=True,
)
@dataclass(frozen=True)
class MeanIntensity:
    """Distance of the mean intensity from that of the normals, in standard deviations.

    It is two-sided and ignores seen anomalies: which side is anomalous is not known beforehand,
    and one seen anomaly does not tell it reliably. It has no hyper-parameters.
    """

    def fit(self, data: TrainingData) -> State:
        """Return mean and standard deviation of the normals' mean intensity."""
        intensity = data.normal.need("pixels").take()[:, 0].double()
        return {
            "mean": intensity.mean().float(),
            "std": intensity.std(unbiased=False).clamp_min(1e-6).float(),
        }

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return |intensity - mean| / std, (n,)."""
        intensity = images.need("pixels").take()[:, 0]
        return Scores((intensity - state["mean"]).abs() / state["std"])
