"""What is here, against what a rebuild of cells gave elsewhere."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from osad.audit import graph
from osad.audit.ledger import Entry, Ledger
from osad.cells import Cell
from osad.errors import OsadError
from osad.files import read_csv, read_json, sha256_file
from osad.tables.cells import COUNTS, RATES


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
    messages = []
    remade: dict[str, Mapping[str, Any]] = {}
    allowed: dict[str, float] = {}
    for cell in cells:
        path, name = graph.artefact(known, "metrics", cell), str(cell)
        try:
            remade[name] = read_json(copy / path)
        except OsadError:
            continue  # Was not made: told already.
        equal = sha256_file(copy / path) == known.entries[path].sha256
        allowed[name] = 0.0 if equal else tolerance
        if name not in rows:
            continue
        exact = (*COUNTS, "scores_sha256") if equal else COUNTS
        for key in (*RATES, *exact):
            value = remade[name].get(key)
            gap = allowed[name] if key in RATES else 0.0
            if not _agree(rows[name].get(key, ""), value, gap):
                messages.append(
                    f"{folder}/cells.csv: {key} of {name} is {rows[name].get(key)!r}, the rebuild "
                    f"gives {value!r}"
                )
    for group in dict.fromkeys(name.rpartition("/")[0] for name in remade):
        runs = [name for name in rows if name.rpartition("/")[0] == group]
        values = [remade[run].get("auroc") if run in remade else _number(rows[run]) for run in runs]
        numbers = [float(value) for value in values if value is not None]
        gap = max(allowed[name] for name in allowed if name.rpartition("/")[0] == group)
        expected = statistics.fmean(numbers) if numbers else None
        printed = means[group].get("auroc_mean", "") if group in means else None
        if printed is not None and runs and not _agree(printed, expected, gap):
            messages.append(
                f"{folder}/summary.csv: auroc_mean of {group} is {printed!r}, the runs give "
                f"{expected!r}"
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
