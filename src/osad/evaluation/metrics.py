"""Image-level metrics from scores and labels alone: every function under `metric` is computed.

To add one, write it here: it then stands in each metrics file and in ``rates.csv``. The metrics
that are here treat equal scores as one group, so their value does not depend on the order of the
images. All sums that decide a value are sums of integers: constant scores give an AUROC of exactly
0.5 and a perfect ranking exactly 1.0 for both metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Metric = Callable[[npt.ArrayLike, npt.ArrayLike], float | None]
METRICS: dict[str, Metric] = {}
"""Functions of scores (n,), higher is more anomalous, and labels (n,) by name; they return a value
in [0, 1], or None where it does not apply."""


def metric(function: Metric) -> Metric:
    """Register a metric under the name of its function."""
    METRICS[function.__name__] = function
    return function


@metric
def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Compute the area under the ROC curve: how often an anomaly outranks a normal image.

    Pairs with equal scores count one half (midranks), as in the Mann-Whitney U statistic.

    Args:
        scores: (n,) real numbers, higher is more anomalous.
        labels: (n,) 0 for normal, 1 for anomalous.

    Returns:
        A value in [0, 1], or None when one of the two classes is absent.

    Raises:
        ValueError: shapes differ or are not (n,), a score is not finite, or a label is neither
            0 nor 1.

    Source:
        Hanley and McNeil, Radiology 143 (1982); the same value as scikit-learn's
        ``roc_auc_score``.

    Example:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75
    """
    positives, negatives = _counts_by_score(scores, labels)
    n_positive, n_negative = int(positives.sum()), int(negatives.sum())
    if not n_positive or not n_negative:
        return None
    below = np.cumsum(negatives) - negatives
    # Twice the U statistic, so that the halves of ties stay integers.
    doubled = int(np.sum(positives * (2 * below + negatives)))
    return doubled / (2 * n_positive * n_negative)


@metric
def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Compute the average precision: precision summed over the steps of recall.

    One step per distinct score, from the highest: ``sum (R_k - R_{k-1}) P_k``, without
    interpolation.

    Args:
        scores: (n,) real numbers, higher is more anomalous.
        labels: (n,) 0 for normal, 1 for anomalous.

    Returns:
        A value in (0, 1], or None when one of the two classes is absent.

    Raises:
        ValueError: shapes differ or are not (n,), a score is not finite, or a label is neither
            0 nor 1.

    Source:
        The definition of scikit-learn's ``average_precision_score``.

    Example:
        >>> average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.8333333333333333
    """
    positives, negatives = _counts_by_score(scores, labels)
    n_positive, n_negative = int(positives.sum()), int(negatives.sum())
    if not n_positive or not n_negative:
        return None
    hits = positives[::-1]
    found = np.cumsum(hits)
    taken = np.cumsum(hits + negatives[::-1])
    # fsum rounds once; a perfect ranking sums whole numbers and stays exactly 1.
    return math.fsum(hits * (found / taken)) / n_positive


def _counts_by_score(
    scores: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count anomalous and normal images for each distinct score, in ascending order of score."""
    values, truth = np.asarray(scores), np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(
            f"scores have shape {values.shape} and labels {truth.shape}; both must be (n,)"
        )
    if values.size and values.dtype.kind not in "fiub":
        raise ValueError(f"scores are {values.dtype}, they must be real numbers")
    if not np.all(np.isin(truth, (0, 1))):
        wrong = truth[~np.isin(truth, (0, 1))][0]
        raise ValueError(f"label {wrong!r}: labels must be 0 (normal) or 1 (anomalous)")
    values = values.astype(np.float64)
    if not np.all(np.isfinite(values)):
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"score {values[index]} at index {index} is not finite")
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    positives = np.zeros(len(count), dtype=np.int64)
    np.add.at(positives, group, truth.astype(np.int64))
    return positives, count.astype(np.int64) - positives
