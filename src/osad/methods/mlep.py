"""MLEP: reconstruction from an embedding that a margin keeps away from the seen anomalies."""

from __future__ import annotations

from dataclasses import dataclass

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, SEEN, Batch, balanced_batches
from osad.learn.gaussian import position_whitening, scales, standardised
from osad.learn.heads import init_mlp, mlp
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.learn.lazy_torch import F, torch
from osad.learn.loop import divided, minimise
from osad.learn.products import matmul
from osad.methods.fields import at_least, not_negative, positive, share
from osad.methods.registry import method


@method(
    title="MLEP",
    paper="Liu et al., Margin Learning Embedded Prediction for Video Anomaly Detection with A Few "
    "Anomalies, IJCAI 2019, as a baseline of Ding et al., CVPR 2022",
    packs=("plain", "rotated"),
    heads=("reconstruction", "distance"),
    images={"images": {}},
)
@dataclass(frozen=True)
class MLEP:
    """MLEP on cached features."""

    epochs: int = at_least(1, 30, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(
        3,
        48,
        "images of a step, a third each anchors, positives (both normal) and negatives (seen "
        "anomalies)",
    )
    margin: float = positive(1.0, "of the triplets; embeddings have norm 1, distances reach 2")
    margin_weight: float = not_negative(1.0, "weight of the triplets beside the reconstruction")
    lr: float = positive(2e-4, "learning rate of Adam")
    lr_step: int = at_least(1, 10, "epochs between divisions of the learning rate by 10")
    weight_decay: float = not_negative(1e-5, "L2 term")
    head_width: int = at_least(1, 256, "hidden width of encoder and decoder")
    embedding: int = at_least(1, 128, "dimensions of the embedding")
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def fit(self, data: TrainingData) -> State:
        """Train encoder and decoder; ``centre`` (embedding,) and both parts' scales are kept."""
        white = position_whitening(data.normal.deepest, self.shrinkage)
        channels = len(white["whiten.mean"])
        generator = torch_generator(data.key, "init")
        state = init_mlp("encoder", (channels, self.head_width, self.embedding), generator)
        state |= init_mlp("decoder", (self.embedding, self.head_width, channels), generator)
        third, steps = self.batch // 3, self.epochs * self.iterations
        pooled = data.with_views(
            lambda views: Rows(pooled_white(white, views), torch.arange(len(views)), views.device)
        )
        trained = minimise(
            state | data.started(white),
            balanced_batches(pooled, steps, normals=2 * third, anomalies=third),
            self._loss,
            device=data.normal.deepest.device,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, self.iterations),
            journal=data.journal,
        )
        normals = pooled_white(white, data.normal.through(trained).deepest)
        centre = embed(trained, normals).double().mean(0).float()
        scale = scales(parts(trained, normals, centre))
        return white | trained | {"centre": centre} | scale

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the sum of the two parts (n,), each standardised on the training normals."""
        raw = parts(state, pooled_white(state, images.deepest), state["centre"])
        heads = standardised(state, raw)
        return Scores(heads["reconstruction"] + heads["distance"], heads)

    def _loss(self, state: State, batch: Batch) -> torch.Tensor:
        # A network in training gives position vectors.
        x = batch.features if batch.features.ndim == 2 else batch.features.mean(1)
        z = embed(state, x)
        normal, seen = batch.labels == NORMAL, batch.labels == SEEN
        error = (mlp(state, "decoder", z[normal]) - x[normal]).square().mean()
        anchor, positive = z[normal].chunk(2)
        loss = triplet_loss(anchor, positive, z[seen], margin=self.margin)
        return error + self.margin_weight * loss


def pooled_white(white: State, maps: Rows) -> torch.Tensor:
    """Average whitened position vectors: maps (n, ..., c, h, w) -> (n, ..., c).

    The whitening is affine, so averaging first gives the same and is P times cheaper.
    """
    means = maps.map(lambda part: part.flatten(-2).mean(-1))
    return matmul(means - white["whiten.mean"], white["whiten.matrix"])


def embed(state: State, x: torch.Tensor) -> torch.Tensor:
    """Encode pooled vectors (n, c) as points of the unit sphere (n, embedding)."""
    z = mlp(state, "encoder", x)
    return z * z.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()


def parts(state: State, x: torch.Tensor, centre: torch.Tensor) -> State:
    """Compute the parts of the score of pooled whitened vectors (n, c), not standardised.

    Returns:
        ``reconstruction``, the mean squared error over channels, and ``distance`` of the embedding
        to the normals' mean (embedding,), each (n,).
    """
    z = embed(state, x)
    return {
        "reconstruction": (mlp(state, "decoder", z) - x).square().mean(1),
        "distance": (z - centre).square().sum(1).sqrt(),
    }


def triplet_loss(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, *, margin: float
) -> torch.Tensor:
    """Compute the triplet loss, mean of max(0, d(a, p) - d(a, n) + margin), d Euclidean.

    Vectors (n, d) each; negatives are to be farther from the anchor than positives by ``margin``.

    Source:
        Schroff et al., FaceNet, CVPR 2015 (arXiv 1503.03832), eq. 3, with distances instead of
        their squares.

    Example:
        >>> import torch
        >>> a, p = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
        >>> triplet_loss(a, p, torch.tensor([[0.0, 2.0]]), margin=1)
        tensor(4.)
    """
    return F.relu(_distance(anchor, positive) - _distance(anchor, negative) + margin).mean()


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return distances of rows, with gradient 0 where they coincide (the root has none there)."""
    return (a - b).square().sum(1).clamp_min(1e-12).sqrt()
