"""What each method adds to the one that it builds on: kinds of anomalies that nobody showed it.

Features are generated, so that a kind is a direction: the seen anomalies move all channels, CutMix
images (``pseudo``) the even ones, the kinds here others. Each number is a mean over data sets.
"""

import dataclasses
import functools
from statistics import mean

import pytest
import torch
from learn_cases import CHANNELS, Packs, auroc_of, build, rows

from osad.learn.images import ImageSet, State
from osad.methods import registry
from osad.methods.registry import Method
from osad.methods.trial import BUDGET

KEYS = ("claim 0", "claim 1", "claim 2")
N_TRAINING, N_TEST, N_SEEN = 64, 40, 4
SMALL = BUDGET | {"epochs": 5, "iterations": 10, "lr": 5e-3}


def direction(channels: slice | list[int]) -> torch.Tensor:
    """Return a shift by 2 of some channels."""
    shift = torch.zeros(CHANNELS[32])
    shift[channels] = 2.0
    return shift


KINDS = {
    "even": direction(slice(0, None, 2)),  # as CutMix images
    "odd": direction(slice(1, None, 2)),  # as AHL's `cutmix` images; nothing else shows them
    "lone": direction([7, 15]),  # no training has them
}


@functools.cache
def packs(key: str) -> Packs:
    return Packs(key, N_TRAINING + 2 * N_TEST, N_SEEN)


def small(name: str) -> Method:
    fields = registry.get(name).resolve()
    return build(name, **{field: SMALL[field] for field in SMALL.keys() & fields.keys()})


@functools.cache
def fitted(name: str, key: str) -> State:
    first = N_TRAINING + 2 * N_TEST
    data = packs(key).training(range(N_TRAINING), range(first, first + N_SEEN), key)
    base = registry.get(name).base
    return small(name).fit(dataclasses.replace(data, base=fitted(base, key) if base else None))


def shown(key: str, kind: str, size: float) -> tuple[ImageSet, ImageSet]:
    """Return normal images and others whose upper left quarter is moved."""
    middle = N_TRAINING + N_TEST
    maps = packs(key).tensors["s32"][middle : middle + N_TEST].float()
    moved = (maps + size * Packs.patch(32, KINDS[kind])).half()
    anomalous = ImageSet(tuple(f"{number}.png" for number in range(N_TEST)), {32: rows(moved)})
    return packs(key).images(range(N_TRAINING, middle)), anomalous


@functools.cache
def found(name: str, kind: str, size: float) -> float:
    """Return the AUROC of moved images, mean over the data sets."""

    def separation(key: str) -> float:
        method, state = small(name), fitted(name, key)
        return auroc_of(*(method.score(state, part).total for part in shown(key, kind, size)))

    return mean(map(separation, KEYS))


# DRA on the lone channels and AHL on DRA: the difference varies a lot between data sets.
@pytest.mark.parametrize(
    ("name", "other", "kind", "size", "margin"),
    [
        ("dra", "devnet", "odd", 0.35, 0.1),
        ("dra", "devnet", "lone", 0.7, 0.08),
        ("ahl.devnet", "devnet", "odd", 0.35, 0.08),
        ("ahl", "dra", "odd", 0.15, 0.01),
        ("saoe", "devnet", "even", 0.1, 0.03),
    ],
)
def test_a_method_finds_what_the_other_was_not_shown(name, other, kind, size, margin):
    assert found(name, kind, size) > found(other, kind, size) + margin


@pytest.mark.parametrize(("name", "least"), [("saoe", 0.93), ("dpdl", 0.8)])
def test_faint_anomalies_of_the_kind_of_the_pseudo_anomalies_are_found(name, least):
    assert found(name, "even", 0.1) > least


@pytest.mark.parametrize("name", ["saoe", "dpdl"])
def test_saoe_and_dpdl_miss_kinds_unlike_all_that_they_were_shown(name):
    # A limit that their pages state. Where it no longer holds, the pages are wrong.
    assert found(name, "odd", 0.35) < 0.7
    assert found("dra", "odd", 0.35) > 0.85
