"""The velocity network, its inputs, its schedule and its average, by hand-worked values."""

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


def test_time_embedding_and_schedule_by_hand():
    found = time_embedding(torch.tensor([0.002]), 4)
    expected = [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]
    torch.testing.assert_close(found, torch.tensor([expected]), rtol=1e-5, atol=1e-6)
    # Times between 0 and 1 are told apart.
    assert torch.pdist(time_embedding(torch.linspace(0, 1, 101), 128)).min() > 0.5
    expected = [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    assert [cosine(4)(step) for step in range(5)] == pytest.approx(expected)


def test_velocity_equals_its_formula_written_out():
    state = init_velocity(3, 8, 2, torch_generator("net"), embedding=4)
    state = {name: value.double() for name, value in state.items()}
    x, t = draws(2, 6, 3).double(), torch.tensor([0.1, 0.7], dtype=torch.float64)
    assert all(name.startswith("velocity.") for name in state)
    assert velocity(state, x, t, (2, 3)).tolist() == torch.zeros(2, 6, 3).tolist()  # At the start.
    state["velocity.out.weight"] = draws(3, 8, key="last").double()

    def apply(name: str, v: torch.Tensor) -> torch.Tensor:
        return v @ state[f"velocity.{name}.weight"].T + state[f"velocity.{name}.bias"]

    def norm(v: torch.Tensor) -> torch.Tensor:
        centred = v - v.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def around(block: int, h: torch.Tensor) -> torch.Tensor:
        kernel = state[f"velocity.{block}.around.weight"]
        found = torch.zeros_like(h) + state[f"velocity.{block}.around.bias"]
        for p in range(6):
            for q in range(6):
                down, right = q // 3 - p // 3, q % 3 - p % 3
                if abs(down) <= 1 and abs(right) <= 1:
                    found[:, p] += kernel[:, 0, down + 1, right + 1] * h[:, q]
        return found

    silu = torch.nn.functional.silu
    time = silu(apply("time", time_embedding(t, 4)))
    h = apply("in", x)
    for block in range(2):
        moment = apply(f"{block}.time", time)[:, None]
        hidden = silu(apply(f"{block}.up", norm(around(block, h))) + moment)
        h = h + apply(f"{block}.down", hidden)
    torch.testing.assert_close(velocity(state, x, t, (2, 3)), apply("out", norm(h)))


def test_moving_average_forgets_the_start_early_and_slowly_later():
    start = {"a": torch.zeros(1)}
    average = MovingAverage(start, 0.5)
    average({"a": torch.ones(1)})
    assert average.state["a"].item() == pytest.approx(0.9)  # Decay 1 / 10.
    average({"a": torch.zeros(1)})
    values = [average.state["a"].item()]
    for _ in range(21):
        average({"a": torch.zeros(1)})
        values.append(average.state["a"].item())
    assert values[0] == pytest.approx(0.9 * 2 / 11)
    assert values[-1] == pytest.approx(values[-2] / 2)
    assert start["a"].item() == 0


def correlated(n: int = 70) -> torch.Tensor:
    mixing = torch.tensor([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.2]])
    flat = draws(n * 4, 3, key="maps") @ mixing.T + torch.tensor([5.0, -2.0, 0.0])
    return flat.view(n, 4, 3).transpose(1, 2).unflatten(2, (2, 2)).contiguous()


@pytest.mark.parametrize("shrinkage", [1.0, 0.1])
def test_projection_gives_the_principal_components_of_the_correlation(shrinkage):
    maps = correlated()
    state = fit_projection(rows(maps), 2, shrinkage=shrinkage)
    flat = project(state, maps).flatten(0, 1).double().numpy()
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


def test_a_channel_without_variance_is_not_blown_up_and_one_that_is_not_finite_refused():
    maps = correlated()
    maps[:, 1] = 7
    assert project(fit_projection(rows(maps), 3, shrinkage=1.0), maps + 1).abs().max() < 50
    maps[3, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError, match="not finite"):
        fit_projection(rows(maps), 2, shrinkage=1.0)


def test_batches_show_every_normal_before_any_again():
    batches = list(flow_batches(torch.arange(7.0).view(7, 1, 1).half(), "cell", 7, 3))
    seen = torch.cat([batch.features for batch in batches]).flatten().tolist()
    assert len(batches) == 7
    assert all(sorted(seen[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    assert batches[0].features.dtype == torch.float32
    assert all(bool((batch.labels == 0).all()) for batch in batches)
    other = flow_batches(torch.arange(7.0).view(7, 1, 1).half(), "other", 7, 3)
    assert seen != torch.cat([batch.features for batch in other]).flatten().tolist()
