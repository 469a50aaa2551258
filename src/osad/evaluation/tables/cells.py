"""Rows of ``cells.csv``: one a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from osad.core.cells import Cell, Protocol
from osad.core.errors import DataError
from osad.evaluation.tables.request import MEAN

RATES = ("auroc", "average_precision", "pixel_auroc", "aupro")
COUNTS = ("n_train_normal", "n_train_anomaly", "n_test_normal", "n_test_anomaly")


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        status: ``ok``, ``failed`` or ``skipped``.
        reason: why not ``ok``; else empty.
        metrics: the run's metrics when ``ok``; else empty.
    """

    status: str
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellRow:
    """One row of ``cells.csv``; the order of the fields is the order of the columns.

    Rates are in [0, 1] and None where they do not apply; a run that is not ``ok`` has no numbers.
    """

    dataset: str
    category: str
    setting: str
    shots: int
    known_class: str
    method: str
    seed: int
    auroc: float | None
    average_precision: float | None
    pixel_auroc: float | None
    aupro: float | None
    n_train_normal: int | None
    n_train_anomaly: int | None
    n_test_normal: int | None
    n_test_anomaly: int | None
    backbone: str
    cell: str
    scores_sha256: str
    status: str
    reason: str


COLUMNS = tuple(item.name for item in dataclasses.fields(CellRow))


def one_line(text: str) -> str:
    """Return a text with every run of white space as one blank, for a field of a table."""
    return " ".join(text.split())


def ok(metrics: object, *, where: str) -> Outcome:
    """Check the metrics of a run and return its outcome.

    Args:
        metrics: content of the run's metrics file.
        where: name of that file, for messages.

    Raises:
        DataError: a metric is missing, of the wrong type, or out of range.
    """
    if not isinstance(metrics, dict):
        raise DataError(f"{where}: is not an object of metrics; delete it and rerun")
    checks: dict[str, Callable[[object], bool]] = {
        **dict.fromkeys(RATES, _is_rate),
        **dict.fromkeys(COUNTS, _is_count),
        "scores_sha256": lambda value: isinstance(value, str) and len(value) == 64,
    }
    for name, is_good in checks.items():
        if name not in metrics or not is_good(metrics[name]):
            raise DataError(
                f"{where}: {name} is {metrics.get(name, 'missing')!r}; delete it and rerun"
            )
    return Outcome("ok", metrics=metrics)


def _is_rate(value: object) -> bool:
    return value is None or (
        isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def cell_row(cell: Cell, outcome: Outcome, *, backbone: str) -> CellRow:
    """Return the row of one run."""
    protocol = Protocol.parse(cell.protocol)
    numbers: dict[str, Any] = {name: _rate(outcome.metrics.get(name)) for name in RATES}
    numbers |= {name: outcome.metrics.get(name) for name in COUNTS}
    return CellRow(
        dataset=cell.dataset,
        category=cell.category,
        setting=protocol.setting,
        shots=protocol.shots,
        known_class=protocol.known_class,
        method=cell.method,
        seed=cell.seed,
        **numbers,
        backbone=backbone,
        cell=str(cell),
        scores_sha256=outcome.metrics.get("scores_sha256", ""),
        status=outcome.status,
        reason=one_line(outcome.reason),
    )


def _rate(value: float | None) -> float | None:
    # JSON may hold a whole number; a table's rates are all floats, so that 1 is written 1.0.
    return None if value is None else float(value)


def cell_rows(
    expected: Iterable[tuple[Cell, str]],
    outcomes: Mapping[Cell, Outcome],
    *,
    methods: Sequence[str],
) -> list[CellRow]:
    """Return the rows of all runs of a grid, sorted.

    Args:
        expected: the runs, each with its backbone (empty: no network).
        outcomes: what became of each of them.
        methods: ids of the methods in the order of the grid.

    Returns:
        Rows by data set, category, setting, shots (most first), known class, method in the order
        of the grid, and seed.
    """
    rows = [cell_row(cell, outcomes[cell], backbone=backbone) for cell, backbone in expected]
    order = {method: number for number, method in enumerate(methods)}
    return sorted(rows, key=lambda row: (*place_key(row, order), row.seed))


def parse_rows(fields: Iterable[Mapping[str, str]], *, where: str) -> list[CellRow]:
    """Return the rows of a ``cells.csv`` from its text fields.

    Args:
        fields: one mapping a line, with all columns.
        where: name of the file, for messages.

    Raises:
        DataError: a number is not one; the message names the line.
    """
    whole = ("shots", "seed")
    rows = []
    for number, line in enumerate(fields, start=2):
        values: dict[str, Any] = {name: line[name] for name in COLUMNS}
        try:
            values |= {name: int(line[name]) for name in whole}
            values |= {name: float(line[name]) if line[name] else None for name in RATES}
            values |= {name: int(line[name]) if line[name] else None for name in COUNTS}
        except ValueError as error:
            raise DataError(f"{where}, line {number}: {error}; delete it and rerun") from error
        rows.append(CellRow(**values))
    return rows


def place_key(row: Any, order: Mapping[str, int]) -> tuple[object, ...]:
    """Return the key that sorts rows with the facets of a cell; averages come last.

    Args:
        row: has dataset, category, setting, shots, known_class and method.
        order: number of each method.
    """
    return (
        row.dataset,
        (row.category == MEAN, row.category),
        row.setting,
        -row.shots,
        (row.known_class == MEAN, row.known_class),
        order[row.method],
    )
