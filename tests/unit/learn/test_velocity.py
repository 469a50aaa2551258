"""The velocity network, its inputs, its schedule and its average, by hand-worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from learn_cases import draws, rows

from osad.core.errors import TrainingError
from osad.core.seeds import torch_generator
from osad.learn.loop import cosine
from osad.learn.velocity import (
    MovingAverage,
    fit_projection,
    flow_batches,
    init_velocity,
    project,
    time_embedding,
    velocity,
)


def network(dtype: torch.dtype = torch.float32, *, last: bool = True) -> dict[str, torch.Tensor]:
    state = init_velocity(3, 8, 2, torch_generator("net"), embedding=4)
    if last:
        state["velocity.out.weight"] = draws(3, 8, key="last")
    return {name: value.to(dtype) for name, value in state.items()}


# --- time ---------------------------------------------------------------------------------


def test_time_embedding_by_hand():
    found = time_embedding(torch.tensor([0.002]), 4)
    expected = [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]
    torch.testing.assert_close(found, torch.tensor([expected]), rtol=1e-5, atol=1e-6)


def test_times_of_a_batch_are_told_apart():
    found = time_embedding(torch.linspace(0, 1, 101), 128)
    assert found.shape == (101, 128)
    distances = torch.cdist(found, found) + 10 * torch.eye(101)
    assert distances.min() > 0.5


def test_cosine_by_hand():
    schedule = cosine(4)
    expected = [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    assert [schedule(step) for step in range(5)] == pytest.approx(expected)


# --- network ------------------------------------------------------------------------------


def test_velocity_starts_at_zero_with_the_shape_of_its_input():
    state = network(last=False)
    found = velocity(state, draws(5, 6, 3), torch.linspace(0, 1, 5), (2, 3))
    assert found.shape == (5, 6, 3)
    assert bool((found == 0).all())
    assert all(name.startswith("velocity.") for name in state)


def test_velocity_equals_its_formula_written_out():
    state = network(torch.float64)
    x, t = draws(2, 6, 3).double(), torch.tensor([0.1, 0.7], dtype=torch.float64)

    def apply(name: str, v: torch.Tensor) -> torch.Tensor:
        weight = state[f"velocity.{name}.weight"]
        bias = state[f"velocity.{name}.bias"]
        return (weight * v.unsqueeze(-2)).sum(-1) + bias

    def norm(v: torch.Tensor) -> torch.Tensor:
        centred = v - v.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def silu(v: torch.Tensor) -> torch.Tensor:
        return v / (1 + torch.exp(-v))

    def around(block: int, h: torch.Tensor) -> torch.Tensor:
        kernel = state[f"velocity.{block}.around.weight"]
        found = torch.zeros_like(h) + state[f"velocity.{block}.around.bias"]
        for p in range(6):
            for q in range(6):
                down, right = q // 3 - p // 3, q % 3 - p % 3
                if abs(down) <= 1 and abs(right) <= 1:
                    found[:, p] += kernel[:, 0, down + 1, right + 1] * h[:, q]
        return found

    time = silu(apply("time", time_embedding(t, 4)))
    h = apply("in", x)
    for block in range(2):
        moment = apply(f"{block}.time", time)[:, None]
        hidden = silu(apply(f"{block}.up", norm(around(block, h))) + moment)
        h = h + apply(f"{block}.down", hidden)
    torch.testing.assert_close(velocity(state, x, t, (2, 3)), apply("out", norm(h)))


# --- average ------------------------------------------------------------------------------


def test_moving_average_forgets_the_start_early_and_slowly_later():
    start = {"a": torch.zeros(1)}
    average = MovingAverage(start, 0.5)
    average({"a": torch.ones(1)})
    assert average.state["a"].item() == pytest.approx(0.9)  # Decay 1 / 10.
    average({"a": torch.zeros(1)})
    assert average.state["a"].item() == pytest.approx(0.9 * 2 / 11)
    for _ in range(20):
        average({"a": torch.zeros(1)})
    before = average.state["a"].item()
    average({"a": torch.zeros(1)})
    assert average.state["a"].item() == pytest.approx(before / 2)
    assert start["a"].item() == 0


# --- projection ---------------------------------------------------------------------------


def correlated(n: int = 70) -> torch.Tensor:
    mixing = torch.tensor([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.2]])
    flat = draws(n * 4, 3, key="maps") @ mixing.T + torch.tensor([5.0, -2.0, 0.0])
    return flat.view(n, 4, 3).transpose(1, 2).unflatten(2, (2, 2)).contiguous()


@pytest.mark.parametrize("shrinkage", [1.0, 0.1])
def test_projection_gives_the_principal_components_of_the_correlation(shrinkage):
    maps = correlated()
    state = fit_projection(rows(maps), 2, shrinkage=shrinkage)
    found = project(state, maps)
    assert found.shape == (70, 4, 2)
    flat = found.flatten(0, 1).double().numpy()
    channels = maps.double().transpose(0, 1).flatten(1).numpy()
    variances = np.sort(np.linalg.eigvalsh(np.corrcoef(channels)))[::-1][:2]
    expected = np.diag(variances / ((1 - shrinkage) * variances + shrinkage))
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(flat.T, bias=True), expected, atol=1e-5)


def test_projection_with_all_components_keeps_standardised_distances():
    maps = correlated()
    flat = project(fit_projection(rows(maps), 99, shrinkage=1.0), maps).flatten(0, 1)
    vectors = maps.transpose(1, 3).transpose(1, 2).flatten(0, 2)
    standard = (vectors - vectors.mean(0)) / vectors.std(0, unbiased=False)
    torch.testing.assert_close(torch.pdist(flat), torch.pdist(standard), rtol=1e-3, atol=1e-3)


def test_channel_without_variance_is_not_blown_up():
    maps = correlated()
    maps[:, 1] = 7
    state = fit_projection(rows(maps), 3, shrinkage=1.0)
    assert bool(project(state, maps + 1).isfinite().all())
    assert project(state, maps + 1).abs().max() < 50


def test_projection_of_features_that_are_not_finite_is_refused():
    maps = correlated()
    maps[3, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError, match="not finite"):
        fit_projection(rows(maps), 2, shrinkage=1.0)


# --- batches ------------------------------------------------------------------------------


def test_batches_show_every_normal_before_any_again():
    vectors = torch.arange(7.0).view(7, 1, 1).half()
    batches = list(flow_batches(vectors, "cell", 7, 3))
    seen = torch.cat([batch.features for batch in batches]).flatten().tolist()
    assert len(batches) == 7
    assert all(sorted(seen[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    assert batches[0].features.dtype == torch.float32
    assert all(bool((batch.labels == 0).all()) for batch in batches)


def test_batches_depend_on_the_key():
    vectors = torch.arange(20.0).view(20, 1, 1).half()

    def order(key: str) -> list[float]:
        batches = flow_batches(vectors, key, 2, 10)
        return torch.cat([batch.features for batch in batches]).flatten().tolist()

    assert order("a") == order("a")
    assert order("a") != order("b")
