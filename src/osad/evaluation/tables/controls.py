"""Check of the controls, which proves splits, order of labels and scoring.

A control is a method whose AUROC is known beforehand. When one is wrong, no number can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from osad.evaluation.tables.cells import CellRow

TOLERANCE = 0.08
"""Least distance from 0.5 that random scores may have."""

SIGMAS = 4
"""Standard errors that random scores may be away from 0.5: 1 run in 16,000 by chance."""


REMEDY = "splits, labels or scoring are wrong, so no number can be trusted"


def random_tolerance(n_normal: int, n_anomaly: int) -> float:
    """Return how far from 0.5 the AUROC of random scores may be.

    The standard error without any difference between the classes is that of the Mann-Whitney
    statistic, ``sqrt((n1 + n0 + 1) / (12 n1 n0))``.

    Example:
        >>> round(random_tolerance(25, 90), 4)
        0.2622
    """
    error = math.sqrt((n_anomaly + n_normal + 1) / (12 * n_anomaly * n_normal))
    return max(TOLERANCE, SIGMAS * error)


def check_controls(rows: Iterable[CellRow]) -> list[str]:
    """Return one message for each control that is not as it must be.

    ``true_labels`` must have an AUROC of 1, ``constant`` of exactly 0.5, and ``random`` of about
    0.5 (see `random_tolerance`). Runs that are not ``ok`` are not judged.

    Args:
        rows: rows of all runs.
    """
    messages = []
    for row in rows:
        if row.status != "ok" or row.method not in ("true_labels", "constant", "random"):
            continue
        if row.auroc is None or not row.n_test_normal or not row.n_test_anomaly:
            messages.append(f"{row.cell}: has no AUROC, its test set has only one class")
        elif row.method == "true_labels" and row.auroc != 1.0:
            messages.append(f"{row.cell}: AUROC is {row.auroc!r}, must be 1.0")
        elif row.method == "constant" and row.auroc != 0.5:
            messages.append(f"{row.cell}: AUROC is {row.auroc!r}, must be exactly 0.5")
        elif row.method == "random":
            tolerance = random_tolerance(row.n_test_normal, row.n_test_anomaly)
            if abs(row.auroc - 0.5) > tolerance:
                messages.append(
                    f"{row.cell}: AUROC is {row.auroc!r}, must be within 0.5 ± {tolerance:.3f}"
                )
    return messages


def control_problem(rows: Iterable[CellRow]) -> str:
    """Return one line that names the first wrong control and counts the others; empty if none."""
    messages = check_controls(rows)
    if not messages:
        return ""
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return f"control {messages[0]}{more}"
