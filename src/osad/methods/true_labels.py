"""Control: score each test image by its true label. Its AUROC must be exactly 1."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.methods.registry import SETTINGS, method


@method(
    title="true labels",
    paper="control: proves that labels, order and metrics fit together",
    packs=(),
    settings=SETTINGS,
    control=True,
    sees_test_labels=True,
)
@dataclass(frozen=True)
class TrueLabels:
    """The perfect ranking; it has no hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Learn nothing."""
        return {}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the labels as scores."""
        if images.labels is None:
            raise ValueError("the control true_labels needs test labels")
        return Scores(images.labels.float())
