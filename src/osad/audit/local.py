"""What is here, against what a rebuild of cells gave elsewhere."""

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osad.audit import graph
from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell
from osad.core.errors import OsadError
from osad.core.files import read_keyed, sha256_file
from osad.evaluation.tables.cells import COUNTS, RATES, read_metrics


def edited(root: Path, copy: Path, known: Ledger, entries: Iterable[Entry]) -> list[str]:
    """Return a message for each file here that neither the ledger nor the rebuild vouches for.

    Compared are the artefacts that were rebuilt, in the pipeline's order, and all tables, which no
    rebuild of cells makes. What is missing in the project's folder is no difference.
    """
    folder = f"{known.results}/tables/"
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


def unprinted(root: Path, known: Ledger, cells: Iterable[str]) -> list[str]:
    """Return a message for each cell, and each mean of cells, whose row no table here has."""
    folder, messages = f"{known.results}/tables", []
    names = list(cells)
    means = dict.fromkeys(name.rpartition("/")[0] for name in names)
    for table, wanted in (("cells.csv", names), ("summary.csv", means)):
        rows = _rows(root / folder / table)
        lost = [name for name in wanted if name not in rows]
        if lost:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            messages.append(
                f"{folder}/{table}: has no row of {lost[0]}{more}, so what it prints cannot be "
                "checked"
            )
    return messages


@dataclass(frozen=True)
class Remade:
    """The metrics of a run that were made again.

    Attributes:
        metrics: their values by name.
        gap: largest difference of a rate from what is printed.
        exact: names of further values that must be equal.
    """

    metrics: Mapping[str, Any]
    gap: float = 0.0
    exact: tuple[str, ...] = ()


def misprinted(
    root: Path, copy: Path, known: Ledger, cells: Sequence[Cell], tolerance: float
) -> list[str]:
    """Return a message for each number of the tables here that is not that of a rebuild.

    Where the bytes of the metrics are not those of the ledger, a rate may differ by the tolerance;
    else the numbers must be equal.
    """
    remade = {}
    for cell in cells:
        path = graph.artefact(known, "metrics", cell)
        with contextlib.suppress(OsadError):  # A run that is not there has been told already.
            metrics = read_metrics(copy / path)
            if sha256_file(copy / path) == known.entries[path].sha256:
                remade[str(cell)] = Remade(metrics, 0.0, (*COUNTS, "scores_sha256"))
            else:
                remade[str(cell)] = Remade(metrics, tolerance, COUNTS)
    return wrong_numbers(root, known, remade, "the rebuild gives")


def wrong_numbers(
    root: Path, known: Ledger, remade: Mapping[str, Remade], source: str
) -> list[str]:
    """Return a message for each number of ``cells.csv`` and ``summary.csv`` that is wrong.

    Tables, or rows of them, that are not here are no difference.
    """
    folder = f"{known.results}/tables"
    rows = _rows(root / folder / "cells.csv")
    means = _rows(root / folder / "summary.csv")
    messages, groups = [], defaultdict(list)
    for name in rows:
        groups[name.rpartition("/")[0]].append(name)
    for name in remade.keys() & rows.keys():
        run = remade[name]
        for key in (*RATES, *run.exact):
            if key in run.metrics or key in run.exact:
                printed, value = rows[name].get(key, ""), run.metrics.get(key)
                if not _agree(printed, value, run.gap if key in RATES else 0.0):
                    messages.append(
                        f"{folder}/cells.csv: {key} of {name} is {printed!r}, {source} {value!r}"
                    )
    for group in sorted({name.rpartition("/")[0] for name in remade} & means.keys()):
        runs, numbers = groups[group], []
        for cell in runs:
            fields: Mapping[str, Any] = remade[cell].metrics if cell in remade else rows[cell]
            with contextlib.suppress(KeyError, TypeError, ValueError):  # It may have none.
                numbers.append(float(fields["auroc"]))
        expected = statistics.fmean(numbers) if numbers else None
        gap = max((remade[run].gap for run in runs if run in remade), default=0.0)
        printed = means[group].get("auroc_mean", "")
        if runs and not _agree(printed, expected, gap):
            messages.append(
                f"{folder}/summary.csv: auroc_mean of {group} is {printed!r}, its runs give "
                f"{expected!r}"
            )
    return sorted(messages)


def _rows(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by cell; none if it is missing or damaged."""
    try:
        return read_keyed(path, "cell")
    except OsadError:
        return {}


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
