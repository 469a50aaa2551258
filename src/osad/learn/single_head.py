"""One affine top-K head on adapted position vectors: the network of DevNet, FLOS and AHL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from osad.core.seeds import torch_generator
from osad.learn.batches import Batch, averaged, balanced_batches
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import adapter, fused, init_adapter, init_linear, linear, top_k_mean
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData, batched
from osad.learn.lazy_torch import torch
from osad.learn.loop import divided, minimise


def train_head(
    data: TrainingData,
    hyper: Any,
    loss: Callable[[State, Batch], torch.Tensor],
    *,
    aim: bool = False,
) -> State:
    """Train adapter and head on batches of normals and seen anomalies in equal parts.

    Args:
        data: training images with plain and rotated views, at least one seen anomaly.
        hyper: the method, with its hyper-parameters ``epochs``, ``iterations``, ``batch`` (the odd
            image is normal), ``lr``, ``lr_step``, ``weight_decay``, ``adapter``, ``shrinkage``.
        loss: of whitened position vectors (batch, P, c), labelled 0 and 1.
        aim: start with the direction of the seen anomalies (see `aimed`).

    Returns:
        the whitening, ``head.*`` and ``adapter.*``.
    """
    white, data = whitened_training(data, hyper.shrinkage)
    generator = torch_generator(data.key, "init")
    channels = len(white["whiten.mean"])
    state = init_linear("head", channels, 1, generator)
    if aim:
        towards = mean_position(data, data.anomaly.need("rotated"), white).unsqueeze(0)
        state["head.weight"] = aimed(state["head.weight"], towards)
    state |= init_adapter(channels, hyper.adapter, generator) | data.started(white)
    half, steps = hyper.batch // 2, hyper.epochs * hyper.iterations
    trained = minimise(
        state,
        balanced_batches(data, steps, normals=hyper.batch - half, anomalies=half),
        loss,
        device=data.normal.deepest.device,
        lr=hyper.lr,
        weight_decay=hyper.weight_decay,
        schedule=divided(hyper.lr_step, hyper.iterations),
        journal=data.journal,
    )
    return white | trained


def mean_position(data: TrainingData, views: Rows, white: State) -> torch.Tensor:
    """Average whitened training views (n, R, P, c) over everything but channels: (c,) float32.

    The plain normals' mean is 0, so this is the direction from them to the images given. Of a
    network in training it is the direction at its start.
    """
    start = data.started(white)

    def total(part: slice) -> torch.Tensor:
        taken = views.take(part)
        if start:
            vectors, *_ = data.vectors(start, taken.flatten(0, 1), training=False)
            taken = vectors.unflatten(0, taken.shape[:2])
        return taken.mean((1, 2)).sum(0)

    return torch.stack([total(part) for part in batched(len(views))]).sum(0) / len(views)


def aimed(weight: torch.Tensor, towards: torch.Tensor) -> torch.Tensor:
    """Give initial affine maps a direction and leave their length.

    A top-K head without |.| sees an anomaly only at the positions that it ranks highest. When its
    random weights happen to point away from the defect, these are never the defect's, no gradient
    turns the head round, and it learns the noise of the few seen anomalies by heart.

    Weights (k, c) and directions (k, c); a row whose direction is 0 stays as it was.

    Example:
        >>> import torch
        >>> aimed(torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([[0.0, -2.0], [0.0, 0.0]]))
        tensor([[ 0., -5.],
                [ 3.,  4.]])
    """
    towards = towards.to(weight.device)
    length = towards.square().sum(1, keepdim=True).sqrt()
    scale = weight.square().sum(1, keepdim=True).sqrt() / length.clamp_min(1e-12)
    return torch.where(length == 0, weight, scale * towards)


def position_scores(state: State, x: torch.Tensor, *, absolute: bool) -> torch.Tensor:
    """Apply adapter (where the state has one) and head to position vectors (n, P, c): (n, P).

    Args:
        state: ``head.weight`` (1, c), ``head.bias`` (1,) and perhaps ``adapter.*``.
        x: whitened position vectors.
        absolute: take |.|. It belongs to the deviation loss; with a loss on logits it keeps
            every normal at probability 0.5 or more.
    """
    scores = linear(state, "head", adapter(state, x)).squeeze(-1)
    return scores.abs() if absolute else scores


def image_scores(state: State, x: torch.Tensor, *, absolute: bool) -> torch.Tensor:
    """Average the top 10 % of the position scores of each image: (n, P, c) -> (n,)."""
    return top_k_mean(position_scores(state, x, absolute=absolute))


def score_maps(state: State, images: ImageSet, *, absolute: bool) -> Scores:
    """Score images by the fitted head.

    Returns:
        total (n,), the mean of the top 10 % of the position scores, and these as maps (n, h, w).
    """
    found = [
        rows.map(
            lambda part: position_scores(state, whiten(state, part), absolute=absolute)
        ).unflatten(1, rows.size)
        for rows in images.scales
    ]
    return Scores(averaged([top_k_mean(maps.flatten(1)) for maps in found]), maps=fused(found))
