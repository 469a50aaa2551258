"""What the page shows of all table cells: the rows of the summary, texts, methods, digests."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osad.core.files import format_value
from osad.evaluation import published
from osad.evaluation.tables.cells import CellRow
from osad.evaluation.tables.controls import REMEDY, control_problem
from osad.evaluation.tables.footers import differences_text, method_title
from osad.evaluation.tables.latex import SPECIAL
from osad.evaluation.tables.layout import (
    TITLES,
    build_tables,
    line_label,
    methods_in_rows,
    number_text,
)
from osad.evaluation.tables.request import MEAN, Request
from osad.evaluation.tables.summary import COLUMNS, Group, SummaryRow, group_of


def ranks(rows: Sequence[SummaryRow], controls: Sequence[str]) -> dict[Group, tuple[int, int]]:
    """Return the rank of each method among those of the same place, controls left out.

    Means that are equal as printed (three decimals) have the same rank, and the next rank is the
    next number.

    Args:
        rows: rows of ``summary.csv``.
        controls: ids of the controls.

    Returns:
        rank (1 is the best) and number of methods with a mean, by table cell.
    """
    places: dict[Group, list[SummaryRow]] = defaultdict(list)
    for row in rows:
        if row.method not in controls and row.auroc_mean is not None:
            places[dataclasses.replace(group_of(row), method="")].append(row)
    found = {}
    for of_place in places.values():
        printed = sorted({f"{row.auroc_mean:.3f}" for row in of_place}, reverse=True)
        for row in of_place:
            rank = printed.index(f"{row.auroc_mean:.3f}") + 1
            found[group_of(row)] = (rank, len(of_place))
    return found


def difference_text(row: SummaryRow) -> str:
    """Return ours minus published with its sign; empty without one of them."""
    if row.auroc_mean is None or row.published_mean is None:
        return ""
    return f"{row.auroc_mean - row.published_mean:+.3f}"


def row_values(rows: Sequence[SummaryRow], request: Request) -> list[dict[str, Any]]:
    """Return what the page needs of each table cell, in the order of ``summary.csv``.

    Returns:
        for each row ``fields`` (those of ``summary.csv`` as text), ``ours``, ``published`` and
        ``difference`` as printed, ``rank`` and ``of`` (0: it does not compete) and ``label``.
    """
    ranked = ranks(rows, request.controls)
    values = []
    for row in rows:
        rank, count = ranked.get(group_of(row), (0, 0))
        values.append(
            {
                "fields": [format_value(getattr(row, name)) for name in COLUMNS],
                "ours": number_text(row.auroc_mean, row.auroc_std) or "n/a",
                "published": number_text(row.published_mean, row.published_std),
                "difference": difference_text(row),
                "rank": rank,
                "of": count,
                "label": line_label(row, request),
            }
        )
    return values


def method_values(
    request: Request,
    details: Mapping[str, Mapping[str, Any]],
    modules: Mapping[str, Sequence[str]],
    backbones: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Return what the page says of each method.

    Args:
        request: the grid.
        details: ``paper``, ``hyper`` and ``maps`` by method.
        modules: names of the modules that trained and scored it, by method.
        backbones: its backbone by method; empty: no network.
    """
    return {
        name: {
            "title": method_title(name),
            "control": name in request.controls,
            "backbone": backbones.get(name, ""),
            "changes": differences_text(request.changes.get(name, {})),
            "cuts": differences_text(request.cuts.get(name, {})),
            "paper": details[name]["paper"],
            "maps": details[name]["maps"],
            "hyper": {
                key: json.dumps(value, ensure_ascii=False)
                for key, value in sorted(details[name]["hyper"].items())
            },
            "modules": list(modules[name]),
        }
        for name in request.methods
    }


@dataclass(frozen=True)
class Content:
    """What both the data and the text of the page are made of.

    Attributes:
        request: the grid.
        rows: rows of ``cells.csv``.
        summary: rows of ``summary.csv``.
        methods: from `method_values`.
    """

    request: Request
    rows: Sequence[CellRow]
    summary: Sequence[SummaryRow]
    methods: Mapping[str, Mapping[str, Any]]


def page_value(
    content: Content,
    *,
    files: Mapping[str, str],
    code: Mapping[str, str],
    lock: str,
    absent: Sequence[str],
) -> dict[str, Any]:
    """Return the data of the page, to be written by `osad.report.scripts.script`.

    Args:
        content: what the page shows.
        files: digest of each file that cells share, by path.
        code: digest of each module that a method names.
        lock: digest of the lock file.
        absent: ids of table cells that have no file of their own.
    """
    request, rows, summary = content.request, content.rows, content.summary
    competing = {row.method for row in summary}
    return {
        "results": request.results,
        "columns": list(COLUMNS),
        "rows": row_values(summary, request),
        "methods": dict(content.methods),
        "order": list(request.methods),
        "datasets": dataset_order(summary),
        "settings": TITLES,
        "mean": MEAN,
        "seeds": sorted({row.seed for row in rows}),
        "methodsInRows": methods_in_rows(
            [name for name in request.methods if name in competing], request.controls
        ),
        "problems": {row.cell: [row.status, row.reason] for row in rows if row.status != "ok"},
        "files": dict(files),
        "code": dict(code),
        "lock": lock,
        "absent": list(absent),
        "latex": SPECIAL,
    }


def dataset_order(summary: Sequence[SummaryRow]) -> list[str]:
    """Return the data sets in the order of the papers' tables, others after them."""
    papers = list(published.DATASETS)
    names = list(dict.fromkeys(row.dataset for row in summary))
    return sorted(names, key=lambda name: papers.index(name) if name in papers else len(papers))


def texts(
    content: Content,
    *,
    figures: Sequence[Mapping[str, str]],
    bench: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what the template of the page is filled with.

    Args:
        content: what the page shows.
        figures: ``name`` and ``title`` of each figure.
        bench: measured times by machine, from `check_bench`.
    """
    request, rows, summary = content.request, content.rows, content.summary
    problem = control_problem(rows)
    tables = build_tables(summary, rows, request=request)
    return {
        "warning": f"Wrong control: {problem}; {REMEDY}." if problem else "",
        "results": request.results,
        "n_runs": len(rows),
        "n_cells": len({row.cell.rpartition("/")[0] for row in rows}),
        "n_seeds": len({row.seed for row in rows}),
        "notes": request.notes,
        "settings": [
            {"name": name, "title": TITLES[name], "footers": tables[name].footers}
            for name in TITLES
            if tables[name].blocks
        ],
        "problems": [row for row in rows if row.status != "ok"],
        "datasets": [(name, request.datasets[name]) for name in request.datasets],
        "methods": content.methods,
        "sources": sorted({row.published_source for row in summary} - {""}),
        "figures": list(figures),
        "bench": list(bench),
    }
