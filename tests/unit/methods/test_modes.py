"""Normals of several modes: anomalies between them look most normal to one Gaussian."""

import functools
from typing import Any

import pytest
import torch
from learn_cases import auroc_of, build, rows

from osad.core.seeds import torch_generator
from osad.learn.images import ImageSet, TrainingData

CHANNELS, SIDE, VIEWS, PER_MODE, SEEDS = 12, 4, 2, 16, (0, 1)
SIGNS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
MODES = 3.0 * SIGNS.repeat_interleave(3, 1)
"""Four corners of a square, each coordinate seen by three channels, (4, 6)."""
TRAINED = {
    "epochs": 10, "iterations": 10, "batch": 24, "lr": 3e-3, "adapter": 4, "head_width": 16,
}  # fmt: skip
VALUES: dict[str, dict[str, Any]] = {
    "mahalanobis": {"shrinkage": 0.1},
    "patchcore": {"candidates": 1024, "coreset": 200, "projection": 12},
    "dpdl": TRAINED
    | {"epochs": 25, "iterations": 20, "adapter": 32, "head_width": 64}
    | {"prototypes": 16, "codebook_samples": 1000},
    "mpfm": TRAINED | {"components": 4, "dims": 12, "width": 16, "blocks": 1},
}


def images(
    name: str, centres: torch.Tensor, shift: float, seed: int, *, training: bool
) -> ImageSet:
    """Make one image per centre (n, 6); ``shift`` moves other channels.

    Each view is drawn anew around the centre; a pseudo anomaly has one quarter from elsewhere.
    """
    n = len(centres)
    generator = torch_generator("modes", name, seed)
    middle = torch.cat([centres, torch.full((n, CHANNELS - 6), shift)], 1)[:, None, :, None, None]
    noise = torch.randn(n, 1 + 2 * VIEWS, CHANNELS, SIDE, SIDE, generator=generator)
    views = middle + noise
    pseudo = views[:, 1 + VIEWS :]
    pseudo[..., 8:10, : SIDE // 2, : SIDE // 2] += 4
    return ImageSet(
        tuple(f"{name}/{number:03d}.png" for number in range(n)),
        {32: rows(views[:, 0])},
        {"rotated": rows(views[:, 1 : 1 + VIEWS]), "pseudo": rows(pseudo)} if training else {},
    )


@functools.cache
def score(method: str, seed: int, seen: str = "shifted") -> dict[str, float]:
    """Return the AUROC of each head and of the total, of unseen anomalies amid the four modes.

    The seen anomalies are of another kind, so no head is trained on what it must find:
    ``shifted`` are two modes moved in channels of their own, ``between`` lie half-way between
    neighbouring modes, away from the middle.
    """
    halfway = (MODES[[0, 2, 0, 1]] + MODES[[1, 3, 2, 3]]) / 2
    centres, shift = (halfway, 0.0) if seen == "between" else (MODES[:2], 3.0)
    data = TrainingData(
        images("normal", MODES.repeat(PER_MODE, 1), 0.0, seed, training=True),
        images("seen", centres, shift, seed, training=True),
        f"modes/{seed}",
    )
    model = build(method, **VALUES[method.split(".")[0]])
    state = model.fit(data)
    good = model.score(state, images("good", MODES.repeat(8, 1), 0.0, seed, training=False))
    bad = model.score(state, images("bad", torch.zeros(32, 6), 0.0, seed, training=False))
    heads = {name: auroc_of(head, bad.heads[name]) for name, head in good.heads.items()}
    return heads | {"total": auroc_of(good.total, bad.total)}


def mean(method: str, head: str = "total", seen: str = "shifted") -> float:
    return sum(score(method, seed, seen)[head] for seed in SEEDS) / len(SEEDS)


def test_one_gaussian_takes_the_middle_for_the_most_normal():
    assert mean("mahalanobis") < 0.2


@pytest.mark.parametrize("seen", ["shifted", "between"])
@pytest.mark.parametrize("method", ["patchcore", "dpdl", "mpfm"])
def test_prototypes_find_anomalies_amid_the_modes(method, seen):
    assert mean(method, seen=seen) > 0.95


def test_it_is_the_energy_that_finds_the_middle():
    assert mean("dpdl", "residual") > 0.95 > 0.3 + mean("dpdl", "anomaly")


@pytest.mark.parametrize(("head", "least"), [("gaussian", 0.9), ("total", 0.8)])
def test_a_mixture_sees_the_modes_that_one_component_merges(head, least):
    assert mean("mpfm", head) > least
    assert mean("mpfm", head) > mean("mpfm.no_mixture", head) + 0.2
