"""The contract of methods, for every registered one, and what only our own must keep."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from learn_cases import Packs

from osad.evaluation.metrics import auroc
from osad.learn.images import ImageSet, Rows
from osad.methods import registry
from osad.methods.checks import CHECKS, difference
from osad.methods.trial import (
    ANOMALIES,
    NORMALS,
    TEST_ANOMALIES,
    TEST_NORMALS,
    Trial,
    changed,
    changed_images,
)

SPECS = {spec.name: spec for spec in registry.all_specs()}
CONTROLS = {"constant": 0.5, "true_labels": 1.0, "random": None}
DRAWS_NOTHING = {"constant", "true_labels", "mean_intensity", "mahalanobis", "mahalanobis_lda"}

each_method = pytest.mark.parametrize("name", SPECS)


@functools.cache
def packs() -> Packs:
    return Packs("methods", 84, 16)


@functools.cache
def trial(name: str) -> Trial:
    return Trial(SPECS[name], packs())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@each_method
def test_contract(name, check):
    check(trial(name))


@each_method
def test_total_is_the_sum_of_its_oriented_heads(name):
    scores = trial(name).score()
    if scores.heads:
        total = torch.stack(list(scores.heads.values())).sum(0)
        torch.testing.assert_close(scores.total, total)


def separation(name: str) -> float | None:
    labels = [0] * len(TEST_NORMALS) + [1] * len(TEST_ANOMALIES)
    return auroc(trial(name).score().total.numpy(), labels)


@pytest.mark.parametrize("name", sorted(set(SPECS) - set(CONTROLS)))
def test_shifted_anomalies_are_found(name):
    assert separation(name) > 0.8


@pytest.mark.parametrize(("name", "value"), CONTROLS.items())
def test_controls_score_what_they_promise(name, value):
    found = separation(name)
    assert SPECS[name].control
    assert found == value if value is not None else 0.2 < found < 0.8


@each_method
def test_draws_depend_on_the_key(name):
    other = trial(name).fit(NORMALS, ANOMALIES, "other")
    assert (not difference(other, trial(name).fit())) == (name in DRAWS_NOTHING)


@pytest.mark.gpu
@each_method
def test_a_gpu_gives_nearly_the_same_scores(name):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device, made = torch.device("cuda"), trial(name)

    def move(rows: Rows) -> Rows:
        return dataclasses.replace(rows, device=device)

    def shown() -> ImageSet:
        return changed_images(made.images(), move)

    state = {key: tensor.to(device) for key, tensor in made.fit().items()}
    scores = made.build().score(state, shown())
    torch.testing.assert_close(scores.total.cpu(), made.score().total, rtol=1e-3, atol=1e-3)
    data = changed(made.data(), move)
    base = None if data.base is None else {key: value.cuda() for key, value in data.base.items()}
    state = made.build().fit(dataclasses.replace(data, base=base))
    assert all(bool(value.isfinite().all()) for value in state.values())
