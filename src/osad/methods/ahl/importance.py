"""How much each simulated task counts: a recurrent network predicts its model's next scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from osad.core.seeds import numpy_generator, torch_generator
from osad.learn.batches import Batch
from osad.learn.heads import init_linear, linear
from osad.learn.images import State
from osad.learn.lazy_torch import F, torch
from osad.learn.loop import minimise
from osad.learn.products import linear as affine
from osad.methods.ahl.meta import GENERATORS, Index, Pool, Task

LAYERS = 2
UNSEEN_ANOMALY, OTHER = 1.0, 0.5
"""Weights c_j of the risk."""


def init_lstm(inputs: int, hidden: int, layers: int, generator: torch.Generator) -> State:
    """Initialise a bidirectional LSTM with the names and the distribution of torch's."""
    bound = 1 / math.sqrt(hidden)
    state: State = {}
    for layer, direction in itertools.product(range(layers), ("", "_reverse")):
        width = inputs if layer == 0 else 2 * hidden
        shapes = {
            "weight_ih": (4 * hidden, width),
            "weight_hh": (4 * hidden, hidden),
            "bias_ih": (4 * hidden,),
            "bias_hh": (4 * hidden,),
        }
        for name, shape in shapes.items():
            state[f"{name}_l{layer}{direction}"] = torch.empty(shape).uniform_(
                -bound, bound, generator=generator
            )
    return state


def lstm(state: State, x: torch.Tensor) -> torch.Tensor:
    """Apply a bidirectional LSTM (see `init_lstm`) to sequences (n, K, d) -> (n, K, 2 hidden).

    torch's own multiplies by MKL, whose bits depend on the processor.
    """
    layer = 0
    while f"weight_ih_l{layer}" in state:
        forward = _direction(state, f"l{layer}", x)
        backward = _direction(state, f"l{layer}_reverse", x.flip(1)).flip(1)
        x = torch.cat([forward, backward], dim=2)
        layer += 1
    return x


def _direction(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """Run one direction of one layer: (n, K, d) -> (n, K, hidden)."""
    weight = state[f"weight_hh_{name}"]
    inputs = affine(x, state[f"weight_ih_{name}"], state[f"bias_ih_{name}"])
    h = c = x.new_zeros(len(x), weight.shape[1])
    outputs = []
    for step in inputs.unbind(1):
        i, f, g, o = (step + affine(h, weight, state[f"bias_hh_{name}"])).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def predict(state: State, scores: torch.Tensor) -> torch.Tensor:
    """Predict the next scores of T models from their last K: (n, K, T) -> (n, T)."""
    return linear(state, "out", lstm(state, scores)[:, -1])


@dataclass(frozen=True)
class Monitor:
    """Images whose scores tell how well the tasks' models do on what they have not seen.

    Attributes:
        index: (n,) int64, rows of the pool.
        labels: (n,) float32 in {0, 1}.
        unseen: (n, T) float32: c_j for the images unseen in a task, 0 for others. Unseen are the
            query's normals (0.5), their synthetic anomalies of the query's generator (1), and the
            query's seen anomalies (1, or 0.5 if the support has them too).
    """

    index: torch.Tensor
    labels: torch.Tensor
    unseen: torch.Tensor


def make_monitor(
    assigned: Index, n_anomalies: int, tasks: Sequence[Task], pool: Pool, *, each: int, key: str
) -> Monitor:
    """Choose ``each`` normals of every cluster, their synthetic anomalies, and all seen anomalies.

    Source:
        AHL (arXiv 2310.12790) weighs unseen anomalies 1 and other unseen images 0.5; which images
        these are is the choice of this benchmark.
    """
    generator = numpy_generator(key, "monitor")
    clusters = [np.flatnonzero(assigned == number) for number in np.unique(assigned)]
    normals = np.concatenate([generator.permutation(rows)[:each] for rows in clusters])
    anomalies = np.arange(n_anomalies)

    def weights(task: Task, kind: str) -> Index:
        """Return c_j of the images of a kind in a task."""
        if kind == "seen":
            unseen = np.where(np.isin(anomalies, task.support.anomalies), OTHER, UNSEEN_ANOMALY)
            return unseen * np.isin(anomalies, task.query.anomalies)
        weight = {"normal": OTHER, task.query.generator: UNSEEN_ANOMALY}.get(kind, 0.0)
        return weight * np.isin(normals, task.query.normals)

    index, labels, unseen = [], [], []
    for kind in ("normal", *GENERATORS, "seen"):
        images = anomalies if kind == "seen" else normals
        index.append(pool.index(kind, images, 0))
        labels.append(np.full(len(images), float(kind != "normal")))
        unseen.append(np.stack([weights(task, kind) for task in tasks], axis=1))
    device = pool.rows.device
    return Monitor(
        torch.from_numpy(np.concatenate(index)),
        torch.from_numpy(np.concatenate(labels)).float().to(device),
        torch.from_numpy(np.concatenate(unseen)).float().to(device),
    )


def task_risks(predicted: torch.Tensor, labels: torch.Tensor, unseen: torch.Tensor) -> torch.Tensor:
    """Average c_j (predicted - label)^2 over each task's own unseen images, (T,).

    Args:
        predicted: (n, T) scores, on the scale of the labels.
        labels: (n,) in {0, 1}.
        unseen: (n, T), the weights c_j > 0 of the images that are unseen in a task; 0 elsewhere.

    Source:
        AHL (arXiv 2310.12790), the risk r_i of a base model.
    """
    errors = unseen * (predicted - labels.unsqueeze(1)).square()
    return errors.sum(0) / (unseen > 0).sum(0)


@dataclass
class Importance:
    """Weights of the tasks, from the scores of their models on monitored images.

    Attributes:
        labels: (n,) in {0, 1} of the monitored images.
        unseen: (n, T), see `task_risks`.
        key: text that keys the draws.
        memory: K, epochs that a prediction is made from; until then the weights are uniform.
        lr: learning rate of the predictor's Adam.
        steps: its steps at each epoch.
        weight_decay: its L2 term.
        history: (n, T) scores of every epoch so far.

    Source:
        AHL (arXiv 2310.12790), importance score learning: an LSTM with two bidirectional layers
        of T hidden units, mean squared error, Adam, weights softmax(-r). Deviations: it takes a
        fixed number of steps on the newest window of epochs, with a fresh Adam; no dropout.
    """

    labels: torch.Tensor
    unseen: torch.Tensor
    key: str
    memory: int
    lr: float
    steps: int
    weight_decay: float = 1e-3
    history: list[torch.Tensor] = field(default_factory=list)
    state: State = field(default_factory=dict)

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """Take the models' scores (n, T) after an epoch's adaptation; return the weights (T,)."""
        self.history.append(scores)
        tasks = scores.shape[1]
        if len(self.history) <= self.memory:
            return torch.full((tasks,), 1 / tasks, device=scores.device)
        past = torch.stack(self.history[-self.memory - 1 :], dim=1)
        state = minimise(
            self.state or self._initial(tasks, scores.device),
            itertools.repeat(Batch(past[:, :-1], past[:, -1]), self.steps),
            _squared_error,
            lr=self.lr,
            weight_decay=self.weight_decay,
        )
        self.state = state
        with torch.no_grad():
            risks = task_risks(predict(state, past[:, 1:]), self.labels, self.unseen)
            return F.softmax(-risks, dim=0)

    def _initial(self, tasks: int, device: torch.device) -> State:
        generator = torch_generator(self.key, "importance")
        state = init_lstm(tasks, tasks, LAYERS, generator)
        state |= init_linear("out", 2 * tasks, tasks, generator)
        return {name: value.to(device) for name, value in state.items()}


def _squared_error(state: State, batch: Batch) -> torch.Tensor:
    """Compare predicted with actual scores; the batch's labels are the scores (n, T)."""
    return F.mse_loss(predict(state, batch.features), batch.labels)
