"""Balanced batches of normals, seen anomalies and pseudo anomalies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osad.core.lazy import lazy
from osad.core.seeds import numpy_generator
from osad.learn.images import TrainingData

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

NORMAL, SEEN, PSEUDO = 0, 1, 2


@dataclass(frozen=True)
class Batch:
    """Features and labels of one training step.

    Attributes:
        features: (B, c, h, w) float32.
        labels: (B,) int64, 0 normal, 1 seen anomaly, 2 pseudo anomaly.
    """

    features: torch.Tensor
    labels: torch.Tensor


def endless(n: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draw ``count`` indices below n from random permutations put end to end, (count,) int64.

    Every index appears before any appears again.
    """
    repeats = -(-count // n)
    return np.concatenate([generator.permutation(n) for _ in range(repeats)])[:count]


def balanced_batches(
    data: TrainingData,
    steps: int,
    *,
    normals: int,
    anomalies: int,
    pseudo: float = 0.0,
    purpose: str = "batches",
) -> Iterator[Batch]:
    """Yield ``steps`` batches of ``normals`` normal and ``anomalies`` seen-anomalous views.

    Each normal is replaced with probability ``pseudo`` by the CutMix view of a uniformly chosen
    normal. All draws are keyed on the data's key and ``purpose``.

    Args:
        data: training images with ``rotated`` (and, if ``pseudo`` > 0, ``pseudo``) views.
        steps: number of batches.
        normals: draws from the normals in each batch.
        anomalies: draws from the seen anomalies in each batch; 0 when there are none.
        pseudo: probability in [0, 1].
        purpose: name of the stream of draws.

    Source:
        DRA (arXiv 2203.14506), released training recipe: 48 = 32 + 16 with probability 1/2.
    """
    generator = numpy_generator(data.key, purpose)
    rotated = data.normal.need("rotated")
    n_views = rotated.tensor.shape[1]
    shape = (steps, normals)
    normal_rows = endless(len(data.normal), steps * normals, generator).reshape(shape)
    normal_views = generator.integers(n_views, size=shape)
    replaced = generator.random(shape) < pseudo
    pseudo_rows = generator.integers(len(data.normal), size=shape)
    n_pseudo = data.normal.need("pseudo").tensor.shape[1] if pseudo else 1
    pseudo_views = generator.integers(n_pseudo, size=shape)
    seen_shape = (steps, anomalies)
    if anomalies:
        seen = data.anomaly.need("rotated")
        seen_rows = endless(len(data.anomaly), steps * anomalies, generator).reshape(seen_shape)
        seen_views = generator.integers(n_views, size=seen_shape)
    for step in range(steps):
        keep = ~replaced[step]
        parts = [
            rotated.take(
                torch.from_numpy(normal_rows[step][keep]),
                views=torch.from_numpy(normal_views[step][keep]),
            )
        ]
        labels = [torch.full((int(keep.sum()),), NORMAL)]
        if anomalies:
            parts.append(
                seen.take(
                    torch.from_numpy(seen_rows[step]), views=torch.from_numpy(seen_views[step])
                )
            )
            labels.append(torch.full((anomalies,), SEEN))
        if not keep.all():
            parts.append(
                data.normal.need("pseudo").take(
                    torch.from_numpy(pseudo_rows[step][~keep]),
                    views=torch.from_numpy(pseudo_views[step][~keep]),
                )
            )
            labels.append(torch.full((int((~keep).sum()),), PSEUDO))
        yield Batch(torch.cat(parts), torch.cat(labels).to(rotated.device))
