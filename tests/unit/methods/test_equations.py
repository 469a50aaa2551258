"""Each method's scores against a transcription of its equations, and small examples by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import Packs, build, rows

from osad.core.seeds import torch_generator
from osad.learn.batches import balanced_batches
from osad.learn.gaussian import whiten, whitened_training
from osad.learn.heads import adapter
from osad.learn.images import ImageSet, State, TrainingData
from osad.methods.patchcore import PatchCore, greedy_coreset

PACKS = Packs("equations", 24, 8)
DATA = PACKS.training(range(20), [24, 25, 26], "cell")
SHOWN = PACKS.images([20, 21, 22, 28, 29, 30, 31])


def double(state: State) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in state.items()}


def vectors(images: ImageSet) -> np.ndarray:
    """Return position vectors of the deepest maps, (n, P, c)."""
    return images.deepest.take().double().numpy().reshape(len(images), 24, 16).transpose(0, 2, 1)


def adapted(state: dict[str, np.ndarray], v: np.ndarray) -> np.ndarray:
    x = (v - state["whiten.mean"]) @ state["whiten.matrix"]
    hidden = x @ state["adapter.down.weight"].T + state["adapter.down.bias"]
    return x + np.maximum(hidden, 0) @ state["adapter.up.weight"].T + state["adapter.up.bias"]


def best(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the top 10 % of 16 positions, which is the largest, (n,)."""
    return np.sort(scores, axis=1)[:, -1]


# --- DevNet -------------------------------------------------------------------------------


def test_devnet_works_without_adapter():
    method = build("devnet", epochs=1, iterations=5, adapter=0)
    state = method.fit(DATA)
    assert sorted(state) == ["head.bias", "head.weight", "whiten.matrix", "whiten.mean"]
    assert method.score(state, SHOWN).total.shape == (7,)


# --- DRA ----------------------------------------------------------------------------------

DRA = {
    "epochs": 1, "iterations": 6, "adapter": 4, "holistic_width": 8, "residual_width": 8,
    "references": 5,
}  # fmt: skip


def test_dra_adds_its_four_heads():
    method = build("dra", lr=1e-2, **DRA)
    state = method.fit(DATA)
    s = double(state)
    scores = method.score(state, SHOWN)
    x = adapted(s, vectors(SHOWN))
    hidden = np.maximum(x.mean(1) @ s["normal.0.weight"].T + s["normal.0.bias"], 0)
    normal = -np.abs(hidden @ s["normal.1.weight"][0] + s["normal.1.bias"][0])
    np.testing.assert_allclose(scores.heads["normal"], normal, rtol=1e-3, atol=1e-4)
    local = {
        head: np.abs(x @ s[f"{head}.weight"][0] + s[f"{head}.bias"][0])
        for head in ("seen", "pseudo")
    } | {"residual": dra_residual(state, x)}
    for head, values in local.items():
        np.testing.assert_allclose(scores.heads[head], best(values), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.maps.flatten(1), sum(local.values()), rtol=1e-3, atol=2e-4)


def dra_residual(state: State, x: np.ndarray) -> np.ndarray:
    """Return the scores of the positions, (n, P), by torch's own layers."""
    convolution, norm = torch.nn.Conv2d(24, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
    convolution.load_state_dict(
        {"weight": state["residual.conv.weight"], "bias": state["residual.conv.bias"]}
    )
    norm.load_state_dict(
        {
            "weight": state["residual.norm.weight"],
            "bias": state["residual.norm.bias"],
            "running_mean": state["residual.running_mean"],
            "running_var": state["residual.running_var"],
        }
    )
    model = torch.nn.Sequential(convolution, norm, torch.nn.ReLU()).double().eval()
    residual = torch.from_numpy(state["reference"].double().numpy() - x)
    maps = residual.transpose(1, 2).reshape(len(x), 24, 4, 4)
    with torch.no_grad():
        features = model(maps).flatten(2).transpose(1, 2).numpy()
    s = double(state)
    return np.abs(features @ s["residual.head.weight"][0] + s["residual.head.bias"][0])


def test_dra_s_reference_is_that_of_training():
    method = build("dra", lr=1e-2, **DRA)
    state = method.fit(DATA)
    _, data = whitened_training(DATA, method.shrinkage)
    *_, last = balanced_batches(
        data, 7, normals=5, anomalies=0, pseudo=method.pseudo, purpose="references"
    )
    expected = adapter(state, last.features).mean(0)
    np.testing.assert_allclose(state["reference"], expected, atol=1e-6)
    assert not torch.allclose(state["residual.running_mean"], torch.zeros(8))
    assert not torch.allclose(state["residual.running_var"], torch.ones(8))


# --- DPDL ---------------------------------------------------------------------------------

DPDL = {
    "epochs": 1, "iterations": 5, "adapter": 4, "head_width": 8, "prototypes": 3,
    "codebook_samples": 100, "lr": 1e-2, "s0": 0.1, "dispersion": 0.01,
}  # fmt: skip


def test_dpdl_starts_from_codes_of_unit_vectors_of_normals():
    method = build("dpdl", **DPDL | {"epochs": 1, "iterations": 1, "lr": 1e-9})
    state = method.fit(DATA)
    codes = state["codes"]
    assert codes.shape == (3, 24)
    np.testing.assert_allclose(state["bridge.r"], 0.9 * codes, atol=1e-7)
    white = whiten(state, DATA.normal.deepest.take()).flatten(0, 1)
    unit = torch.nn.functional.normalize(white, dim=1)
    # k-means: no code has a norm above 1 and together they are nearer than the mean.
    assert bool((codes.norm(dim=1) <= 1).all())
    to_mean = (unit - unit.mean(0)).square().sum(1).mean()
    assert torch.cdist(unit, codes).square().min(1).values.mean() < to_mean


def test_dpdl_has_at_most_a_third_as_many_prototypes_as_normals():
    few = PACKS.training(range(10), [24], "cell")
    assert build("dpdl", **DPDL | {"prototypes": 32}).fit(few)["codes"].shape == (3, 24)


def test_dpdl_s_spread_stays_in_its_range():
    method = build("dpdl", **DPDL | {"lr": 5.0, "iterations": 4})
    log_s = method.fit(DATA)["bridge.log_s"]
    assert -7 <= log_s.min() <= log_s.max() <= 1
    assert bool(((log_s == -7) | (log_s == 1)).any())


# --- Mahalanobis and LDA ------------------------------------------------------------------


POOLING = {"strides": [32], "spread": True}


def pooled(images: ImageSet) -> np.ndarray:
    v = vectors(images)
    return np.concatenate([v.mean(1), v.std(1)], 1)


def gaussian(shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and inverse of the shrunk covariance of the normals."""
    covariance = np.cov(pooled(DATA.normal).T, bias=True)
    identity = np.eye(48) * np.trace(covariance) / 48
    shrunk = (1 - shrinkage) * covariance + shrinkage * identity
    return pooled(DATA.normal).mean(0), np.linalg.inv(shrunk)


@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_mahalanobis_distance(shrinkage):
    method = build("mahalanobis", shrinkage=shrinkage, **POOLING)
    mean, precision = gaussian(shrinkage)
    difference = pooled(SHOWN) - mean
    expected = np.sqrt(np.einsum("ni,ij,nj->n", difference, precision, difference) / 48)
    scores = method.score(method.fit(DATA), SHOWN)
    np.testing.assert_allclose(scores.total, expected, rtol=1e-3)


def test_lda_direction_and_scales():
    method = build("mahalanobis_lda", shrinkage=0.3, weight=2.0, **POOLING)
    mean, precision = gaussian(0.3)
    direction = precision @ (pooled(DATA.anomaly).mean(0) - mean)

    def standardised(values, reference):
        return (values - reference.mean()) / reference.std()

    def distance(images):
        difference = pooled(images) - mean
        return np.sqrt(np.einsum("ni,ij,nj->n", difference, precision, difference) / 48)

    seen = standardised(pooled(SHOWN) @ direction, pooled(DATA.normal) @ direction)
    normal = standardised(distance(SHOWN), distance(DATA.normal))
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


# --- PatchCore ----------------------------------------------------------------------------


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
    patches = np.array(
        [
            maps[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean((1, 2))
            for i, j in itertools.product(range(8), range(8))
        ]
    )
    np.testing.assert_allclose(bank[np.lexsort(bank.T)], patches[np.lexsort(patches.T)], atol=1e-5)


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


def test_random_scores_follow_paths_and_keys():
    method = build("random")
    state = method.fit(DATA)
    scores = method.score(state, SHOWN).total
    assert bool(((scores >= 0) & (scores < 1)).all())
    assert scores.unique().numel() == len(SHOWN)
    one = method.score(state, PACKS.images([30])).total
    assert one.item() == scores[5].item()
