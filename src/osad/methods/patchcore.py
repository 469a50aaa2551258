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
from osad.runtime.memory import check_memory, gigabytes


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
        self._check_room(data.normal)
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

    def _check_room(self, images: ImageSet) -> None:
        """Check beforehand that the candidates, their coreset and the distances to it fit.

        A GPU's memory is not looked at.

        Raises:
            ConfigError: they need more memory than is available.
        """
        rows = images.maps[self.strides[0]]
        width = sum(images.maps[stride].tensor.shape[1] for stride in self.strides)
        per_image = math.prod(rows.size)
        candidates = min(self.candidates, len(rows) * per_image)
        kept = min(self.coreset, candidates)
        batch = batched(64, positions=per_image)[0].stop * per_image
        # Drawn in parts that are then joined; the draw itself orders all positions.
        choosing = 4 * candidates * (2 * width + self.projection + 4) + 16 * len(rows) * per_image
        # Patches as they are read, averaged and put beside each other; distances thrice.
        measuring = 4 * kept * width + 4 * batch * (4 * width + 3 * kept)
        if rows.device.type == "cpu":
            check_memory(
                max(choosing, measuring),
                what=f"methods.patchcore: candidates {candidates} and coreset {kept} with "
                f"{width} channels (choosing {gigabytes(choosing)}, distances "
                f"{gigabytes(measuring)})",
                remedy="lower candidates or coreset, or features.tiles.grid",
            )

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the weighted largest patch distance of each image, and all as maps (n, h, w)."""
        bank = state["bank"]
        size = images.maps[self.strides[0]].size
        n_neighbours = min(self.neighbours, len(bank))
        totals, maps = [], []
        for part in batched(len(images), positions=math.prod(size)):
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
