"""The velocity network of the flow methods and its training on the normals.

A flow moves position vectors x at time 0 to a simple distribution at time 1 along a velocity
v(x, t) that a network learns. The network is a residual stack of per-position maps; one depthwise
convolution a block lets a position see its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from osad.core.seeds import numpy_generator, torch_generator
from osad.learn.batches import NORMAL, Batch, endless
from osad.learn.gaussian import check_finite, position_moments
from osad.learn.heads import init_linear, linear, positions, zero_linear
from osad.learn.images import Rows, State, TrainingData
from osad.learn.lazy_torch import F, torch
from osad.learn.loop import cosine, minimise
from osad.learn.products import eigh, matmul

TIME_SCALE = 1000.0
"""Times in [0, 1] are embedded like the step numbers of a process of 1000 steps."""
LONGEST_PERIOD = 10000.0
Ends = Callable[["torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]


def time_embedding(t: torch.Tensor, size: int) -> torch.Tensor:
    """Embed times (n,) in [0, 1] by geometrically spaced frequencies: (n, size), size even.

    Cosines, then sines, of 1000 t * 10000^(-2 i / size), i = 0 .. size/2 - 1.

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
    """Initialise a velocity network ``velocity.*``; its last layer is zero, so it starts as v = 0.

    It has ``width`` channels in ``blocks`` residual blocks; the time embedding's size is even.
    """
    state = init_linear("velocity.in", channels, width, generator)
    state |= init_linear("velocity.time", embedding, width, generator)
    for block in range(blocks):
        prefix = f"velocity.{block}"
        state |= init_linear(f"{prefix}.around", 9, width, generator)
        kernel = state[f"{prefix}.around.weight"]
        state[f"{prefix}.around.weight"] = kernel.view(width, 1, 3, 3)
        for layer in ("time", "up", "down"):
            state |= init_linear(f"{prefix}.{layer}", width, width, generator)
    return state | zero_linear("velocity.out", width, channels)


def velocity(state: State, x: torch.Tensor, t: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Compute the velocity of position vectors at their images' times.

    A block is h + down(silu(up(norm(around(h))) + time(t))), with a 3x3 depthwise convolution
    (zero padding) as ``around`` and a layer norm without parameters.

    Args:
        state: see `init_velocity`.
        x: (n, P, c) float32; so is the result.
        t: (n,) in [0, 1].
        size: height and width of the maps, P = height * width.
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


class MovingAverage:
    """Moving average of the tensors over the steps of a fit, for ``after_step`` of `minimise`.

    Its decay at step s (from 0) is min(decay, (1 + s) / (10 + s)), so that the initial tensors
    are forgotten in a short training too.

    Attributes:
        state: the averaged tensors, on the device.
    """

    def __init__(self, state: State, decay: float, device: torch.device | None = None) -> None:
        """Start at copies of the tensors."""
        self.state = {name: value.to(device, copy=True) for name, value in state.items()}
        self._decay = decay
        self._step = 0

    def __call__(self, current: State) -> None:
        """Take in the tensors after one more step."""
        decay = min(self._decay, (1 + self._step) / (10 + self._step))
        for name, value in self.state.items():
            value.lerp_(current[name].detach(), 1 - decay)
        self._step += 1


def fit_projection(rows: Rows, dims: int, *, shrinkage: float) -> State:
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
    mean, covariance = position_moments(rows)
    check_finite(mean, covariance)
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    # A channel that never varies says nothing; it is centred but not blown up.
    deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    correlation = covariance / torch.outer(deviation, deviation)
    values, vectors = eigh(correlation)
    values, vectors = values.flip(0)[:dims].clamp_min(0), vectors.flip(1)[:, :dims]
    if shrinkage < 1:
        vectors = vectors * ((1 - shrinkage) * values + shrinkage).rsqrt()
    matrix = vectors / deviation.unsqueeze(1)
    return {"projection.mean": mean.float(), "projection.matrix": matrix.float()}


def project(state: State, maps: torch.Tensor) -> torch.Tensor:
    """Turn maps (n, c, h, w) into projected position vectors (n, h*w, d)."""
    return matmul(positions(maps) - state["projection.mean"], state["projection.matrix"])


def flow_batches(vectors: torch.Tensor, key: str, steps: int, size: int) -> Iterator[Batch]:
    """Yield ``steps`` batches of vectors (n, P, d) as (size, P, d) float32, all labelled normal.

    They are drawn by permutations put end to end, keyed on ``key``.
    """
    order = endless(len(vectors), steps * size, numpy_generator(key, "batches"))
    labels = torch.full((size,), NORMAL, device=vectors.device)
    for chosen in torch.from_numpy(order).view(steps, size):
        yield Batch(vectors[chosen.to(vectors.device)].float(), labels)


@dataclass(frozen=True)
class FlowLoss:
    """Flow matching on straight paths, E|v(a + t (b - a), t) - (b - a)|² over all elements.

    Attributes:
        ends: gives start a and end b, (n, P, d) each, of the paths of vectors x (n, P, d) and of
            standard normal draws of the same shape.
        size: height and width of the maps.
        generator: of the normal draws and of the times t, one per image, anew in each step.
    """

    ends: Ends
    size: tuple[int, int]
    generator: torch.Generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""
        x = batch.features
        noise = torch.randn(x.shape, generator=self.generator).to(x)
        t = torch.rand(len(x), generator=self.generator).to(x)
        start, end = self.ends(x, noise)
        displacement = end - start
        between = start + t[:, None, None] * displacement
        return (velocity(state, between, t, self.size) - displacement).square().mean()


def train_flow(data: TrainingData, hyper: Any, ends: Ends, *, steps: int, purpose: str) -> State:
    """Fit the projection and train the velocity network on the plain normals.

    Args:
        data: training images with plain maps.
        hyper: the method, with its hyper-parameters ``dims``, ``shrinkage``, ``width``, ``blocks``,
            ``batch``, ``lr`` (which falls along a cosine), ``weight_decay``, ``ema``.
        ends: see `FlowLoss`.
        steps: number of steps.
        purpose: name of the stream of the loss's draws.

    Returns:
        ``projection.*`` and the moving average of ``velocity.*``.
    """
    rows = data.normal.deepest
    projection = fit_projection(rows, hyper.dims, shrinkage=hyper.shrinkage)
    vectors = rows.map(lambda maps: project(projection, maps).half())
    generator = torch_generator(data.key, "init")
    state = init_velocity(vectors.shape[2], hyper.width, hyper.blocks, generator)
    average = MovingAverage(state, hyper.ema, rows.device)
    minimise(
        state,
        flow_batches(vectors, data.key, steps, hyper.batch),
        FlowLoss(ends, rows.size, torch_generator(data.key, purpose)),
        device=rows.device,
        lr=hyper.lr,
        weight_decay=hyper.weight_decay,
        decoupled=True,
        schedule=cosine(steps),
        after_step=average,
    )
    return projection | average.state
