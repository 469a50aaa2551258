"""Image-level metrics: hand-worked values, and scikit-learn as a second opinion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osad.evaluation.metrics import METRICS, auroc, average_precision, metric
from osad.pipeline.steps.metrics import rates


def test_a_registered_function_stands_in_each_metrics_file(monkeypatch) -> None:
    assert {"auroc": auroc, "average_precision": average_precision} == METRICS
    monkeypatch.setitem(METRICS, "new", None)  # Taken away again after the test.

    def new(scores, labels):
        return sum(scores) / len(labels)

    assert metric(new) is METRICS["new"] is new
    assert rates([0.5, 1.0], [0, 1]) == {"auroc": 1.0, "average_precision": 1.0, "new": 0.75}


def test_hand_worked() -> None:
    # Pairs (anomaly, normal): 0.35 > 0.1, 0.35 < 0.4, 0.8 > both: 3 of 4.
    scores, labels = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    assert auroc(scores, labels) == 0.75
    # From the top: 0.8 hit (1/1), 0.4 miss, 0.35 hit (2/3): (1 + 2/3) / 2.
    assert average_precision(scores, labels) == pytest.approx(5 / 6, abs=1e-15)
    # Anomalies 2, 2, 3; normals 1, 2. Pairs: 2>1, 2=2, 2>1, 2=2, 3>1, 3>2: (4 + 2/2) / 6.
    scores, labels = [2, 1, 2, 3, 2], [1, 0, 0, 1, 1]
    assert auroc(scores, labels) == 5 / 6
    # Groups: {3}: 1 hit, precision 1; {2, 2, 2}: 2 hits, precision 3/4; {1}: none.
    assert average_precision(scores, labels) == pytest.approx((1 + 2 * 0.75) / 3, abs=1e-15)


@pytest.mark.parametrize(("n_normal", "n_anomaly"), [(1, 1), (49, 3), (377, 705), (3500, 2090)])
def test_constant_perfect_and_reversed_rankings_are_exact(n_normal: int, n_anomaly: int) -> None:
    labels = np.repeat([0, 1], [n_normal, n_anomaly])
    scores = np.arange(n_normal + n_anomaly) / 7
    assert auroc(scores, labels) == average_precision(scores, labels) == 1.0
    assert auroc(-scores, labels) == 0.0
    constant = np.full(len(labels), 0.1, dtype=np.float32)
    assert auroc(constant, labels) == 0.5
    share = n_anomaly / (n_normal + n_anomaly)
    assert average_precision(constant, labels) == pytest.approx(share, abs=1e-15)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_has_no_value(labels: list[int]) -> None:
    scores = np.arange(len(labels), dtype=float)
    assert auroc(scores, labels) is average_precision(scores, labels) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=25
    ).filter(lambda rows: len({label for _, label in rows}) == 2)
)  # fmt: skip
def test_agrees_with_the_definitions_and_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

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
    for ours, theirs in ((auroc, roc_auc_score), (average_precision, average_precision_score)):
        assert ours(scores, labels) == pytest.approx(theirs(labels, scores), abs=1e-12)


@pytest.mark.parametrize(("scores", "labels", "message"), [
    ([0.1, float("nan")], [0, 1], "index 1 is not finite"),
    ([float("inf"), 0.1], [0, 1], "index 0 is not finite"),
    ([0.1, 0.2, 0.3], [0, 1], r"shape \(3,\) and labels \(2,\)"),
    ([[0.1, 0.2]], [[0, 1]], r"must be \(n,\)"),
    ([0.1, 0.2], [0, 2], "must be 0"),
    ([0.1, 0.2], [0, -1], "must be 0"),
    ([0.1, 0.2], [0, float("nan")], "must be 0"),
    (["0.1", "0.2"], [0, 1], "must be real numbers"),
])  # fmt: skip
def test_bad_input_is_refused(scores: object, labels: object, message: str) -> None:
    for compute in (auroc, average_precision):
        with pytest.raises(ValueError, match=message):
            compute(scores, labels)  # type: ignore[arg-type]
