"""From which score on an image counts as anomalous, and how many false alarms that means.

An image is anomalous if its score is above the threshold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from osad.core.errors import ConfigError

CONFIDENCE = 0.95
BEST_F1 = "best-f1"
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""A number as people write one; Python also reads 1_0 and other scripts' digits."""
TABLED = ("fpr=0.001", "fpr=0.01", "fpr=0.02", "fpr=0.05", "fpr=0.1", BEST_F1)
"""Rules of the table of operating points, those that the images at hand allow."""


@dataclass(frozen=True)
class Share:
    """How many of some images are above a threshold.

    Attributes:
        images: n.
        above: how many of them are.
        rate: above / n.
        low: lower end of the 95 % interval of the rate of images of this kind (Clopper-Pearson).
        high: its upper end.
    """

    images: int
    above: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """An operating point.

    Attributes:
        rule: what was asked for: ``fpr=RATE``, ``best-f1`` or a number.
        threshold: scores above it are anomalous.
        false_alarms: held-out normal images above it; None without any.
        detections: labelled anomalous images above it; None without any.
    """

    rule: str
    threshold: float
    false_alarms: Share | None
    detections: Share | None


def parse(rule: str) -> Fraction | float | None:
    """Return the rate of ``fpr=RATE``, the threshold that a number is, or None for ``best-f1``.

    Raises:
        ConfigError: it is neither, or the rate is not between 0 and 1.

    Example:
        >>> parse("fpr=0.01"), parse("2.5"), parse("best-f1")
        (Fraction(1, 100), 2.5, None)
    """
    if rule == BEST_F1:
        return None
    text, is_rate = rule.removeprefix("fpr="), rule.startswith("fpr=")
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not (0 < value < 1 if is_rate else math.isfinite(value)):
        raise ConfigError(
            f"--threshold {rule!r}: expected fpr=RATE with a rate between 0 and 1, {BEST_F1}, or a "
            "number"
        )
    return Fraction(repr(value)) if is_rate else value


def share(scores: Sequence[float], threshold: float) -> Share | None:
    """Count the scores above a threshold, with the interval of their rate; None without scores.

    Source:
        Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of
        the binomial, Biometrika 26 (1934). Where the threshold is an order statistic of these
        scores its upper end is also that of the rate's own distribution, Beta(above + 1, n - above)
        (Wilks, Annals of Mathematical Statistics 12, 1941), and its lower end lies below.
    """
    from scipy.special import betaincinv

    n, above = len(scores), sum(score > threshold for score in scores)
    if not n:
        return None
    tail = (1 - CONFIDENCE) / 2
    low = betaincinv(above, n - above + 1, tail) if above else 0.0
    high = betaincinv(above + 1, n - above, 1 - tail) if above < n else 1.0
    # Rounded, since last bits of a quantile may differ between processors.
    return Share(n, above, above / n, round(float(low), 9), round(float(high), 9))


def quantile(normal: Sequence[float], rate: Fraction) -> float:
    """Return the threshold that a further normal image exceeds with probability ``rate`` at most.

    That is the k-th smallest of the n scores, k = n + 1 - floor((n + 1) rate): if the further
    image is like the n, each of the n + 1 places in their order is as likely. The probability is
    over the draw of the n images too; for the n at hand the rate lies in the interval of `share`.

    Args:
        normal: (n,) scores of normal images that were not trained on.
        rate: in (0, 1).

    Raises:
        ConfigError: n is too small: ``rate`` is less than 1 / (n + 1).

    Source:
        Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), on conformal
        prediction with a held-out set.

    Example:
        >>> quantile([4.0, 1.0, 3.0, 2.0], Fraction("0.2")), quantile([1.0, 2.0], Fraction("0.7"))
        (4.0, 1.0)
    """
    n = len(normal)
    above = math.floor((n + 1) * rate)
    if not above:
        raise ConfigError(
            f"--threshold fpr={float(rate):g}: needs {math.ceil(1 / rate) - 1} or more held-out "
            f"normal images, there are {n}, which promise no rate below {1 / (n + 1):.3g}; ask for "
            "a higher rate, or give more normal images with --labelled"
        )
    return float(sorted(normal)[n - above])


def best_f1(normal: Sequence[float], anomalous: Sequence[float]) -> float:
    """Return the threshold with the largest F1 score, of equally good ones the highest.

    It is one of the scores, or just below all of them.

    Args:
        normal: (n,) scores of normal images, at least one.
        anomalous: (m,) scores of anomalous images, at least one.

    Example:
        >>> best_f1([1.0, 2.0, 3.0], [3.0, 4.0]), best_f1([2.0], [1.0, 1.0])
        (2.0, 0.9999999999999999)
    """
    every = np.unique([*normal, *anomalous])
    candidates = np.append(np.nextafter(every[0], -np.inf), every)
    false, true = (
        len(scores) - np.searchsorted(np.sort(scores), candidates, side="right")
        for scores in (normal, anomalous)
    )
    f1 = 2 * true / (true + false + len(anomalous))
    return float(candidates[np.flatnonzero(f1 == f1.max())[-1]])


def point(rule: str, normal: Sequence[float], anomalous: Sequence[float]) -> Point:
    """Return the operating point of a rule.

    Args:
        rule: see `parse`.
        normal: (n,) scores of normal images that were not trained on.
        anomalous: (m,) scores of anomalous images that were not trained on.

    Raises:
        ConfigError: the rule is none, or there are too few images for it.
    """
    wanted = parse(rule)
    if isinstance(wanted, Fraction):
        threshold = quantile(normal, wanted)
    elif wanted is not None:
        threshold = wanted
    elif normal and anomalous:
        threshold = best_f1(normal, anomalous)
    else:
        raise ConfigError(
            f"--threshold {BEST_F1}: needs normal and anomalous images with labels, there are "
            f"{len(normal)} and {len(anomalous)}; ask for fpr=RATE, or give some with --labelled"
        )
    return Point(rule, threshold, share(normal, threshold), share(anomalous, threshold))


def table(normal: Sequence[float], anomalous: Sequence[float]) -> list[Point]:
    """Return the operating points of the rules of `TABLED` for which there are images enough."""
    points = []
    for rule in TABLED:
        try:
            points.append(point(rule, normal, anomalous))
        except ConfigError:
            continue
    return points
