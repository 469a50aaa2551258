"""DPDL's objectives and its dispersion loss: by hand, by loops and by draws."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dpdl_cases import LABELS, made, randn
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import DATA, mixture

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL
from osad.learn.heads import top_k_mean
from osad.methods.dpdl import losses
from osad.methods.dpdl.bridge import Bridge, drift, scaled_log_alpha, scaled_log_normaliser


def objective(bridge: Bridge, log_alpha, labels, anchors, name: str = "anchored") -> torch.Tensor:
    """Return an objective on the levels of a batch."""
    level, normal = scaled_log_normaliser(log_alpha, bridge.eps), labels == NORMAL
    return losses.level_objective(
        name, bridge, level[normal].mean(1), top_k_mean(level[~normal]), labels[~normal], anchors,
        margin=0.1, temperature=0.05,
    )  # fmt: skip


def small_bridge(d: int = 2, eps: float = 0.3) -> Bridge:
    """Return a bridge of 3 components in float64, with S in (0.2, 0.7)."""
    s = 0.2 + 0.5 * torch.rand(3, d, generator=torch_generator("s"), dtype=torch.float64)
    a = eps * randn(3, key="a", dtype=torch.float64)
    r = 0.6 * randn(3, d, key="r", dtype=torch.float64)
    return Bridge(r.requires_grad_(), s.log().requires_grad_(), a.requires_grad_(), eps)


def anchored(levels: Sequence[float] | torch.Tensor, labels: list[int]) -> torch.Tensor:
    """Return the loss of images whose ten positions all have one level; one component, eps 1."""
    bridge = Bridge(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), 1.0)
    log_alpha = torch.as_tensor(levels).view(-1, 1, 1).expand(-1, 10, 1)
    return objective(bridge, log_alpha, torch.tensor(labels), torch.zeros(1, 1))


NORMAL_PART = 0.2 + 0.5 * math.log(2 * math.pi)  # Level minus log N(0; 0, 1).


def test_the_anchored_objective_by_hand():
    # Gaps 0.1 + 0.2 - 0.5 = -0.2 and 0.2; 0.05 softplus(-4) and 0.05 softplus(4), weights 1, 1/2.
    hinges = (0.05 * math.log1p(math.exp(-4)) + 0.5 * 0.05 * math.log1p(math.exp(4))) / 1.5
    value = anchored([0.2, 0.5, 0.1], [0, 1, 2]).item()
    assert value == pytest.approx(NORMAL_PART + hinges, rel=1e-5)


def test_the_anchored_objective_fall_with_an_anomaly_s_level_down_to_a_bound():
    values = [anchored([0.2, level], [0, 1]).item() for level in (-1, 0, 0.3, 0.5, 9, 1e4)]
    assert values[:5] == sorted(values[:5], reverse=True)
    assert len(set(values[:4])) == 4
    assert min(values) == pytest.approx(NORMAL_PART, abs=1e-6)
    assert anchored([0.3, 9.0], [0, 1]).item() > min(values)  # A normal's level costs.


@pytest.mark.parametrize(("labels", "value"), [([1, 2], 0.0), ([0, 0], NORMAL_PART)])
def test_the_anchored_objective_without_normals_or_anomalies(labels, value):
    assert anchored([0.2, 0.2], labels).item() == pytest.approx(value, rel=1e-5)


def test_normals_are_not_pulled_by_the_hinge():
    levels = torch.tensor([0.2, 0.1], requires_grad=True)
    anchored(levels, [0, 1]).backward()
    at_anomaly = -1 / (1 + math.exp(-4))  # A normal's is 1, and nothing else.
    assert levels.grad.tolist() == pytest.approx([1.0, at_anomaly], rel=1e-5)


def test_literal_objective_is_equations_16_and_17():
    b, x = small_bridge(), 0.6 * randn(9, 1, 2, dtype=torch.float64)
    log_alpha = scaled_log_alpha(b, x)
    found = objective(b, log_alpha, LABELS, b.r, "literal")
    # log c(x) by its sum over components, log phi at the trainable means by the mixture.
    log_c = []
    for point in x[:, 0]:
        terms = [
            math.exp((a + 0.5 * (s.exp() * point) @ point + r @ point).item() / b.eps)
            for r, s, a in zip(b.r, b.log_s, b.a, strict=True)
        ]
        log_c.append(math.log(sum(terms)))
    weights = b.a / b.eps
    log_phi = mixture(b.r, (b.eps * b.log_s.exp()).sqrt(), weights).log_prob(b.r)
    at_means = (log_phi + weights.logsumexp(0)).mean().item()
    eq_16 = np.mean(log_c[:4]) - at_means
    eq_17 = -(np.mean(log_c[4:]) - at_means)
    assert found.item() == pytest.approx(b.eps * (eq_16 + eq_17), rel=1e-9)
    level = scaled_log_normaliser(log_alpha, b.eps)
    alone = losses.literal_loss(b, level[:4, 0], level[:0, 0])
    assert alone.item() == pytest.approx(b.eps * eq_16, rel=1e-9)


def test_literal_terms_cancel_to_an_unbounded_difference_of_levels():
    def levels(b: Bridge) -> tuple[torch.Tensor, torch.Tensor]:
        x = 0.6 * randn(9, 2, dtype=torch.float64)
        level = scaled_log_normaliser(scaled_log_alpha(b, x), b.eps)
        return level[:4], level[4:]

    b = small_bridge()
    normal, anomalous = levels(b)
    torch.testing.assert_close(
        losses.literal_loss(b, normal, anomalous), normal.mean() - anomalous.mean()
    )
    tensors = (b.r, b.log_s, b.a)
    found = torch.autograd.grad(
        losses.literal_loss(b, normal, anomalous), tensors, retain_graph=True
    )
    expected = torch.autograd.grad(normal.mean() - anomalous.mean(), tensors)
    torch.testing.assert_close(found, expected)  # No trace of the potential at the means.
    direction = 0.6 * randn(9, 2, dtype=torch.float64)
    direction = direction[4:].mean(0) - direction[:4].mean(0)
    moved = [Bridge(b.r + scale * direction, b.log_s, b.a, b.eps) for scale in (0.0, 10.0, 100.0)]
    far = [losses.literal_loss(z, *levels(z)).item() for z in moved]
    assert far[1] < far[0] - 1
    assert far[2] < 5 * far[1] < 0


def test_literal_parameters_are_projected():
    r = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    log_s = torch.tensor([[-50.0, 0.0, 50.0]])
    losses.clamp_literal(r, log_s)
    np.testing.assert_allclose(r, [[1.2, 1.6], [0.3, 0.4], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(log_s.exp(), [[1e-3, 1.0, 10.0]], rtol=1e-5)
    state = made("former", "literal", lr=5.0).fit(DATA)
    assert state["bridge.r"].norm(dim=1).max() <= 2 + 1e-5
    assert state["bridge.log_s"].exp().min() >= 1e-3 * (1 - 1e-5)
    assert state["bridge.log_s"].exp().max() <= 10 * (1 + 1e-5)


def test_ranking_loss_by_hand():
    normal, anomalous = torch.tensor([0.0, 0.4]), torch.tensor([0.1, 0.5])
    # Gaps: 0 - 0.1 + 0.2, 0 - 0.5 + 0.2, 0.4 - 0.1 + 0.2, 0.4 - 0.5 + 0.2; over 0.5.
    terms = [math.log1p(math.exp(z)) for z in (0.2, -0.6, 1.0, 0.2)]
    found = losses.ranking_loss(normal, anomalous, margin=0.2, temperature=0.5)
    assert found.item() == pytest.approx(sum(terms) / 4, rel=1e-6)
    assert losses.ranking_loss(normal, anomalous[:0], margin=0.2, temperature=0.5).item() == 0


@pytest.mark.parametrize("t", [0.0, 0.5, 0.97])
def test_matching_errors_use_the_drift_at_the_bridge_s_point(t):
    b = small_bridge()
    start, end, noise = (randn(6, 2, key=key, dtype=torch.float64) for key in "abc")
    at = t * end + (1 - t) * start + math.sqrt(b.eps * t * (1 - t)) * noise
    target = (end - at) / (1 - t)
    expected = (drift(b, at, t) - target).square().sum(1)
    found = losses.matching_errors(b, start, end, noise, t)
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-8)


def test_bridge_matching_loss_equals_a_monte_carlo_mean():
    b, n = small_bridge(), 40_000
    x, codes = 0.5 * randn(50, 2, dtype=torch.float64), randn(3, 2, key="e", dtype=torch.float64)
    generator = torch_generator("draws")
    values = [losses.bridge_matching_loss(b, x, codes, generator).item() for _ in range(400)]
    torch.manual_seed(3)
    total = []
    for t in 0.99 * (torch.arange(200) + 0.5) / 200:  # Midpoints instead of random times.
        m = n // 200
        start = x[torch.randint(50, (m,))]
        end = codes[torch.randint(3, (m,))] + math.sqrt(b.eps) * torch.randn(m, 2).double()
        at = t * end + (1 - t) * start + (b.eps * t * (1 - t)).sqrt() * torch.randn(m, 2).double()
        error = drift(b, at, float(t)) - (end - at) / (1 - t)
        total.append(error.square().sum(1).mean().item())
    standard_error = np.std(values) / 20 + np.std(total) / np.sqrt(n)
    assert abs(np.mean(values) - np.mean(total)) < 4 * standard_error
    assert standard_error < 0.05 * np.mean(total)


def test_bridge_matching_finds_the_bridge_between_two_gaussians():
    # From N(0, 1/4) to N(code, eps): the entropic plan's conditional mean has the slope
    # S = (sqrt(4 / 4 eps + eps²) - eps) / (2 / 4).
    eps, codes = 0.01, torch.tensor([[0.6, -0.3]])
    slope = 2 * (math.sqrt(eps + eps**2) - eps)
    r = torch.zeros(1, 2, requires_grad=True)
    log_s = torch.full((1, 2), math.log(0.5), requires_grad=True)
    x = randn(2000, 2)
    x = (x - x.mean(0)) / x.std(0) / 2
    optimiser = torch.optim.Adam([r, log_s], 0.03)
    generator = torch_generator("draws")
    for _ in range(250):
        optimiser.zero_grad()
        bridge = Bridge(r, log_s, torch.zeros(1), eps)
        losses.bridge_matching_loss(bridge, x, codes, generator).backward()
        optimiser.step()
    np.testing.assert_allclose(log_s.exp().detach(), [[slope, slope]], atol=0.03)
    np.testing.assert_allclose(r.detach(), codes, atol=0.03)


def test_bridge_matching_gives_no_gradient_to_the_features():
    b, x = small_bridge(), randn(5, 2, dtype=torch.float64).requires_grad_()
    losses.bridge_matching_loss(b, x, x[:3].detach(), torch_generator("draws")).backward()
    assert x.grad is None
    assert b.r.grad.abs().max() > 0


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 8), kappa=st.floats(0.1, 10), key=st.integers(0, 9))
def test_dispersion_equals_a_double_loop(n, kappa, key):
    features = 3 * randn(n, 6, key=str(key))
    expected, unit = 0.0, F.normalize(features.double(), dim=1)
    for i, x in enumerate(unit):
        others = [math.exp(kappa * float(x @ y)) for j, y in enumerate(unit) if j != i]
        expected += (math.log(sum(others)) - math.log(n - 1)) / n
    assert losses.dispersion_loss(features, kappa=kappa).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("features", "value"),
    [
        ([[1.0, 0.0], [5.0, 0.0], [0.1, 0.0]], 10.0),  # One direction: kappa.
        ([[1.0, 0.0], [-2.0, 0.0]], -10.0),  # Opposite directions: -kappa.
        ([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], 0.0),
    ],
)
def test_dispersion_of_simple_arrangements(features, value):
    found = losses.dispersion_loss(torch.tensor(features), kappa=10).item()
    assert found == pytest.approx(value, abs=1e-5)
