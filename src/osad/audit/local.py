"""What is here, against what a rebuild of cells gave elsewhere."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osad.audit import graph
from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell
from osad.core.errors import OsadError
from osad.core.files import read_csv, read_json, sha256_file
from osad.evaluation.tables.cells import COUNTS, RATES


def edited(root: Path, copy: Path, known: Ledger, entries: Iterable[Entry]) -> list[str]:
    """Return a message for each file here that neither the ledger nor the rebuild vouches for.

    Args:
        root: the project's folder; what is missing in it is no difference.
        copy: the folder of the rebuild.
        known: the ledger; its tables are compared too, which no rebuild of cells makes.
        entries: lines of the artefacts that were rebuilt, in the pipeline's order.
    """
    folder = f"{graph.results_folder(known)}/tables/"
    tables = [entry for path, entry in known.entries.items() if path.startswith(folder)]
    messages = []
    for entry in [*entries, *graph.in_order(tables)]:
        here, there = root / entry.path, copy / entry.path
        if not here.is_file():
            continue
        found = sha256_file(here)
        if found == entry.sha256 or (there.is_file() and sha256_file(there) == found):
            continue
        messages.append(
            f"{entry.path}: the file here differs from the ledger (sha256 {found[:12]}..., ledger "
            f"{entry.sha256[:12]}...); delete it and run snakemake"
        )
    return messages


def misprinted(
    root: Path, copy: Path, known: Ledger, cells: Sequence[Cell], tolerance: float
) -> list[str]:
    """Return a message for each number of the tables here that is not that of the rebuild.

    Tables, or rows of them, that are not here are no difference.

    Args:
        root: the project's folder.
        copy: the folder of the rebuild.
        known: the ledger.
        cells: the runs that were rebuilt.
        tolerance: largest difference of a rate where the bytes of the metrics are not those of
            the ledger; else the numbers must be equal.
    """
    folder = f"{graph.results_folder(known)}/tables"
    rows = _rows(root / folder / "cells.csv")
    means = _rows(root / folder / "summary.csv")
    remade = _remade(copy, known, cells, tolerance)
    return [
        *_wrong_runs(f"{folder}/cells.csv", rows, remade),
        *_wrong_means(f"{folder}/summary.csv", means, rows, remade),
    ]


@dataclass(frozen=True)
class _Remade:
    """The metrics of a run that was made again.

    Attributes:
        metrics: the content of its file.
        gap: largest difference of a rate; 0 where the bytes are those of the ledger.
    """

    metrics: Mapping[str, Any]
    gap: float

    @property
    def exact(self) -> tuple[str, ...]:
        """Return the names of what must be equal."""
        return COUNTS if self.gap else (*COUNTS, "scores_sha256")


def _remade(
    copy: Path, known: Ledger, cells: Sequence[Cell], tolerance: float
) -> dict[str, _Remade]:
    """Return the metrics of each cell that the rebuild made; another has been told already."""
    found = {}
    for cell in cells:
        path = graph.artefact(known, "metrics", cell)
        with contextlib.suppress(OsadError):
            metrics = read_json(copy / path)
            equal = sha256_file(copy / path) == known.entries[path].sha256
            found[str(cell)] = _Remade(metrics, 0.0 if equal else tolerance)
    return found


def _wrong_runs(
    path: str, rows: Mapping[str, Mapping[str, str]], remade: Mapping[str, _Remade]
) -> list[str]:
    """Return a message for each number of ``cells.csv`` that is not that of the rebuild."""
    messages = []
    for name, run in remade.items():
        if name not in rows:
            continue
        row = rows[name]
        for key in (*RATES, *run.exact):
            value = run.metrics.get(key)
            if not _agree(row.get(key, ""), value, run.gap if key in RATES else 0.0):
                messages.append(
                    f"{path}: {key} of {name} is {row.get(key)!r}, the rebuild gives {value!r}"
                )
    return messages


def _wrong_means(
    path: str,
    means: Mapping[str, Mapping[str, str]],
    rows: Mapping[str, Mapping[str, str]],
    remade: Mapping[str, _Remade],
) -> list[str]:
    """Return a message for each mean of ``summary.csv`` that is not that of its runs."""
    messages = []
    for group in dict.fromkeys(name.rpartition("/")[0] for name in remade):
        runs = [name for name in rows if name.rpartition("/")[0] == group]
        printed = means[group].get("auroc_mean", "") if group in means else None
        if printed is None or not runs:
            continue
        values = [
            remade[run].metrics.get("auroc") if run in remade else _number(rows[run])
            for run in runs
        ]
        numbers = [float(value) for value in values if value is not None]
        expected = statistics.fmean(numbers) if numbers else None
        gap = max(run.gap for name, run in remade.items() if name.rpartition("/")[0] == group)
        if not _agree(printed, expected, gap):
            messages.append(
                f"{path}: auroc_mean of {group} is {printed!r}, the runs give {expected!r}"
            )
    return messages


def _rows(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by cell; none if it is missing or damaged."""
    try:
        return {row["cell"]: row for row in read_csv(path, ["cell"])}
    except OsadError:
        return {}


def _number(row: Mapping[str, str]) -> float | None:
    """Return the AUROC of a row; None if it has none."""
    try:
        return float(row["auroc"])
    except (KeyError, ValueError):
        return None


def _agree(text: str, value: object, gap: float) -> bool:
    """Tell whether a field of a table says a value."""
    if value is None or isinstance(value, str):
        return text == (value or "")
    if not isinstance(value, int | float):
        return False
    try:
        return abs(float(text) - float(value)) <= gap
    except ValueError:
        return False
