"""Heads, whitening, pooling, the training loop and the codebook, by hand-worked values."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learn_cases import Packs, draws, rows

from osad.core.errors import ConfigError, TrainingError
from osad.core.seeds import torch_generator
from osad.learn import gaussian, heads
from osad.learn.batches import Batch
from osad.learn.images import ImageSet, TrainingData, batched
from osad.learn.loop import minimise
from osad.learn.vectors import codebook, coordinates, pooled


@pytest.mark.parametrize(("n", "k"), [(49, 4), (196, 19), (16, 1), (5, 1), (1, 1)])
def test_top_ten_percent_of_positions(n, k):
    order = torch.randperm(n, generator=torch_generator("order"))
    scores = torch.stack([order, -order]).float()
    best = (n - 1 + n - k) / 2  # Mean of n-1, n-2, ..., n-k.
    assert heads.top_k_mean(scores).tolist() == [best, -(k - 1) / 2]


def test_positions_keep_rows_before_columns():
    maps = torch.arange(2 * 3 * 2 * 4).view(2, 3, 2, 4)
    vectors = heads.positions(maps)
    assert vectors.is_contiguous()
    assert torch.equal(vectors.unflatten(1, (2, 4)), maps.permute(0, 2, 3, 1))


def test_affine_maps_start_like_those_of_torch():
    state = heads.init_linear("a", 25, 400, torch_generator("init"))
    weight = state["a.weight"]
    assert weight.shape == (400, 25)
    assert weight.abs().max() <= 0.2
    assert weight.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)
    assert state["a.bias"].unique().numel() == 400
    x = draws(2, 3, 25)
    # Not equal to the bit: torch's own product depends on who made the processor.
    torch.testing.assert_close(heads.linear(state, "a", x), F.linear(x, weight, state["a.bias"]))


def test_adapter_starts_as_identity_and_adds_a_bottleneck():
    state = heads.init_adapter(6, 4, torch_generator("init"))
    x = draws(2, 5, 6)
    assert torch.equal(heads.adapter(state, x), x)
    state = {
        "adapter.down.weight": torch.tensor([[1.0, 1.0], [1.0, -1.0]]),
        "adapter.down.bias": torch.tensor([0.0, -1.0]),
        "adapter.up.weight": torch.tensor([[1.0, 10.0], [0.0, 2.0]]),
        "adapter.up.bias": torch.tensor([0.5, 0.0]),
    }
    # W1 x + b1 = (3, -2), relu (3, 0), W2 (3, 0) + b2 = (3.5, 0).
    assert heads.adapter(state, torch.tensor([1.0, 2.0])).tolist() == [4.5, 2.0]


def test_mlp_has_relu_between_its_maps_only():
    state = heads.init_mlp("m", (6, 8, 4, 1), torch_generator("init"))
    assert len(state) == 6
    x = expected = draws(7, 6)
    for number in range(3):
        expected = F.linear(expected, state[f"m.{number}.weight"], state[f"m.{number}.bias"])
        expected = F.relu(expected) if number < 2 else expected.squeeze(-1)
    torch.testing.assert_close(heads.mlp(state, "m", x), expected)
    assert expected.min() < 0  # So a ReLU at the end would show.


@pytest.mark.parametrize(
    ("scores", "targets", "margin", "value"),
    [
        ([0.5, -2.0, 3.0, 7.0], [0, 0, 1, 1], 5.0, (0.5 + 2 + 2 + 0) / 4),
        ([-1.0], [1], 5.0, 6.0),
        ([1.0, 1.0], [0, 1], 2.0, 1.0),
        ([], [], 5.0, 0.0),
    ],
)
def test_deviation_loss(scores, targets, margin, value):
    s = torch.tensor(scores, requires_grad=True)
    loss = heads.deviation_loss(s, torch.tensor(targets, dtype=torch.int64), margin=margin)
    assert loss.item() == pytest.approx(value)
    loss.backward()  # An empty batch must not stop training.
    assert bool(s.grad.isfinite().all())


def correlated(n: int, d: int = 6) -> torch.Tensor:
    return draws(n, d, key="base") @ draws(d, d, key="mix") + torch.arange(d)


def test_moments_are_numpy_s_and_whitened_ones_those_of_the_unit_gaussian():
    x = correlated(200)
    mean, covariance = gaussian.moments(x)
    assert mean.dtype == covariance.dtype == torch.float64
    np.testing.assert_allclose(mean, x.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x.double().numpy().T, bias=True), atol=1e-12)
    mean, matrix = gaussian.whitening(mean, covariance, 0.0)
    white_mean, white_covariance = gaussian.moments((x - mean) @ matrix)
    np.testing.assert_allclose(white_mean, np.zeros(6), atol=1e-4)
    np.testing.assert_allclose(white_covariance, np.eye(6), atol=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert mean.dtype == matrix.dtype == torch.float32


def test_shrinkage_from_none_to_all():
    covariance = torch.tensor([[3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert torch.equal(gaussian.shrunk(covariance, 0.0), covariance)
    assert gaussian.shrunk(covariance, 1.0).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert gaussian.shrunk(covariance, 0.5).tolist() == [[2.5, 0.5], [0.5, 1.5]]
    _, matrix = gaussian.whitening(torch.zeros(2).double(), covariance, 1.0)
    np.testing.assert_allclose(matrix, np.eye(2) / math.sqrt(2), atol=1e-7)
    with pytest.raises(TrainingError, match="not finite"):
        gaussian.whitening(torch.zeros(2).double(), covariance * math.nan, 0.1)


def test_position_whitening_sees_every_position_of_the_chosen_images():
    maps = (correlated(80 * 6).view(80, 2, 3, 6).permute(0, 3, 1, 2)).half()
    index = list(range(5, 75))  # More than one part.
    state = gaussian.position_whitening(rows(maps, index), 0.0)
    flat = maps[index].float().permute(0, 2, 3, 1).reshape(-1, 6)
    mean, matrix = gaussian.whitening(*gaussian.moments(flat), 0.0)
    np.testing.assert_allclose(state["whiten.mean"], mean, atol=1e-5)
    np.testing.assert_allclose(state["whiten.matrix"], matrix, rtol=1e-3, atol=1e-4)
    expected = ((flat - mean) @ matrix).view(70, 6, 6)
    np.testing.assert_allclose(gaussian.whiten(state, maps[index].float()), expected, atol=1e-3)


def test_training_views_are_whitened_with_the_plain_normals():
    packs = Packs("whitening", 40, 3)
    data = packs.training(range(1, 40, 2), [41, 40], "key")
    state, white = gaussian.whitened_training(data, 0.1)
    plain = gaussian.position_whitening(data.normal.deepest, 0.1)
    assert torch.equal(state["whiten.matrix"], plain["whiten.matrix"])
    for role, view in (("normal", "rotated"), ("normal", "pseudo"), ("anomaly", "rotated")):
        before, after = (getattr(part, role).need(view).take() for part in (data, white))
        expected = gaussian.whiten(state, before.flatten(0, 1)).unflatten(0, (-1, 3))
        np.testing.assert_allclose(after, expected, atol=2e-2)  # float16 in memory
    assert "pseudo" not in white.anomaly.views
    assert white.normal.need("pixels") is data.normal.need("pixels")
    assert white.normal.deepest is data.normal.deepest
    none = TrainingData(data.normal, packs.images([], training=True), "key")
    assert len(gaussian.whitened_training(none, 0.1)[1].anomaly) == 0


def test_pooling_over_positions():
    packs = Packs("pooling", 70, 0)
    images = packs.images(range(69, -1, -1))
    vectors = pooled(images, (32, 16), spread=True)
    parts = []
    for stride in (32, 16):
        maps = packs.tensors[f"s{stride}"].flip(0).double().numpy()
        parts += [maps.mean((2, 3)), maps.std((2, 3))]
    np.testing.assert_allclose(vectors, np.concatenate(parts, 1), atol=1e-5)
    assert pooled(images, (16,), spread=False).shape == (70, 12)
    with pytest.raises(ConfigError, match=r"stride 8 .*cached: 16, 32"):
        pooled(images, (8,), spread=False)


TARGET = torch.tensor([1.0, -2.0])
BATCH = Batch(torch.empty(0), torch.empty(0))


def quadratic(state: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    total: Any = sum((value - TARGET).square().sum() for value in state.values())
    return total


def fitted(steps: int, **options) -> dict[str, torch.Tensor]:
    state = {"w": torch.zeros(2), "v": torch.full((2,), 3.0)}
    values = {"lr": 0.1, "weight_decay": 0.0, "clip": 1e9} | options
    trained = minimise(state, [BATCH] * steps, quadratic, **values)
    assert torch.equal(state["w"], torch.zeros(2))  # The initial tensors stay.
    assert not any(value.requires_grad for value in trained.values())
    return trained


@pytest.mark.parametrize("decoupled", [False, True])
def test_loop_takes_the_steps_of_torch_s_optimisers(decoupled):
    parameters = {"w": torch.zeros(2, requires_grad=True)}
    parameters["v"] = torch.full((2,), 3.0, requires_grad=True)
    groups: list[dict[str, Any]] = [
        {"params": [parameters["w"]]},
        {"params": [parameters["v"]], "weight_decay": 0.0},
    ]
    optimiser = (torch.optim.AdamW if decoupled else torch.optim.Adam)(groups, weight_decay=0.5)
    for step in range(5):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 if step < 3 else 0.01
        optimiser.zero_grad()
        quadratic(parameters, BATCH).backward()
        optimiser.step()
    options = {"no_decay": frozenset({"v"}), "schedule": lambda step: 1.0 if step < 3 else 0.1}
    trained = fitted(5, weight_decay=0.5, decoupled=decoupled, **options)
    for name, value in parameters.items():
        np.testing.assert_allclose(trained[name], value.detach(), rtol=1e-6)


def test_loop_finds_the_minimum_keeps_fixed_tensors_and_scales_single_rates():
    trained = fitted(300, fixed=frozenset({"v"}))
    np.testing.assert_allclose(trained["w"], TARGET, atol=1e-3)
    assert trained["v"].tolist() == [3.0, 3.0]
    projection = {"after_step": lambda tensors: tensors["w"].clamp_(-0.5, 0.5)}
    trained = fitted(20, lr_factor={"v": 0.0}, **projection)
    assert trained["w"].tolist() == [0.5, -0.5]
    assert trained["v"].tolist() == [3.0, 3.0]


def test_loop_clips_the_norm_of_the_whole_gradient():
    seen = []

    def loss(state, batch):
        for value in state.values():
            value.register_hook(lambda gradient: seen.append(gradient.clone()))
        return 1000 * quadratic(state, batch)

    state = {"w": torch.zeros(2), "v": torch.zeros(2)}
    # Adam's first step hides the gradient's scale unless its epsilon of 1e-8 is comparable.
    trained = minimise(state, [BATCH], loss, lr=1.0, weight_decay=0.0, clip=1e-8)
    clipped = seen[0] / torch.cat(seen).norm() * 1e-8
    expected = -clipped / (clipped.abs() + 1e-8)
    np.testing.assert_allclose(trained["w"], expected, rtol=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loop_stops_at_a_loss_that_is_not_finite(bad):
    values = iter([1.0, 1.0, bad])

    def loss(state, batch):
        return quadratic(state, batch) * next(values)

    with pytest.raises(TrainingError, match=rf"loss is {bad} at step 2"):
        minimise({"w": torch.zeros(2)}, [BATCH] * 5, loss, lr=0.1, weight_decay=0.0)


def test_slices_cover_all_images():
    assert batched(130, 64) == [slice(0, 64), slice(64, 128), slice(128, 130)]
    assert batched(64) == [slice(0, 64)]
    assert batched(0) == []


@pytest.mark.parametrize("d", [2, 5, 300])
def test_codes_are_the_means_of_separate_groups(d):
    groups = 5 * draws(3, 1, d, key="centres") + 0.1 * draws(3, 20, d)
    codes = codebook(groups.flatten(0, 1), 3, "key")
    assert codes.dtype == torch.float32
    order = torch.cdist(groups.mean(1), codes).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    np.testing.assert_allclose(codes[order], groups.mean(1), atol=1e-5)


@pytest.mark.parametrize("d", [3, 40, 200])
def test_coordinates_keep_distances_in_few_dimensions(d):
    points = draws(40, d)
    found = coordinates(points)
    assert found.shape == (40, min(d, 40))
    np.testing.assert_allclose(torch.pdist(found), torch.pdist(points), atol=1e-4)


def test_rows_are_taken_as_float32_in_the_set_s_order():
    tensor = torch.arange(24).view(6, 2, 2).half()
    chosen = rows(tensor, [4, 1, 3])
    assert len(chosen) == 3
    assert chosen.take().dtype == torch.float32
    assert torch.equal(chosen.take(), tensor[[4, 1, 3]].float())
    assert torch.equal(chosen.take(slice(1, 3)), tensor[[1, 3]].float())
    views = chosen.take(torch.tensor([2, 0]), views=torch.tensor([1, 0]))
    assert views.tolist() == [[14.0, 15.0], [16.0, 17.0]]
    with pytest.raises(ValueError, match="no pseudo"):
        ImageSet(()).need("pseudo")
