"""Thresholds: what is called anomalous, how often that is wrong, and how sure that is."""

import importlib.resources
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import betabinom, binom

from osad.core.errors import ConfigError
from osad.evaluation.scores import read_scores
from osad.predict.threshold import Share, best_f1, parse, point, quantile, share, table

SCORES = Path(__file__).parents[3] / "results/scores/elpv/all"
RUNS = ["normal-m0/patchcore", "normal-m0/mahalanobis", "general-m10/evidence", "general-m10/dpdl"]
TENTH = Fraction(1, 10)


def test_intervals_are_those_of_clopper_and_pearson():
    """The ends are the rates at which so few, or so many, have a probability of 2.5 %."""
    found = share([*range(20)], 14)
    assert found == Share(20, 5, 0.25, found.low, found.high)
    assert binom.sf(4, 20, found.low) == pytest.approx(0.025, abs=1e-6)
    assert binom.cdf(5, 20, found.high) == pytest.approx(0.025, abs=1e-6)
    # None of n: 1 - 0.025 ** (1 / n).
    assert share([0.0] * 100, 0.0) == Share(100, 0, 0.0, 0.0, 0.036216693)
    assert share([1.0] * 100, 0.0) == Share(100, 100, 1.0, 0.963783307, 1.0)
    assert share([], 0.0) is None


@pytest.mark.parametrize(
    ("n", "rate", "expected"),
    [(9, "0.1", 9), (99, "0.01", 99), (198, "0.01", 198), (199, "0.01", 198), (377, "0.05", 360)],
)
def test_the_threshold_is_an_order_statistic(n, rate, expected):
    """The k-th smallest of 1, ..., n, k = n + 1 - floor((n + 1) rate)."""
    assert quantile([*range(n, 0, -1)], Fraction(rate)) == expected


@pytest.mark.parametrize("n", [1, 9, 10, 19, 25, 30])
@pytest.mark.parametrize("rate", [TENTH, Fraction(1, 20), Fraction(1, 3)])
def test_each_place_of_a_further_image_is_as_likely(n, rate):
    """Of n + 1 images, each once the further one: the share of false alarms is the promised."""
    images = [*range(n + 1)]
    if rate < Fraction(1, n + 1):
        needed = rate.denominator - 1
        with pytest.raises(ConfigError, match=f"needs {needed} or more held-out .* there are {n}"):
            quantile(images[:n], rate)
        return
    alarms = sum(image > quantile([o for o in images if o != image], rate) for image in images)
    assert rate - Fraction(1, n + 1) < Fraction(alarms, n + 1) <= rate


def test_equal_scores_are_never_above_themselves():
    for rule in ("fpr=0.1", "best-f1"):
        found = point(rule, [1.0] * 30, [1.0] * 2)
        assert found.false_alarms.above == {"fpr=0.1": 0, "best-f1": 30}[rule]
    assert best_f1([1.0] * 30, [1.0, 2.0]) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_larger_f1(seed):
    generator = np.random.default_rng(seed)
    normal, anomalous = generator.integers(0, 9, 12), generator.integers(3, 12, 7)

    def f1(threshold):
        true, false = (sum(scores > threshold) for scores in (anomalous, normal))
        return 2 * true / (true + false + len(anomalous))

    values = [f1(value) for value in np.arange(-1, 13) + 0.5]
    chosen = best_f1([*normal], [*anomalous])
    assert f1(chosen) == max(values)
    higher = {*normal.tolist(), *anomalous.tolist()} - {*range(int(chosen) + 1)}
    assert all(f1(value) < max(values) for value in higher)


def test_the_table_has_what_the_images_allow():
    normal = [float(number) for number in range(60)]
    rules = ["fpr=0.02", "fpr=0.05", "fpr=0.1"]
    assert [one.rule for one in table(normal, [])] == rules
    assert [one.rule for one in table(normal, [99.0])] == [*rules, "best-f1"]
    assert table([], [99.0]) == []
    given = point("58.5", normal, [99.0, 3.0])
    assert (given.threshold, given.false_alarms.above, given.detections.above) == (58.5, 1, 1)
    assert point("58.5", [], []).false_alarms is None


def test_rules_that_are_none_are_refused():
    assert parse("fpr=1e-3") == Fraction(1, 1000)
    assert parse("-1e-3") == -0.001
    for rule in (
        "fpr=0",
        "fpr=1",
        "fpr=nan",
        "fpr=",
        "fpr=1%",
        "nan",
        "inf",
        "",
        "best",
        "fpr=-.1",
        "1_0",
        "\u0663",
        " 1",
    ):
        with pytest.raises(ConfigError, match=r"^--threshold .*: expected fpr=RATE"):
            parse(rule)
    for images in product(([], [1.0]), repeat=2):
        if not all(images):
            with pytest.raises(ConfigError, match="best-f1: needs normal and anomalous images"):
                point("best-f1", *images)


@pytest.fixture(scope="module")
def normals() -> np.ndarray:
    """Return the scores of 188 of ELPV's normal images: distances of 5 x 5 means from 566."""
    folder = Path(str(importlib.resources.files("elpv_dataset"))) / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    means = []
    for name in [name for name, probability, _ in rows if float(probability) == 0][::2]:
        with Image.open(folder / name) as image:
            pixels = np.asarray(image.convert("L"), dtype=np.float64)
        means.append(pixels.reshape(5, 60, 5, 60).mean((1, 3)).ravel())
    vectors = np.array(means)
    train, held = vectors[np.arange(len(vectors)) % 4 != 3], vectors[3::4]
    away = held - train.mean(0)
    return np.einsum("ij,ij->i", away @ np.linalg.inv(np.cov(train.T)), away)


@pytest.mark.parametrize("rate", ["0.02", "0.05", "0.1"])
def test_real_normals_of_the_package_keep_the_promise(normals, rate):
    assert normals.shape == (188,)
    keep_the_promise(normals, rate)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("rate", ["0.02", "0.05", "0.1"])
def test_real_normals_keep_the_promise(run, rate):
    path = SCORES / run / "s0.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there; dvc pull or make reproduce")
    normal = np.array([image.score for image in read_scores(path) if image.label == 0])
    keep_the_promise(normal, rate)


def keep_the_promise(normal: np.ndarray, rate: str) -> None:
    """20 times half of ELPV's test normals set the threshold and the other half is judged by it.

    How many of the other half are above has a beta-binomial distribution whatever the scores are.
    """
    half, alarms, within = len(normal) // 2, [], 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(normal))
        known, others = normal[order[:half]], normal[order[half:]]
        found = point(f"fpr={rate}", [*known], [])
        alarms.append(int((others > found.threshold).sum()))
        above = found.false_alarms.above
        law = betabinom(len(others), above + 1, half - above)
        assert law.ppf(5e-4) <= alarms[-1] <= law.ppf(1 - 5e-4), seed
        within += found.false_alarms.low <= alarms[-1] / len(others) <= found.false_alarms.high
    assert np.mean(alarms) / len(others) <= float(rate) + 0.01
    assert within >= 15
