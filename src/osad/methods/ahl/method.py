"""AHL: the heads of DRA or DevNet, meta-learned over simulated anomaly distributions."""

from __future__ import annotations

from dataclasses import dataclass

from osad.core.errors import TrainingError
from osad.core.seeds import torch_generator
from osad.learn import dra_heads
from osad.learn.batches import PSEUDO, SEEN, Batch
from osad.learn.gaussian import whiten
from osad.learn.heads import adapter, deviation_loss, init_linear
from osad.learn.images import BACKBONE, ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.learn.loop import RUNNING, divided, minimise
from osad.learn.single_head import image_scores, score_maps
from osad.methods.ahl.importance import Importance, make_monitor
from osad.methods.ahl.meta import (
    GENERATORS,
    MetaLoss,
    episodes,
    kinds_of_normals,
    make_pool,
    simulate_tasks,
)
from osad.methods.fields import at_least, choice, flag, not_negative, positive
from osad.methods.registry import method

FROZEN = ("whiten.", "adapter.", "reference", BACKBONE)
HEAD_OF = {"dra": "seen.weight", "devnet": "head.weight"}
"""A tensor by which the checkpoint of each network is known."""
MARGIN = 5.0
LEVELS = {"dra": (-MARGIN, 2 * MARGIN), "devnet": (0.0, MARGIN)}
"""The total scores at which every deviation loss of a normal and of a seen anomaly vanishes."""


@method(
    title={"": "AHL(DRA)", "devnet": "AHL(DevNet)", "devnet_images": "AHL(DevNet) (images)"},
    paper="Zhu et al., Anomaly Heterogeneity Learning, CVPR 2024 (arXiv 2310.12790)",
    packs=("plain", "rotated", "pseudo", "cutmix", "draem"),
    heads={
        "": dra_heads.HEADS,
        "devnet": (),
        "images": dra_heads.HEADS,
        "devnet_images": (),
    },
    maps=True,
    base={
        "": "dra",
        "devnet": "devnet",
        "images": "dra.images",
        "devnet_images": "devnet.images",
    },
    full_budget={"epochs": 30, "inner_steps": 20, "query_steps": 20},
    variants={"devnet": {"network": "devnet"}},
    # Its features are those of the base, whose backbone was trained.
    images={"images": {"network": "dra"}, "devnet_images": {"network": "devnet"}},
)
@dataclass(frozen=True)
class AHL:
    """AHL on cached features."""

    network: str = choice("dra", "whose heads are learned; the variants fix it", tuple(HEAD_OF))
    warm_start: bool = flag(True, "begin with the base's trained heads instead of fresh ones")
    clusters: int = at_least(1, 3, "k, kinds of normals that the k (k - 1) + 1 tasks are made of")
    prefix_clusters: bool = flag(
        False, "build tasks of the first images instead of the clusters' own, as the release does"
    )
    views: int = at_least(1, 2, "views of each pack that are used, at most")
    epochs: int = at_least(1, 30, "outer steps")
    inner_steps: int = at_least(
        1, 1, "support batches of a task in an epoch, one plain gradient step each"
    )
    query_steps: int = at_least(1, 2, "query batches of a task in an epoch")
    batch: int = at_least(3, 48, "images of a batch; a third are seen, a third synthetic anomalies")
    standardised: bool = flag(True, "bring DRA's heads to one scale before they are added")
    inner_lr: float = positive(2e-4, "step size of the inner steps")
    lr: float = positive(5e-3, "learning rate of the outer Adam")
    lr_step: int = at_least(1, 10, "epochs between divisions of that learning rate by 10")
    weight_decay: float = not_negative(1e-4, "L2 term of the outer Adam")
    memory: int = at_least(
        1, 5, "epochs that the importance predictor looks back; until then tasks count alike"
    )
    monitored: int = at_least(
        1,
        4,
        "normals of each kind whose scores, and those of their synthetic anomalies, the predictor "
        "sees",
    )
    predictor_lr: float = positive(2e-2, "learning rate of the predictor's Adam")
    predictor_steps: int = at_least(1, 5, "steps of the predictor in an epoch")

    def fit(self, data: TrainingData) -> State:
        """Meta-learn the heads; whitening, adapter and reference stay those of the base.

        Raises:
            TrainingError: there is no base, features are not finite, or the loss is not.
        """
        if data.base is None or HEAD_OF[self.network] not in data.base:
            raise TrainingError(f"AHL starts from a trained {self.network}; none was given")
        # The scales of the base's heads are not those of heads that were learned on.
        base = {k: value for k, value in data.base.items() if not k.startswith("scale.")}
        data = data.viewed(base, ("rotated", *GENERATORS), self.views)
        frozen = {name: value for name, value in base.items() if name.startswith(FROZEN)}
        heads = {name: value for name, value in base.items() if name not in frozen}
        if not self.warm_start:
            heads = self._fresh(heads, data.key)
        assigned = kinds_of_normals(data.normal, self.clusters, data.key)
        seen = len(data.anomaly)
        tasks = simulate_tasks(assigned, seen, data.key, prefixes=self.prefix_clusters)
        pool = make_pool(data, lambda maps: adapter(frozen, whiten(frozen, maps)), self.views)
        monitor = make_monitor(assigned, seen, tasks, pool, each=self.monitored, key=data.key)
        low, high = LEVELS[self.network]
        network = _Network(frozen.get("reference"), data.normal.deepest.size)
        loss = MetaLoss(
            pool,
            self.inner_steps,
            network.loss,
            self.inner_lr,
            [name for name in heads if not name.endswith(RUNNING)],
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
        )
        fitted = frozen | trained
        rescaled = self.standardised and self.network == "dra"
        return dra_heads.with_scales(fitted, data.normal) if rescaled else fitted

    def score(self, state: State, images: ImageSet) -> Scores:
        """Score as the base model does; with maps (n, h, w) of its heads' position scores."""
        if self.network == "dra":
            return dra_heads.score_heads(state, images)
        return score_maps(state, images, absolute=True)

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
    """The base model on position vectors (n, P, c) that its adapter has already changed.

    It is DRA's with a reference map (P, c), DevNet's without.
    """

    reference: torch.Tensor | None
    size: tuple[int, int]

    def loss(self, state: State, batch: Batch) -> torch.Tensor:
        """Return the base's loss on a batch; DevNet's head meets either kind of anomaly once."""
        labels = batch.labels
        if self.reference is not None:
            return dra_heads.heads_loss(self._heads(state, batch.features, training=True), labels)
        scores = image_scores(state, batch.features, absolute=True)
        not_pseudo, not_seen = labels != PSEUDO, labels != SEEN
        return deviation_loss(scores[not_pseudo], labels[not_pseudo] == SEEN) + deviation_loss(
            scores[not_seen], labels[not_seen] == PSEUDO
        )

    def total(self, state: State, x: torch.Tensor) -> torch.Tensor:
        """Return the base's total score, (n,)."""
        if self.reference is None:
            return image_scores(state, x, absolute=True)
        heads = self._heads(state, x, training=False)
        return heads["seen"] + heads["pseudo"] + heads["residual"] - heads["normal"]

    def _heads(self, state: State, x: torch.Tensor, *, training: bool) -> State:
        assert self.reference is not None  # noqa: S101 - for mypy: its callers have asked.
        heads, _ = dra_heads.apply_heads(state, x, self.reference, self.size, training=training)
        return heads
