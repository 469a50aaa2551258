"""Each method's scores against a transcription of its equations, and small examples by hand."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import DATA, PACKS, SHOWN, adapted, bounded, build, double, layers, rows, white

from osad.core.errors import ConfigError
from osad.core.seeds import torch_generator
from osad.learn.batches import balanced_batches
from osad.learn.dra_heads import HEADS
from osad.learn.gaussian import whitened_training
from osad.learn.heads import adapter
from osad.learn.images import ImageSet, State, TrainingData
from osad.methods.patchcore import PatchCore, greedy_coreset
from osad.runtime import memory

DRA = {
    "epochs": 1, "iterations": 6, "adapter": 4, "holistic_width": 8, "residual_width": 8,
    "references": 5,
}  # fmt: skip


def dra_parts(state: State, images: ImageSet) -> tuple[State, torch.Tensor]:
    """Return DRA's oriented heads before they are standardised, and its maps (n, P)."""
    s = double(state)
    x = adapted(s, white(s, images))
    maps = (s["reference"] - x).transpose(1, 2).unflatten(2, (4, 4))
    maps = F.conv2d(maps, s["residual.conv.weight"], s["residual.conv.bias"], padding=1)
    running = s["residual.running_mean"], s["residual.running_var"]
    maps = F.batch_norm(maps, *running, s["residual.norm.weight"], s["residual.norm.bias"])
    residual = maps.relu().flatten(2).transpose(1, 2)
    local = {
        head: (features @ s[f"{name}.weight"][0] + s[f"{name}.bias"]).abs()
        for head, name, features in (
            ("seen", "seen", x), ("pseudo", "pseudo", x), ("residual", "residual.head", residual)
        )
    }  # fmt: skip
    # The mean of the top 10 % of 16 positions is the largest.
    expected = {head: values.max(1).values for head, values in local.items()}
    expected["normal"] = -layers(s, "normal.0", "normal.1", x.mean(1))[:, 0].abs()
    scales = {head: s.get(f"scale.{head}.std", 1.0) for head in local}
    total: Any = sum(values / scales[head] for head, values in local.items())
    return expected, total


@pytest.mark.parametrize("standardised", [True, False])
def test_dra_adds_its_four_heads(standardised):
    method = build("dra", lr=1e-2, standardised=standardised, **DRA)
    state = method.fit(DATA)
    scores, (expected, maps) = method.score(state, SHOWN), dra_parts(state, SHOWN)
    assert standardised == any(key.startswith("scale.") for key in state)
    if standardised:
        for head, values in dra_parts(state, DATA.normal)[0].items():
            # No head scores below its least on the training normals.
            expected[head] = bounded(expected[head], values)
    for head, values in expected.items():
        np.testing.assert_allclose(scores.heads[head], values, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores.total, sum(expected.values()), rtol=1e-3, atol=3e-3)
    np.testing.assert_allclose(scores.maps.flatten(1), maps, rtol=1e-3, atol=2e-4)


def test_dra_s_scales_change_nothing_else():
    with_scales, without = (
        build("dra", lr=1e-2, standardised=standardised, **DRA).fit(DATA)
        for standardised in (True, False)
    )
    added = {f"scale.{head}.{part}" for head in HEADS for part in ("mean", "std", "least")}
    assert with_scales.keys() - without.keys() == added
    for key, value in without.items():
        assert torch.equal(with_scales[key], value)


def test_dra_s_reference_is_that_of_training():
    method = build("dra", lr=1e-2, **DRA)
    state = method.fit(DATA)
    _, data = whitened_training(DATA, method.shrinkage)
    options = {"pseudo": method.pseudo, "purpose": "references"}
    *_, last = balanced_batches(data, 7, normals=5, anomalies=0, **options)
    expected = adapter(state, last.features).mean(0)
    np.testing.assert_allclose(state["reference"], expected, atol=1e-6)
    assert not torch.allclose(state["residual.running_mean"], torch.zeros(8))
    assert not torch.allclose(state["residual.running_var"], torch.ones(8))


DPDL = {
    "epochs": 1, "iterations": 5, "adapter": 4, "head_width": 8, "prototypes": 3,
    "codebook_samples": 100, "lr": 1e-2, "s0": 0.1, "dispersion": 0.01,
}  # fmt: skip


@pytest.mark.parametrize("lengths", [True, False])
def test_dpdl_starts_from_codes_of_vectors_of_normals(lengths):
    method = build("dpdl", **DPDL | {"epochs": 1, "iterations": 1, "lr": 1e-9, "lengths": lengths})
    state = method.fit(DATA)
    codes = state["codes"]
    assert codes.shape == (3, 24)
    np.testing.assert_allclose(state["bridge.r"], 0.9 * codes, atol=1e-7)
    vectors = white(state, DATA.normal).float().flatten(0, 1)
    x = vectors / math.sqrt(24) if lengths else F.normalize(vectors, dim=1)
    # k-means: codes are means, no longer than the longest vector, and nearer than one mean.
    assert codes.norm(dim=1).max() <= x.norm(dim=1).max() + 1e-5
    to_mean = (x - x.mean(0)).square().sum(1).mean()
    assert torch.cdist(x, codes).square().min(1).values.mean() < to_mean
    # White vectors have a mean squared length of the number of channels, but for the shrinkage.
    assert x.square().sum(1).mean().item() == pytest.approx(1, abs=0.1)
    # There are at most a third as many as normals.
    few = PACKS.training(range(10), [24], "cell")
    assert build("dpdl", **DPDL | {"prototypes": 32}).fit(few)["codes"].shape == (3, 24)


def test_dpdl_s_spread_stays_in_its_range():
    method = build("dpdl", **DPDL | {"lr": 5.0, "iterations": 4})
    log_s = method.fit(DATA)["bridge.log_s"]
    assert -7 <= log_s.min() <= log_s.max() <= 1
    assert bool(((log_s == -7) | (log_s == 1)).any())


POOLING = {"strides": [32], "spread": True}


def pooled(images: ImageSet) -> np.ndarray:
    maps = images.deepest.take().double().numpy()
    return np.concatenate([maps.mean((2, 3)), maps.std((2, 3))], 1)


class Gaussian:
    """Mean and inverse of the shrunk covariance of the normals."""

    def __init__(self, shrinkage: float) -> None:
        covariance = np.cov(pooled(DATA.normal).T, bias=True)
        identity = np.eye(48) * np.trace(covariance) / 48
        self.mean = pooled(DATA.normal).mean(0)
        self.precision = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * identity)

    def distance(self, images: ImageSet) -> np.ndarray:
        difference = pooled(images) - self.mean
        return np.sqrt(np.einsum("ni,ij,nj->n", difference, self.precision, difference) / 48)


@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_mahalanobis_distance(shrinkage):
    method = build("mahalanobis", shrinkage=shrinkage, **POOLING)
    scores = method.score(method.fit(DATA), SHOWN)
    np.testing.assert_allclose(scores.total, Gaussian(shrinkage).distance(SHOWN), rtol=1e-3)


def test_lda_direction_and_scales():
    method, gaussian = build("mahalanobis_lda", shrinkage=0.3, weight=2.0, **POOLING), Gaussian(0.3)
    direction = gaussian.precision @ (pooled(DATA.anomaly).mean(0) - gaussian.mean)

    def standardised(function):
        values, reference = function(SHOWN), function(DATA.normal)
        return (values - reference.mean()) / reference.std()

    seen = standardised(lambda images: pooled(images) @ direction)
    normal = standardised(gaussian.distance)
    scores = method.score(method.fit(DATA), SHOWN)
    np.testing.assert_allclose(scores.heads["seen"], seen, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(scores.heads["normal"], normal, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(scores.total, normal + 2 * seen, rtol=2e-3, atol=4e-3)


def test_mean_intensity_is_two_sided():
    def intensity(*values: float) -> ImageSet:
        pixels = torch.tensor([[value, 0.3] for value in values])
        return ImageSet(tuple(map(str, values)), views={"pixels": rows(pixels)})

    method = build("mean_intensity")
    state = method.fit(TrainingData(intensity(0.4, 0.6), intensity(), "key"))  # mean .5, std .1
    scores = method.score(state, intensity(0.5, 0.7, 0.2)).total
    np.testing.assert_allclose(scores, [0.0, 2.0, 3.0], atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 12), key=st.integers(0, 1000), data=st.data())
def test_coreset_takes_the_farthest_point_each_time(n, key, data):
    points = torch.randn(n, 3, generator=torch_generator("points", key))
    chosen = greedy_coreset(points, data.draw(st.integers(1, n))).tolist()
    assert len(set(chosen)) == len(chosen)
    x = points.double().numpy()
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    farthest = np.linalg.norm(x - x.mean(0), axis=1)
    for number, index in enumerate(chosen):  # Two points may be equally far up to rounding.
        assert farthest[index] >= farthest.max() - 1e-3
        farthest = distances[:, chosen[: number + 1]].min(1)


def line(*maps: list[float]) -> ImageSet:
    """Return images of one channel and 2 x 2 positions."""
    tensor = torch.tensor(maps).view(len(maps), 1, 2, 2)
    return ImageSet(tuple(map(str, range(len(maps)))), {32: rows(tensor)})


def test_patchcore_weighs_the_farthest_patch_by_hand():
    method = PatchCore(strides=(32,), neighbourhood=1, coreset=4, projection=4, neighbours=2)
    normal = line([0.0, 1.0, 2.0, 3.0])
    state = method.fit(TrainingData(normal, line(), "key"))
    assert sorted(state["bank"].flatten().tolist()) == [0.0, 1.0, 2.0, 3.0]
    scores = method.score(state, line([0.0, 1.0, 2.0, 7.0], [3.0, 3.0, 3.0, 3.0], [0.0, -1, 0, 0]))
    # 7 is 4 away from 3, and 4 and 5 away from the two patches around 3: 4 (1 - e^4/(e^4 + e^5)).
    # -1 is 1 away from 0, and 1 and 2 away from those around 0.
    weight = 1 - 1 / (1 + math.e)
    np.testing.assert_allclose(scores.total, [4 * weight, 0.0, weight], rtol=1e-5)


def test_patches_are_averages_over_neighbours_inside_the_map():
    method = build("patchcore", strides=[16], neighbourhood=3, coreset=64, candidates=64)
    image = PACKS.images([3])
    bank = method.fit(TrainingData(image, PACKS.images([]), "key"))["bank"].double().numpy()
    maps = image.maps[16].take()[0].double().numpy()
    places = itertools.product([slice(max(i - 1, 0), i + 2) for i in range(8)], repeat=2)
    patches = np.array([maps[:, down, right].mean((1, 2)) for down, right in places])
    np.testing.assert_allclose(bank[np.lexsort(bank.T)], patches[np.lexsort(patches.T)], atol=1e-5)


def test_a_memory_bank_that_does_not_fit_is_refused_beforehand(monkeypatch):
    """10 images of 1,000 x 500 positions: the distances of one of them to 50,000 patches."""
    maps = torch.zeros(1, 1, 1, 1, dtype=torch.float16).expand(10, 8, 1000, 500)
    data = TrainingData(ImageSet(("",) * 10, {32: rows(maps)}), ImageSet(()), key="large")
    monkeypatch.setattr(memory, "available_memory", lambda: 9_000_000_000)
    method = PatchCore(candidates=1_000_000, coreset=50_000)
    measuring = 4 * 50_000 * 8 + 4 * 500_000 * (4 * 8 + 3 * 50_000)
    with pytest.raises(ConfigError) as refused:
        method.fit(data)
    assert str(refused.value).startswith(
        "methods.patchcore: candidates 1000000 and coreset 50000 with 8 channels (choosing 0.42 GB,"
        f" distances {measuring / 1e9:.2f} GB): needs {measuring / 1e9:.2f} GB of memory, 9.00 GB "
        "are available; lower candidates or coreset"
    )
    monkeypatch.setattr(memory, "available_memory", lambda: 310_000_000_000)
    PatchCore(candidates=1_000, coreset=50)._check_room(data.normal)


def test_deeper_maps_are_brought_to_the_first_one_s_size():
    method = build("patchcore", strides=[16, 32], coreset=10, candidates=1000)
    bank = method.fit(DATA)["bank"]
    assert bank.shape == (10, 36)
    maps = {16: rows(torch.rand(1, 2, 8, 8)), 32: rows(torch.full((1, 3, 4, 4), 5.0))}
    images = ImageSet(("a",), maps)
    state = method.fit(TrainingData(images, ImageSet(()), "key"))
    np.testing.assert_allclose(state["bank"][:, 2:], np.full((10, 3), 5.0), rtol=1e-6)


def test_true_labels_need_labels():
    method = build("true_labels")
    with pytest.raises(ValueError, match="needs test labels"):
        method.score(method.fit(DATA), SHOWN)


def test_random_scores_differ_and_are_below_1():
    method = build("random")
    scores = method.score(method.fit(DATA), SHOWN).total
    assert bool(((scores >= 0) & (scores < 1)).all())
    assert scores.unique().numel() == len(SHOWN)
