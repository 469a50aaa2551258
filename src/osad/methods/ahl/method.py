"""AHL: the heads of DRA or DevNet, meta-learned over simulated anomaly distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.errors import TrainingError
from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn import dra_heads
from osad.learn.batches import PSEUDO, SEEN, Batch
from osad.learn.gaussian import whiten
from osad.learn.heads import init_linear, linear, plain_head, top_k_mean
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import batched, divided, minimise
from osad.learn.losses import deviation_loss
from osad.learn.ranges import check_ranges
from osad.methods.ahl.importance import Importance, make_monitor
from osad.methods.ahl.meta import (
    MetaLoss,
    episodes,
    kinds_of_normals,
    make_pool,
    simulate_tasks,
)
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

FROZEN = ("whiten.", "adapter.", "reference")
HEAD_OF = {"dra": "seen.weight", "devnet": "head.weight"}
"""A tensor by which the checkpoint of each network is known."""
MARGIN = 5.0
LEVELS = {"dra": (-MARGIN, 2 * MARGIN), "devnet": (0.0, MARGIN)}
"""The total scores at which every deviation loss of a normal and of a seen anomaly vanishes."""


@method(
    title="AHL",
    paper="Zhu et al., Anomaly Heterogeneity Learning, CVPR 2024 (arXiv 2310.12790)",
    packs=("plain", "rotated", "pseudo", "cutmix", "draem"),
    heads={"": dra_heads.HEADS, "devnet": ()},
    maps=True,
    base={"": "dra", "devnet": "devnet"},
    full_budget={"epochs": 30, "inner_steps": 20, "query_steps": 20},
    variants={"devnet": {"network": "devnet"}},
)
@dataclass(frozen=True)
class AHL:
    """Hyper-parameters of AHL on cached features.

    Attributes:
        network: whose heads are learned, ``dra`` or ``devnet``; the variants fix it.
        warm_start: begin with the base's trained heads instead of fresh ones.
        clusters: kinds of normals that tasks are made of; k kinds make k (k - 1) + 1 tasks.
        prefix_clusters: build tasks of the first images instead of the clusters' own, like the
            released code.
        views: of each pack, used at most.
        epochs: outer steps.
        inner_steps: support batches of a task in an epoch, one plain gradient step each.
        query_steps: query batches of a task in an epoch.
        batch: images of a batch; a third are seen and a third synthetic anomalies.
        inner_lr: step size of the inner steps.
        lr: learning rate of the outer Adam, divided by 10 every ``lr_step`` epochs.
        lr_step: epochs between divisions.
        weight_decay: L2 term of the outer Adam.
        memory: epochs that the importance predictor looks back; until then tasks count alike.
        monitored: normals of each kind whose scores, and those of their synthetic anomalies, the
            predictor sees.
        predictor_lr: learning rate of its Adam.
        predictor_steps: its steps in an epoch.
    """

    network: str = "dra"
    warm_start: bool = True
    clusters: int = 3
    prefix_clusters: bool = False
    views: int = 2
    epochs: int = 30
    inner_steps: int = 1
    query_steps: int = 2
    batch: int = 48
    inner_lr: float = 2e-4
    lr: float = 5e-3
    lr_step: int = 10
    weight_decay: float = 1e-4
    memory: int = 5
    monitored: int = 4
    predictor_lr: float = 2e-2
    predictor_steps: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        counts = ["clusters", "views", "epochs", "inner_steps", "query_steps", "batch", "lr_step"]
        check_ranges(
            self,
            counts=[*counts, "memory", "monitored", "predictor_steps"],
            positive=["inner_lr", "lr", "predictor_lr"],
            not_negative=["weight_decay"],
        )
        if self.network not in HEAD_OF:
            raise ValueError(f"network is {self.network!r}, must be one of {', '.join(HEAD_OF)}")
        if self.batch < 3:
            raise ValueError(f"batch is {self.batch}, must be 3 or more")

    def fit(self, data: TrainingData) -> State:
        """Meta-learn the heads; whitening, adapter and reference stay those of the base.

        Raises:
            TrainingError: there is no base, features are not finite, or the loss is not.
        """
        if data.base is None or HEAD_OF[self.network] not in data.base:
            raise TrainingError(f"AHL starts from a trained {self.network}; none was given")
        base = dict(data.base)
        frozen = {name: value for name, value in base.items() if name.startswith(FROZEN)}
        heads = {name: value for name, value in base.items() if name not in frozen}
        if not self.warm_start:
            heads = self._fresh(heads, data.key)
        assigned = kinds_of_normals(data.normal, self.clusters, data.key)
        seen = len(data.anomaly)
        tasks = simulate_tasks(assigned, seen, data.key, prefixes=self.prefix_clusters)
        pool = make_pool(
            data, lambda maps: dra_heads.adapt(frozen, whiten(frozen, maps)), self.views
        )
        monitor = make_monitor(assigned, seen, tasks, pool, each=self.monitored, key=data.key)
        low, high = LEVELS[self.network]
        size = tuple(data.normal.deepest.tensor.shape[2:])
        network = _Network(self.network, frozen, (size[0], size[1]))
        loss = MetaLoss(
            pool,
            self.inner_steps,
            network.loss,
            self.inner_lr,
            [name for name in heads if name not in dra_heads.RUNNING],
            monitor.index,
            lambda state, x: (network.total(state, x) - low) / (high - low),
            Importance(
                monitor.labels,
                monitor.unseen,
                data.key,
                self.memory,
                self.predictor_lr,
                self.predictor_steps,
            ),
        )
        trained = minimise(
            heads,
            episodes(
                tasks,
                pool,
                epochs=self.epochs,
                steps=(self.inner_steps, self.query_steps),
                batch=self.batch,
                key=data.key,
            ),
            loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, 1),
            fixed=dra_heads.RUNNING & heads.keys(),
        )
        return frozen | trained

    def score(self, state: State, images: ImageSet) -> Scores:
        """Score as the base model does; with maps (n, h, w) of its heads' position scores."""
        if self.network == "dra":
            return dra_heads.score_heads(state, images)
        rows = images.deepest
        parts = [
            linear(state, "head", dra_heads.adapt(state, whiten(state, rows.take(part))))
            for part in batched(len(images))
        ]
        scores = torch.cat(parts).squeeze(-1).abs()
        return Scores(top_k_mean(scores), maps=scores.unflatten(1, tuple(rows.tensor.shape[2:])))

    def _fresh(self, heads: State, key: str) -> State:
        """Return new heads of the same widths."""
        generator = torch_generator(key, "init")
        device = next(iter(heads.values())).device
        if self.network == "devnet":
            fresh = init_linear("head", heads["head.weight"].shape[1], 1, generator)
        else:
            fresh = dra_heads.init_heads(
                heads["seen.weight"].shape[1],
                holistic_width=len(heads["normal.0.bias"]),
                residual_width=len(heads["residual.conv.bias"]),
                generator=generator,
            )
        return {name: value.to(device) for name, value in fresh.items()}


@dataclass(frozen=True)
class _Network:
    """The base model on position vectors (n, P, c) that its adapter has already changed."""

    name: str
    frozen: State
    size: tuple[int, int]

    def loss(self, state: State, batch: Batch) -> torch.Tensor:
        """Return the base's loss on a batch; DevNet's head meets either kind of anomaly once."""
        labels = batch.labels
        if self.name == "dra":
            return dra_heads.heads_loss(self._heads(state, batch.features, training=True), labels)
        scores = plain_head(state, "head", batch.features, absolute=True)
        not_pseudo, not_seen = labels != PSEUDO, labels != SEEN
        return deviation_loss(scores[not_pseudo], labels[not_pseudo] == SEEN) + deviation_loss(
            scores[not_seen], labels[not_seen] == PSEUDO
        )

    def total(self, state: State, x: torch.Tensor) -> torch.Tensor:
        """Return the base's total score, (n,)."""
        if self.name == "devnet":
            return plain_head(state, "head", x, absolute=True)
        heads = self._heads(state, x, training=False)
        return heads["seen"] + heads["pseudo"] + heads["residual"] - heads["normal"]

    def _heads(self, state: State, x: torch.Tensor, *, training: bool) -> State:
        reference = self.frozen["reference"]
        heads, _ = dra_heads.apply_heads(state, x, reference, self.size, training=training)
        return heads
