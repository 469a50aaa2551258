"""What the trained methods minimise: their losses on one batch, batches, rates and schedules."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from typing import Any

import learn_cases
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learn_cases import Packs

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch
from osad.learn.heads import adapter
from osad.learn.images import State
from osad.learn.losses import dispersion_loss
from osad.methods import registry
from osad.methods.dpdl.bridge import Bridge, scaled_log_alpha
from osad.methods.dpdl.method import heads, prototype_losses

one_thread = learn_cases.one_thread

DATA = Packs("training", 24, 4).training(range(24), [24, 25, 26, 27], "cell")
SHARED = {
    "epochs": 2, "iterations": 2, "batch": 48, "pseudo": 0.5, "lr": 2e-4, "lr_step": 10,
    "weight_decay": 1e-5, "adapter": 4,
}  # fmt: skip
"""Hyper-parameters of the papers, whatever the defaults are."""
LABELS = torch.tensor([NORMAL] * 4 + [SEEN] * 3 + [PSEUDO] * 2)


class Call:
    """The arguments of a method's call of the training loop."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
        def keep(state, batches, loss, **options):
            self.batches, self.loss, self.options = list(batches), loss, options
            self.state = {key: value.clone() for key, value in state.items()}
            return self.state

        module = importlib.import_module(f"osad.methods.{name}")
        monkeypatch.setattr(module, "minimise", keep)
        spec = registry.get(name)
        fields = spec.resolve()
        shared = {key: value for key, value in SHARED.items() if key in fields}
        self.method = spec.build(spec.resolve(shared | values))
        self.method.fit(DATA)

    def randomised(self) -> State:
        """Return the initial state with the adapter's zeros replaced, so that it takes part."""
        weight = 0.1 * torch.randn(24, 4, generator=torch_generator("adapter"))
        return self.state | {"adapter.up.weight": weight}

    def rates(self, steps: int) -> list[float]:
        return [self.options["lr"] * self.options["schedule"](step) for step in range(steps)]


def batch(n: int) -> torch.Tensor:
    return torch.randn(n, 16, 24, generator=torch_generator("batch"))


def deviation(scores: torch.Tensor, targets: list[int]) -> float:
    terms = [max(0, 5 - s) if y else abs(s) for s, y in zip(scores.tolist(), targets, strict=True)]
    return sum(terms) / len(terms)


def largest(state: State, head: str, x: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute score of 16 positions."""
    return (x @ state[f"{head}.weight"][0] + state[f"{head}.bias"]).abs().max(1).values


def counts(call: Call, *, skip: int = 0) -> list[Counter[int]]:
    return [Counter(part.labels[skip:].tolist()) for part in call.batches]


# --- DevNet -------------------------------------------------------------------------------


def test_devnet_pulls_all_anomalies_to_the_margin(monkeypatch):
    call = Call("devnet", monkeypatch)
    state, features = call.randomised(), batch(9)
    scores = largest(state, "head", adapter(state, features))
    expected = deviation(scores, [0] * 4 + [1] * 5)
    assert call.loss(state, Batch(features, LABELS)).item() == pytest.approx(expected, rel=1e-5)


def test_devnet_trains_on_half_anomalies_with_falling_rate(monkeypatch):
    call = Call("devnet", monkeypatch, iterations=20, epochs=1, lr=1e-3)
    assert len(call.batches) == 20
    assert counts(call) == [Counter({NORMAL: 24, SEEN: 24})] * 20
    rates = call.rates(600)
    assert rates[:200] == [1e-3] * 200  # Ten epochs of 20 steps.
    assert rates[200:400] == pytest.approx([1e-4] * 200)
    assert rates[400:] == pytest.approx([1e-5] * 200)
    assert call.options["weight_decay"] == 1e-5
    assert not call.options.get("decoupled")


# --- DRA ----------------------------------------------------------------------------------


def test_dra_trains_each_head_on_its_labels(monkeypatch):
    call = Call("dra", monkeypatch)
    state, features = call.randomised(), batch(14)
    x = adapter(state, features)
    reference, x = x[:5].mean(0), x[5:]
    hidden = F.relu(F.linear(x.mean(1), state["normal.0.weight"], state["normal.0.bias"]))
    normal = F.linear(hidden, state["normal.1.weight"], state["normal.1.bias"])[:, 0].abs()
    maps = (reference - x).transpose(1, 2).reshape(9, 24, 4, 4)
    maps = F.conv2d(maps, state["residual.conv.weight"], state["residual.conv.bias"], padding=1)
    mean = maps.mean((0, 2, 3), keepdim=True)
    variance = maps.var((0, 2, 3), unbiased=False, keepdim=True)
    maps = F.relu((maps - mean) / (variance + 1e-5).sqrt())  # Its weight is 1, its bias 0.
    residual = largest(state, "residual.head", maps.flatten(2).transpose(1, 2))
    expected = (
        deviation(normal, [1] * 4 + [0] * 5)
        + deviation(largest(state, "seen", x)[:7], [0] * 4 + [1] * 3)
        + deviation(largest(state, "pseudo", x)[[0, 1, 2, 3, 7, 8]], [0] * 4 + [1] * 2)
        + deviation(residual, [0] * 4 + [1] * 5)
    )
    labels = torch.cat([torch.tensor([NORMAL, PSEUDO, PSEUDO, NORMAL, NORMAL]), LABELS])
    loss = call.loss(state, Batch(features, labels))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(state["residual.running_mean"], 0.1 * mean.flatten(), atol=1e-6)


def test_dra_puts_five_references_before_its_batch(monkeypatch):
    call = Call("dra", monkeypatch, iterations=20, epochs=1)
    assert len(call.batches) == 20
    for found in counts(call, skip=5):
        assert found[SEEN] == 16
        assert found[NORMAL] + found[PSEUDO] == 32
    references = torch.cat([part.labels[:5] for part in call.batches])
    assert set(references.tolist()) == {NORMAL, PSEUDO}
    assert call.batches[0].features.shape == (53, 16, 24)


def test_dra_s_rate_falls_one_epoch_early(monkeypatch):
    call = Call("dra", monkeypatch, iterations=20, epochs=1)
    rates = call.rates(400)
    assert rates[:180] == [2e-4] * 180  # Nine epochs of 20 steps.
    assert rates[180:380] == pytest.approx([2e-5] * 200)
    assert rates[380:] == pytest.approx([2e-6] * 20)
    assert call.options["fixed"] == {"residual.running_mean", "residual.running_var"}


# --- DPDL ---------------------------------------------------------------------------------

TINY = {"prototypes": 3, "codebook_samples": 100, "head_width": 8}


def cross_entropy(logits: torch.Tensor, targets: list[int]) -> float:
    terms = [
        math.log1p(math.exp(-z if y else z)) for z, y in zip(logits.tolist(), targets, strict=True)
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize(
    "values", [{}, {"dpl": False}, {"dispersion": 0.0}, {"dispersion": 2.0, "kappa": 3.0}]
)
def test_dpdl_adds_its_six_losses(monkeypatch, values):
    call = Call("dpdl", monkeypatch, **TINY, **values)
    method, state, features = call.method, call.randomised(), batch(9)
    x = adapter(state, features)
    unit = x / x.norm(dim=-1, keepdim=True)
    bridge = Bridge.from_state(state, method.eps)
    log_alpha = scaled_log_alpha(bridge, unit)
    logits = heads(state, bridge, x, unit, log_alpha)
    anomalous, normal = [0] * 4 + [1] * 5, [1] * 4 + [0] * 5
    expected = (
        cross_entropy(logits["anomaly"], anomalous)
        + cross_entropy(logits["residual"], anomalous)
        + cross_entropy(logits["normal"], normal)
    )
    if method.dpl:
        codes = state["bridge.r"] / (1 - method.s0)
        noise = torch.randn(3, 24, generator=torch_generator("cell", "anchors"))
        anchors = codes + math.sqrt(method.eps) * noise
        ranges = {"margin": method.margin, "temperature": method.temperature}
        expected += prototype_losses(bridge, log_alpha, LABELS, anchors, **ranges).item()
    spread = dispersion_loss(x.reshape(9, -1), kappa=method.kappa).item()
    expected += method.dispersion * spread
    assert call.loss(state, Batch(features, LABELS)).item() == pytest.approx(expected, rel=1e-4)


def test_dpdl_s_batches_and_optimiser(monkeypatch):
    call = Call("dpdl", monkeypatch, iterations=10, lr=1e-3, **TINY)
    assert len(call.batches) == 20
    for found in counts(call):
        assert found[SEEN] == 16
        assert found[NORMAL] + found[PSEUDO] == 32
    assert call.options["lr"] == 1e-3
    assert "schedule" not in call.options
    assert call.options["decoupled"]
    assert call.options["no_decay"] == {"bridge.log_s", "bridge.a"}
