"""A small transformer over the positions of a map that gives a mixture of velocities.

Blocks with adaLN-zero conditioning on the time: at the start every block is the identity. The
output at each position is a Gaussian mixture: K means, K weights, and one standard deviation per
image that depends on the time alone.

Source:
    Peebles and Xie, DiT (arXiv 2212.09748); output layers as in GMFlow (arXiv 2504.05304).
    SiLU instead of GELU in the blocks, and few and narrow blocks: one CPU core trains them.
"""

from __future__ import annotations

import math

from osad.learn.heads import init_linear, init_mlp, linear, zero_linear
from osad.learn.images import State
from osad.learn.lazy_torch import F, torch
from osad.learn.products import bmm, matmul
from osad.methods.mpfm.mixture import mixture_nll, nearest_mean

HEADS = 4
FREQUENCIES = 16
MAX_FREQUENCY = 100.0
LOG_STD_RANGE = (-4.0, 2.0)
PLACES = "flow.places"
"""Name of the one tensor that is not trained: the encoding of the positions."""


def init_transformer(
    centres: torch.Tensor,
    *,
    width: int,
    blocks: int,
    size: tuple[int, int],
    generator: torch.Generator,
) -> State:
    """Initialise the network such that its mean velocity is 0 everywhere and at all times.

    The output layer starts from zero weights, all equal mixture weights and the centres, minus
    their mean, as means: components that started equal would stay equal.

    Centres are (K, d); ``width`` is a multiple of 4, ``size`` the map's (h, w).
    """
    n_components, d = centres.shape
    state = init_linear("flow.input", d, width, generator)
    state[PLACES] = encoded_places(size, width)
    state |= init_mlp("flow.time", (2 * FREQUENCIES, width, width), generator)
    state |= init_mlp("flow.spread", (width, width, 1), generator)
    for number in range(blocks):
        block = f"flow.block{number}"
        state |= zero_linear(f"{block}.modulation", width, 6 * width)
        state |= init_linear(f"{block}.attention", width, 3 * width, generator)
        state |= init_linear(f"{block}.merge", width, width, generator)
        state |= init_linear(f"{block}.up", width, 2 * width, generator)
        state |= init_linear(f"{block}.down", 2 * width, width, generator)
    state |= zero_linear("flow.modulation", width, 2 * width)
    state |= zero_linear("flow.weights", width, n_components)
    state |= zero_linear("flow.means", width, n_components * d)
    state |= zero_linear("flow.spread.1", width, 1)
    state["flow.means.bias"] = (centres - centres.mean(0)).flatten().clone()
    return state


def trunk(state: State, z: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Compute the hidden state of every position, which `log_weights` and `means` read.

    z (n, P, d) and `encoded_time` (n, width) or (1, width) -> (n, P, width).
    """
    x = linear(state, "flow.input", z) + state[PLACES]
    active = F.silu(time)
    number = 0
    while f"flow.block{number}.merge.weight" in state:
        x = _block(state, f"flow.block{number}", x, active)
        number += 1
    shift, scale = linear(state, "flow.modulation", active).unsqueeze(1).chunk(2, dim=-1)
    return _modulated(x, shift, scale)


def log_weights(state: State, hidden: torch.Tensor) -> torch.Tensor:
    """Compute log pi of every position: (..., width) -> (..., K)."""
    return linear(state, "flow.weights", hidden).log_softmax(-1)


def means(state: State, hidden: torch.Tensor) -> torch.Tensor:
    """Compute the means of every position's components: (..., width) -> (..., K, d)."""
    n_components = len(state["flow.weights.bias"])
    flat = linear(state, "flow.means", hidden)
    return flat.view(*flat.shape[:-1], n_components, -1)


def pooled_velocity(state: State, hidden: torch.Tensor) -> torch.Tensor:
    """Compute the mean over positions of the mixture's mean, sum_k pi_k mu_k.

    mu_k is affine in the hidden state (n, P, width), so the hidden states are averaged with the
    weights pi_k before the output layer, not after it: the same (n, d) from P times fewer products.
    """
    n_components, width = state["flow.weights.weight"].shape
    share = log_weights(state, hidden).exp() / hidden.shape[1]
    # (n, K, width), then one product over components and channels.
    averaged = bmm(share.transpose(1, 2), hidden).flatten(1)
    weight = state["flow.means.weight"].view(n_components, -1, width)
    bias = state["flow.means.bias"].view(n_components, -1)
    stacked = weight.transpose(1, 2).reshape(n_components * width, -1)
    return matmul(averaged, stacked) + matmul(share.sum(1), bias)


def log_std(state: State, time: torch.Tensor) -> torch.Tensor:
    """Compute the logarithm of the velocity's standard deviation: (n, width) -> (n,).

    The time's encoding gets no gradient from it.
    """
    hidden = F.silu(linear(state, "flow.spread.0", time.detach()))
    return linear(state, "flow.spread.1", hidden).squeeze(-1).clamp(*LOG_STD_RANGE)


def encoded_time(state: State, t: torch.Tensor) -> torch.Tensor:
    """Encode times (n,) in [0, 1] as vectors (n, width)."""
    exponent = torch.arange(FREQUENCIES, device=t.device) / (FREQUENCIES - 1)
    angle = t.unsqueeze(1) * MAX_FREQUENCY**exponent
    waves = torch.cat([angle.sin(), angle.cos()], 1)
    return linear(state, "flow.time.1", F.silu(linear(state, "flow.time.0", waves)))


def encoded_places(size: tuple[int, int], width: int) -> torch.Tensor:
    """Encode the positions of a map by sines and cosines of both coordinates, (h*w, width).

    ``size`` is its height h and width w; the number of channels is a multiple of 4.
    """
    frequency = 10000.0 ** (-torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    angles = [place.flatten().unsqueeze(1) * frequency for place in (rows, columns)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


def flow_ends(state: State, z: torch.Tensor, noise: torch.Tensor, *, coupled: bool) -> torch.Tensor:
    """Return z_T of every position, (n, P, d): the noise, standard normal, if not ``coupled``.

    Else mu_k* + s noise, k* the prototype nearest to the mean of z_0.
    """
    if not coupled:
        return noise
    means = state["prototype.mean"]
    own = means[nearest_mean(z.mean(1), means)].unsqueeze(1)
    return torch.addcmul(own, noise, state["prototype.log_std"].exp())


def flow_nll(
    state: State, z: torch.Tensor, generator: torch.Generator, *, coupled: bool, n_positions: int
) -> torch.Tensor:
    """Compute the negative log likelihood of the velocity z_T - z_0 at random times.

    Args:
        state: parameters; the prototypes get no gradient.
        z: (n, P, d), z_0, without gradient: the features would otherwise become alike, which is
            the easiest way to make velocities likely.
        generator: source of times, noise and positions.
        coupled: see `flow_ends`.
        n_positions: how many positions count; all take part in the attention.

    Returns:
        (n,), the mean over positions, per dimension.

    Source:
        MPFM (arXiv 2605.02438), mixture negative log likelihood; z_t = (1 - t) z_0 + t z_T.
    """
    n, per_image, d = z.shape
    noise = torch.randn(z.shape, generator=generator).to(z)
    t = torch.rand(n, generator=generator).to(z)
    chosen = torch.randperm(per_image, generator=generator)[:n_positions].to(z.device)
    with torch.no_grad():
        velocity = flow_ends(state, z, noise, coupled=coupled) - z
    time = encoded_time(state, t)
    hidden = trunk(state, torch.addcmul(z, t.view(-1, 1, 1), velocity), time)
    hidden = hidden.index_select(1, chosen)
    nll = mixture_nll(
        velocity.index_select(1, chosen),
        means(state, hidden),
        log_weights(state, hidden),
        log_std(state, time).view(-1, 1, 1),
    )
    return nll.mean(1) / d


def _modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def _block(state: State, name: str, x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """Apply attention and a hidden layer, both scaled, shifted and gated by the time."""
    modulation = linear(state, f"{name}.modulation", active).unsqueeze(1)
    shift, scale, gate, shift_up, scale_up, gate_up = modulation.chunk(6, dim=-1)
    mixed = _attention(state, name, _modulated(x, shift, scale))
    x = torch.addcmul(x, gate, linear(state, f"{name}.merge", mixed))
    hidden = F.silu(linear(state, f"{name}.up", _modulated(x, shift_up, scale_up)))
    return torch.addcmul(x, gate_up, linear(state, f"{name}.down", hidden))


def _attention(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """Let every position read all others: (n, P, width) -> (n, P, width)."""
    joined = linear(state, f"{name}.attention", x).unflatten(-1, (3, HEADS, -1))
    # (n, heads, P, width / heads) each, as views.
    query, key, value = joined.permute(2, 0, 3, 1, 4).unbind(0)
    scale = 1 / math.sqrt(query.shape[-1])
    weights = bmm(query * scale, key.transpose(-1, -2)).softmax(-1)
    return bmm(weights, value).transpose(1, 2).flatten(2)
