"""Mean, covariance and whitening of normal features."""

from __future__ import annotations

import math

from osad.core.errors import TrainingError
from osad.learn.heads import positions
from osad.learn.images import Rows, State, TrainingData, batched
from osad.learn.lazy_torch import torch
from osad.learn.products import eigh, matmul


def shrunk(covariance: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Shrink a covariance (d, d) towards the multiple of the identity with the same trace.

    ``shrinkage``, in [0, 1], is the weight of the identity.

    Source:
        Ledoit and Wolf 2004, with a fixed weight.

    Example:
        >>> import torch
        >>> shrunk(torch.diag(torch.tensor([3.0, 1.0])), 0.5).diagonal()
        tensor([2.5000, 1.5000])
    """
    d = len(covariance)
    target = torch.eye(d, dtype=covariance.dtype, device=covariance.device)
    return (1 - shrinkage) * covariance + shrinkage * covariance.trace() / d * target


def whitening(
    mean: torch.Tensor, covariance: torch.Tensor, shrinkage: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (mean, W) such that (x - mean) @ W has the identity as (shrunk) covariance.

    Mean (d,) and covariance (d, d) are float64, the results float32. W is symmetric (ZCA), which
    keeps the channels' meaning and has no free rotation or sign, hence no arbitrary bits.

    Raises:
        TrainingError: mean or covariance is not finite.
    """
    check_finite(mean, covariance)
    values, vectors = eigh(shrunk(covariance, shrinkage))
    inverse_root = matmul(vectors * values.clamp_min(1e-12).rsqrt(), vectors.T)
    return mean.float(), inverse_root.float()


def check_finite(*values: torch.Tensor) -> None:
    """Check what was computed from the features of the normals.

    Raises:
        TrainingError: a value is not finite.
    """
    if not all(bool(value.isfinite().all()) for value in values):
        raise TrainingError("features of the normals are not finite; rebuild the feature packs")


def moments(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (d,) and covariance (d, d), divided by n, of vectors (n, d), as float64."""
    x = vectors.double()
    mean = x.mean(0)
    centred = x - mean
    return mean, matmul(centred.T, centred) / len(x)


def position_moments(maps: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (c,) and covariance (c, c) of the positions of maps (n, c, h, w), as float64."""
    channels = maps.channels
    total = torch.zeros(channels, dtype=torch.float64, device=maps.device)
    square = torch.zeros(channels, channels, dtype=torch.float64, device=maps.device)
    count = 0
    for part in batched(len(maps), positions=math.prod(maps.size)):
        x = positions(maps.take(part)).flatten(0, 1)
        total += x.double().sum(0)
        square += matmul(x.T, x).double()
        count += len(x)
    mean = total / count
    return mean, square / count - torch.outer(mean, mean)


def position_whitening(maps: Rows, shrinkage: float) -> State:
    """Fit the whitening of position vectors on plain views (n, c, h, w) of normals.

    Returns:
        ``whiten.mean`` (c,) and ``whiten.matrix`` (c, c), float32, see `whitening`.
    """
    mean, matrix = whitening(*position_moments(maps), shrinkage)
    return {"whiten.mean": mean, "whiten.matrix": matrix}


def whiten(state: State, maps: torch.Tensor) -> torch.Tensor:
    """Turn maps (n, c, h, w) into whitened position vectors (n, h*w, c)."""
    return matmul(positions(maps) - state["whiten.mean"], state["whiten.matrix"])


def whitened_training(data: TrainingData, shrinkage: float) -> tuple[State, TrainingData]:
    """Fit the whitening on the plain normals and whiten every training view once.

    Returns:
        the whitening (see `position_whitening`) and the training data whose augmented views
        (``rotated``, ``pseudo``, ...) are whitened position vectors (n, R, P, c), float16 in
        memory like the cache, in the set's own order. Views that a network in training makes are
        left alone: it whitens what it gives itself, by the state of `TrainingData.started`.

    Source:
        Choice of this benchmark: without it, heads on frozen features learn what varies most
        (on ELPV the cell type) instead of the defect.
    """
    state = position_whitening(data.normal.deepest, shrinkage)

    def whitened(views: Rows) -> Rows:
        n, (n_views, _, height, width) = len(views), views.tensor.shape[1:]
        shape = (n, n_views, height * width, len(state["whiten.mean"]))
        white = torch.empty(shape, dtype=torch.float16, device=views.device)
        for part in batched(n, 32):
            maps = views.take(part)
            white[part] = whiten(state, maps.flatten(0, 1)).half().unflatten(0, (-1, n_views))
        return Rows(white, torch.arange(n), views.device)

    return state, data.with_views(whitened)


def scales(parts: State) -> State:
    """Return the scales of parts (n,) of a score: ``scale.{name}.mean``, ``.std``, ``.least``."""
    result = {}
    for name, value in parts.items():
        result[f"scale.{name}.mean"] = value.double().mean().float()
        result[f"scale.{name}.std"] = value.double().std(unbiased=False).clamp_min(1e-6).float()
        result[f"scale.{name}.least"] = value.amin()
    return result


def standardised(state: State, parts: State) -> State:
    """Bring parts of a score (n,) to the scale on which `scales` found them.

    No part is less than on the images that gave the scale, the training normals: nothing can be
    more normal than all of them. Otherwise what is learned from a few anomalies would speak for
    whatever is unlike these, a black image for example.
    """
    return {
        name: (value.clamp_min(state[f"scale.{name}.least"]) - state[f"scale.{name}.mean"])
        / state[f"scale.{name}.std"]
        for name, value in parts.items()
    }


def summed(state: State, parts: State) -> torch.Tensor:
    """Add position scores (n, P) or (n, 1) of heads, each over its deviation where it has one."""
    total = torch.zeros(())
    for name, value in parts.items():
        deviation = f"scale.{name}.std"
        total = total + (value / state[deviation] if deviation in state else value)
    return total
