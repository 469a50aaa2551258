"""DRA: disentangled heads for seen, pseudo and residual abnormality and for normality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from osad.core.seeds import torch_generator
from osad.learn.batches import Batch, averaged, balanced_batches
from osad.learn.dra_heads import (
    HEADS,
    REFERENCES,
    apply_heads,
    heads_loss,
    init_heads,
    score_heads,
    with_scales,
)
from osad.learn.gaussian import whitened_training
from osad.learn.heads import adapter, init_adapter
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.learn.loop import divided, minimise
from osad.methods.fields import at_least, flag, not_negative, positive, probability, share
from osad.methods.images import SCALES
from osad.methods.registry import method


@method(
    title="DRA",
    paper="Ding et al., Catching Both Gray and Black Swans, CVPR 2022 (arXiv 2203.14506)",
    packs=("plain", "rotated", "pseudo"),
    heads=HEADS,
    maps=True,
    full_budget={"epochs": 30, "adapter": 128, "residual_width": 512},
    images={
        "images": {
            "epochs": 30,
            "lr": 2e-4,
            "adapter": 0,
            "residual_width": 512,
            "scales": SCALES,
        }
    },
)
@dataclass(frozen=True)
class DRA:
    """DRA on cached features."""

    epochs: int = at_least(1, 30, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(1, 48, "images of a step; a third are seen anomalies")
    pseudo: float = probability(0.5, "that a normal draw is replaced by a CutMix view")
    references: int = at_least(1, 5, "normals whose mean map the residual is taken from")
    lr: float = positive(2e-3, "learning rate of Adam")
    lr_step: int = at_least(1, 10, "epochs between divisions of the learning rate by 10")
    weight_decay: float = not_negative(1e-5, "L2 term")
    adapter: int = not_negative(32, "hidden width of the residual adapter; 0 leaves it out")
    holistic_width: int = at_least(1, 256, "hidden width of the normality head")
    residual_width: int = at_least(1, 32, "output channels of the residual head's 3x3 convolution")
    standardised: bool = flag(True, "bring the heads to one scale before they are added")
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def fit(self, data: TrainingData) -> State:
        """Train adapter and heads; ``reference`` (P, c) is the mean adapted map for scoring.

        At two scales it is that of the finer one, ``reference.coarse`` that of the other.
        """
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        state = init_heads(
            channels,
            holistic_width=self.holistic_width,
            residual_width=self.residual_width,
            generator=generator,
        )
        state |= init_adapter(channels, self.adapter, generator) | data.started(white)
        steps, seen = self.epochs * self.iterations, self.batch // 3
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
        n = self.references

        def loss(state: State, batch: Batch) -> torch.Tensor:
            """Sum the deviation losses of a batch whose first images are the references."""
            outputs = []
            for features in batch.scales:
                x, side = adapter(state, features), math.isqrt(features.shape[1])
                heads, _ = apply_heads(state, x[n:], x[:n].mean(0), (side, side), training=True)
                outputs.append(heads)
            return heads_loss(averaged(outputs), batch.labels[n:])

        trained = minimise(
            state,
            _with_references(references, batches),
            loss,
            device=data.normal.deepest.device,
            lr=self.lr,
            weight_decay=self.weight_decay,
            # The released recipe steps its scheduler at the start of an epoch, so that the first
            # division comes one epoch early.
            schedule=divided(self.lr_step, self.iterations, early=1),
            journal=data.journal,
        )
        kept = next(references).through(trained, training=False)
        # As in training: the mean of the adapted maps, not the adapted mean.
        means = [adapter(trained, features).mean(0) for features in kept.scales]
        fitted = white | trained | dict(zip(REFERENCES, means, strict=False))
        normal = data.normal.through(fitted)
        return with_scales(fitted, normal) if self.standardised else fitted

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return -g_n + g_s + g_p + g_r, (n,), these parts, and maps (see `score_heads`)."""
        return score_heads(state, images)


def _with_references(references: Iterator[Batch], batches: Iterator[Batch]) -> Iterator[Batch]:
    """Put the step's reference images before its batch."""
    for batch in batches:
        reference = next(references)
        yield replace(
            batch,
            features=torch.cat([reference.features, batch.features]),
            labels=torch.cat([reference.labels, batch.labels]),
        )
