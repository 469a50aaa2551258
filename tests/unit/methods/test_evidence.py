"""The log ratio of evidence, its prior, and what a run chooses from its seen anomalies."""

import dataclasses
import math

import pytest
import torch
from learn_cases import PACKS, auroc_of, build, draws
from torch.distributions import MultivariateNormal

from osad.learn.images import ImageSet, TrainingData
from osad.learn.left_out import Gaussian
from osad.methods.evidence import SHRINKAGES, Terms, distance, log_ratio


def test_the_ratio_is_that_of_two_densities():
    z, point, tau, shrink = draws(6, 3), draws(3, key="point"), 0.4, 0.7
    anomalous = MultivariateNormal(shrink * point, (1 + tau) * torch.eye(3))
    normal = MultivariateNormal(torch.zeros(3), torch.eye(3))
    expected = anomalous.log_prob(z) - normal.log_prob(z) + 1.5 * math.log(1 + tau)
    found = log_ratio(z.square().sum(1), z @ point, point.square().sum(), tau, shrink)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_ratio_by_hand():
    # |z|² = 4, z . m = 2 with m = (1, 0) kept whole, tau = 1: (4 + 4 - 1) / 4.
    found = log_ratio(torch.tensor(4.0), torch.tensor(2.0), torch.tensor(1.0), 1.0, 1.0)
    assert found == pytest.approx(1.75)


def test_the_shrunken_mean_is_the_posterior_s():
    # Anomalies scatter around m with variance 1, and m around 0 with 1 / kappa: by integration.
    seen, kappa = torch.tensor([1.0, 2.0, 4.5]), 2.0
    m = torch.linspace(-20, 20, 40001, dtype=torch.float64)
    log_density = -((seen[:, None] - m) ** 2).sum(0) / 2 - kappa * m**2 / 2
    weight = log_density.softmax(0)
    assert float((weight * m).sum()) == pytest.approx(3 / (3 + kappa) * 2.5, abs=1e-6)


def test_positions_count_by_their_largest_tenth():
    lengths = torch.arange(20.0).unsqueeze(0)
    terms = Terms(lengths, torch.zeros(1, 20, 1), torch.zeros(1, 1))
    # tau / (2 (1 + tau)) = 1/4 of the mean of 18 and 19.
    assert float(terms.ratios(0, 1.0, 0.5)) == pytest.approx(18.5 / 4)


def seen_along(directions: list[torch.Tensor]) -> TrainingData:
    """Return normals, and as anomalies some of them whose pooled features move along directions."""
    data = PACKS.training(range(24), range(len(directions)), "cell")
    pooled = []
    for rows in data.normal.pooled:
        moved = torch.stack(
            [rows.take()[n] + d[: rows.tensor.shape[2]] for n, d in enumerate(directions)]
        )
        index = torch.arange(len(directions))
        pooled.append(dataclasses.replace(rows, tensor=moved, index=index))
    anomaly = dataclasses.replace(data.anomaly, pooled=tuple(pooled))
    return dataclasses.replace(data, anomaly=anomaly)


def chosen_tau(data: TrainingData) -> float:
    return float(build("evidence").fit(data)["chosen"][0])


def test_the_seen_direction_is_trusted_where_the_seen_share_one():
    width = max(rows.tensor.shape[2] for rows in PACKS.images(range(2)).pooled)
    one = torch.eye(width)
    alike = chosen_tau(seen_along([one[0]] * 6))
    unlike = chosen_tau(seen_along([sign * one[n] for n in (0, 1, 2) for sign in (1, -1)]))
    assert alike < unlike


def terms_of(*lengths: float) -> Terms:
    count = len(lengths)
    column = torch.tensor(lengths, dtype=torch.float64).unsqueeze(1)
    return Terms(column, torch.zeros(count, 1, 5), torch.zeros(1, 5))


def test_the_distance_of_seen_anomalies_by_hand():
    # Logarithms 0 and 2 have mean 1 and standard deviation sqrt 2; those of the seen are 3 and 5.
    normal, seen = terms_of(1, math.exp(2)), terms_of(math.exp(3), math.exp(5))
    assert distance([normal], [seen]) == pytest.approx(3 / math.sqrt(2))
    # Of two networks the mean counts; an anomaly like a normal is at no distance from them.
    assert distance([normal, normal], [seen, normal]) == pytest.approx(1.5 / math.sqrt(2))


def test_tau_is_expected_to_grow_with_the_distance_of_the_seen():
    def chosen(length: float) -> float:
        normals = [terms_of(1, math.e, math.e**2)] * 2
        return build("evidence", freedom=1e-3)._chosen(normals, [terms_of(*[length] * 4)] * 2)[0]

    # At two standard deviations 0.4 is expected, of which 0.5 is the nearest value tried.
    assert (chosen(math.e**2), chosen(math.e**3), chosen(math.e**9)) == (0.2, 0.5, 2.0)


def test_one_seen_anomaly_leaves_the_prior():
    state = build("evidence", tau=0.35).fit(PACKS.training(range(24), [25], "cell"))
    assert state["chosen"].tolist() == pytest.approx([0.35, 0.0, 1 / 3])


def test_it_needs_one_network_only():
    data = PACKS.training(range(20), [24, 25, 26], "cell")

    def first(images: ImageSet) -> ImageSet:
        return dataclasses.replace(images, pooled=images.pooled[:1])

    one = dataclasses.replace(data, normal=first(data.normal), anomaly=first(data.anomaly))
    method = build("evidence")
    shown = [first(PACKS.images(part)) for part in (range(20, 24), range(27, 32))]
    low, high = (method.score(method.fit(one), part).total for part in shown)
    assert auroc_of(low, high) > 0.9


def test_the_likeliest_shrinkage_is_taken_of_images_and_a_fixed_one_of_positions():
    data = PACKS.training(range(24), [25], "cell")
    chosen, given = (build("evidence", shrinkage=value).fit(data) for value in (0.0, 0.1))
    (vectors,) = (rows.take().flatten(1).unsqueeze(1) for rows in data.normal.pooled[:1])
    likeliest = Gaussian.fit(vectors, 0.5).likeliest(SHRINKAGES)
    assert likeliest.shrinkage != 0.1
    torch.testing.assert_close(chosen["0.matrix"], likeliest.whitening()[1])
    last = len(data.normal.pooled)
    assert torch.equal(chosen[f"{last}.matrix"], given[f"{last}.matrix"])
