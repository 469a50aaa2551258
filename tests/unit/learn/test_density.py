"""Energies at prototypes, and the density of whole images, against loops and other fits."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import draws

from osad.learn.density import density, energies, fit_density, summary
from osad.learn.heads import positions
from osad.learn.images import Rows


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 4), n_codes=st.integers(1, 4), key=st.integers(0, 99))
def test_the_energy_equals_a_double_loop(n, n_codes, key):
    x, codes = draws(n, 3, 5, key=f"x{key}"), draws(n_codes, 5, key=f"c{key}")
    found = energies(x, codes)
    for i, p in itertools.product(range(n), range(3)):
        squares = [sum((a - b) ** 2 for a, b in zip(x[i, p], code, strict=True)) for code in codes]
        assert found[i, p].item() == pytest.approx(min(squares).item(), rel=1e-4, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(key=st.integers(0, 99))
def test_the_energy_grows_in_every_direction(key):
    codes = F.normalize(draws(4, 6, key=f"codes{key}"), dim=1)
    direction = F.normalize(draws(6, key=f"direction{key}"), dim=0)
    distance = torch.tensor([2.0, 4.0, 8.0, 16.0])
    found = energies(distance.unsqueeze(1) * direction, codes)
    assert bool((found.diff() > 0).all())
    assert bool((found >= (distance - 1).square() - 1e-3).all())


def maps_of(n: int, key: str = "maps") -> torch.Tensor:
    return draws(n, 3, 2, 4, key=key) * torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1)


def rows(maps: torch.Tensor) -> Rows:
    return Rows(maps, torch.arange(len(maps)), torch.device("cpu"))


def test_a_summary_is_mean_and_spread_of_the_positions():
    x = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    assert summary(x).tolist() == [[2.0, 5.0, 1.0, 0.0]]


def test_a_normal_left_out_is_what_the_fit_of_the_others_says():
    maps = maps_of(12)
    _, found = fit_density(rows(maps), positions, 1, "key", 0.1)
    x = summary(positions(maps)).double()
    level = torch.cov(x.T, correction=0).trace() / 6
    for one in range(12):
        rest = torch.cat([x[:one], x[one + 1 :]])
        covariance = 0.9 * torch.cov(rest.T, correction=0) + 0.1 * level * torch.eye(6)
        gap = x[one] - rest.mean(0)
        expected = gap @ torch.linalg.inv(covariance) @ gap
        assert found[one].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_density_of_other_images_is_their_whitened_distance():
    state, left_out = fit_density(rows(maps_of(30)), positions, 1, "key", 1.0)
    x = summary(positions(maps_of(30)))
    # All shrunk away: one scale for every direction.
    scale = torch.cov(x.double().T, correction=0).trace() / 6
    other = positions(maps_of(4, "other") + 5)
    gaps = summary(other) - x.mean(0)
    expected = (gaps.square().sum(1) / scale).float()
    torch.testing.assert_close(density(state, other), expected, rtol=1e-3, atol=1e-3)
    assert left_out.max() < density(state, other).min()


def test_few_normals_left_out_are_as_far_as_new_ones():
    def many(n: int, key: str) -> torch.Tensor:
        return draws(n, 40, 2, 2, key=key)

    state, left_out = fit_density(rows(many(45, "old")), positions, 3, "key", 0.02)
    assert len(state["image.prototypes"]) == 3  # Fewer normals than the 80 dimensions.
    new = density(state, positions(many(200, "new")))
    assert left_out.median().item() == pytest.approx(new.median().item(), rel=0.5)
    assert density(state, positions(many(45, "old"))).median() < new.median() / 10


def two_groups() -> torch.Tensor:
    """Return 40 maps of two kinds, far from each other in the first channel."""
    maps = maps_of(40)
    maps[20:, 0] += 50
    return maps


def test_what_lies_between_two_kinds_of_normals_is_far_from_both():
    one, two = (fit_density(rows(two_groups()), positions, n, "key", 0.1)[0] for n in (1, 9))
    assert [len(state["image.prototypes"]) for state in (one, two)] == [1, 2]
    x = positions(two_groups())
    between = positions(maps_of(5, "between") + torch.tensor([25.0, 0, 0]).view(3, 1, 1))
    assert density(two, between).min() > 10 * density(two, x).max()
    assert density(one, between).max() < density(one, x).max()


def test_a_normal_of_two_kinds_left_out():
    maps = two_groups()
    _, found = fit_density(rows(maps), positions, 2, "key", 0.1)
    x = summary(positions(maps)).double()
    kind = (torch.arange(40) >= 20).long()
    for place in (0, 30):
        rest = torch.arange(40) != place
        centres = torch.stack([x[rest & (kind == k)].mean(0) for k in (0, 1)])
        gaps = x[rest] - centres[kind[rest]]
        full = x - torch.stack([x[kind == k].mean(0) for k in (0, 1)])[kind]
        level = full.square().mean()
        covariance = 0.9 * gaps.T @ gaps / 39 + 0.1 * level * torch.eye(6)
        gap = x[place] - centres[kind[place]]
        expected = gap @ torch.linalg.inv(covariance) @ gap
        assert found[place].item() == pytest.approx(expected.item(), rel=1e-3)


def test_a_single_normal_is_enough():
    state, left_out = fit_density(rows(maps_of(1)), positions, 4, "key", 0.1)
    assert left_out.tolist() == [0.0]
    assert density(state, positions(maps_of(1) + 1)).item() > 1
