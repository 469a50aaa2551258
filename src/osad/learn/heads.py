"""Small networks on feature maps, as functions of named tensors.

Parameters live in a flat ``dict[str, Tensor]`` so that a checkpoint is the parameters and nothing
else. Each block has an ``init_*`` function that returns its parameters and a function that
applies it; ``prefix`` is the block's name inside the dictionary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from osad.learn import products
from osad.learn.images import State
from osad.learn.lazy_torch import F, torch


def init_linear(prefix: str, fan_in: int, fan_out: int, generator: torch.Generator) -> State:
    """Initialise an affine map: weight (fan_out, fan_in) and bias (fan_out,), uniform ±1/√fan_in.

    This is the default initialisation of torch's linear and convolution layers.
    """
    bound = 1 / math.sqrt(fan_in)
    return {
        f"{prefix}.weight": torch.empty(fan_out, fan_in).uniform_(
            -bound, bound, generator=generator
        ),
        f"{prefix}.bias": torch.empty(fan_out).uniform_(-bound, bound, generator=generator),
    }


def zero_linear(prefix: str, fan_in: int, fan_out: int) -> State:
    """Initialise an affine map that gives 0."""
    return {
        f"{prefix}.weight": torch.zeros(fan_out, fan_in),
        f"{prefix}.bias": torch.zeros(fan_out),
    }


def linear(state: State, prefix: str, x: torch.Tensor) -> torch.Tensor:
    """Apply an affine map to the last axis: (..., fan_in) -> (..., fan_out)."""
    return products.linear(x, state[f"{prefix}.weight"], state[f"{prefix}.bias"])


def positions(maps: torch.Tensor) -> torch.Tensor:
    """Turn maps (n, c, h, w) into position vectors (n, h*w, c), contiguous."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def init_adapter(channels: int, hidden: int, generator: torch.Generator) -> State:
    """Initialise the residual adapter; its last layer is zero, so it starts as the identity.

    Without a hidden width there is none: the result is empty.
    """
    if not hidden:
        return {}
    down = init_linear("adapter.down", channels, hidden, generator)
    return down | zero_linear("adapter.up", hidden, channels)


def adapter(state: State, x: torch.Tensor) -> torch.Tensor:
    """Apply A(x) = x + W2 relu(W1 x + b1) + b2 to vectors (..., c), if the state has an adapter.

    It stands in for fine-tuning the backbone, which cached features do not allow.
    """
    if "adapter.up.weight" not in state:
        return x
    return x + linear(state, "adapter.up", F.relu(linear(state, "adapter.down", x)))


def top_k_mean(scores: torch.Tensor, fraction: float = 0.1) -> torch.Tensor:
    """Average the K largest scores of each image, K = max(floor(fraction * P), 1).

    Args:
        scores: (n, P) float32, one per position.
        fraction: share of positions, in (0, 1].

    Returns:
        (n,) float32.

    Source:
        Top-K multiple-instance head of DevNet and DRA (K = 10 % of the positions).

    Example:
        >>> import torch
        >>> top_k_mean(torch.tensor([[1.0, 5.0, 3.0, 2.0]]), 0.5)
        tensor([4.])
    """
    k = max(int(fraction * scores.shape[1]), 1)
    return scores.topk(k, dim=1).values.mean(1)


def fused(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Average maps (n, h, w) of several sizes, brought to that of the first; of one, itself."""
    first, *others = maps
    resized = [
        F.interpolate(part[:, None], first.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        for part in others
    ]
    return torch.stack([first, *resized]).mean(0) if resized else first


def init_mlp(prefix: str, sizes: tuple[int, ...], generator: torch.Generator) -> State:
    """Initialise affine maps ``{prefix}.0``, ``{prefix}.1``, ... between the sizes given."""
    state: State = {}
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        state |= init_linear(f"{prefix}.{number}", fan_in, fan_out, generator)
    return state


def mlp(state: State, prefix: str, x: torch.Tensor) -> torch.Tensor:
    """Apply affine maps with ReLU between them to (..., c); a last axis of size 1 is dropped."""
    number = 0
    while f"{prefix}.{number + 1}.weight" in state:
        x = F.relu(linear(state, f"{prefix}.{number}", x))
        number += 1
    return linear(state, f"{prefix}.{number}", x).squeeze(-1)


def deviation_loss(
    scores: torch.Tensor, targets: torch.Tensor, *, margin: float = 5.0
) -> torch.Tensor:
    """Compute the deviation loss, mean of (1-y)|dev| + y max(0, margin - dev).

    The prior's mean and standard deviation are its exact 0 and 1 instead of those of 5000 fresh
    draws per call, whose noise (0.014) changes nothing measurable. An empty batch gives 0.

    Args:
        scores: (n,) float32.
        targets: (n,) in {0, 1}; 1 means the score must lie ``margin`` above the prior's mean.
        margin: distance in standard deviations of the prior.

    Source:
        DevNet (arXiv 2108.00462), eqs. 3 and 4.

    Example:
        >>> import torch
        >>> deviation_loss(torch.tensor([0.5, 3.0]), torch.tensor([0, 1]))
        tensor(1.2500)
    """
    if not len(scores):
        return scores.sum()
    y = targets.to(scores.dtype)
    return ((1 - y) * scores.abs() + y * F.relu(margin - scores)).mean()
