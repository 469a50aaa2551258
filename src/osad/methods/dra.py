"""DRA: disentangled heads for seen, pseudo and residual abnormality and for normality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.lazy import lazy
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch, balanced_batches
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import (
    adapter,
    init_adapter,
    init_linear,
    init_mlp,
    mlp,
    plain_head,
    positions,
)
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import batched, divided, minimise
from osad.learn.losses import deviation_loss
from osad.learn.ranges import check_ranges
from osad.methods.registry import method
from osad.seeds import torch_generator

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

HEADS = ("normal", "seen", "pseudo", "residual")
RUNNING = frozenset({"residual.running_mean", "residual.running_var"})
BATCHNORM_MOMENTUM = 0.1


@method(
    title="DRA",
    paper="Ding et al., Catching Both Gray and Black Swans, CVPR 2022 (arXiv 2203.14506)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
)
@dataclass(frozen=True)
class DRA:
    """Hyper-parameters of DRA on cached features.

    Attributes:
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step; a third are seen anomalies.
        pseudo: probability that a normal draw is replaced by a CutMix view.
        references: normal images whose mean map the residual is taken from.
        lr: learning rate of Adam, divided by 10 every ``lr_step`` epochs.
        lr_step: epochs between divisions.
        weight_decay: L2 term.
        adapter: hidden width of the residual adapter; 0 leaves it out.
        holistic_width: hidden width of the normality head.
        residual_width: output channels of the residual head's 3x3 convolution.
        shrinkage: of the whitening of the normals' position vectors, in (0, 1].
    """

    epochs: int = 30
    iterations: int = 20
    batch: int = 48
    pseudo: float = 0.5
    references: int = 5
    lr: float = 2e-3
    lr_step: int = 10
    weight_decay: float = 1e-5
    adapter: int = 32
    holistic_width: int = 256
    residual_width: int = 32
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=[
                "epochs",
                "iterations",
                "batch",
                "references",
                "lr_step",
                "holistic_width",
                "residual_width",
            ],
            positive=["lr"],
            not_negative=["weight_decay", "adapter"],
            probabilities=["pseudo"],
            shares=["shrinkage"],
        )

    def fit(self, data: TrainingData) -> State:
        """Train adapter and heads; ``reference`` (P, c) is the mean adapted map for scoring."""
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        state = self._initial(channels, generator)
        device = data.normal.deepest.device
        height, width = data.normal.deepest.tensor.shape[2:]
        self_loss = _Loss(self, (height, width))
        steps = self.epochs * self.iterations
        seen = self.batch // 3
        batches = balanced_batches(
            data, steps, normals=self.batch - seen, anomalies=seen, pseudo=self.pseudo
        )
        # The last reference batch belongs to scoring: it is drawn once and kept.
        references = balanced_batches(
            data,
            steps + 1,
            normals=self.references,
            anomalies=0,
            pseudo=self.pseudo,
            purpose="references",
        )
        trained = minimise(
            {name: value.to(device) for name, value in state.items()},
            _with_references(references, batches),
            self_loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            # The released recipe steps its scheduler at the start of an epoch, so that the first
            # division comes one epoch early.
            schedule=divided(self.lr_step, self.iterations, early=1),
            fixed=RUNNING,
        )
        # As in training: the mean of the adapted maps, not the adapted mean.
        reference = self._adapt(trained, next(references).features).mean(0)
        return white | trained | {"reference": reference}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return -g_n + g_s + g_p + g_r, (n,), and these parts."""
        rows = images.deepest
        size = (rows.tensor.shape[2], rows.tensor.shape[3])
        parts = []
        for part in batched(len(images)):
            x = self._adapt(state, whiten(state, rows.take(part)))
            parts.append(self._heads(state, x, state["reference"], size, training=False))
        heads = {name: torch.cat([part[name] for part in parts]) for name in HEADS}
        heads["normal"] = -heads["normal"]
        return Scores(sum(heads.values(), start=torch.zeros(())), heads)

    def _initial(self, channels: int, generator: torch.Generator) -> State:
        state = init_mlp("normal", (channels, self.holistic_width, 1), generator)
        state |= init_linear("seen", channels, 1, generator)
        state |= init_linear("pseudo", channels, 1, generator)
        convolution = init_linear("residual.conv", channels * 9, self.residual_width, generator)
        state["residual.conv.weight"] = convolution["residual.conv.weight"].view(
            self.residual_width, channels, 3, 3
        )
        state["residual.conv.bias"] = convolution["residual.conv.bias"]
        state["residual.norm.weight"] = torch.ones(self.residual_width)
        state["residual.norm.bias"] = torch.zeros(self.residual_width)
        state["residual.running_mean"] = torch.zeros(self.residual_width)
        state["residual.running_var"] = torch.ones(self.residual_width)
        state |= init_linear("residual.head", self.residual_width, 1, generator)
        if self.adapter:
            state |= init_adapter(channels, self.adapter, generator)
        return state

    def _adapt(self, state: State, x: torch.Tensor) -> torch.Tensor:
        return adapter(state, x) if self.adapter else x

    def _heads(
        self,
        state: State,
        x: torch.Tensor,
        reference: torch.Tensor,
        size: tuple[int, int],
        *,
        training: bool,
    ) -> State:
        """Return each head's output (n,) for adapted position vectors (n, P, c)."""
        residual = (reference - x).transpose(1, 2).unflatten(2, size)
        hidden = F.conv2d(
            residual, state["residual.conv.weight"], state["residual.conv.bias"], padding=1
        )
        hidden = F.batch_norm(
            hidden,
            state["residual.running_mean"],
            state["residual.running_var"],
            state["residual.norm.weight"],
            state["residual.norm.bias"],
            training=training,
            momentum=BATCHNORM_MOMENTUM,
        )
        return {
            "normal": mlp(state, "normal", x.mean(1)).abs(),
            "seen": plain_head(state, "seen", x, absolute=True),
            "pseudo": plain_head(state, "pseudo", x, absolute=True),
            "residual": plain_head(
                state, "residual.head", positions(F.relu(hidden)), absolute=True
            ),
        }


@dataclass(frozen=True)
class _Loss:
    """Sum of the four deviation losses on the labels that each head is trained on."""

    method: DRA
    size: tuple[int, int]

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        n = self.method.references
        x = self.method._adapt(state, batch.features)
        heads = self.method._heads(state, x[n:], x[:n].mean(0), self.size, training=True)
        labels = batch.labels[n:]
        not_pseudo, not_seen = labels != PSEUDO, labels != SEEN
        return (
            deviation_loss(heads["normal"], labels == NORMAL)
            + deviation_loss(heads["seen"][not_pseudo], labels[not_pseudo] == SEEN)
            + deviation_loss(heads["pseudo"][not_seen], labels[not_seen] == PSEUDO)
            + deviation_loss(heads["residual"], labels != NORMAL)
        )


def _with_references(references: Iterator[Batch], batches: Iterator[Batch]) -> Iterator[Batch]:
    """Put the step's reference images before its batch."""
    for batch in batches:
        reference = next(references)
        yield Batch(
            torch.cat([reference.features, batch.features]),
            torch.cat([reference.labels, batch.labels]),
        )
