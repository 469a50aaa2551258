"""Couplings of data with Gaussian noise that make the transport as costly as possible."""

from __future__ import annotations

import math

from osad.learn.lazy_torch import torch
from osad.learn.products import matmul


def worst_target(x: torch.Tensor) -> torch.Tensor:
    """Return the point of the sphere of radius sqrt(d) farthest from each vector: (..., d).

    A standard Gaussian in d dimensions lies near that sphere, so this is the worst transport to
    it: z_w(x) = -sqrt(d) x / |x|. A zero vector, for which every point is as far, gives zero.

    Example:
        >>> import torch
        >>> worst_target(torch.tensor([3.0, 0.0, 0.0, 4.0]))
        tensor([-1.2000, -0.0000, -0.0000, -1.6000])
    """
    length = x.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
    return x * (-math.sqrt(x.shape[-1]) / length)


def worst_assignment(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Assign to each vector x another one, z, such that the sum of squared distances is largest.

    Both (n, d) are finite, x has no gradient. The result is a permutation (n,) int64: x[i] belongs
    to z[result[i]]. |x - z|^2 = |x|^2 + |z|^2 - 2 x.z and only the last term depends on the
    assignment, so the sum of inner products is minimised (Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(matmul(x, z.T).cpu().numpy())
    return torch.from_numpy(columns).to(x.device)


def locally_worst(x: torch.Tensor, z: torch.Tensor, group: int) -> torch.Tensor:
    """Reorder vectors by the worst assignment within groups of consecutive ones.

    The last of the groups of ``group`` vectors may be smaller. Row i of the result (n, d) is the
    vector of z that x[i] is assigned to; 1 as ``group`` gives z.

    Source:
        WT-Flow (arXiv 2508.05461), "local worst transport", as reconstructed here.
    """
    if group == 1:
        return z
    pairs = zip(x.split(group), z.split(group), strict=True)
    return torch.cat([noise[worst_assignment(vectors, noise)] for vectors, noise in pairs])
