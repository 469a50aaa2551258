"""What the trained methods minimise: their losses on one batch, batches, rates and schedules."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learn_cases import Call, Packs, adapted, draws, layers

from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch
from osad.learn.images import State
from osad.methods import registry

DATA = Packs("training", 24, 4).training(range(24), [24, 25, 26, 27], "cell")
SHARED = {
    "epochs": 2, "iterations": 2, "batch": 48, "pseudo": 0.5, "lr": 2e-4, "lr_step": 10,
    "weight_decay": 1e-5, "adapter": 4,
}  # fmt: skip
"""Hyper-parameters of the papers, whatever the defaults are."""
LABELS = torch.tensor([NORMAL] * 4 + [SEEN] * 3 + [PSEUDO] * 2)


def call(name: str, monkeypatch: pytest.MonkeyPatch, **values: Any) -> Call:
    """Return a method's call of the loop, with a state whose adapter takes part."""
    fields = registry.get(name).resolve()
    shared = {key: value for key, value in SHARED.items() if key in fields}
    made = Call(name, DATA, monkeypatch, **shared | values)
    made.state["adapter.up.weight"] = 0.1 * draws(24, 4, key="adapter")
    return made


def deviation(scores: torch.Tensor, targets: list[int]) -> float:
    terms = [max(0, 5 - s) if y else abs(s) for s, y in zip(scores.tolist(), targets, strict=True)]
    return sum(terms) / len(terms)


def largest(state: State, head: str, x: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute score of 16 positions."""
    return (x @ state[f"{head}.weight"][0] + state[f"{head}.bias"]).abs().max(1).values


def test_devnet_pulls_all_anomalies_to_the_margin(monkeypatch):
    made = call("devnet", monkeypatch)
    features = draws(9, 16, 24, key="batch")
    scores = largest(made.state, "head", adapted(made.state, features))
    expected = deviation(scores, [0] * 4 + [1] * 5)
    loss = made.loss(made.state, Batch(features, LABELS))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_devnet_trains_on_half_anomalies_with_falling_rate(monkeypatch):
    made = call("devnet", monkeypatch, iterations=20, epochs=1, lr=1e-3)
    assert len(made.batches) == 20
    assert made.counts() == [Counter({NORMAL: 24, SEEN: 24})] * 20
    rates = made.rates(600)
    assert rates[:200] == [1e-3] * 200  # Ten epochs of 20 steps.
    assert rates[200:400] == pytest.approx([1e-4] * 200)
    assert rates[400:] == pytest.approx([1e-5] * 200)
    assert made.options["weight_decay"] == 1e-5
    assert not made.options.get("decoupled")


def test_dra_trains_each_head_on_its_labels(monkeypatch):
    made = call("dra", monkeypatch)
    state, features = made.state, draws(14, 16, 24, key="batch")
    x = adapted(state, features)
    reference, x = x[:5].mean(0), x[5:]
    normal = layers(state, "normal.0", "normal.1", x.mean(1))[:, 0].abs()
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
    loss = made.loss(state, Batch(features, labels))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(state["residual.running_mean"], 0.1 * mean.flatten(), atol=1e-6)


def test_dra_puts_five_references_before_its_batch_and_its_rate_falls_one_epoch_early(monkeypatch):
    made = call("dra", monkeypatch, iterations=20, epochs=1)
    assert len(made.batches) == 20
    for labels in made.counts(skip=5):
        assert labels[SEEN] == 16
        assert labels[NORMAL] + labels[PSEUDO] == 32
    references = torch.cat([part.labels[:5] for part in made.batches])
    assert set(references.tolist()) == {NORMAL, PSEUDO}
    assert made.batches[0].features.shape == (53, 16, 24)
    rates = made.rates(400)
    assert rates[:180] == [2e-4] * 180  # Nine epochs of 20 steps.
    assert rates[180:380] == pytest.approx([2e-5] * 200)
    assert rates[380:] == pytest.approx([2e-6] * 20)


def test_dpdl_s_batches_and_optimiser(monkeypatch):
    tiny = {"prototypes": 3, "codebook_samples": 100, "head_width": 8}
    made = call("dpdl", monkeypatch, iterations=10, lr=1e-3, **tiny)
    assert len(made.batches) == 20
    for labels in made.counts():
        assert labels[SEEN] == 16
        assert labels[NORMAL] + labels[PSEUDO] == 32
    assert made.options["lr"] == 1e-3
    assert "schedule" not in made.options
    assert made.options["decoupled"]
    assert made.options["no_decay"] == {"bridge.log_s", "bridge.a"}
