"""One affine top-K head on adapted position vectors: the network that DevNet and FLOS share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn.batches import Batch, balanced_batches
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import adapter, init_adapter, init_linear, linear, top_k_mean
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.learn.loop import batched

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


def half_and_half(
    data: TrainingData,
    *,
    steps: int,
    batch: int,
    adapter_width: int,
    shrinkage: float,
    aim: bool = False,
) -> tuple[State, State, Iterator[Batch]]:
    """Prepare training of the head on batches of normals and seen anomalies in equal parts.

    Args:
        data: training images with plain and rotated views, at least one seen anomaly.
        steps: number of batches.
        batch: images of a batch; the odd one is normal.
        adapter_width: hidden width of the adapter; 0 leaves it out.
        shrinkage: see `whitened_training`.
        aim: start with the direction of the seen anomalies (see `aimed`).

    Returns:
        the whitening; the initial ``head.*`` and ``adapter.*``, on the device of the data; and the
        batches of whitened position vectors (batch, P, c), labelled 0 and 1.
    """
    white, data = whitened_training(data, shrinkage)
    generator = torch_generator(data.key, "init")
    channels = len(white["whiten.mean"])
    state = init_linear("head", channels, 1, generator)
    if aim:
        towards = mean_position(data.anomaly.need("rotated")).unsqueeze(0)
        state["head.weight"] = aimed(state["head.weight"], towards)
    if adapter_width:
        state |= init_adapter(channels, adapter_width, generator)
    device = data.normal.deepest.device
    half = batch // 2
    return (
        white,
        {name: value.to(device) for name, value in state.items()},
        balanced_batches(data, steps, normals=batch - half, anomalies=half),
    )


def mean_position(views: Rows) -> torch.Tensor:
    """Average whitened training views (n, R, P, c) over everything but channels: (c,) float32.

    The plain normals' mean is 0, so this is the direction from them to the images given.
    """
    sums = [views.take(part).mean((1, 2)).sum(0) for part in batched(len(views))]
    return torch.stack(sums).sum(0) / len(views)


def aimed(weight: torch.Tensor, towards: torch.Tensor) -> torch.Tensor:
    """Give initial affine maps a direction and leave their length.

    A top-K head without |.| sees an anomaly only at the positions that it ranks highest. When its
    random weights happen to point away from the defect, these are never the defect's, no gradient
    turns the head round, and it learns the noise of the few seen anomalies by heart.

    Args:
        weight: (k, c), random rows.
        towards: (k, c), a direction for each row.

    Returns:
        (k, c); a row whose direction is 0 stays as it was.

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
        absolute: take |.|; it belongs to the deviation loss (see `plain_head`).
    """
    if "adapter.up.weight" in state:
        x = adapter(state, x)
    scores = linear(state, "head", x).squeeze(-1)
    return scores.abs() if absolute else scores


def image_scores(state: State, x: torch.Tensor, *, absolute: bool) -> torch.Tensor:
    """Average the top 10 % of the position scores of each image: (n, P, c) -> (n,)."""
    return top_k_mean(position_scores(state, x, absolute=absolute))


def score_maps(state: State, images: ImageSet, *, absolute: bool) -> Scores:
    """Score images by the fitted head.

    Returns:
        total (n,), the mean of the top 10 % of the position scores, and these as maps (n, h, w).
    """
    rows = images.deepest
    maps = torch.cat(
        [
            position_scores(state, whiten(state, rows.take(part)), absolute=absolute)
            for part in batched(len(images))
        ]
    )
    height, width = rows.tensor.shape[2:]
    return Scores(top_k_mean(maps), maps=maps.unflatten(1, (height, width)))
