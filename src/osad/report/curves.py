"""What is drawn of a run's scores: curves through some of its thresholds, and histograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

POINTS = 48
"""Most thresholds that a curve is drawn through."""
BINS = 30
UNIT = 1000
"""Rates are whole thousandths: finer than a pixel of the drawing."""
TAIL = 0.005
"""Share of the scores at each end that the outermost bars of a histogram take in."""


def curve(scores: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, list[int]] | None:
    """Return the ROC and the precision-recall curve of a run, to be drawn.

    Equal scores are one threshold. Of all thresholds, about `POINTS` are kept, evenly spaced along
    the ROC curve (in false plus true positive rate), the first and the last among them.

    Args:
        scores: (n,) finite numbers, higher is more anomalous.
        labels: (n,) 0 for normal, 1 for anomalous.

    Returns:
        ``fpr``, ``tpr`` (which is recall too) and ``precision`` in thousandths, from the highest
        threshold (nothing is called anomalous) to the lowest; None without both classes.

    Example:
        >>> curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])["tpr"]
        [0, 500, 500, 1000, 1000]
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    positives, negatives = int(truth.sum()), int(len(truth) - truth.sum())
    if not positives or not negatives:
        return None
    _, group = np.unique(-values, return_inverse=True)
    hits = np.cumsum(np.bincount(group, weights=truth))
    taken = np.cumsum(np.bincount(group))
    tpr, fpr = hits / positives, (taken - hits) / negatives
    precision = hits / taken
    # Before the first threshold nothing is taken; precision there is drawn as at the first.
    tpr, fpr = np.append(0.0, tpr), np.append(0.0, fpr)
    precision = np.append(precision[0], precision)
    along = np.searchsorted(tpr + fpr, np.linspace(0, 2, POINTS))
    kept = np.unique(np.minimum(along, len(tpr) - 1)) if len(tpr) > POINTS else slice(None)
    return {
        name: np.rint(UNIT * rates[kept]).astype(int).tolist()
        for name, rates in (("fpr", fpr), ("tpr", tpr), ("precision", precision))
    }


def histogram(runs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> dict[str, Any] | None:
    """Count the scores of normal and anomalous images in bars that all runs of a cell share.

    Args:
        runs: scores (n,) and labels (n,) of each run.

    Returns:
        ``low`` and ``high`` (the ends of the inner bars: 0.5 % of all scores lie beyond each and
        are counted in the outermost bars), and ``normal`` and ``anomalous``, for each run the
        counts of `BINS` bars; None without any score.
    """
    pairs = [(np.asarray(s, dtype=np.float64), np.asarray(y)) for s, y in runs]
    every = np.sort(np.concatenate([scores for scores, _ in pairs])) if pairs else np.empty(0)
    if not every.size:
        return None
    beyond = int(TAIL * (every.size - 1))
    low, high = float(every[beyond]), float(every[-1 - beyond])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    counts: dict[str, list[list[int]]] = {"normal": [], "anomalous": []}
    for scores, labels in pairs:
        inside = np.clip(scores, low, high)
        for label, name in enumerate(counts):
            counts[name].append(np.histogram(inside[labels == label], edges)[0].tolist())
    return {"low": low, "high": high, **counts}
