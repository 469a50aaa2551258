"""Image-level metrics: hand-worked values, and scikit-learn as a second opinion."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osad.evaluation.metrics import auroc, average_precision


def test_hand_worked_without_ties() -> None:
    # Pairs (anomaly, normal): 0.35 > 0.1, 0.35 < 0.4, 0.8 > both: 3 of 4.
    scores, labels = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    assert auroc(scores, labels) == 0.75
    # From the top: 0.8 hit (1/1), 0.4 miss, 0.35 hit (2/3): (1 + 2/3) / 2.
    assert average_precision(scores, labels) == pytest.approx(5 / 6, abs=1e-15)


def test_hand_worked_with_ties() -> None:
    # Anomalies 2, 2, 3; normals 1, 2. Pairs: 2>1, 2=2, 2>1, 2=2, 3>1, 3>2: (4 + 2/2) / 6.
    scores, labels = [2, 1, 2, 3, 2], [1, 0, 0, 1, 1]
    assert auroc(scores, labels) == 5 / 6
    # Groups: {3}: 1 hit, precision 1; {2, 2, 2}: 2 hits, precision 3/4; {1}: none.
    assert average_precision(scores, labels) == pytest.approx((1 + 2 * 0.75) / 3, abs=1e-15)


@pytest.mark.parametrize("n", [7, 1000, 3333])
def test_constant_scores_give_exactly_one_half_and_the_share_of_anomalies(n: int) -> None:
    labels = np.arange(3 * n) % 3 == 0
    scores = np.full(3 * n, 0.1, dtype=np.float32)
    assert auroc(scores, labels) == 0.5
    assert average_precision(scores, labels) == pytest.approx(1 / 3, abs=1e-15)


@pytest.mark.parametrize(("n_normal", "n_anomaly"), [(1, 1), (49, 3), (377, 705), (3500, 2090)])
def test_perfect_and_reversed_rankings_are_exact(n_normal: int, n_anomaly: int) -> None:
    labels = np.repeat([0, 1], [n_normal, n_anomaly])
    scores = np.arange(n_normal + n_anomaly) / 7
    assert auroc(scores, labels) == 1.0
    assert average_precision(scores, labels) == 1.0
    assert auroc(-scores, labels) == 0.0


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_has_no_value(labels: list[int]) -> None:
    scores = np.arange(len(labels), dtype=float)
    assert auroc(scores, labels) is None
    assert average_precision(scores, labels) is None


@pytest.mark.parametrize("n_levels", [2, 5, 40, 10**9])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int, n_levels: int) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, 300)
    scores = (draw.integers(0, n_levels, 300) / 3).astype(np.float32)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=25
    ).filter(lambda rows: len({label for _, label in rows}) == 2)
)  # fmt: skip
def test_agrees_with_the_definitions(rows: list[tuple[int, bool]]) -> None:
    scores, labels = [score for score, _ in rows], [label for _, label in rows]
    anomalies = [score for score, label in rows if label]
    normals = [score for score, label in rows if not label]
    wins = sum((a > n) + 0.5 * (a == n) for a in anomalies for n in normals)
    assert auroc(scores, labels) == wins / (len(anomalies) * len(normals))

    total = 0.0
    for anomaly in anomalies:  # Each hit weighs the precision at its own score.
        taken = [label for score, label in rows if score >= anomaly]
        total += sum(taken) / len(taken)
    assert average_precision(scores, labels) == pytest.approx(total / len(anomalies), abs=1e-12)
    assert auroc(scores[::-1], labels[::-1]) == auroc(scores, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, float("nan")], [0, 1], "index 1 is not finite"),
        ([float("inf"), 0.1], [0, 1], "index 0 is not finite"),
        ([0.1, 0.2, 0.3], [0, 1], r"shape \(3,\) and labels \(2,\)"),
        ([[0.1, 0.2]], [[0, 1]], r"must be \(n,\)"),
        ([0.1, 0.2], [0, 2], "must be 0"),
        ([0.1, 0.2], [0, -1], "must be 0"),
        ([0.1, 0.2], [0, float("nan")], "must be 0"),
        (["0.1", "0.2"], [0, 1], "must be real numbers"),
    ],
)
def test_bad_input_is_refused(scores: object, labels: object, message: str) -> None:
    for metric in (auroc, average_precision):
        with pytest.raises(ValueError, match=message):
            metric(scores, labels)  # type: ignore[arg-type]


def test_planning_imports_no_heavy_package() -> None:
    code = (
        "import sys, osad.evaluation.published, osad.evaluation.tables.terminal\n"
        "import osad.pipeline.steps.figures, osad.pipeline.steps.metrics\n"
        "import osad.pipeline.steps.report_page\n"
        "heavy = {'torch', 'timm', 'pandas', 'sklearn', 'scipy', 'rich', 'matplotlib', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
