"""Balanced batches of normals, seen anomalies and pseudo anomalies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from osad.core.seeds import numpy_generator
from osad.learn.images import TrainingData
from osad.learn.lazy_torch import torch

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

    Example:
        >>> drawn = endless(3, 7, np.random.default_rng(0)).tolist()
        >>> sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2], len(drawn)
        (True, 7)
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

    They are drawn from ``rotated`` views. Each normal is replaced with probability ``pseudo``, in
    [0, 1], by the CutMix (``pseudo``) view of a uniformly chosen normal. ``anomalies`` is 0 when
    there are none. All draws are keyed on the data's key and ``purpose``.

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
        seen_rows = endless(len(data.anomaly), steps * anomalies, generator).reshape(seen_shape)
        seen_views = generator.integers(n_views, size=seen_shape)
    for step in range(steps):
        new = replaced[step]
        drawn = [(NORMAL, rotated, normal_rows[step][~new], normal_views[step][~new])]
        if anomalies:
            views = data.anomaly.need("rotated")
            drawn.append((SEEN, views, seen_rows[step], seen_views[step]))
        if new.any():
            views = data.normal.need("pseudo")
            drawn.append((PSEUDO, views, pseudo_rows[step][new], pseudo_views[step][new]))
        yield Batch(
            torch.cat(
                [
                    views.take(torch.from_numpy(rows), views=torch.from_numpy(numbers))
                    for _, views, rows, numbers in drawn
                ]
            ),
            torch.cat([torch.full((len(rows),), label) for label, _, rows, _ in drawn]).to(
                rotated.device
            ),
        )
