"""Small networks on feature maps, as functions of named tensors.

Parameters live in a flat ``dict[str, Tensor]`` so that a checkpoint is the parameters and nothing
else. Each block has an ``init_*`` function that returns its parameters and a function that
applies it; ``prefix`` is the block's name inside the dictionary.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.learn import products
from osad.learn.images import State

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")


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


def linear(state: State, prefix: str, x: torch.Tensor) -> torch.Tensor:
    """Apply an affine map to the last axis: (..., fan_in) -> (..., fan_out)."""
    return products.linear(x, state[f"{prefix}.weight"], state[f"{prefix}.bias"])


def positions(maps: torch.Tensor) -> torch.Tensor:
    """Turn maps (n, c, h, w) into position vectors (n, h*w, c), contiguous."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def init_adapter(channels: int, hidden: int, generator: torch.Generator) -> State:
    """Initialise the residual adapter; its last layer is zero, so it starts as the identity."""
    state = init_linear("adapter.down", channels, hidden, generator)
    state["adapter.up.weight"] = torch.zeros(channels, hidden)
    state["adapter.up.bias"] = torch.zeros(channels)
    return state


def adapter(state: State, x: torch.Tensor) -> torch.Tensor:
    """Apply A(x) = x + W2 relu(W1 x + b1) + b2 to vectors (..., c).

    It stands in for fine-tuning the backbone, which cached features do not allow.
    """
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


def plain_head(state: State, prefix: str, x: torch.Tensor, *, absolute: bool) -> torch.Tensor:
    """Score position vectors by one affine map and average the top 10 % of each image.

    Args:
        state: parameters with ``{prefix}.weight`` (1, c) and ``{prefix}.bias`` (1,).
        prefix: name of the head.
        x: (n, P, c) float32.
        absolute: take |.| before the top-K. It belongs to the deviation loss; with a loss on
            logits it would keep every normal at probability 0.5 or more.

    Returns:
        (n,) float32.
    """
    scores = linear(state, prefix, x).squeeze(-1)
    return top_k_mean(scores.abs() if absolute else scores)


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
