"""Matrix products whose bits do not depend on who made the processor.

torch computes products on the processor by MKL, which chooses its kernels by vendor and leaves
reproducible ones (MKL_CBWR) to one vendor. NumPy's OpenBLAS, told which kernels to use
(OPENBLAS_CORETYPE, see `osad.runtime.environment`), gives the same bits on every processor that
has them, at the same speed. On a GPU torch computes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from osad.learn.lazy_torch import torch


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply vectors by a matrix, differentiable in both.

    Args:
        a: (..., k).
        b: (k, n), of the same type and on the same device.

    Returns:
        (..., n).
    """
    result: torch.Tensor = _classes()[0].apply(a.reshape(-1, a.shape[-1]), b)
    return result.reshape(*a.shape[:-1], b.shape[1])


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Apply an affine map to the last axis: (..., k) by weight (n, k) and bias (n,)."""
    return matmul(x, weight.T) + bias


def gram(x: torch.Tensor) -> torch.Tensor:
    """Compute all inner products of vectors, differentiable: (n, d) -> (n, n)."""
    result: torch.Tensor = _classes()[1].apply(x)
    return result


def eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues (d,), ascending, and eigenvectors (d, d) of a symmetric matrix.

    Each eigenvector's largest entry is positive, a convention in place of a free sign, so that what
    is trained on them starts alike on every device. The processor computes for a GPU too.
    """
    found = np.linalg.eigh(matrix.detach().cpu().numpy())
    values, vectors = torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * torch.where(largest < 0, -1.0, 1.0).to(vectors.dtype)
    return values.to(matrix.device), vectors.to(matrix.device)


def solve(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Solve a x = b: (n, k, k) and (n, k, m) -> (n, k, m), without gradient."""
    if a.device.type != "cpu":
        solved: torch.Tensor = torch.linalg.solve(a, b)
        return solved
    return torch.from_numpy(np.linalg.solve(a.numpy(), b.numpy()))


def logdet(a: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of positive determinants: (n, k, k) -> (n,), without gradient."""
    if a.device.type != "cpu":
        logs: torch.Tensor = torch.linalg.slogdet(a).logabsdet
        return logs
    return torch.from_numpy(np.linalg.slogdet(a.numpy()).logabsdet)


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute Euclidean distances between vectors (n, d) and (m, d): (n, m), without gradient.

    Example:
        >>> distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]])).tolist()
        [[5.0, 2.0]]
    """
    squares = a.square().sum(1).unsqueeze(1) + b.square().sum(1)
    return (squares - 2 * matmul(a, b.T)).clamp_min(0).sqrt()


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply two matrices without recording it for a gradient."""
    if a.device.type != "cpu":
        return a @ b
    # NumPy hands transposed arrays to BLAS as they are, but copies those with other strides.
    return torch.from_numpy(np.matmul(_array(a), _array(b)))


def _array(matrix: torch.Tensor) -> Any:
    dense = matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()
    return dense.detach().numpy()


@functools.cache
def _classes() -> tuple[Any, Any]:
    """Return the differentiable operations; made late, because torch is imported late."""

    class Matmul(torch.autograd.Function):
        """The product of two matrices."""

        @staticmethod
        def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(a, b)
            return _product(a, b)

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> Any:
            a, b = ctx.saved_tensors
            to_a, to_b = ctx.needs_input_grad
            return (
                _product(grads[0], b.T) if to_a else None,
                _product(a.T, grads[0]) if to_b else None,
            )

    class Gram(torch.autograd.Function):
        """The products of a matrix's rows, with one product for the gradient instead of two."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return _product(x, x.T)

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return _product(grads[0] + grads[0].T, x)

    return Matmul, Gram


def bmm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply matrices pair by pair, differentiable in both.

    Args:
        a: (..., n, k), any strides.
        b: (..., k, m), of the same type, on the same device and with the same leading axes.

    Returns:
        (..., n, m).

    Raises:
        ValueError: the leading axes differ; nothing is broadcast.
    """
    if a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"leading axes differ: {tuple(a.shape)} and {tuple(b.shape)}")
    result: torch.Tensor = _batched_class().apply(a, b)
    return result


def _batched_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply matrices pair by pair without recording it for a gradient."""
    if a.device.type != "cpu":
        return a @ b
    return torch.from_numpy(np.matmul(_batched_array(a), _batched_array(b)))


def _batched_array(matrices: torch.Tensor) -> Any:
    # NumPy calls BLAS for each matrix when one of its two axes is dense, else slow loops.
    blas = 1 in matrices.stride()[-2:] and 0 not in matrices.stride()
    return (matrices if blas else matrices.contiguous()).detach().numpy()


@functools.cache
def _batched_class() -> Any:
    """Return the differentiable operation; made late, because torch is imported late."""

    class BatchedMatmul(torch.autograd.Function):
        """The products of pairs of matrices."""

        @staticmethod
        def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(a, b)
            return _batched_product(a, b)

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> Any:
            a, b = ctx.saved_tensors
            to_a, to_b = ctx.needs_input_grad
            return (
                _batched_product(grads[0], b.transpose(-1, -2)) if to_a else None,
                _batched_product(a.transpose(-1, -2), grads[0]) if to_b else None,
            )

    return BatchedMatmul
