"""Control: give every image the same score. Its AUROC must be exactly 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.lazy import lazy
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.methods.registry import SETTINGS, method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


@method(
    title="constant",
    paper="control: proves that ties are handled",
    packs=(),
    settings=SETTINGS,
    control=True,
)
@dataclass(frozen=True)
class Constant:
    """No ranking at all; it has no hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Learn nothing."""
        return {}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return zeros."""
        return Scores(torch.zeros(len(images)))
