"""How sure the difference between two methods is: over seeds, and over test images.

Methods share splits, so all differences are paired. Over seeds (draws of the labelled anomalies,
initial values, order of batches) the interval is Student's of the differences. Over test images it
is a bootstrap: an image that is drawn twice counts twice, for both methods, and in the test set of
every seed that has it. Seeds test nearly the same images, so drawing anew for each seed would
count one image as several.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

DRAWS = 1000
"""Test sets that are drawn."""
TAIL = 0.025
"""Part of the differences beyond each end of an interval: intervals are of 95 %."""
CHUNK = 100
"""Draws that are computed at once; memory is bounded by this many numbers for each image."""

Interval = tuple[float, float]
"""Low and high end; both NaN where there is no interval."""
NONE: Interval = (math.nan, math.nan)
Draws = npt.NDArray[np.float64]
"""(draws,) AUROCs, one for each drawn test set, in the order of the draws."""


def seeds_interval(differences: Sequence[float]) -> Interval:
    """Return the 95 % interval of the mean of paired differences, one for each seed.

    Args:
        differences: (n,) finite, in [-1, 1].

    Returns:
        ``mean ± t s / sqrt(n)`` with the quantile t of Student's distribution with n - 1 degrees
        of freedom and the standard deviation s (n - 1). No interval with fewer than two seeds.

    Source:
        Student, The probable error of a mean, Biometrika 6 (1908).

    Example:
        >>> [round(end, 3) for end in seeds_interval([0.0, 0.2])]
        [-1.171, 1.371]
    """
    from scipy.special import stdtrit

    n = len(differences)
    if n < 2:
        return NONE
    # Rounded, since last bits of a quantile may differ between processors.
    quantile = round(float(stdtrit(n - 1, 1 - TAIL)), 9)
    middle = statistics.fmean(differences)
    half = quantile * statistics.stdev(differences) / math.sqrt(n)
    return middle - half, middle + half


def resample(
    labels: npt.ArrayLike, generator: np.random.Generator, draws: int = DRAWS
) -> npt.NDArray[np.uint16]:
    """Draw images with replacement, as many normal and as many anomalous ones as there are.

    Only whole numbers are drawn, so the draws are the same on every processor.

    Args:
        labels: (n,) 0 for normal, 1 for anomalous.
        generator: source of the draws.
        draws: number of draws.

    Returns:
        (n, draws): how often each image is in each draw.
    """
    truth = np.asarray(labels)
    counts = np.zeros((len(truth), draws), dtype=np.uint16)
    for label in (0, 1):
        members = np.flatnonzero(truth == label)
        if size := len(members):
            for draw in range(draws):
                drawn = generator.integers(size, size=size)
                counts[members, draw] = np.bincount(drawn, minlength=size)
    return counts


def drawn_aurocs(scores: npt.ArrayLike, labels: npt.ArrayLike, counts: npt.ArrayLike) -> Draws:
    """Return the AUROC of each draw, as if each image stood there as often as it was drawn.

    Pairs with equal scores count one half. All sums are of whole numbers, so the value is exact up
    to one rounding, and does not depend on the order of the images.

    Args:
        scores: (n,) finite numbers, higher is more anomalous.
        labels: (n,) 0 for normal, 1 for anomalous.
        counts: (n, draws) how often each image is in each draw.

    Returns:
        Values in [0, 1]; NaN for a draw without any normal or any anomalous image.

    Raises:
        ValueError: the numbers of images differ.

    Example:
        >>> drawn_aurocs([1.0, 2.0, 3.0], [0, 1, 0], [[1, 2], [1, 1], [1, 0]]).tolist()
        [0.5, 1.0]
    """
    values, truth, times = np.asarray(scores, np.float64), np.asarray(labels), np.asarray(counts)
    if not values.shape == truth.shape == times.shape[:1]:
        raise ValueError(f"{values.shape} scores, {truth.shape} labels, {times.shape} counts")
    normal, anomalous = np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)
    normal = normal[np.argsort(values[normal], kind="stable")]
    below, up_to = (
        np.searchsorted(values[normal], values[anomalous], side=side) for side in ("left", "right")
    )
    result = np.full(times.shape[1], np.nan)
    for start in range(0, times.shape[1], CHUNK):
        part = times[:, start : start + CHUNK].astype(np.float64)
        taken = np.zeros((len(normal) + 1, part.shape[1]))
        np.cumsum(part[normal], axis=0, out=taken[1:])
        hits = part[anomalous]
        # Twice the U statistic: normal images below an anomalous one, and not above it.
        doubled = np.einsum("id,id->d", hits, taken[below] + taken[up_to])
        pairs = 2 * hits.sum(axis=0) * taken[-1]
        np.divide(doubled, pairs, out=result[start : start + CHUNK], where=pairs > 0)
    return result


def images_interval(differences: Draws) -> Interval:
    """Return the 95 % interval of a difference from that of each draw (draws,): its percentiles.

    Draws without a value are left out; without any there is no interval.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    known = differences[~np.isnan(differences)]
    if not known.size:
        return NONE
    low, high = np.quantile(known, (TAIL, 1 - TAIL))
    return float(low), float(high)


def is_lower(*intervals: Interval) -> bool | None:
    """Tell whether a difference lies below 0 by each interval that there is; None without any.

    Example:
        >>> is_lower((-0.2, -0.1), (-0.3, 0.0)), is_lower((-0.2, -0.1), NONE), is_lower(NONE)
        (False, True, None)
    """
    highs = [high for _, high in intervals if not math.isnan(high)]
    return all(high < 0 for high in highs) if highs else None


def ranks(names: Sequence[str], lower: Callable[[str, str], bool | None]) -> dict[str, int]:
    """Rank methods, those that intervals do not tell apart alike.

    Rank 1 have the first and all that are not distinguishable from it; rank 2 have the first of
    the others and all of them that are not distinguishable from that one; and so on.

    Args:
        names: of the methods, the highest mean first.
        lower: whether the first of two is distinguishably lower than the second (`is_lower`).

    Returns:
        The rank of each name. A name that nothing compares with the first of its turn has none.

    Example:
        >>> ranks(["a", "b", "c", "d"], lower=lambda one, other: other == "a" and one != "b")
        {'a': 1, 'b': 1, 'c': 2, 'd': 2}
    """
    found: dict[str, int] = {}
    left, rank = [*names], 0
    while left:
        rank += 1
        first, answers = left[0], {name: lower(name, left[0]) for name in left[1:]}
        found |= {first: rank} | {name: rank for name in left[1:] if answers[name] is False}
        left = [name for name in left[1:] if answers[name]]
    return found
