"""Meta-learning over simulated anomaly distributions: tasks, their images, and the meta step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from osad.core.errors import TrainingError
from osad.core.seeds import numpy_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch, endless
from osad.learn.images import ImageSet, Rows, State, TrainingData, batched
from osad.learn.lazy_torch import torch
from osad.learn.products import distances
from osad.learn.vectors import codebook, pooled

Index = np.ndarray
Loss = Callable[[State, Batch], "torch.Tensor"]

GENERATORS = ("pseudo", "cutmix", "draem")
"""Packs of synthetic anomalies: CutPaste, CutMix and DRAEM in AHL's words."""


@dataclass(frozen=True)
class Side:
    """What the support or the query of a task is drawn from.

    Attributes:
        normals: rows of the training normals.
        anomalies: rows of the seen anomalies.
        generator: pack of the synthetic anomalies, made of the same normals.
    """

    normals: Index
    anomalies: Index
    generator: str


@dataclass(frozen=True)
class Task:
    """A simulated shift: learn on the support, be judged on the query."""

    support: Side
    query: Side


def kinds_of_normals(normal: ImageSet, n_kinds: int, key: str) -> Index:
    """Cluster the normals by k-means on their pooled maps.

    The maps are not whitened: whitening would level the very directions in which kinds differ.

    Returns:
        (n,) int64, the cluster of each image.

    Raises:
        TrainingError: a feature is not finite, or there are fewer images than clusters.
    """
    vectors = pooled(normal, (max(normal.maps),), spread=False).cpu()
    if not bool(torch.isfinite(vectors).all()):
        raise TrainingError("features of the normals are not finite; rebuild the feature packs")
    if len(vectors) < n_kinds:
        raise TrainingError(f"{len(vectors)} normals cannot make {n_kinds} clusters")
    assigned: Index = distances(vectors, codebook(vectors, n_kinds, key)).argmin(1).numpy()
    return assigned


def simulate_tasks(
    assigned: Index, n_anomalies: int, key: str, *, prefixes: bool = False
) -> list[Task]:
    """Make one task of each ordered pair of clusters, and one of random halves of the normals.

    Half of the seen anomalies, drawn for each task, go to the support and the rest to the query;
    a single one goes to both. The synthetic anomalies of support and query always come from
    different generators: the ordered pairs of generators are dealt out in random order.

    Args:
        assigned: (n,), the cluster of each normal.
        n_anomalies: number of seen anomalies, 1 or more.
        key: text that keys the draws.
        prefixes: take the first n_c normals in place of a cluster of n_c, as the released code
            does.

    Source:
        AHL (arXiv 2310.12790), heterogeneous anomaly distribution generation.
    """
    generator = numpy_generator(key, "tasks")
    clusters = [np.flatnonzero(assigned == number) for number in np.unique(assigned)]
    if prefixes:
        clusters = [np.arange(len(rows)) for rows in clusters]
    shuffled = generator.permutation(len(assigned))
    half = len(assigned) // 2
    sides = [*itertools.permutations(clusters, 2), (shuffled[:half], shuffled[half:])]
    pairs = list(itertools.permutations(GENERATORS, 2))
    order = generator.permutation(len(pairs))
    tasks = []
    for number, rows in enumerate(sides):
        seen = generator.permutation(n_anomalies)
        cut = n_anomalies // 2
        halves = (seen[:cut], seen[cut:]) if cut else (seen, seen)
        names = pairs[order[number % len(order)]]
        tasks.append(Task(*map(Side, rows, halves, names)))
    return tasks


@dataclass(frozen=True)
class Pool:
    """Position vectors of all training views, computed once.

    Attributes:
        rows: (N, P, c) float16 in memory, a view of an image each.
        starts: first row of each kind: ``normal``, ``seen`` and the generators.
        views: number of views of an image of each kind.
    """

    rows: Rows
    starts: Mapping[str, int]
    views: Mapping[str, int]

    def index(self, kind: str, rows: Index, views: Index | int) -> Index:
        """Return the pool's rows of views of images; (k,) int64 from 0."""
        index: Index = self.starts[kind] + rows * self.views[kind] + views
        return index


def make_pool(
    data: TrainingData, prepare: Callable[[torch.Tensor], torch.Tensor], n_views: int
) -> Pool:
    """Compute the position vectors of the first ``n_views`` views of every training image.

    Args:
        data: training images with the packs ``rotated`` and `GENERATORS`.
        prepare: turns maps (k, c, h, w) into position vectors (k, P, c).
        n_views: of each pack, at most.
    """
    packs = {"normal": data.normal.need("rotated"), "seen": data.anomaly.need("rotated")}
    packs |= {name: data.normal.need(name) for name in GENERATORS}
    views = {name: min(n_views, rows.tensor.shape[1]) for name, rows in packs.items()}
    sizes = [len(rows) * views[name] for name, rows in packs.items()]
    starts = dict(zip(packs, itertools.accumulate(sizes, initial=0), strict=False))
    channels, height, width = data.normal.need("rotated").tensor.shape[2:]
    device = data.normal.need("rotated").device
    shape = (sum(sizes), height * width, channels)
    pool = torch.empty(shape, dtype=torch.float16, device=device)
    for name, rows in packs.items():
        kept = replace(rows, tensor=rows.tensor[:, : views[name]])
        for part in batched(len(rows), 32):
            vectors = prepare(kept.take(part).flatten(0, 1))
            start = starts[name] + part.start * views[name]
            pool[start : start + len(vectors)] = vectors
    return Pool(Rows(pool, torch.arange(len(pool)), device), starts, views)


def episodes(
    tasks: Sequence[Task], pool: Pool, *, epochs: int, steps: tuple[int, int], batch: int, key: str
) -> Iterator[Batch]:
    """Yield, for each epoch, the images of all batches of all tasks.

    A batch is a third seen and a third synthetic anomalies, the rest normals, each drawn from
    random permutations put end to end, with a random view.

    Args:
        tasks: T tasks.
        pool: their images.
        epochs: how many to yield.
        steps: batches of the support and of the query, S and Q.
        batch: images of a batch, B.
        key: text that keys the draws.

    Yields:
        the pool's rows (T, S + Q, B) in place of features, and the labels (B,).
    """
    third = batch // 3
    labels = torch.tensor([NORMAL] * (batch - 2 * third) + [SEEN] * third + [PSEUDO] * third)
    drawn = []
    for number, task in enumerate(tasks):
        sides = zip((task.support, task.query), steps, ("support", "query"), strict=True)
        parts = [
            _draws(side, pool, (epochs, count), batch, f"{key}/{number}/{name}")
            for side, count, name in sides
        ]
        drawn.append(np.concatenate(parts, axis=1))
    for epoch in np.stack(drawn, axis=1):
        yield Batch(torch.from_numpy(epoch), labels.to(pool.rows.device))


def _draws(side: Side, pool: Pool, steps: tuple[int, int], batch: int, key: str) -> Index:
    """Return the rows of the batches of one side of a task, (*steps, batch)."""
    generator = numpy_generator(key, "episodes")
    third = batch // 3
    parts = []
    for kind, members, size in (
        ("normal", side.normals, batch - 2 * third),
        ("seen", side.anomalies, third),
        (side.generator, side.normals, third),
    ):
        shape = (*steps, size)
        rows = members[endless(len(members), steps[0] * steps[1] * size, generator)]
        views = generator.integers(pool.views[kind], size=shape)
        parts.append(pool.index(kind, rows.reshape(shape), views))
    return np.concatenate(parts, axis=-1)


def descend(
    state: State, batches: Sequence[Batch], loss: Loss, *, lr: float, trained: Sequence[str]
) -> State:
    """Take plain gradient steps of size ``lr``, one a batch, on the tensors named ``trained``.

    Their gradients count as constants: the result depends on ``state``, which stays as it is, as
    the identity, so the gradient of a loss at the result, taken with respect to ``state``, is the
    first-order meta-gradient.
    """
    moved = dict(state)
    for batch in batches:
        free = {name: moved[name].detach().requires_grad_() for name in trained}
        value = loss(moved | free, batch)
        gradients = torch.autograd.grad(value, list(free.values()))
        for name, gradient in zip(trained, gradients, strict=True):
            moved[name] = moved[name] - lr * gradient
    return moved


@dataclass(frozen=True)
class MetaLoss:
    """Weighted sum of the tasks' query losses after their adaptation to the support.

    Its gradient is the first-order meta-gradient (see `descend`).

    Attributes:
        pool: the images.
        support: number of support batches of an epoch, S.
        loss: of the base model.
        lr: step size of the adaptation.
        trained: names of the tensors that are adapted.
        monitored: (n,) rows of the pool.
        score: gives the scores (n,) of images (n, P, c), on the scale of labels in {0, 1}.
        weigh: turns the adapted models' scores (n, T) into the weights (T,) of the tasks.

    Source:
        AHL (arXiv 2310.12790), collaborative differentiable learning, without second derivatives.
    """

    pool: Pool
    support: int
    loss: Loss
    lr: float
    trained: Sequence[str]
    monitored: torch.Tensor
    score: Callable[[State, torch.Tensor], torch.Tensor]
    weigh: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, state: State, episode: Batch) -> torch.Tensor:
        """Return the loss of one epoch (see `episodes`)."""
        watched = self.pool.rows.take(self.monitored)
        losses, scores = [], []
        for task in episode.features:
            batches = [Batch(self.pool.rows.take(rows), episode.labels) for rows in task]
            adapted = descend(
                state, batches[: self.support], self.loss, lr=self.lr, trained=self.trained
            )
            query = [self.loss(adapted, batch) for batch in batches[self.support :]]
            losses.append(torch.stack(query).mean())
            with torch.no_grad():
                scores.append(self.score(adapted, watched))
        weights = self.weigh(torch.stack(scores, dim=1))
        return (weights * torch.stack(losses)).sum()
