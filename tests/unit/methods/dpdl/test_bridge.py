"""The light Schrödinger bridge against sampling, quadrature, autograd and simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
from learn_cases import draws, mixture
from torch.distributions import MixtureSameFamily, Normal

from osad.core.seeds import torch_generator
from osad.methods.dpdl.bridge import (
    Bridge,
    barycentric_map,
    component_log_density,
    component_weights,
    drift,
    initial_bridge,
    nearest_residual,
    scaled_log_alpha,
    scaled_log_normaliser,
    scaled_log_potential,
)

EPS = 0.5


def bridge(n_components: int = 3, d: int = 5, *, eps: float = EPS) -> Bridge:
    """Return a bridge in float64 with S in (0.2, 0.7), different in every dimension."""
    r, s = vectors(n_components, d, key="r"), vectors(n_components, d, key="s").sigmoid()
    return Bridge(r, (0.2 + 0.5 * s).log(), eps * vectors(n_components, key="a"), eps)


def vectors(*shape: int, key: str = "x") -> torch.Tensor:
    return 0.6 * draws(*shape, key=key, dtype=torch.float64)


def normalised(b: Bridge) -> MixtureSameFamily:
    """Return v as a normalised mixture; its factor is the sum of alpha."""
    return mixture(b.r, (b.eps * b.log_s.exp()).sqrt(), b.a / b.eps)


def log_normaliser(b: Bridge, x: torch.Tensor) -> torch.Tensor:
    return scaled_log_normaliser(scaled_log_alpha(b, x), b.eps) / b.eps


def weights(b: Bridge, x: torch.Tensor) -> torch.Tensor:
    return component_weights(scaled_log_alpha(b, x), b.eps)


def test_normaliser_in_one_dimension_by_hand():
    # alpha = 1, r = 1, S = 1/2, eps = 1/2, x = 2: (2 + 4) / 1 = 6.
    b = Bridge(torch.tensor([[1.0]]), torch.tensor([[0.5]]).log(), torch.tensor([0.0]), 0.5)
    x = torch.tensor([2.0])
    assert log_normaliser(b, x).item() == pytest.approx(6.0, rel=1e-6)
    assert barycentric_map(b, x, weights(b, x)).tolist() == [2.0]  # 1 + 0.5 * 2


def test_normaliser_equals_quadrature_on_a_grid_of_five_dimensions():
    b, x = bridge(2), vectors(5)
    nodes, factors = np.polynomial.hermite.hermgauss(10)
    grid = np.array(list(itertools.product(nodes, repeat=5)))
    factor = np.array([math.prod(f) for f in itertools.product(factors, repeat=5)])
    total = 0.0
    for r, log_s, a in zip(b.r.numpy(), b.log_s.numpy(), b.a.numpy(), strict=True):
        y = r + np.sqrt(2 * b.eps * np.exp(log_s)) * grid
        total += math.exp(a / b.eps) * (factor @ np.exp(y @ x.numpy() / b.eps)) / math.pi**2.5
    assert log_normaliser(b, x).item() == pytest.approx(math.log(total), abs=1e-8)


def log_convolved(b: Bridge, x: torch.Tensor, t: float) -> torch.Tensor:
    """Return log of exp(|y|²/(2 eps)) v(y) convolved with N(0, eps (1 - t)), for S < 1.

    Each component times that factor is again a Gaussian, of mean r/(1-S) and variance
    eps S/(1-S), so the convolution only adds the variances.
    """
    s = b.log_s.exp()
    variance = b.eps * (s / (1 - s) + 1 - t)
    logs = Normal(b.r / (1 - s), variance.sqrt()).log_prob(x.unsqueeze(-2))
    factor = b.r.square() / (2 * b.eps * (1 - s)) - 0.5 * torch.log(1 - s)
    return (b.a / b.eps + (logs + factor).sum(-1)).logsumexp(-1)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9, 0.99])
def test_drift_is_the_gradient_of_the_convolved_potential(t):
    b = bridge()
    x = vectors(6, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(log_convolved(b, x, t).sum(), x)
    np.testing.assert_allclose(drift(b, x, t).detach(), b.eps * gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("s", [0.3, 1.0, 2.5])
def test_drift_equals_numeric_convolution_also_for_wide_components(s):
    eps, t, x, step = 0.2, 0.4, 0.7, 1e-4
    a = torch.tensor([0.0, 0.1], dtype=torch.float64)
    r = torch.tensor([[-0.5], [0.8]], dtype=torch.float64)
    b = Bridge(r, torch.full_like(r, math.log(s)), a, eps)
    y = torch.linspace(-12, 12, 20_001, dtype=torch.float64)

    def log_value(place: float) -> float:
        log_v = (a / eps + Normal(r.T, math.sqrt(eps * s)).log_prob(y[:, None])).logsumexp(1)
        exponent = log_v + y.square() / (2 * eps) - (place - y).square() / (2 * eps * (1 - t))
        return float(exponent.logsumexp(0))

    slope = (log_value(x + step) - log_value(x - step)) / (2 * step)
    value = drift(b, torch.tensor([x], dtype=torch.float64), t).item()
    assert value == pytest.approx(eps * slope, rel=1e-6)


def test_drift_at_the_start_leads_to_the_mixture_of_component_means():
    b, x = bridge(), vectors(4, 5)
    for number in range(len(b.r)):  # E_c = m_c: with one component there is nothing to weigh.
        one = Bridge(b.r[[number]], b.log_s[[number]], b.a[[number]], b.eps)
        mean = b.r[number] + b.log_s[number].exp() * x
        np.testing.assert_allclose(drift(one, x, 0.0), mean - x, atol=1e-12)
    for point in x:  # Three means span a plane, so the weights follow from the mean.
        means = b.r + b.log_s.exp() * point
        system = np.vstack([means.T.numpy(), np.ones(3)])
        target = np.append((drift(b, point, 0.0) + point).numpy(), 1.0)
        solved, residual, *_ = np.linalg.lstsq(system, target, rcond=None)
        assert residual.item() < 1e-20
        np.testing.assert_allclose(solved, weights(b, point), atol=1e-10)


@pytest.mark.parametrize("eps", [0.001, 0.1])
def test_initial_bridge_keeps_codes_and_chooses_the_nearest(eps):
    generator = torch_generator("codes")
    codes = torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=1)
    b = Bridge.from_state(initial_bridge(codes, eps, 0.1), eps)
    own = b.r + b.log_s.exp() * codes  # m_c(e_c)
    np.testing.assert_allclose(own, codes, atol=1e-6)
    x = torch.randn(200, 16, generator=generator)
    distance = torch.cdist(x, codes)
    assert torch.equal(weights(b, x).argmax(1), distance.argmin(1))
    # All logits are -(1 - S0) |x - e_c|² / (2 eps) up to a term that the components share.
    logits = scaled_log_alpha(b, x) + 0.45 * distance.square()
    np.testing.assert_allclose(logits, logits[:, :1].expand(-1, 8), atol=2e-5)
    log_alpha = b.a / eps + 0.9 * codes.square().sum(1) / (2 * eps)
    np.testing.assert_allclose(log_alpha.exp(), torch.full((8,), 1 / 8), rtol=1e-4)
    np.testing.assert_allclose(b.log_s.exp(), torch.full((8, 16), 0.1), rtol=1e-5)
    if eps == 0.001:  # The other codes' weights vanish, so psi keeps the codes as well.
        np.testing.assert_allclose(barycentric_map(b, codes, weights(b, codes)), codes, atol=1e-5)


def test_potential_and_densities_equal_those_of_a_mixture():
    b, y = bridge(), vectors(7, 5)
    v = normalised(b)
    expected = v.component_distribution.log_prob(y[:, None])
    np.testing.assert_allclose(component_log_density(b, y), expected, rtol=1e-10)
    total = b.eps * (v.log_prob(y) + (b.a / b.eps).logsumexp(0))
    np.testing.assert_allclose(scaled_log_potential(b, y), total, rtol=1e-10)


def test_functions_take_any_batch_shape():
    b, x = bridge(), vectors(2, 3, 5)
    assert torch.allclose(weights(b, x).sum(-1), torch.ones(2, 3).double())
    for function in (scaled_log_alpha, lambda b, x: drift(b, x, 0.5), scaled_log_potential):
        each = [torch.stack([function(b, point) for point in row]) for row in x]
        torch.testing.assert_close(function(b, x), torch.stack(each))


def test_float32_keeps_its_precision_at_the_default_noise():
    codes = torch.nn.functional.normalize(vectors(8, 64), dim=1)
    x = torch.nn.functional.normalize(vectors(50, 64), dim=1)
    exact = Bridge.from_state(initial_bridge(codes, 0.001, 0.1), 0.001)
    rounded = Bridge(exact.r.float(), exact.log_s.float(), exact.a.float(), 0.001)
    for function in (log_normaliser, lambda b, y: scaled_log_potential(b, y) / b.eps):
        difference = function(rounded, x.float()) - function(exact, x)
        assert (0.001 * difference).abs().max() < 1e-5


def test_residual_belongs_to_the_likeliest_component():
    b, psi = bridge(), vectors(20, 5)
    s = b.log_s.exp()
    nearest = Normal(b.r, (b.eps * s).sqrt()).log_prob(psi[:, None]).sum(2).argmax(1)
    assert len(nearest.unique()) > 1
    expected = (psi - b.r[nearest]) / s[nearest].sqrt()
    np.testing.assert_allclose(nearest_residual(b, psi), expected, rtol=1e-12)


def test_use_without_gradient_does_not_cut_later_gradients():
    free = bridge()
    b = Bridge(free.r, free.log_s.clone().requires_grad_(), free.a, EPS)
    y = vectors(4, 5)
    with torch.no_grad():
        component_log_density(b, y)
        scaled_log_alpha(b, y)
    (found,) = torch.autograd.grad(scaled_log_potential(b, y).sum(), b.log_s)
    step = torch.zeros_like(b.log_s)
    step[1, 2] = 1e-6
    values = [
        scaled_log_potential(Bridge(b.r, b.log_s.detach() + sign * step, b.a, EPS), y).sum()
        for sign in (1, -1)
    ]
    assert found[1, 2].item() == pytest.approx(((values[0] - values[1]) / 2e-6).item(), rel=1e-6)
