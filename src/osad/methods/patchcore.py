"""Baseline on normal images only: distance to a memory bank of normal patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import numpy_generator, torch_generator
from osad.learn.heads import positions
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import batched
from osad.learn.products import distances, matmul
from osad.learn.ranges import check_ranges
from osad.learn.sampling import sample_positions
from osad.methods.registry import SETTINGS, method

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")


@method(
    title="PatchCore",
    paper="Roth et al., PatchCore, CVPR 2022 (arXiv 2106.08265)",
    packs=("plain",),
    settings=SETTINGS,
    maps=True,
    normal_only=True,
)
@dataclass(frozen=True)
class PatchCore:
    """Nearest-neighbour distance of patches to a coreset of normal patches.

    Attributes:
        strides: maps that are concatenated; deeper ones are resampled to the first.
        neighbourhood: side of the average pooling that makes patches locally aware, odd.
        candidates: normal patches drawn at random before the coreset is chosen. The paper takes
            all; drawing first keeps the greedy choice within seconds.
        coreset: patches kept in the memory bank.
        projection: dimensions of the random projection used for the greedy choice.
        neighbours: b of the paper's score weighting.
    """

    strides: tuple[int, ...] = (32,)
    neighbourhood: int = 3
    candidates: int = 20000
    coreset: int = 1000
    projection: int = 64
    neighbours: int = 9

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, counts=["neighbourhood", "candidates", "projection"])
        if not self.strides:
            raise ValueError("strides is empty")
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood {self.neighbourhood} is not odd")
        # With one neighbour the weight of eq. 7 is 0 for every image.
        if min(self.neighbours, self.coreset) < 2:
            raise ValueError("neighbours and coreset must be at least 2")

    def fit(self, data: TrainingData) -> State:
        """Return the memory bank ``bank`` (coreset, d)."""
        rows = data.normal.maps[self.strides[0]]
        candidates = sample_positions(
            lambda part: self._patches(data.normal, part),
            (len(rows), rows.tensor.shape[2] * rows.tensor.shape[3]),
            self.candidates,
            numpy_generator(data.key, "candidates"),
        )
        projection = torch.randn(
            candidates.shape[1],
            self.projection,
            generator=torch_generator(data.key, "projection"),
        ).to(candidates)
        kept = greedy_coreset(matmul(candidates, projection), min(self.coreset, len(candidates)))
        return {"bank": candidates[kept]}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the weighted largest patch distance of each image, and all as maps (n, h, w)."""
        bank = state["bank"]
        height, width = images.maps[self.strides[0]].tensor.shape[2:]
        n_neighbours = min(self.neighbours, len(bank))
        totals, maps = [], []
        for part in batched(len(images)):
            patches = self._patches(images, part)
            nearest, which = distances(patches.flatten(0, 1), bank).min(1)
            nearest = nearest.view(len(patches), -1)
            worst_score, worst = nearest.max(1)
            rows = torch.arange(len(patches), device=bank.device)
            patch = patches[rows, worst]
            anchor = which.view(len(patches), -1)[rows, worst]
            # Eq. 7: a patch whose nearest bank entry is itself isolated counts less.
            support = distances(bank[anchor], bank).topk(n_neighbours, largest=False).indices
            around = (patch.unsqueeze(1) - bank[support]).norm(dim=2)
            weight = 1 - 1 / (around - worst_score.unsqueeze(1)).exp().sum(1)
            totals.append(weight * worst_score)
            maps.append(nearest.view(-1, height, width))
        return Scores(torch.cat(totals), maps=torch.cat(maps))

    def _patches(self, images: ImageSet, part: slice) -> torch.Tensor:
        """Return locally averaged, concatenated patch vectors (k, P, d)."""
        maps = [images.maps[stride].take(part) for stride in self.strides]
        size = maps[0].shape[2:]
        smooth = [
            F.avg_pool2d(m, self.neighbourhood, 1, self.neighbourhood // 2, count_include_pad=False)
            for m in maps
        ]
        resized = [
            m if m.shape[2:] == size else F.interpolate(m, size, mode="bilinear") for m in smooth
        ]
        return positions(torch.cat(resized, 1))


def greedy_coreset(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """Choose vectors that cover all others: each next one is the farthest from those chosen.

    Args:
        vectors: (n, d) float32.
        count: how many, at most n.

    Returns:
        (count,) int64 indices in the order of choice; the first is the one farthest from the mean.

    Source:
        PatchCore (arXiv 2106.08265), algorithm 1 (greedy minimax facility location).

    Example:
        >>> import torch
        >>> greedy_coreset(torch.tensor([[0.0], [1.0], [9.0], [10.0]]), 2)
        tensor([3, 0])
    """
    squares = vectors.square().sum(1)
    nearest = (vectors - vectors.mean(0)).square().sum(1)
    chosen = torch.empty(count, dtype=torch.int64, device=vectors.device)
    for number in range(count):
        index = nearest.argmax()
        chosen[number] = index
        product = matmul(vectors, vectors[index].unsqueeze(1)).squeeze(1)
        distance = squares - 2 * product + squares[index]
        nearest = distance if number == 0 else torch.minimum(nearest, distance)
    return chosen
