"""What every registered method must do, on generated features that take seconds."""

from __future__ import annotations

import dataclasses
import functools
import math

import learn_cases
import pytest
import torch
from learn_cases import Packs

from osad.core.errors import TrainingError
from osad.core.files import read_tensors, write_tensors
from osad.core.seeds import torch_generator
from osad.data.splits import SplitRow
from osad.evaluation.metrics import auroc
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.methods import registry
from osad.pipeline.steps.score import table
from osad.pipeline.steps.train import check_finite

one_thread = learn_cases.one_thread

SPECS = {spec.name: spec for spec in registry.all_specs()}
CONTROLS = {"constant": 0.5, "true_labels": 1.0, "random": None}
DRAWS_NOTHING = {"constant", "true_labels", "mean_intensity", "mahalanobis", "mahalanobis_lda"}
READERS = [name for name, spec in SPECS.items() if spec.packs]
TRAINED = [name for name, spec in SPECS.items() if "rotated" in spec.packs]
SIMULATED = ("pseudo", "cutmix", "draem")
VIEWS = ("rotated", "pseudo", "cutmix", "draem", "pixels")
BUDGET = {
    "epochs": 2,
    "iterations": 10,
    "batch": 12,
    "lr": 5e-3,
    "adapter": 8,
    "head_width": 16,
    "holistic_width": 16,
    "residual_width": 8,
    "prototypes": 4,
    "codebook_samples": 200,
    "candidates": 200,
    "coreset": 20,
    "projection": 8,
}

NORMALS, ANOMALIES = tuple(range(64)), (84, 85, 86, 87)
TEST = (*range(64, 84), *range(88, 100))

each_method = pytest.mark.parametrize("name", SPECS)


@functools.cache
def packs() -> Packs:
    return Packs("methods", 84, 16)


def build(name: str):
    spec = SPECS[name]
    fields = {field.name for field in dataclasses.fields(spec.hyper)}
    return spec.build(spec.resolve({key: BUDGET[key] for key in BUDGET.keys() & fields}))


def training(name: str, normals=NORMALS, anomalies=ANOMALIES, key: str = "cell") -> TrainingData:
    """Return what the method may see: only the packs that it declares, and its fitted base."""
    data = packs().training(normals, anomalies, key)
    base = SPECS[name].base
    return dataclasses.replace(
        data,
        normal=declared(name, data.normal),
        anomaly=declared(name, data.anomaly),
        base=fitted(base, normals, anomalies, key) if base else None,
    )


def declared(name: str, images: ImageSet) -> ImageSet:
    spec = SPECS[name]
    kept = {pack: getattr(images, pack) for pack in VIEWS}
    return dataclasses.replace(
        images,
        maps=images.maps if "plain" in spec.packs else {},
        labels=images.labels if spec.sees_test_labels else None,
        **{pack: rows if pack in spec.packs else None for pack, rows in kept.items()},
    )


def shown(name: str, index: tuple[int, ...] = TEST) -> ImageSet:
    return declared(name, packs().images(index, labels=True))


@functools.cache
def fitted(name: str, normals=NORMALS, anomalies=ANOMALIES, key: str = "cell") -> State:
    return build(name).fit(training(name, normals, anomalies, key))


def scored(name: str, state: State | None = None, index=TEST) -> Scores:
    return build(name).score(fitted(name) if state is None else state, shown(name, index))


def separation(scores: Scores) -> float | None:
    return auroc(scores.total.numpy(), [int(number >= 84) for number in TEST])


@each_method
def test_scores_are_one_finite_number_per_image(name):
    scores = scored(name)
    assert scores.total.shape == (len(TEST),)
    assert scores.total.dtype == torch.float32
    assert not scores.total.requires_grad
    assert bool(scores.total.isfinite().all())
    assert tuple(scores.heads) == SPECS[name].heads
    for head in scores.heads.values():
        assert head.shape == scores.total.shape
        assert head.dtype == torch.float32
    assert (scores.maps is not None) == SPECS[name].maps
    if scores.maps is not None:
        assert scores.maps.ndim == 3
        assert len(scores.maps) == len(TEST)
        assert scores.maps.dtype == torch.float32
        assert bool(scores.maps.isfinite().all())


@each_method
def test_total_is_the_sum_of_its_oriented_heads(name):
    scores = scored(name)
    if scores.heads:
        total = torch.stack(list(scores.heads.values())).sum(0)
        torch.testing.assert_close(scores.total, total)


@pytest.mark.parametrize("name", sorted(set(SPECS) - set(CONTROLS)))
def test_shifted_anomalies_are_found(name):
    assert separation(scored(name)) > 0.8


@pytest.mark.parametrize(("name", "value"), CONTROLS.items())
def test_controls_score_what_they_promise(name, value):
    found = separation(scored(name))
    assert SPECS[name].control
    assert found == value if value is not None else 0.2 < found < 0.8


@each_method
def test_order_of_test_images_does_not_matter(name):
    order = torch.randperm(len(TEST), generator=torch_generator("order")).tolist()
    shuffled = scored(name, index=tuple(TEST[place] for place in order))
    torch.testing.assert_close(shuffled.total, scored(name).total[order], rtol=1e-5, atol=1e-5)
    if shuffled.maps is not None:
        torch.testing.assert_close(shuffled.maps, scored(name).maps[order], rtol=1e-4, atol=1e-4)


@each_method
def test_an_image_s_score_does_not_depend_on_the_others(name):
    part = scored(name, index=TEST[7:9])
    torch.testing.assert_close(part.total, scored(name).total[7:9], rtol=1e-4, atol=1e-4)


@each_method
def test_inputs_stay_as_they_were(name):
    before = {key: tensor.clone() for key, tensor in packs().tensors.items()}
    state = {key: tensor.clone() for key, tensor in fitted(name).items()}
    build(name).fit(training(name))
    scored(name)
    assert all(torch.equal(packs().tensors[key], tensor) for key, tensor in before.items())
    assert all(torch.equal(fitted(name)[key], tensor) for key, tensor in state.items())


@each_method
def test_draws_depend_on_the_cell_alone(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = build(name).fit(training(name))
    assert torch.equal(torch.get_rng_state(), before)
    state = fitted(name)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    assert torch.equal(scored(name, again).total, scored(name).total)
    other = fitted(name, key="other")
    same = all(torch.equal(other[key], state[key]) for key in state)
    assert same == (name in DRAWS_NOTHING)


@each_method
def test_checkpoint_gives_the_same_scores(name, tmp_path):
    state = fitted(name)
    assert all(tensor.device.type == "cpu" for tensor in state.values())
    assert not any(tensor.requires_grad for tensor in state.values())
    tensors = {key: tensor.contiguous() for key, tensor in state.items()}
    write_tensors(tmp_path / "c.safetensors", tensors, {"cell": name})
    read = read_tensors(tmp_path / "c.safetensors")
    assert torch.equal(scored(name, read).total, scored(name).total)


@each_method
def test_one_anomaly_and_sixty_normals_are_enough(name):
    state = fitted(name, NORMALS[:60], ANOMALIES[:1])
    check_finite(state, name)
    assert bool(scored(name, state).total.isfinite().all())


@pytest.mark.parametrize(
    "name", [name for name, spec in SPECS.items() if "normal" in spec.settings]
)
def test_methods_of_the_normal_setting_need_no_anomaly(name):
    state = fitted(name, NORMALS, ())
    assert all(torch.equal(state[key], value) for key, value in fitted(name).items())


def spoilt(images: ImageSet, kinds: tuple[str, ...], *, every: bool = False) -> ImageSet:
    """Return a copy in which the features of the first or of every image are not a number."""

    def spoil(rows: Rows | None) -> Rows | None:
        if rows is None or not len(rows):
            return rows
        tensor = rows.tensor.clone()
        tensor[rows.index if every else rows.index[:1]] = math.nan
        return dataclasses.replace(rows, tensor=tensor)

    maps = images.maps
    if "maps" in kinds:
        maps = {stride: spoil(rows) for stride, rows in images.maps.items()}
    views = {kind: spoil(getattr(images, kind)) for kind in kinds if kind != "maps"}
    return dataclasses.replace(images, maps=maps, **views)


def fit_and_check(name: str, data: TrainingData) -> None:
    check_finite(build(name).fit(data), name)


@pytest.mark.parametrize("name", READERS)
def test_features_of_normals_that_are_not_finite_stop_training(name):
    data = training(name)
    bad = spoilt(data.normal, ("maps", "pixels"))
    with pytest.raises(TrainingError):
        fit_and_check(name, dataclasses.replace(data, normal=bad))


@pytest.mark.parametrize("role", ["normal", "anomaly"])
@pytest.mark.parametrize("name", TRAINED)
def test_training_views_that_are_not_finite_stop_training(name, role):
    data = training(name)
    bad = spoilt(getattr(data, role), ("rotated",))
    with pytest.raises(TrainingError, match="loss is nan at step"):
        fit_and_check(name, dataclasses.replace(data, **{role: bad}))


@pytest.mark.parametrize(
    ("name", "pack"),
    [(name, pack) for name in READERS for pack in SIMULATED if pack in SPECS[name].packs],
)
def test_simulated_defects_that_are_not_finite_stop_training(name, pack):
    data = training(name)
    bad = spoilt(data.normal, (pack,), every=True)  # Which of them are drawn is chance.
    with pytest.raises(TrainingError, match="loss is nan at step"):
        fit_and_check(name, dataclasses.replace(data, normal=bad))


@pytest.mark.parametrize("name", READERS)
def test_test_features_that_are_not_finite_are_not_scored(name):
    images = spoilt(shown(name), ("maps", "pixels"))
    scores = build(name).score(fitted(name), images)
    rows = [SplitRow(path, "0" * 64, "test", 0, "good") for path in images.paths]
    with pytest.raises(TrainingError, match=r"064\.png: .* not finite"):
        table(rows, scores, SPECS[name].heads)
    torch.testing.assert_close(scores.total[1:], scored(name).total[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@each_method
def test_a_gpu_gives_nearly_the_same_scores(name):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")

    def move(images: ImageSet) -> ImageSet:
        def put(rows: Rows | None) -> Rows | None:
            return None if rows is None else dataclasses.replace(rows, device=device)

        return dataclasses.replace(
            images,
            maps={stride: put(rows) for stride, rows in images.maps.items()},
            **{kind: put(getattr(images, kind)) for kind in VIEWS},
        )

    state = {key: tensor.to(device) for key, tensor in fitted(name).items()}
    scores = build(name).score(state, move(shown(name)))
    torch.testing.assert_close(scores.total.cpu(), scored(name).total, rtol=1e-3, atol=1e-3)
    data = training(name)
    base = None if data.base is None else {key: value.cuda() for key, value in data.base.items()}
    data = dataclasses.replace(
        data, normal=move(data.normal), anomaly=move(data.anomaly), base=base
    )
    check_finite(build(name).fit(data), name)
