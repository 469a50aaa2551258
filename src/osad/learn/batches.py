"""Balanced batches of normals, seen anomalies and pseudo anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from osad.core.seeds import numpy_generator
from osad.learn.images import State, TrainingData
from osad.learn.lazy_torch import torch

NORMAL, SEEN, PSEUDO = 0, 1, 2

Output = TypeVar("Output", bound="torch.Tensor | State")


@dataclass(frozen=True)
class Batch:
    """Features and labels of one training step.

    Attributes:
        features: (B, c, h, w) float32; or (B, 4) int64, what to make them of (see `through`).
        labels: (B,) int64, 0 normal, 1 seen anomaly, 2 pseudo anomaly.
        coarse: the same of the images at half their size, where the network sees both.
        source: the data that they are made of, where a network in training makes them.
    """

    features: torch.Tensor
    labels: torch.Tensor
    coarse: tuple[torch.Tensor, ...] = ()
    source: TrainingData | None = None

    @property
    def scales(self) -> tuple[torch.Tensor, ...]:
        """The features at each scale, the finest first."""
        return (self.features, *self.coarse)

    def through(self, state: State, *, training: bool = True) -> Batch:
        """Return the batch with the features that the network of a state gives.

        A batch that has features is returned as it is.
        """
        if self.source is None:
            return self
        fine, *coarse = self.source.vectors(state, self.features, training=training)
        return replace(self, features=fine, coarse=tuple(coarse), source=None)


def averaged(outputs: Sequence[Output]) -> Output:
    """Return the mean of outputs, tensors or named ones, at several scales; of one, itself."""
    if len(outputs) == 1:
        return outputs[0]
    every: Any = outputs
    if isinstance(outputs[0], dict):
        mean: Any = {name: averaged([output[name] for output in every]) for name in outputs[0]}
    else:
        mean = torch.stack([*every]).mean(0)
    result: Output = mean
    return result


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
    n_views = rotated.views
    shape = (steps, normals)
    normal_rows = endless(len(data.normal), steps * normals, generator).reshape(shape)
    normal_views = generator.integers(n_views, size=shape)
    replaced = generator.random(shape) < pseudo
    pseudo_rows = generator.integers(len(data.normal), size=shape)
    n_pseudo = data.normal.need("pseudo").views if pseudo else 1
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
            source=None if data.normal.network is None else data,
        )
