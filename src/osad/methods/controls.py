"""Controls: methods whose AUROC is known beforehand, so that they check the benchmark itself."""

from __future__ import annotations

from dataclasses import dataclass

from osad.core.seeds import derive_seed
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.methods.registry import method


@method(
    name="true_labels",
    title="True labels",
    paper="control: proves that labels, order and metrics fit together",
    packs=(),
    control=True,
    sees_test_labels=True,
)
@dataclass(frozen=True)
class TrueLabels:
    """Score each test image by its true label: AUROC 1. It has no hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Learn nothing."""
        return {}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the labels as scores."""
        if images.labels is None:
            raise ValueError("the control true_labels needs test labels")
        return Scores(images.labels.float())


@method(
    name="random",
    title="Random",
    paper="control: proves that a score without information gets no credit",
    packs=(),
    control=True,
    normal_only=True,
)
@dataclass(frozen=True)
class Random:
    """A uniform number per image, keyed on the cell and the path: AUROC about 0.5."""

    def fit(self, data: TrainingData) -> State:
        """Keep the key of the run, so that each seed draws other scores."""
        return {"key": torch.tensor(derive_seed(data.key, "random"))}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return numbers in [0, 1) that depend on the image's path, not on its place."""
        key = int(state["key"])
        values = [derive_seed(key, path) / 2**63 for path in images.paths]
        return Scores(torch.tensor(values, dtype=torch.float64).float())


@method(
    name="constant",
    title="Constant",
    paper="control: proves that ties are handled",
    packs=(),
    control=True,
    normal_only=True,
)
@dataclass(frozen=True)
class Constant:
    """The same score for every image: AUROC exactly 0.5. It has no hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Learn nothing."""
        return {}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return zeros."""
        return Scores(torch.zeros(len(images)))
