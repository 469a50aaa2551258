"""A normal left out of a Gaussian, in closed form and by fitting again."""

import math

import pytest
import torch
from learn_cases import draws
from torch.distributions import MultivariateNormal

from osad.core.errors import TrainingError
from osad.learn.left_out import Gaussian


def refitted(x: torch.Tensor, one: int, shrinkage: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and shrunken covariance of all images but one, by their definitions."""
    rest = torch.cat([x[:one], x[one + 1 :]]).flatten(0, 1)
    everything = x.flatten(0, 1)
    level = torch.cov(everything.T, correction=0).trace() / x.shape[2]
    covariance = torch.cov(rest.T, correction=0)
    return rest.mean(0), (1 - shrinkage) * covariance + shrinkage * level * torch.eye(x.shape[2])


@pytest.mark.parametrize("shape", [(9, 1, 4), (6, 3, 4), (5, 2, 12)])
def test_an_image_left_out_is_what_another_fit_says(shape):
    x = draws(*shape, dtype=torch.float64) * torch.linspace(0.5, 2, shape[2]) + 3
    gaussian = Gaussian.fit(x, 0.2)
    mean, matrix = gaussian.whitening()
    raw = mean + 2 * draws(2, shape[2], key="points")
    lengths, products, levels = gaussian.left_out((raw - mean) @ matrix)
    for one in range(shape[0]):
        centre, covariance = refitted(x, one, 0.2)
        inverse = torch.linalg.inv(covariance)
        own, points = x[one] - centre, raw.double() - centre
        torch.testing.assert_close(lengths[one], ((own @ inverse) * own).sum(1))
        torch.testing.assert_close(products[one], own @ inverse @ points.T, rtol=1e-5, atol=1e-5)
        expected = ((points @ inverse) * points).sum(1)
        torch.testing.assert_close(levels[one], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 1, 4), (6, 3, 4)])
def test_the_density_of_images_left_out_is_what_other_fits_say(shape):
    x = draws(*shape, dtype=torch.float64) * torch.linspace(0.5, 2, shape[2]) + 3
    gaussian = Gaussian.fit(x, 0.2)
    found = []
    for one in range(shape[0]):
        others = MultivariateNormal(*refitted(x, one, 0.2))
        found.append(others.log_prob(x[one]).mean() + shape[2] / 2 * math.log(2 * math.pi))
    assert gaussian.log_density() == pytest.approx(float(torch.stack(found).mean()))
    # Every second image.
    some = float(torch.stack(found[::2]).mean())
    assert gaussian.log_density(most=-(-shape[0] * shape[1] // 2)) == pytest.approx(some)


def test_the_fewer_images_the_more_is_shrunk():
    def chosen(count: int) -> float:
        x = draws(count, 1, 12) * torch.linspace(0.2, 3, 12)
        return Gaussian.fit(x, 0.5).likeliest((0.01, 0.1, 0.3)).shrinkage

    assert (chosen(8), chosen(1000)) == (0.3, 0.01)


def test_the_whitened_normals_have_the_covariance_that_was_shrunk():
    x = draws(50, 1, 3) * torch.tensor([1.0, 2.0, 3.0])
    _, matrix = Gaussian.fit(x, 1.0).whitening()
    # All shrunk away: one scale for every direction, that of the mean variance.
    level = torch.cov(x[:, 0].double().T, correction=0).trace() / 3
    expected = torch.eye(3, dtype=torch.float64) / level
    torch.testing.assert_close((matrix @ matrix.T).double(), expected, rtol=1e-4, atol=1e-5)


def test_normals_that_are_all_alike_have_finite_statistics():
    gaussian = Gaussian.fit(torch.ones(4, 2, 3), 0.1)
    parts = (*gaussian.whitening(), *gaussian.left_out(torch.ones(1, 3)))
    assert all(bool(part.isfinite().all()) for part in parts)


def test_a_single_normal_is_refused():
    alone = Gaussian.fit(torch.zeros(1, 2, 3), 0.1)
    with pytest.raises(TrainingError, match="one training normal"):
        alone.left_out(torch.zeros(1, 3))


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(TrainingError, match="not finite"):
        Gaussian.fit(torch.full((3, 1, 2), torch.nan), 0.1)
