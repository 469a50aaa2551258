"""DPDL: its fast training step against the plain one, its objectives and its variants."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import DATA, SHOWN, adapted, build, double, layers, mixture, white

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch
from osad.learn.heads import top_k_mean
from osad.learn.images import Rows, State
from osad.methods import registry
from osad.methods.dpdl import losses
from osad.methods.dpdl.bridge import Bridge, drift, scaled_log_alpha, scaled_log_normaliser
from osad.methods.dpdl.heads import dense_outputs, points, sparse_outputs, top_rows
from osad.methods.dpdl.method import _Loss
from osad.methods.trial import changed, changed_images

TINY = {
    "epochs": 1, "iterations": 5, "adapter": 4, "head_width": 8, "prototypes": 3,
    "codebook_samples": 100, "lr": 1e-2, "batch": 12,
}  # fmt: skip
LABELS = torch.tensor([NORMAL] * 4 + [SEEN] * 3 + [PSEUDO] * 2)


def randn(*shape: int, key: str = "x", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(key, *shape), dtype=dtype)


def made(name: str, **values):
    return build(name, **TINY | values)


def objective(bridge: Bridge, log_alpha, labels, anchors, name: str = "anchored") -> torch.Tensor:
    """Return an objective on the levels of a batch."""
    level, normal = scaled_log_normaliser(log_alpha, bridge.eps), labels == NORMAL
    return losses.level_objective(
        name, bridge, level[normal].mean(1), top_k_mean(level[~normal]), labels[~normal], anchors,
        margin=0.1, temperature=0.05,
    )  # fmt: skip


def parameters(d: int, *, without: str = "", dtype: torch.dtype = torch.float32) -> State:
    """Return random parameters for 24 channels, as leaves, with a bridge of 3 x d."""
    codes = 0.8 * F.normalize(randn(3, d), dim=1)
    state = {
        "adapter.down.weight": 0.2 * randn(4, 24),
        "adapter.down.bias": 0.1 * randn(4),
        "adapter.up.weight": 0.2 * randn(24, 4),
        "adapter.up.bias": 0.1 * randn(24),
        "anomaly.weight": randn(1, 24),
        "anomaly.bias": randn(1),
        "residual.weight": randn(1, 24, key="residual"),
        "residual.bias": randn(1, key="residual"),
        "normal.0.weight": randn(8, 24) / 5,
        "normal.0.bias": randn(8),
        "normal.1.weight": randn(1, 8),
        "normal.1.bias": randn(1),
        "bridge.r": 0.9 * codes,
        "bridge.log_s": math.log(0.1) + 0.3 * randn(3, d, key="s"),
        "bridge.a": -0.45 * codes.square().sum(1),
    }
    return {
        key: value.to(dtype).clone().requires_grad_()
        for key, value in state.items()
        if key.split(".")[0] != without
    }


def components(state: State, eps: float):
    """Return v as a mixture; its factor is the sum of alpha."""
    std = (eps * state["bridge.log_s"].exp()).sqrt()
    return mixture(state["bridge.r"], std, state["bridge.a"] / eps)


def plain_step(s: State, features: torch.Tensor, *, eps: float, flattened: bool):
    """Return the heads' logits and the levels l(x), all positions with gradient, by torch alone."""
    v = adapted(s, features)
    x = F.normalize(v.flatten(1).unsqueeze(1) if flattened else v, dim=-1)
    r, spread = s["bridge.r"], s["bridge.log_s"].exp()
    logits = (s["bridge.a"] + x.square() @ spread.T / 2 + x @ r.T) / eps
    w = logits.softmax(-1)
    psi = w @ r + (w @ spread) * x
    parts = components(s, eps).component_distribution
    nearest = parts.log_prob(psi.unsqueeze(-2)).argmax(-1)
    residual = ((psi - r[nearest]) / spread[nearest].sqrt()).reshape(v.shape)
    residual = F.layer_norm(residual, (24,))
    heads = {
        name: (inputs @ s[f"{name}.weight"][0] + s[f"{name}.bias"]).max(1).values
        for name, inputs in (("anomaly", v), ("residual", residual))
    }
    heads["normal"] = layers(s, "normal.0", "normal.1", v.mean(1))[:, 0]
    return heads, eps * logits.logsumexp(-1), v


@pytest.mark.parametrize("eps", [0.001, 0.1])
@pytest.mark.parametrize("name", ["dpdl", "dpdl.flattened"])
def test_scores_are_those_of_the_plain_computation(name, eps):
    method = made(name, eps=eps)
    state = method.fit(DATA)
    features = white(state, SHOWN)
    heads, _, _ = plain_step(double(state), features, eps=eps, flattened=method.flattened)
    heads["normal"] = -heads["normal"]
    scores = method.score(state, SHOWN)
    for head, values in heads.items():
        np.testing.assert_allclose(scores.heads[head], values, rtol=1e-3, atol=5e-4)
    np.testing.assert_allclose(scores.total, sum(heads.values()), rtol=1e-3, atol=1e-3)


def plain_total(method, state: State, batch: Batch, anchors: torch.Tensor) -> torch.Tensor:
    heads, level, v = plain_step(state, batch.features, eps=method.eps, flattened=method.flattened)
    y = (batch.labels != NORMAL).to(v.dtype)
    total = sum(
        F.binary_cross_entropy_with_logits(heads[head], 1 - y if head == "normal" else y)
        for head in heads
        if head != method.without
    )
    normal, anomalous = level[:4].mean(1), level[4:].max(1).values
    if not method.dpl:
        pass
    elif method.objective == "anchored":
        parts = components(state, method.eps).component_distribution
        density = parts.log_prob(anchors.unsqueeze(1)) + state["bridge.a"] / method.eps
        gap = 0.1 + normal.mean().detach() - anomalous
        hinge = 0.05 * F.softplus(gap / 0.05) * torch.tensor([1, 1, 1, 0.5, 0.5]) / 4
        total = total + normal.mean() - method.eps * density.logsumexp(1).mean() + hinge.sum()
    elif method.objective == "literal":
        total = total + normal.mean() - anomalous.mean()
    else:
        total = total + losses.ranking_loss(normal, anomalous, margin=0.1, temperature=0.05)
    flat = F.normalize(v.flatten(1), dim=1)
    similarity = 10 * flat @ flat.T - torch.diag(torch.full((9,), math.inf))
    return total + method.dispersion * (similarity.logsumexp(1) - math.log(8)).mean()


@pytest.mark.parametrize(
    ("eps", "dtype", "tolerance"), [(0.001, torch.float64, 1e-8), (0.1, torch.float32, 1e-5)]
)
@pytest.mark.parametrize(
    "name", ["dpdl", "dpdl.literal", "dpdl.ranking", "dpdl.flattened", "dpdl.no_residual",
             "dpdl.no_anomaly", "dpdl.no_normal", "dpdl.no_dpl", "dpdl.no_dfl"],
)  # fmt: skip
def test_a_step_has_the_value_and_gradients_of_the_plain_computation(name, eps, dtype, tolerance):
    method = made(name, eps=eps)
    d = 16 * 24 if method.flattened else 24
    state, plain = parameters(d, without=method.without, dtype=dtype), parameters(d, dtype=dtype)
    batch = Batch(randn(9, 16, 24, key="features").to(dtype), LABELS)
    codes = randn(3, d, key="codes").to(dtype) / 20
    loss = _Loss(method, codes, torch_generator("anchors"))(state, batch)
    noise = torch.randn(codes.shape, generator=torch_generator("anchors")).to(dtype)
    expected = plain_total(method, plain, batch, codes + math.sqrt(eps) * noise)
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=tolerance)
    loss.backward()
    expected.backward()
    for key, value in state.items():
        wanted = plain[key].grad
        assert wanted.abs().max() > 1e-3, key
        assert (value.grad - wanted).abs().max() < tolerance * wanted.abs().max(), key


@pytest.mark.parametrize("name", ["", ".literal", ".ranking", ".bridge_matching"])
@pytest.mark.parametrize("chosen", [LABELS == NORMAL, LABELS != NORMAL])
def test_batches_may_lack_normals_or_anomalies(name, chosen):
    state, batch = parameters(24), Batch(randn(9, 16, 24)[chosen], LABELS[chosen])
    loss = _Loss(made(f"dpdl{name}"), randn(3, 24) / 20, torch_generator("a"))(state, batch)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(state["adapter.up.weight"].grad.isfinite().all())


@pytest.mark.parametrize("n_positions", [1, 9, 16, 49])
def test_top_rows_are_those_with_a_gradient(n_positions):
    scores = randn(5, n_positions).requires_grad_()
    top_k_mean(scores).sum().backward()
    rows = top_rows(scores.detach())
    assert sorted(rows.flatten().tolist()) == scores.grad.flatten().nonzero()[:, 0].tolist()
    torch.testing.assert_close(scores.flatten()[rows].mean(1), top_k_mean(scores))


def small_bridge(d: int = 2, eps: float = 0.3) -> Bridge:
    """Return a bridge of 3 components in float64, with S in (0.2, 0.7)."""
    s = 0.2 + 0.5 * torch.rand(3, d, generator=torch_generator("s"), dtype=torch.float64)
    a = eps * randn(3, key="a", dtype=torch.float64)
    r = 0.6 * randn(3, d, key="r", dtype=torch.float64)
    return Bridge(*(value.requires_grad_() for value in (r, s.log(), a)), eps)


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
    state = made("dpdl.literal", lr=5.0).fit(DATA)
    assert state["bridge.r"].norm(dim=1).max() <= 2 + 1e-5
    assert 1e-3 * (1 - 1e-5) <= state["bridge.log_s"].exp().min()
    assert state["bridge.log_s"].exp().max() <= 10 * (1 + 1e-5)


def test_ranking_loss_by_hand():
    normal, anomalous = torch.tensor([0.0, 0.4]), torch.tensor([0.1, 0.5])
    # Gaps: 0 - 0.1 + 0.2, 0 - 0.5 + 0.2, 0.4 - 0.1 + 0.2, 0.4 - 0.5 + 0.2; over 0.5.
    terms = [math.log1p(math.exp(z)) for z in (0.2, -0.6, 1.0, 0.2)]
    found = losses.ranking_loss(normal, anomalous, margin=0.2, temperature=0.5)
    assert found.item() == pytest.approx(sum(terms) / 4, rel=1e-6)
    assert losses.ranking_loss(normal, anomalous[:0], margin=0.2, temperature=0.5).item() == 0


def test_levels_average_all_positions_of_normals_and_the_top_ones_of_anomalies():
    state, features = parameters(24), randn(3, 20, 24)
    bridge, normal = Bridge.from_state(state, 0.3), torch.tensor([False, True, False])
    log_alpha = scaled_log_alpha(bridge, F.normalize(features, dim=2))
    level = 0.3 * (log_alpha / 0.3).exp().sum(-1).log()
    for outputs in (
        dense_outputs(state, bridge, features, normal, flattened=False),
        sparse_outputs(state, bridge, features, normal, levels=True),
    ):
        torch.testing.assert_close(outputs.normal, level[[1]].mean(1))
        torch.testing.assert_close(outputs.anomalous, level[~normal].sort(1).values[:, -2:].mean(1))


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


@pytest.mark.parametrize("head", ["anomaly", "residual", "normal"])
def test_a_head_left_out_has_no_parameters_and_no_score(head):
    method = made(f"dpdl.no_{head}")
    state = method.fit(DATA)
    assert not any(key.split(".")[0] == head for key in state)
    scores = method.score(state, SHOWN)
    assert bool((scores.heads[head] == 0).all())
    others = [values for name, values in scores.heads.items() if name != head]
    torch.testing.assert_close(scores.total, others[0] + others[1])
    full = made("dpdl", lr=1e-9).fit(DATA)
    alone = made(f"dpdl.no_{head}", lr=1e-9).fit(DATA)
    for key, value in alone.items():
        torch.testing.assert_close(value, full[key], rtol=1e-4, atol=1e-7)


def test_maps_are_the_sum_of_the_position_logits():
    heads = {}
    for left_out, head in (("residual", "anomaly"), ("anomaly", "residual")):
        method = made(f"dpdl.no_{left_out}")
        scores = method.score(method.fit(DATA), SHOWN)
        torch.testing.assert_close(top_k_mean(scores.maps.flatten(1)), scores.heads[head])
    method = made("dpdl")
    state = method.fit(DATA)
    both = method.score(state, SHOWN).maps
    for name in ("anomaly", "residual"):
        part = {key: value for key, value in state.items() if key.split(".")[0] != name}
        heads[name] = method.score(part, SHOWN).maps
    torch.testing.assert_close(both, heads["anomaly"] + heads["residual"])


def test_flattened_bridge_carries_whole_maps():
    method = made("dpdl.flattened")
    state = method.fit(DATA)
    for key in ("codes", "bridge.r", "bridge.log_s"):
        assert state[key].shape == (3, 16 * 24)
    v = randn(2, 16, 24)
    x = points(v, flattened=True)
    np.testing.assert_allclose(x[:, 0], F.normalize(v.flatten(1), dim=1), rtol=1e-5)
    idle = {"adapter.up.weight": torch.zeros(24, 4), "adapter.up.bias": torch.zeros(24)}
    maps = method.score(state | idle, SHOWN).maps
    assert (maps[0] - maps[1]).abs().max() > 0


def crop(rows: Rows) -> Rows:
    """Return rows of maps of one position (``pixels`` are no maps, and not read)."""
    return dataclasses.replace(rows, tensor=rows.tensor[..., :1, :1].contiguous())


def test_flattened_and_positions_are_the_same_for_one_position():
    data = changed(DATA, crop)
    results = []
    for name in ("dpdl", "dpdl.flattened"):
        method = made(name, codebook_samples=20)
        state = method.fit(data)
        results.append((state, method.score(state, changed_images(SHOWN, crop))))
    (state, scores), (flat_state, flat_scores) = results
    for key, value in state.items():
        torch.testing.assert_close(flat_state[key], value, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(flat_scores.total, scores.total, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(flat_scores.maps, scores.maps, rtol=1e-3, atol=1e-3)


def test_every_variant_learns_something_else():
    assert sorted(registry.get("dpdl.literal").overrides) == ["objective"]
    names = ("", ".no_dpl", ".no_dfl", ".literal", ".ranking", ".bridge_matching")
    bridges = [made(f"dpdl{name}").fit(DATA)["bridge.r"] for name in names]
    for one, other in itertools.combinations(bridges, 2):
        assert (one - other).abs().max() > 1e-6
