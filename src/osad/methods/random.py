"""Control: score each image by a random number. Its AUROC must be near 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.lazy import lazy
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.methods.registry import SETTINGS, method
from osad.seeds import derive_seed

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


@method(
    title="random",
    paper="control: proves that a score without information gets no credit",
    packs=(),
    settings=SETTINGS,
    control=True,
)
@dataclass(frozen=True)
class Random:
    """A uniform number per image, keyed on the cell and the path; no hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Keep the key of the run, so that each seed draws other scores."""
        return {"key": torch.tensor(derive_seed(data.key, "random"))}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return numbers in [0, 1) that depend on the image's path, not on its place."""
        key = int(state["key"])
        values = [derive_seed(key, path) / 2**63 for path in images.paths]
        return Scores(torch.tensor(values, dtype=torch.float64).float())
