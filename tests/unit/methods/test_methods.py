"""The contract of methods, for every registered one, and what only our own must keep."""

import functools

import pytest
import torch
from learn_cases import Packs, auroc_of

from osad.methods import registry
from osad.methods.checks import CHECKS, difference
from osad.methods.trial import ANOMALIES, NORMALS, TEST_NORMALS, Trial

PACKS = Packs("methods", 84, 16)
SPECS = {spec.name: spec for spec in registry.all_specs()}
DRAWS_NOTHING = {
    "constant", "true_labels", "mean_intensity", "mahalanobis", "mahalanobis_lda", "evidence",
}  # fmt: skip

each_method = pytest.mark.parametrize("name", SPECS)


@functools.cache
def trial(name: str) -> Trial:
    return Trial(SPECS[name], PACKS)


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


@each_method
def test_shifted_anomalies_are_found_and_controls_score_what_they_promise(name):
    n, total = len(TEST_NORMALS), trial(name).score().total
    ranges = {"random": (0.2, 0.8), "constant": (0.5, 0.5), "true_labels": (1.0, 1.0)}
    low, high = ranges.get(name, (0.8, 1.0))
    assert low <= auroc_of(total[:n], total[n:]) <= high
    assert SPECS[name].control == (name in ranges)


@each_method
def test_draws_depend_on_the_key(name):
    other = trial(name).fit(NORMALS, ANOMALIES, "other")
    assert (not difference(other, trial(name).fit())) == (name in DRAWS_NOTHING)
