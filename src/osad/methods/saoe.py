"""SAOE: a head with the classes normal, seen and pseudo, and outlier exposure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch, balanced_batches
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import adapter, init_adapter, init_linear, linear, top_k_mean
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import F, torch
from osad.learn.loop import divided, minimise
from osad.learn.single_head import aimed, mean_position
from osad.methods.fields import at_least, not_negative, positive, share
from osad.methods.registry import method

CLASSES = (NORMAL, SEEN, PSEUDO)
"""The labels of a batch are the numbers of the head's classes."""
OUTLIER = len(CLASSES)
"""Label of outliers, which belong to no class."""


@method(
    title="SAOE",
    paper="seen and pseudo anomalies with outlier exposure (Hendrycks et al., ICLR 2019), "
    "as a baseline of Ding et al., CVPR 2022",
    packs=("plain", "rotated", "pseudo"),
    maps=True,
    full_budget={"epochs": 30, "adapter": 128},
    images={"images": {"epochs": 30, "lr": 2e-4, "adapter": 0}},
)
@dataclass(frozen=True)
class SAOE:
    """SAOE on cached features."""

    epochs: int = at_least(1, 20, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(
        3,
        48,
        "images of a step, a third each normal, seen and pseudo-anomalous; as many outliers as a "
        "third come on top",
    )
    exposure: float = not_negative(0.5, "weight of the outliers' term")
    lr: float = positive(2e-3, "learning rate of Adam")
    lr_step: int = at_least(1, 10, "epochs between divisions of the learning rate by 10")
    weight_decay: float = not_negative(1e-5, "L2 term")
    adapter: int = not_negative(32, "hidden width of the residual adapter; 0 leaves it out")
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def fit(self, data: TrainingData) -> State:
        """Train adapter and head; all tensors of the model are returned."""
        white, data = whitened_training(data, self.shrinkage)
        generator = torch_generator(data.key, "init")
        channels = len(white["whiten.mean"])
        state = init_linear("head", channels, len(CLASSES), generator)
        seen = mean_position(data, data.anomaly.need("rotated"), white)
        pseudo = mean_position(data, data.normal.need("pseudo"), white)
        towards = torch.stack([-seen, seen, pseudo])
        state["head.weight"] = aimed(state["head.weight"], towards)
        state |= init_adapter(channels, self.adapter, generator) | data.started(white)
        each, draws = self.batch // len(CLASSES), torch_generator(data.key, "outliers")
        trained = minimise(
            state,
            exposed_batches(data, self.epochs * self.iterations, each),
            lambda state, batch: self._loss(state, with_outliers(batch, each, draws)),
            device=data.normal.deepest.device,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=divided(self.lr_step, self.iterations),
            journal=data.journal,
            draws=draws,
        )
        return white | trained

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the log-odds of not being normal (n,), and those of the positions (n, h, w)."""
        rows = images.deepest
        logits = rows.map(lambda maps: position_logits(state, whiten(state, maps)))
        return Scores(log_odds(top_k_mean(logits)), maps=log_odds(logits).unflatten(1, rows.size))

    def _loss(self, state: State, batch: Batch) -> torch.Tensor:
        logits = top_k_mean(position_logits(state, batch.features))
        outlier = batch.labels == OUTLIER
        loss = F.cross_entropy(logits[~outlier], batch.labels[~outlier])
        return loss + self.exposure * uniform_cross_entropy(logits[outlier])


def position_logits(state: State, x: torch.Tensor) -> torch.Tensor:
    """Apply adapter (where the state has one) and head to position vectors: (n, P, c) -> (n, P, 3).

    The mean of the top 10 % of each channel gives an image's three logits.
    """
    return linear(state, "head", adapter(state, x))


def uniform_cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy between the uniform distribution and that of logits (n, C).

    It is at least log C, which it takes when every prediction is uniform.

    Source:
        Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019
        (arXiv 1812.04606), section 4.3.

    Example:
        >>> import torch
        >>> uniform_cross_entropy(torch.zeros(2, 3))  # log(3)
        tensor(1.0986)
    """
    return -F.log_softmax(logits, dim=1).mean()


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Compute log((1 - p) / p) of the normal class: (..., 3) -> (...).

    It orders images as 1 - p does, but does not round to 1 where p is below 1e-7 (float32), which
    would tie the clearest anomalies.

    Example:
        >>> import torch
        >>> log_odds(torch.tensor([0.0, 0.0, 0.0]))  # p = 1/3, log(2)
        tensor(0.6931)
    """
    return logits[..., 1:].logsumexp(-1) - logits[..., NORMAL]


def exposed_batches(data: TrainingData, steps: int, each: int) -> Iterator[Batch]:
    """Yield batches of ``each`` normals, seen and pseudo anomalies, and what outliers are made of.

    They are labelled 0, 1, 2 and, 2 * each normals, 3 (`OUTLIER`).
    """
    known = balanced_batches(data, steps, normals=each, anomalies=each)
    pseudo = balanced_batches(data, steps, normals=each, anomalies=0, pseudo=1.0, purpose="pseudo")
    sources = balanced_batches(data, steps, normals=2 * each, anomalies=0, purpose="exposure")
    for first, second, source in zip(known, pseudo, sources, strict=True):
        label = torch.full_like(source.labels, OUTLIER)
        yield replace(
            first,
            features=torch.cat([first.features, second.features, source.features]),
            labels=torch.cat([first.labels, second.labels, label]),
        )


def with_outliers(batch: Batch, each: int, generator: torch.Generator) -> Batch:
    """Make ``each`` outliers of the last 2 * each position vectors (n, P, c) of a batch."""
    kept = len(batch.labels) - 2 * each
    exposed = outliers(batch.features[kept : kept + each], batch.features[kept + each :], generator)
    return Batch(torch.cat([batch.features[:kept], exposed]), batch.labels[: kept + each])


def outliers(a: torch.Tensor, b: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Make feature maps of things that are none of the classes from those of normals.

    The channels of ``b`` are permuted, the same way at all positions of an image, which keeps the
    length and the spatial coherence of its vectors but not their direction. A share in [0, 0.5] of
    ``a``, whose positions are shuffled, is mixed in, and the mix is brought back to the variance
    of whitened vectors.

    Args:
        a: (n, P, c) whitened position vectors of normals.
        b: (n, P, c) of other normals.
        generator: source of the draws.

    Source:
        Choice of this benchmark; outlier exposure takes images of other data sets.
    """
    n, n_positions, channels = a.shape
    share = 0.5 * torch.rand(n, 1, 1, generator=generator)
    order = torch.rand(n, n_positions, 1, generator=generator).argsort(1).to(a.device)
    permutation = torch.rand(n, 1, channels, generator=generator).argsort(2).to(a.device)
    scale = (share.square() + (1 - share).square()).rsqrt()
    shuffled = a.gather(1, order.expand_as(a))
    permuted = b.gather(2, permutation.expand_as(b))
    return (scale * share).to(a.device) * shuffled + (scale * (1 - share)).to(a.device) * permuted
