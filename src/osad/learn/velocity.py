"""The velocity network of the flow methods, its inputs and its moving average.

A flow moves position vectors x at time 0 to a simple distribution at time 1 along a velocity
v(x, t) that a network learns. The network is a residual stack of per-position maps; one depthwise
convolution a block lets a position see its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from osad.core.errors import TrainingError
from osad.core.lazy import lazy
from osad.core.seeds import numpy_generator
from osad.learn.batches import NORMAL, Batch, endless
from osad.learn.heads import init_linear, linear, positions
from osad.learn.images import Rows, State, TrainingData
from osad.learn.loop import batched
from osad.learn.products import eigh, matmul

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

TIME_SCALE = 1000.0
"""Times in [0, 1] are embedded like the step numbers of a process of 1000 steps."""
LONGEST_PERIOD = 10000.0


def time_embedding(t: torch.Tensor, size: int) -> torch.Tensor:
    """Embed times by cosines and sines of geometrically spaced frequencies.

    Args:
        t: (n,) float32 in [0, 1].
        size: even, 2 or more.

    Returns:
        (n, size): cosines, then sines, of 1000 t * 10000^(-2 i / size), i = 0 .. size/2 - 1.

    Source:
        Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, with diffusion models' time scale.

    Example:
        >>> import torch
        >>> time_embedding(torch.zeros(1), 4)
        tensor([[1., 1., 0., 0.]])
    """
    half = size // 2
    exponents = torch.arange(half, dtype=t.dtype, device=t.device) / half
    angles = TIME_SCALE * t.unsqueeze(1) * torch.exp(-math.log(LONGEST_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], 1)


def init_velocity(
    channels: int,
    width: int,
    blocks: int,
    generator: torch.Generator,
    *,
    embedding: int = 128,
) -> State:
    """Initialise a velocity network; its last layer is zero, so it starts as v = 0.

    Args:
        channels: c, of the vectors and of the velocity.
        width: of the residual stack.
        blocks: number of residual blocks.
        generator: source of the draws.
        embedding: size of the time embedding, even.

    Returns:
        tensors under the prefix ``velocity.``.
    """
    state = init_linear("velocity.in", channels, width, generator)
    state |= init_linear("velocity.time", embedding, width, generator)
    for block in range(blocks):
        prefix = f"velocity.{block}"
        around = init_linear(f"{prefix}.around", 9, width, generator)
        around[f"{prefix}.around.weight"] = around[f"{prefix}.around.weight"].view(width, 1, 3, 3)
        state |= around
        for layer in ("time", "up", "down"):
            state |= init_linear(f"{prefix}.{layer}", width, width, generator)
    state["velocity.out.weight"] = torch.zeros(channels, width)
    state["velocity.out.bias"] = torch.zeros(channels)
    return state


def velocity(state: State, x: torch.Tensor, t: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Compute the velocity of position vectors at their images' times.

    A block is h + down(silu(up(norm(around(h))) + time(t))), with a 3x3 depthwise convolution
    (zero padding) as ``around`` and a layer norm without parameters.

    Args:
        state: see `init_velocity`.
        x: (n, P, c) float32.
        t: (n,) in [0, 1].
        size: height and width of the maps, P = height * width.

    Returns:
        (n, P, c).
    """
    embedding = state["velocity.time.weight"].shape[1]
    time = F.silu(linear(state, "velocity.time", time_embedding(t, embedding)))
    h = linear(state, "velocity.in", x)
    width = h.shape[-1]
    block = 0
    while f"velocity.{block}.up.weight" in state:
        prefix = f"velocity.{block}"
        # As a view with the channels last, which the convolution reads without a copy.
        around = F.conv2d(
            h.transpose(1, 2).unflatten(2, size),
            state[f"{prefix}.around.weight"],
            state[f"{prefix}.around.bias"],
            padding=1,
            groups=width,
        )
        normed = F.layer_norm(around.flatten(2).transpose(1, 2), (width,))
        moment = linear(state, f"{prefix}.time", time).unsqueeze(1)
        hidden = F.silu(linear(state, f"{prefix}.up", normed) + moment)
        h = h + linear(state, f"{prefix}.down", hidden)
        block += 1
    return linear(state, "velocity.out", F.layer_norm(h, (width,)))


def ema_update(average: State, current: State, decay: float) -> None:
    """Move an exponential moving average towards the current tensors, in place.

    Args:
        average: tensors that become decay * average + (1 - decay) * current.
        current: at least the same names.
        decay: in [0, 1).
    """
    for name, value in average.items():
        value.lerp_(current[name].detach(), 1 - decay)


class MovingAverage:
    """Moving average of the tensors over the steps of a fit, for ``after_step`` of `minimise`.

    Its decay at step s (from 0) is min(decay, (1 + s) / (10 + s)), so that the initial tensors
    are forgotten in a short training too.

    Attributes:
        state: the averaged tensors.
    """

    def __init__(self, state: State, decay: float) -> None:
        """Start at copies of the tensors."""
        self.state = {name: value.detach().clone() for name, value in state.items()}
        self._decay = decay
        self._step = 0

    def __call__(self, current: State) -> None:
        """Take in the tensors after one more step."""
        warm = (1 + self._step) / (10 + self._step)
        ema_update(self.state, current, min(self._decay, warm))
        self._step += 1


def fit_projection(rows: Rows, dims: int, *, shrinkage: float = 1.0) -> State:
    """Fit standardisation of channels and principal components on plain views of normals.

    Args:
        rows: (n, c, h, w).
        dims: d, principal components of the standardised channels that are kept; at most c are.
        shrinkage: in (0, 1]; components are divided by sqrt((1 - shrinkage) variance +
            shrinkage). 1 keeps the components' variances, smaller values equalise them.

    Returns:
        ``projection.mean`` (c,) and ``projection.matrix`` (c, d), float32.

    Raises:
        TrainingError: a feature is not finite.
    """
    channels = rows.tensor.shape[1]
    total = torch.zeros(channels, dtype=torch.float64, device=rows.device)
    square = torch.zeros(channels, channels, dtype=torch.float64, device=rows.device)
    count = 0
    for part in batched(len(rows)):
        x = positions(rows.take(part)).flatten(0, 1)
        total += x.double().sum(0)
        square += matmul(x.T, x).double()
        count += len(x)
    mean = total / count
    covariance = square / count - torch.outer(mean, mean)
    if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
        raise TrainingError("features of the normals are not finite; rebuild the feature packs")
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    # A channel that never varies says nothing; it is centred but not blown up.
    deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    correlation = covariance / torch.outer(deviation, deviation)
    values, vectors = eigh(correlation)
    values, vectors = values.flip(0)[:dims].clamp_min(0), vectors.flip(1)[:, :dims]
    # Each component's largest entry is made positive: a convention in place of a free sign.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * torch.where(largest < 0, -1.0, 1.0)
    if shrinkage < 1:
        vectors = vectors * ((1 - shrinkage) * values + shrinkage).rsqrt()
    matrix = vectors / deviation.unsqueeze(1)
    return {"projection.mean": mean.float(), "projection.matrix": matrix.float()}


def project(state: State, maps: torch.Tensor) -> torch.Tensor:
    """Turn maps (n, c, h, w) into projected position vectors (n, h*w, d)."""
    return matmul(positions(maps) - state["projection.mean"], state["projection.matrix"])


def projected_normals(data: TrainingData, state: State) -> torch.Tensor:
    """Project the plain views of the training normals once: (n, P, d) float16, in their order."""
    rows = data.normal.deepest
    return torch.cat([project(state, rows.take(part)).half() for part in batched(len(rows))])


def flow_batches(
    vectors: torch.Tensor, key: str, steps: int, size: int, *, purpose: str = "batches"
) -> Iterator[Batch]:
    """Yield batches of normals' position vectors, drawn by permutations put end to end.

    Args:
        vectors: (n, P, d), see `projected_normals`.
        key: the data's key; with ``purpose`` it keys all draws.
        steps: number of batches.
        size: images in each.
        purpose: name of the stream of draws.

    Yields:
        features (size, P, d) float32 and labels that are all normal.
    """
    order = endless(len(vectors), steps * size, numpy_generator(key, purpose))
    labels = torch.full((size,), NORMAL, device=vectors.device)
    for chosen in torch.from_numpy(order).view(steps, size):
        yield Batch(vectors[chosen.to(vectors.device)].float(), labels)
