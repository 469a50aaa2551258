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
from osad.methods.trial import BUDGET, SIDES

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


def small(name: str, standardised: bool) -> Method:
    fields = registry.get(name).resolve()
    values = SMALL | {"standardised": standardised}
    return build(name, **{field: values[field] for field in values.keys() & fields.keys()})


def pooled(images: ImageSet) -> ImageSet:
    """Return images with what is pooled of their own deepest maps, of one network."""
    maps = images.deepest.take().flatten(2)
    return dataclasses.replace(images, pooled=(rows(torch.stack([maps.mean(2), maps.std(2)], 1)),))


@functools.cache
def fitted(name: str, key: str, standardised: bool) -> State:
    first = N_TRAINING + 2 * N_TEST
    data = packs(key).training(range(N_TRAINING), range(first, first + N_SEEN), key)
    data = dataclasses.replace(data, normal=pooled(data.normal), anomaly=pooled(data.anomaly))
    if base := registry.get(name).base:
        data = dataclasses.replace(data, base=fitted(base, key, standardised))
    return small(name, standardised).fit(data)


def unseen(key: str) -> ImageSet:
    """Return normal images that no fit has seen."""
    return pooled(packs(key).images(range(N_TRAINING, N_TRAINING + N_TEST)))


def moved(key: str, kind: str, size: float) -> ImageSet:
    """Return images, normal but for their upper left quarter, which is moved."""
    first = N_TRAINING + N_TEST
    maps = packs(key).tensors["s32"][first : first + N_TEST].float()
    maps = (maps + size * Packs.patch(32, KINDS[kind])).half()
    return pooled(ImageSet(tuple(f"{number}.png" for number in range(N_TEST)), {32: rows(maps)}))


@functools.cache
def found(name: str, kind: str, size: float, standardised: bool = True) -> float:
    """Return the AUROC of moved images, mean over the data sets."""

    def separation(key: str) -> float:
        method, state = small(name, standardised), fitted(name, key, standardised)
        shown = (unseen(key), moved(key, kind, size))
        return auroc_of(*(method.score(state, part).total for part in shown))

    return mean(map(separation, KEYS))


def uniform(key: str, factor: float) -> ImageSet:
    """Return one image whose positions all are the normals' mean times a factor; 0: black."""
    maps = {}
    for stride in CHANNELS:
        centre = packs(key).tensors[f"s{stride}"][:N_TRAINING].float().mean((0, 2, 3))
        maps[stride] = rows(
            factor * centre[None, :, None, None] * torch.ones(SIDES[stride], SIDES[stride])
        )
    return pooled(ImageSet(("uniform.png",), maps))


@functools.cache
def rank(name: str, factor: float, head: str = "") -> float:
    """Return the share of normal images below the uniform one, mean over the data sets."""

    def share(key: str) -> float:
        method, state = small(name, True), fitted(name, key, True)
        low, high = (method.score(state, part) for part in (unseen(key), uniform(key, factor)))
        if head:
            return (low.heads[head] < high.heads[head]).float().mean().item()
        return (low.total < high.total).float().mean().item()

    return mean(map(share, KEYS))


# DRA on the lone channels and AHL on DRA: the difference varies a lot between data sets.
@pytest.mark.parametrize(
    ("name", "other", "kind", "size", "margin", "standardised"),
    [
        ("dra", "devnet", "odd", 0.35, 0.1, True),
        ("dra", "devnet", "odd", 0.35, 0.1, False),
        ("dra", "devnet", "lone", 0.7, 0.08, True),
        ("dra", "devnet", "lone", 0.7, 0.08, False),
        ("ahl.devnet", "devnet", "odd", 0.35, 0.08, True),
        # On one scale 0.92 and 0.90, but 0.999 for both at 0.15; without, 0.93 and 0.90.
        ("ahl", "dra", "odd", 0.07, 0.01, True),
        ("ahl", "dra", "odd", 0.15, 0.01, False),
        ("saoe", "devnet", "even", 0.1, 0.03, True),
    ],
)
def test_a_method_finds_what_the_other_was_not_shown(name, other, kind, size, margin, standardised):
    better, worse = (found(each, kind, size, standardised) for each in (name, other))
    assert better > worse + margin


@pytest.mark.parametrize(
    ("name", "least"), [("saoe", 0.93), ("dpdl", 0.93), ("mpfm", 0.93), ("evidence", 0.7)]
)
def test_faint_anomalies_of_the_kind_of_the_pseudo_anomalies_are_found(name, least):
    assert found(name, "even", 0.1) > least


@pytest.mark.parametrize(
    ("name", "kind", "size", "least"),
    [
        ("dpdl", "odd", 0.35, 0.98),
        ("dpdl", "odd", 0.15, 0.95),
        ("dpdl", "lone", 0.7, 0.96),
        ("mpfm", "odd", 0.35, 0.97),
        ("mpfm", "odd", 0.15, 0.9),
        ("mpfm", "lone", 0.7, 0.92),
        ("evidence", "odd", 0.35, 0.97),
        ("evidence", "odd", 0.15, 0.78),
        ("evidence", "lone", 0.7, 0.84),
    ],
)
def test_kinds_unlike_all_that_was_shown_are_found(name, kind, size, least):
    assert found(name, kind, size) > least


def test_it_is_the_energy_by_which_dpdl_finds_them():
    assert found("dpdl", "odd", 0.35) > found("dpdl.no_residual", "odd", 0.35) + 0.15


def test_saoe_misses_kinds_unlike_all_that_it_was_shown():
    # A limit that its page states. Where it no longer holds, the page is wrong.
    assert found("saoe", "odd", 0.35) < 0.7
    assert found("dra", "odd", 0.35) > 0.85


DENSITIES = ["mahalanobis", "patchcore", "dpdl", "mpfm", "dra", "ahl", "evidence"]


@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0, 3.0])
@pytest.mark.parametrize("name", DENSITIES)
def test_uniform_images_far_from_all_normals_are_anomalous(name, factor):
    # A black one (0) lies opposite to the seen anomalies: what is learned from these has no bound
    # there, but no part of the score may fall below all training normals'.
    assert rank(name, factor) > 0.85


def test_black_images_are_found_by_the_energy_though_the_learned_head_calls_them_normal():
    assert rank("dpdl", 0.0, "normal") < 0.1 < 0.9 < rank("dpdl", 0.0, "residual")
