"""MLEP: reconstruction from an embedding that a margin keeps away from the seen anomalies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, SEEN, Batch, balanced_batches
from osad.learn.gaussian import position_whitening
from osad.learn.heads import init_mlp, mlp
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.learn.loop import batched, divided, minimise
from osad.learn.losses import triplet_loss
from osad.learn.products import matmul
from osad.learn.ranges import check_ranges
from osad.methods.registry import method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

HEADS = ("reconstruction", "distance")


@method(
    title="MLEP",
    paper="Liu et al., Margin Learning Embedded Prediction for Video Anomaly Detection with A Few "
    "Anomalies, IJCAI 2019, as a baseline of Ding et al., CVPR 2022",
    packs=("plain", "rotated"),
    heads=HEADS,
)
@dataclass(frozen=True)
class MLEP:
    """Hyper-parameters of MLEP on cached features.

    Attributes:
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step; a third each are anchors, positives (both normal) and negatives
            (seen anomalies).
        margin: of the triplets; embeddings have unit norm, so distances reach 2.
        margin_weight: weight of the triplets beside the reconstruction.
        lr: learning rate of Adam, divided by 10 every ``lr_step`` epochs.
        lr_step: epochs between divisions.
        weight_decay: L2 term.
        head_width: hidden width of encoder and decoder.
        embedding: dimensions of the embedding.
        shrinkage: of the whitening of the normals' position vectors, in (0, 1].
    """

    epochs: int = 30
    iterations: int = 20
    batch: int = 48
    margin: float = 1.0
    margin_weight: float = 1.0
    lr: float = 2e-4
    lr_step: int = 10
    weight_decay: float = 1e-5
    head_width: int = 256
    embedding: int = 128
    shrinkage: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=["epochs", "iterations", "lr_step", "head_width", "embedding"],
            positive=["lr", "margin"],
            not_negative=["margin_weight", "weight_decay"],
            shares=["shrinkage"],
        )
        if self.batch < 3:
            raise ValueError(f"batch is {self.batch}, must be 3 or more: one triplet")

    def fit(self, data: TrainingData) -> State:
        """Train encoder and decoder; ``centre`` (embedding,) and both parts' scales are kept."""
        white = position_whitening(data.normal.deepest, self.shrinkage)
        channels = len(white["whiten.mean"])
        generator = torch_generator(data.key, "init")
        state = init_mlp("encoder", (channels, self.head_width, self.embedding), generator)
        state |= init_mlp("decoder", (self.embedding, self.head_width, channels), generator)
        device = data.normal.deepest.device
        third = self.batch // 3
        trained = minimise(
            {name: value.to(device) for name, value in state.items()},
            balanced_batches(
                pooled_training(white, data),
                self.epochs * self.iterations,
                normals=2 * third,
                anomalies=third,
            ),
            self._loss,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, self.iterations),
        )
        return white | trained | calibration(trained, pooled_white(white, data.normal.deepest))

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the sum of the two parts (n,), each standardised on the training normals."""
        raw = parts(state, pooled_white(state, images.deepest), state["centre"])
        heads = {name: (raw[name] - state[f"{name}.mean"]) / state[f"{name}.std"] for name in HEADS}
        return Scores(heads["reconstruction"] + heads["distance"], heads)

    def _loss(self, state: State, batch: Batch) -> torch.Tensor:
        z = embed(state, batch.features)
        normal, seen = batch.labels == NORMAL, batch.labels == SEEN
        error = (mlp(state, "decoder", z[normal]) - batch.features[normal]).square().mean()
        anchor, positive = z[normal].chunk(2)
        loss = triplet_loss(anchor, positive, z[seen], margin=self.margin)
        return error + self.margin_weight * loss


def pooled_white(white: State, maps: Rows) -> torch.Tensor:
    """Average whitened position vectors: maps (n, ..., c, h, w) -> (n, ..., c).

    The whitening is affine, so averaging first gives the same and is P times cheaper.
    """
    means = torch.cat([maps.take(part).flatten(-2).mean(-1) for part in batched(len(maps))])
    return matmul(means - white["whiten.mean"], white["whiten.matrix"])


def pooled_training(white: State, data: TrainingData) -> TrainingData:
    """Replace the rotated views of all training images by pooled whitened ones (n, R, c)."""

    def prepare(images: ImageSet) -> ImageSet:
        views = images.need("rotated")
        pooled = pooled_white(white, views)
        return replace(images, rotated=Rows(pooled, torch.arange(len(views)), views.device))

    return replace(data, normal=prepare(data.normal), anomaly=prepare(data.anomaly))


def embed(state: State, x: torch.Tensor) -> torch.Tensor:
    """Encode pooled vectors (n, c) as points of the unit sphere (n, embedding)."""
    z = mlp(state, "encoder", x)
    return z * z.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()


def parts(state: State, x: torch.Tensor, centre: torch.Tensor) -> State:
    """Compute the parts of the score, not standardised.

    Args:
        state: ``encoder.*`` and ``decoder.*``.
        x: (n, c) pooled whitened vectors.
        centre: (embedding,) mean embedding of the normals.

    Returns:
        ``reconstruction``, the mean squared error over channels, and ``distance`` of the embedding
        to the centre, each (n,).
    """
    z = embed(state, x)
    return {
        "reconstruction": (mlp(state, "decoder", z) - x).square().mean(1),
        "distance": (z - centre).square().sum(1).sqrt(),
    }


def calibration(state: State, normals: torch.Tensor) -> State:
    """Return ``centre`` and, for both parts, mean and standard deviation on the normals.

    Args:
        state: ``encoder.*`` and ``decoder.*``.
        normals: (n, c) pooled whitened vectors of the training normals' plain views.
    """
    centre = embed(state, normals).double().mean(0).float()
    result = {"centre": centre}
    for name, value in parts(state, normals, centre).items():
        result[f"{name}.mean"] = value.double().mean().float()
        result[f"{name}.std"] = value.double().std(unbiased=False).clamp_min(1e-6).float()
    return result
