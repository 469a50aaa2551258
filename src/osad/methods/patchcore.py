"""Baseline on normal images only: distance to a memory bank of normal patches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from osad.core.seeds import numpy_generator, torch_generator
from osad.learn.heads import positions
from osad.learn.images import ImageSet, Scores, State, TrainingData, batched
from osad.learn.lazy_torch import F, torch
from osad.learn.products import distances, matmul
from osad.learn.vectors import sample_positions
from osad.methods.fields import at_least, parameter, stride_list
from osad.methods.registry import method


@method(
    title="PatchCore",
    paper="Roth et al., PatchCore, CVPR 2022 (arXiv 2106.08265)",
    packs=("plain",),
    maps=True,
    normal_only=True,
)
@dataclass(frozen=True)
class PatchCore:
    """Nearest-neighbour distance of patches to a coreset of normal patches.

    The paper chooses the coreset among all patches; drawing candidates first keeps the greedy
    choice within seconds.
    """

    strides: tuple[int, ...] = stride_list(
        (32,), "maps that are concatenated; deeper ones are resampled to the first"
    )
    neighbourhood: int = parameter(
        3,
        "side of the average pooling that makes patches locally aware",
        "odd, 1 or more",
        lambda value: value >= 1 and value % 2 == 1,
    )
    candidates: int = at_least(1, 20000, "normal patches drawn before the coreset is chosen")
    coreset: int = at_least(2, 1000, "patches kept in the memory bank")
    projection: int = at_least(1, 64, "dimensions of the random projection of the greedy choice")
    # With one neighbour the weight of eq. 7 is 0 for every image.
    neighbours: int = at_least(2, 9, "b of the paper's score weighting")

    def fit(self, data: TrainingData) -> State:
        """Return the memory bank ``bank`` (coreset, d)."""
        rows = data.normal.maps[self.strides[0]]
        candidates = sample_positions(
            lambda part: self._patches(data.normal, part),
            (len(rows), math.prod(rows.size)),
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
        size = images.maps[self.strides[0]].size
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
            maps.append(nearest.unflatten(1, size))
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
    """Choose vectors (n, d) that cover all others: each next one is the farthest from those chosen.

    Returns:
        (count,) int64 indices in the order of choice; the first is the one farthest from the mean.

    Source:
        PatchCore (arXiv 2106.08265), algorithm 1 (greedy minimax facility location).

    Example:
        >>> import torch
        >>> greedy_coreset(torch.tensor([[0.0], [1.0], [9.0], [11.0]]), 2)
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
