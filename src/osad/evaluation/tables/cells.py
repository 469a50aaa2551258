"""The rows of ``cells.csv``, one a run, as a data frame; and the check of the controls.

A control is a method whose AUROC is known beforehand. When one is wrong, no number can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell, Protocol
from osad.core.errors import DataError
from osad.core.files import read_csv, read_json, write_text
from osad.core.lazy import lazy
from osad.evaluation.tables.request import MEAN, Request

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

FACETS = ("dataset", "category", "setting", "shots", "known_class", "method")
"""A table cell: a cell without its seed."""
RATES = ("auroc", "average_precision", "pixel_auroc", "aupro")
COUNTS = ("n_train_normal", "n_train_anomaly", "n_test_normal", "n_test_anomaly")
COLUMNS = (
    *FACETS, "seed", *RATES, *COUNTS, "backbone", "cell", "scores_sha256", "status", "reason",
)  # fmt: skip
"""Of ``cells.csv``. Rates are in [0, 1] and missing where they do not apply; a run whose status is
not ``ok`` has no numbers but a reason, and so has one without an AUROC."""
INTERVALS = ("seeds", "images", "to_published")
KINDS = {
    **dict.fromkeys(("shots", "seed", "n_seeds"), "int64"),
    **dict.fromkeys((*RATES, "auroc_mean", "auroc_std"), "float64"),
    **{f"published_{end}": "float64" for end in ("mean", "std", "lowest", "highest")},
    **{f"difference_to_{one}": "float64" for one in ("best", "published")},
    **{f"{of}_{end}": "float64" for of in INTERVALS for end in ("low", "high")},
    **dict.fromkeys((*COUNTS, "rank"), "Int64"),
}
"""Types of the columns that are no texts."""
MOST = 1e9
"""No number of a table is larger."""

TOLERANCE = 0.08
"""Least distance from 0.5 that random scores may have."""
SIGMAS = 4
"""Standard errors that random scores may be away from 0.5: 1 run in 16,000 by chance."""
REMEDY = "splits, labels or scoring are wrong, so no number can be trusted"

NO_ANOMALY = "no anomalous test image, so there is no AUROC"
AGAIN = "delete it and make it again"


def read_metrics(path: Path | str) -> Mapping[str, Any]:
    """Read the metrics of a cell; see `check_metrics`.

    Raises:
        DataError: the file is missing or damaged.
    """
    return check_metrics(read_json(path), where=str(path))


def check_metrics(metrics: Any, *, where: str) -> Mapping[str, Any]:
    """Check and return the metrics of a run.

    Raises:
        DataError: a metric is missing, of the wrong type, or out of range.
    """
    if not isinstance(metrics, dict):
        raise DataError(f"{where}: is not an object of metrics; delete it and rerun")

    def is_rate(value: Any) -> bool:
        return value is None or (type(value) in (int, float) and 0 <= value <= 1)

    checks: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(RATES, is_rate),
        **dict.fromkeys(COUNTS, lambda value: type(value) is int and value >= 0),
        "scores_sha256": lambda value: isinstance(value, str) and len(value) == 64,
    }
    for name, is_good in checks.items():
        if name not in metrics or not is_good(metrics[name]):
            raise DataError(
                f"{where}: {name} is {metrics.get(name, 'missing')!r}; delete it and rerun"
            )
    heads = metrics.get("heads", {})
    if not isinstance(heads, dict) or not all(
        isinstance(head, dict) and "auroc" in head and all(map(is_rate, head.values()))
        for head in heads.values()
    ):
        raise DataError(f"{where}: heads is {heads!r:.60}; delete it and rerun")
    return metrics


def cell_frame(request: Request, outcomes: Mapping[Cell, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of cells, in order."""
    rows = []
    for cell, outcome in outcomes.items():
        protocol = Protocol.parse(cell.protocol)
        row = {"status": "ok", "reason": "", "scores_sha256": "", **outcome}
        if row.get("n_test_anomaly") == 0:
            row["reason"] = NO_ANOMALY
        rows.append(
            row
            | {name: getattr(cell, name) for name in ("dataset", "category", "method", "seed")}
            | {name: getattr(protocol, name) for name in ("setting", "shots", "known_class")}
            | {"backbone": request.methods[cell.method].backbone, "cell": str(cell)}
            # A field of a table is one line.
            | {"reason": " ".join(str(row["reason"]).split())}
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    kinds = {name: kind for name, kind in KINDS.items() if name in COLUMNS}
    return in_order(frame.astype(kinds), request.methods)


def in_order(frame: pd.DataFrame, methods: Iterable[str]) -> pd.DataFrame:
    """Sort rows by data set, category, setting, shots (most first), known class, method and seed.

    Methods are in the order given; averages over categories or known classes come last.
    """
    number = {method: number for number, method in enumerate(methods)}

    def key(column: pd.Series) -> pd.Series:
        if column.name == "shots":
            return -column
        if column.name == "method":
            return column.map(number)
        # No name of a class begins with a tilde, which comes after all that may be in one.
        return column.where(column != MEAN, "~")

    by = [name for name in (*FACETS, "seed") if name in frame]
    return frame.sort_values(by, key=key, ignore_index=True)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write rows as CSV: floats as ``repr`` has them, a missing number as an empty field."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_frame(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a file of `write_frame`.

    Raises:
        DataError: the file is missing, lacks a column, or has a field that is no number.
    """
    frame = pd.DataFrame(read_csv(path, columns), columns=[*columns], dtype=str)
    for name in KINDS.keys() & set(columns):
        try:
            values = frame[name].replace("", None).astype(KINDS[name])
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{path}, column {name}: {error}; {AGAIN}") from error
        wrong = frame[(frame[name] != "") & ~values.between(*_range(name)).fillna(False)]
        if len(wrong):
            raise DataError(
                f"{path}, line {wrong.index[0] + 2}: {name} is {wrong[name].iloc[0]!r:.60}, not a "
                f"number from {_range(name)[0]:g} to {_range(name)[1]:g}; {AGAIN}"
            )
        frame[name] = values
    return frame


def _range(column: str) -> tuple[float, float]:
    """Return the least and the largest number that a column of `KINDS` may have."""
    if column.endswith(("_low", "_high")):  # An interval over few seeds is wider than any rate.
        return -MOST, MOST
    if column.startswith("difference"):
        return -1, 1
    return 0, 1 if KINDS[column] == "float64" else MOST


def number_text(mean: float, std: float) -> str:
    """Return a mean with its standard deviation, with 3 decimals; empty without a mean.

    Example:
        >>> number_text(0.845, 0.0134), number_text(0.916, float("nan"))
        ('0.845 ± 0.013', '0.916')
    """
    if pd.isna(mean):
        return ""
    return f"{mean:.3f}" if pd.isna(std) else f"{mean:.3f} ± {std:.3f}"


def read_cells(path: Path, request: Request) -> pd.DataFrame:
    """Read ``cells.csv``.

    Raises:
        DataError: the file is missing or damaged, or holds the cells of another grid.
    """
    frame = read_frame(path, COLUMNS)
    if set(frame.cell) != set(map(str, request.cells)):
        raise DataError(f"{path}: holds the cells of another grid; delete it and make it again")
    return frame


def random_tolerance(n_normal: int, n_anomaly: int) -> float:
    """Return how far from 0.5 the AUROC of random scores may be.

    The standard error without any difference between the classes is that of the Mann-Whitney
    statistic, ``sqrt((n1 + n0 + 1) / (12 n1 n0))``.

    Example:
        >>> round(random_tolerance(25, 90), 4), random_tolerance(377, 705)
        (0.2622, 0.08)
    """
    error = math.sqrt((n_anomaly + n_normal + 1) / (12 * n_anomaly * n_normal))
    return max(TOLERANCE, SIGMAS * error)


def check_controls(cells: pd.DataFrame) -> list[str]:
    """Return one message for each control that is not as it must be.

    ``true_labels`` must have an AUROC of 1, ``constant`` of exactly 0.5, and ``random`` of about
    0.5 (see `random_tolerance`). Runs that are not ``ok``, or have no anomalous test image, are
    not judged.
    """
    expected = {"true_labels": (1.0, "1.0"), "constant": (0.5, "exactly 0.5"), "random": (0.5, "")}
    messages = []
    judged = (cells.status == "ok") & cells.method.isin(expected) & (cells.n_test_anomaly != 0)
    for row in cells[judged].itertuples():
        (value, must), tolerance = expected[row.method], 0.0
        if math.isnan(row.auroc):
            messages.append(f"{row.cell}: has no AUROC, its test set has only one class")
            continue
        if row.method == "random":
            tolerance = random_tolerance(row.n_test_normal, row.n_test_anomaly)
            must = f"within 0.5 ± {tolerance:.3f}"
        if abs(row.auroc - value) > tolerance:
            messages.append(f"{row.cell}: AUROC is {row.auroc!r}, must be {must}")
    return messages


def control_problem(cells: pd.DataFrame) -> str:
    """Return one line that names the first wrong control and counts the others; empty if none."""
    messages = check_controls(cells)
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return f"control {messages[0]}{more}" if messages else ""
