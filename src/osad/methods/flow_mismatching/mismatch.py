"""Flow mismatching: how far a learned velocity is from the straight line that it should follow.

A velocity field v(x, t) is trained to carry noise e to normal data Y along x_t = (1-t) e + t Y. Of
a new Y the straight line's velocity Y - e is known, so the field's error on it can be measured: on
the path v* - (Y - e) = (E[X | x_t] - Y) / (1-t), the error of the field's own guess of Y.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from osad.learn.heads import top_k_mean
from osad.learn.lazy_torch import torch

Velocity = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""A field: states (n, P, d) and times (n,) in [0, 1] to velocities (n, P, d)."""
AGGREGATIONS = ("minimum", "mean", "median", "percentile")
TOP = 0.01
"""Share of the positions whose mean is added to the maximum."""


def interior_times(count: int) -> list[float]:
    """Return t_j = j / (count + 1) for j = 1..count; neither noise (0) nor data (1) is visited.

    Example:
        >>> interior_times(3)
        [0.25, 0.5, 0.75]
    """
    return [number / (count + 1) for number in range(1, count + 1)]


def residuals(
    velocity: Velocity, data: torch.Tensor, noise: torch.Tensor, time: float
) -> torch.Tensor:
    """Compute the squared error of the velocity on each straight path at one time t in (0, 1).

    Args:
        velocity: the field.
        data: (n, P, d) float32, ends Y of the paths.
        noise: (K, P, d) float32, starts e_k, the same for all images.
        time: t.

    Returns:
        (K, n, P) float32, mean over d of (v((1-t) e_k + t Y, t) - (Y - e_k))².

    Source:
        Flow Mismatching (arXiv 2605.23070), mismatch of the learned and the geometric velocity;
        the mean over channels instead of the sum, so that values do not grow with d.
    """
    times = torch.full((len(data),), time, dtype=data.dtype, device=data.device)
    end = time * data
    return torch.stack(
        [(velocity(end + (1 - time) * e, times) - data + e).square().mean(2) for e in noise]
    )


def aggregate(errors: torch.Tensor, how: str, fraction: float) -> torch.Tensor:
    """Reduce the paths of each position to one value: (K, ...) -> (...).

    Args:
        errors: float32, one row per path.
        how: ``minimum``, ``mean``, ``median`` (mean of the two middle values when K is even) or
            ``percentile`` (the ⌈fraction K⌉-th smallest).
        fraction: in (0, 1], of ``percentile`` alone.

    Raises:
        ValueError: ``how`` is unknown.

    Source:
        Flow Mismatching (arXiv 2605.23070): the minimum; mean and low percentiles as ablations.
        The median is an addition.

    Example:
        >>> import torch
        >>> aggregate(torch.tensor([4.0, 1.0, 2.0, 8.0]), "percentile", 0.3)
        tensor(2.)
    """
    if how == "minimum":
        return errors.amin(0)
    if how == "mean":
        return errors.mean(0)
    ordered, count = errors.sort(0).values, len(errors)
    if how == "median":
        return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    if how == "percentile":
        # Rounded first: 0.07 * 100 is a little more than 7 in floating point.
        return ordered[math.ceil(round(fraction * count, 9)) - 1]
    raise ValueError(f"aggregation {how!r} is unknown; known: {', '.join(AGGREGATIONS)}")


def heat(
    velocity: Velocity,
    data: torch.Tensor,
    noise: torch.Tensor,
    *,
    times: int,
    how: str,
    fraction: float,
    exponent: int,
) -> torch.Tensor:
    """Average the aggregated mismatch over time: (1/T) Σ_j t_j^exponent δ_j.

    Fields, vectors (n, P, d) and noise (K, P, d): see `residuals`; aggregates: see `aggregate`.
    The result is (n, P) float32, 0 or more.

    Source:
        Flow Mismatching (arXiv 2605.23070), heat map with w(t) = t^2, which takes away the 1/t²
        that the mismatch has towards the noise.
    """
    total = torch.zeros(data.shape[:2], dtype=data.dtype, device=data.device)
    for time in interior_times(times):
        errors = residuals(velocity, data, noise, time)
        total += time**exponent / times * aggregate(errors, how, fraction)
    return total


def image_score(values: torch.Tensor) -> torch.Tensor:
    """Add the maximum of each image's heat to the mean of its top 1 %.

    (n, P) -> (n,). The top holds max(⌊P/100⌋, 1) positions. Below 200 it is the maximum alone, so
    that the score is twice the maximum: on a map of 7x7 or 10x10 the second term changes no order.

    Source:
        Flow Mismatching (arXiv 2605.23070), image score.

    Example:
        >>> import torch
        >>> image_score(torch.tensor([[1.0, 3.0, 2.0]]))
        tensor([6.])
    """
    return values.amax(1) + top_k_mean(values, TOP)
