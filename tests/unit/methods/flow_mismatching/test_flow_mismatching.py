"""Flow Mismatching: closed-form fields, hand-worked aggregation, and what the method finds."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from learn_cases import Packs, auroc_of, draws, rows

from osad.core.seeds import torch_generator
from osad.learn.batches import Batch
from osad.learn.images import ImageSet, TrainingData
from osad.learn.velocity import FlowLoss, init_velocity, project, velocity
from osad.methods.flow_mismatching.method import FlowMismatching
from osad.methods.flow_mismatching.mismatch import aggregate, heat, image_score, residuals

MEAN, SPREAD = 1.5, 0.7
"""Of the Gaussian N(MEAN, SPREAD²) in each channel of the normals of the closed forms."""


def denoised(x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
    """E[X | x_t] of X ~ N(MEAN, SPREAD²), x_t = (1-t) e + t X: linear regression on x_t."""
    gain = t * SPREAD**2 / ((1 - t) ** 2 + t**2 * SPREAD**2)
    return MEAN + gain * (x - t * MEAN)


def gaussian_velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return E[X - e | x_t], with e regressed on x_t as X is."""
    t = t[:, None, None]
    variance = (1 - t) ** 2 + t**2 * SPREAD**2
    noise = (1 - t) / variance * (x - t * MEAN)
    return denoised(x, t) - noise


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_weighted_mismatch_is_the_denoiser_s_residual(time):
    data, noise = draws(3, 4, 5), draws(2, 4, 5, key="noise")
    found = time**2 * residuals(gaussian_velocity, data, noise, time)
    guess = denoised((1 - time) * noise[:, None] + time * data, time)
    expected = time**2 / (1 - time) ** 2 * (guess - data).square().mean(-1)
    assert found.shape == (2, 3, 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_path_and_one_time_by_hand():
    data = torch.tensor([[[3.0, -1.0]]])
    noise = torch.tensor([[[1.0, 1.0]]])
    # At t = 1/2 the state is (2, 0), the line's velocity (2, -2); the field answers (4, 1).
    # Error: ((4-2)² + (1+2)²) / 2 = 6.5.
    seen = []

    def field(x, t):
        seen.append((x.tolist(), t.tolist()))
        return x + torch.tensor([2.0, 1.0])

    assert residuals(field, data, noise, 0.5).tolist() == [[[6.5]]]
    for exponent, weight in [(0, 1.0), (1, 0.5), (2, 0.25)]:
        found = heat(field, data, noise, times=1, exponent=exponent, how="minimum", fraction=0.1)
        assert found.tolist() == [[6.5 * weight]]
    assert seen == [([[[2.0, 0.0]]], [0.5])] * 4


def test_heat_is_the_weighted_mean_over_times_of_the_aggregate():
    # v = 0, Y = 0: the residual of path k is e_k² at all times.
    data, noise = torch.zeros(1, 1, 1), torch.tensor([3.0, 1.0, 2.0]).view(3, 1, 1)
    still = lambda x, t: torch.zeros_like(x)  # noqa: E731
    for exponent, weights in [(0, 2.0), (1, 1 / 3 + 2 / 3), (2, 1 / 9 + 4 / 9)]:
        for how, value in [("minimum", 1.0), ("mean", 14 / 3), ("median", 4.0)]:
            found = heat(still, data, noise, times=2, how=how, fraction=0.1, exponent=exponent)
            assert found.item() == pytest.approx(weights / 2 * value)


def test_paths_are_aggregated_at_each_time_before_the_mean():
    # The field is right for the first path at t = 1/3, for the second at t = 2/3.
    data, noise = torch.zeros(1, 1, 1), torch.tensor([1.0, 2.0]).view(2, 1, 1)

    def field(x, t):
        start = x / (1 - t[:, None, None])
        right = (start > 1.5) == (t[:, None, None] > 0.5)
        return torch.where(right, -start, 1 - start)

    values: dict[str, Any] = {"times": 2, "fraction": 0.1, "exponent": 0}
    assert heat(field, data, noise, how="minimum", **values).item() == pytest.approx(0, abs=1e-6)
    assert heat(field, data, noise, how="mean", **values).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("how", "fraction", "expected"),
    [
        ("minimum", 0.3, [1, 0]),
        ("mean", 0.3, [4, 5]),
        ("median", 0.3, [3.5, 4]),
        ("percentile", 0.1, [1, 0]),
        ("percentile", 0.25, [1, 0]),
        ("percentile", 0.26, [2, 2]),  # ⌈1.04⌉ = 2.
        ("percentile", 0.5, [2, 2]),
        ("percentile", 0.75, [5, 6]),
        ("percentile", 1.0, [8, 12]),
    ],
)
def test_aggregation_by_hand(how, fraction, expected):
    errors = torch.tensor([[5.0, 0.0], [1.0, 12.0], [8.0, 6.0], [2.0, 2.0]])
    assert aggregate(errors, how, fraction).tolist() == pytest.approx(expected)
    assert torch.equal(aggregate(errors[:1], how, fraction), errors[0])  # All agree on one path.


def test_aggregation_of_odd_numbers_free_of_rounding_and_by_known_names():
    assert aggregate(torch.tensor([9.0, 1.0, 4.0]), "median", 0.3).item() == 4
    assert math.ceil(0.07 * 100) == 8  # What a plain ceiling would take.
    assert aggregate(torch.arange(1.0, 101), "percentile", 0.07).item() == 7
    assert aggregate(torch.arange(1.0, 31), "percentile", 0.1).item() == 3
    with pytest.raises(ValueError, match="'mode' is unknown"):
        aggregate(torch.ones(2, 1), "mode", 0.3)


@pytest.mark.parametrize(("n", "top"), [(1, 1), (49, 1), (199, 1), (200, 2), (350, 3)])
def test_image_score_adds_the_top_percent_to_the_maximum(n, top):
    values = np.random.default_rng(0).permuted(np.arange(2 * n).reshape(2, n), axis=1)
    expected = [row.max() + np.sort(row)[-top:].mean() for row in values]
    assert image_score(torch.tensor(values, dtype=torch.float32)).tolist() == expected


@pytest.mark.parametrize("how", ["minimum", "mean", "median", "percentile"])
def test_the_optimal_field_mismatches_shifted_data_more(how):
    normal = MEAN + SPREAD * draws(200, 1, 8, key="data")
    noise = draws(4, 1, 8, key="noise")
    low, high = (
        heat(gaussian_velocity, data, noise, times=4, how=how, fraction=0.1, exponent=2)[:, 0]
        for data in (normal, normal + 3 * SPREAD)
    )
    assert auroc_of(low, high) > 0.99


def test_the_loss_is_flow_matching_with_fresh_draws():
    state = init_velocity(3, 4, 1, torch_generator("init"), embedding=8)
    state["velocity.out.weight"] = draws(3, 4, key="out")
    x = draws(5, 4, 3, key="batch")
    loss = FlowLoss(lambda x, noise: (noise, x), (2, 2), torch_generator("paths"))
    found = [loss(state, Batch(x, torch.zeros(5))).item() for _ in range(2)]
    generator, expected = torch_generator("paths"), []
    for _ in range(2):
        noise = torch.randn(x.shape, generator=generator)
        t = torch.rand(5, generator=generator)
        between = (1 - t.view(5, 1, 1)) * noise + t.view(5, 1, 1) * x
        answer = velocity(state, between, t, (2, 2))
        expected.append((answer - (x - noise)).square().mean().item())
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[0] != found[1]


def gaussian_images(n: int, key: str) -> ImageSet:
    tensor = MEAN + SPREAD * draws(n, 4, 3, 3, key=key)
    return ImageSet(tuple(f"{key}/{k:04d}.png" for k in range(n)), {32: rows(tensor)})


def test_training_approaches_the_optimal_field_of_a_gaussian():
    normal = gaussian_images(512, "train")
    method = FlowMismatching(epochs=30, batch=32, dims=4, width=32, blocks=1, lr=5e-3)
    state = method.fit(TrainingData(normal, normal, "gaussian"))
    vectors = project(state, gaussian_images(64, "new").maps[32].take())
    noise = draws(*vectors.shape, key="start")
    errors = []
    for time in (0.25, 0.5, 0.75):
        t = torch.full((64,), time)
        x = (1 - time) * noise + time * vectors
        # Standardised, so E[X - e | x_t] is (2t - 1) / ((1-t)² + t²) times x_t.
        best = (2 * time - 1) / ((1 - time) ** 2 + time**2) * x
        errors.append((velocity(state, x, t, (3, 3)) - best).square().mean().item())
    # The untrained field, 0, is off by 0.4 at t = 1/4 and 3/4.
    assert max(errors) < 0.05


SMALL: dict[str, Any] = {
    "epochs": 12,
    "batch": 16,
    "dims": 24,
    "width": 32,
    "blocks": 1,
    "paths": 3,
    "times": 3,
}


PACKS = Packs("flow_mismatching", 120, 40)


@functools.cache
def fitted(key: str = "cell"):
    method = FlowMismatching(**SMALL)
    return method, method.fit(PACKS.training(range(80), [], key))


def test_anomalies_of_generated_data_are_found_and_located():
    method, state = fitted()
    scores = method.score(state, PACKS.images(range(80, 160)))
    assert auroc_of(scores.total[:40], scores.total[40:]) > 0.9
    maps = scores.maps[40:]
    assert maps[:, :2, :2].mean() > 1.5 * maps[:, 2:, 2:].mean()  # The shift is upper left.
    torch.testing.assert_close(scores.total, 2 * scores.maps.flatten(1).amax(1))


def test_noise_is_drawn_once_by_the_cell_and_kept():
    noise = fitted()[1]["noise"]
    assert noise.shape == (3, 16, 24)
    assert abs(noise.mean().item()) < 0.1
    assert noise.std().item() == pytest.approx(1, abs=0.1)
    assert not torch.equal(noise, fitted("other")[1]["noise"])


def test_the_method_aggregates_as_it_is_told():
    method, state = fitted()
    images = PACKS.images(range(80, 100))
    maps = {
        how: dataclasses.replace(method, aggregation=how, fraction=0.5).score(state, images).maps
        for how in ("minimum", "median", "mean", "percentile")
    }
    assert bool((maps["minimum"] <= maps["median"]).all())
    assert bool((maps["minimum"] < maps["mean"]).all())
    torch.testing.assert_close(maps["percentile"], maps["median"])  # Of three: both the second.
