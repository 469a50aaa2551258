"""DPDL's fast training step against the plain one: losses, gradients, levels and top positions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dpdl_cases import (
    LABELS,
    VARIANTS,
    carried,
    components,
    each_form,
    made,
    parameters,
    plain_step,
    randn,
    without,
)

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, Batch
from osad.learn.heads import top_k_mean
from osad.learn.images import State
from osad.methods.dpdl import losses
from osad.methods.dpdl.bridge import Bridge, scaled_log_alpha
from osad.methods.dpdl.heads import dense_outputs, sparse_outputs, top_rows
from osad.methods.dpdl.method import DPDL, _Loss


def plain_total(method: DPDL, state: State, batch: Batch, anchors: torch.Tensor) -> torch.Tensor:
    heads, level, v = plain_step(method, state, batch.features)
    y, total = (batch.labels != NORMAL).to(v.dtype), torch.zeros((), dtype=v.dtype)
    for name, values in heads.items():
        score, target = values.max(1).values, 1 - y if name == "normal" else y
        if method.loss == "deviation":
            terms = (1 - target) * score + target * (5 - score).relu()
            total = total + terms.mean()
        else:
            total = total + F.binary_cross_entropy_with_logits(score, target)
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
@pytest.mark.parametrize("variant", ["", *sorted(VARIANTS.keys() - {"bridge_matching"})])
@each_form
def test_a_step_has_the_value_and_gradients_of_the_plain_one(form, variant, eps, dtype, tolerance):
    method = made(form, variant, eps=eps, margin=0.1, temperature=0.05, kappa=10.0)
    state, plain = parameters(method, dtype), parameters(method, dtype)
    batch = Batch(randn(9, 16, 24, key="features").to(dtype), LABELS)
    codes = randn(*state["bridge.r"].shape, key="codes").to(dtype) / 20
    loss = _Loss(method, codes, torch_generator("anchors"))(state, batch)
    noise = torch.randn(codes.shape, generator=torch_generator("anchors")).to(dtype)
    expected = plain_total(method, plain, batch, codes + math.sqrt(eps) * noise)
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=tolerance)
    loss.backward()
    expected.backward()
    # Neither objective nor head on the bridge: nothing moves it.
    idle = not method.dpl and "residual" in without(method)
    for key, value in state.items():
        wanted = plain[key].grad
        if idle and key.startswith("bridge."):
            assert wanted is None is value.grad
            continue
        assert wanted.abs().max() > 1e-3, key
        assert (value.grad - wanted).abs().max() < tolerance * wanted.abs().max(), key


@pytest.mark.parametrize("variant", ["", "literal", "ranking", "bridge_matching"])
@pytest.mark.parametrize("chosen", [LABELS == NORMAL, LABELS != NORMAL])
@each_form
def test_batches_may_lack_normals_or_anomalies(form, variant, chosen):
    method = made(form, variant)
    state, batch = parameters(method), Batch(randn(9, 16, 24)[chosen], LABELS[chosen])
    loss = _Loss(method, randn(3, 24) / 20, torch_generator("a"))(state, batch)
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


@each_form
def test_levels_average_all_positions_of_normals_and_the_top_ones_of_anomalies(form):
    method = made(form)
    state, features = parameters(method), randn(3, 20, 24)
    bridge, normal = Bridge.from_state(state, 0.3), torch.tensor([False, True, False])
    log_alpha = scaled_log_alpha(bridge, carried(method, features))
    level = 0.3 * (log_alpha / 0.3).exp().sum(-1).log()
    for outputs in (
        dense_outputs(state, bridge, features, normal, method._form),
        sparse_outputs(state, bridge, features, normal, method._form, levels=True),
    ):
        torch.testing.assert_close(outputs.normal, level[[1]].mean(1))
        torch.testing.assert_close(outputs.anomalous, level[~normal].sort(1).values[:, -2:].mean(1))
