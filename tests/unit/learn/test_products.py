"""Matrix products with the same bits on every processor."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from osad.learn.products import bmm, distances, eigh, gram, linear, matmul
from osad.runtime.environment import computing_environment


def made(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_products_by_hand():
    a, b = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0], [7.0, 8.0]])
    assert matmul(a, b).tolist() == [[19.0, 22.0], [43.0, 50.0]]
    assert matmul(a.T, b).tolist() == [[26.0, 30.0], [38.0, 44.0]]
    assert matmul(a[:, :1], b[:1]).tolist() == [[5.0, 6.0], [15.0, 18.0]]
    assert gram(a).tolist() == [[5.0, 11.0], [11.0, 25.0]]
    assert linear(a, b, torch.tensor([1.0, -1.0])).tolist() == [[18.0, 22.0], [40.0, 52.0]]
    assert bmm(a[:, None], b[..., None]).tolist() == [[[17.0]], [[53.0]]]
    with pytest.raises(ValueError, match=r"leading axes differ: \(2, 1, 2\) and \(1, 2, 1\)"):
        bmm(a[:, None], b[:1, :, None])


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (2, 1, 4, 3)])
def test_values_and_gradients_are_those_of_torch(shape):
    a, b, weight, bias = made(*shape), made(3, 6, seed=1), made(6, 3, seed=2), made(6, seed=3)
    assert torch.allclose(matmul(a, b), a @ b)
    assert torch.autograd.gradcheck(matmul, (a, b))
    assert torch.autograd.gradcheck(linear, (a, weight, bias))
    # Transposed, expanded and strided inputs and gradients, and one without a gradient.
    assert torch.autograd.gradcheck(lambda x, w: matmul(x, w.T), (a, weight))
    assert torch.autograd.gradcheck(lambda x: matmul(x, weight.detach().T).mean(0), (a,))
    wide = made(4, 6, seed=3).detach()[:, ::2]
    assert torch.autograd.gradcheck(lambda w: matmul(wide, w.T), (weight,))


def test_gram_matrices_and_distances_are_those_of_their_definition():
    a, b = made(6, 7), made(3, 7, seed=1).detach()
    assert torch.allclose(gram(a), a @ a.T)
    assert torch.autograd.gradcheck(gram, (a,))
    assert torch.autograd.gradcheck(lambda y: gram(y).triu(), (a,))
    a = a.detach()
    expected = [[float(np.linalg.norm(x - y)) for y in b.numpy()] for x in a.numpy()]
    assert torch.allclose(distances(a, b), torch.tensor(expected, dtype=torch.float64))
    assert distances(a, a).diagonal().max() < 1e-6


def test_batched_products_have_the_values_and_gradients_of_torch():
    a, b = made(3, 4, 5), made(3, 5, 2, seed=1)
    assert torch.allclose(bmm(a, b), torch.bmm(a, b))
    assert torch.autograd.gradcheck(bmm, (a, b))
    assert torch.autograd.gradcheck(lambda x: bmm(x, b.detach()).sum((0, 1)), (a,))  # Expanded.
    # Strided views with several leading axes, as the attention has them.
    joined = made(2, 4, 3, 2, 5, seed=2)

    def attention(x: torch.Tensor) -> torch.Tensor:
        query, key, value = x.permute(2, 0, 3, 1, 4).unbind(0)
        return bmm(bmm(query, key.transpose(-1, -2)).softmax(-1), value)

    query, key, value = joined.detach().permute(2, 0, 3, 1, 4).unbind(0)
    expected = (query @ key.transpose(-1, -2)).softmax(-1) @ value
    assert torch.allclose(attention(joined), expected)
    assert torch.autograd.gradcheck(attention, (joined,))


def test_eigenvectors_diagonalise():
    x = made(30, 5).detach()
    matrix = x.T @ x
    values, vectors = eigh(matrix)
    assert bool((values.diff() > 0).all())
    assert torch.allclose(matrix @ vectors, vectors * values)
    assert torch.allclose(vectors.T @ vectors, torch.eye(5, dtype=torch.float64))


def test_jobs_use_the_kernels_named_in_their_environment():
    code = (
        "import numpy, threadpoolctl; print({pool['architecture'] for pool in "
        "threadpoolctl.threadpool_info() if pool['internal_api'] == 'openblas'}); "
        "import torch; print(torch.backends.cpu.get_cpu_capability())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=computing_environment({}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["{'Haswell'}", "AVX2"]
