"""Runs, metrics and requests from which the tests of the tables are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.evaluation.published import Key, Published
from osad.evaluation.tables.cells import CellRow, Outcome, cell_rows, ok
from osad.evaluation.tables.layout import Table, build_tables
from osad.evaluation.tables.request import Request, parse_request
from osad.evaluation.tables.summary import SummaryRow, summary_rows

FOLDER = Path(__file__).parents[2] / "data/published"
METHODS = ["dpdl", "dra", "patchcore", "dpdl.no_dpl"]
CONTROLS = ["true_labels", "random", "constant"]


def metrics(auroc: float | None, **changes: object) -> dict[str, Any]:
    return {
        "auroc": auroc,
        "average_precision": 0.9,
        "pixel_auroc": None,
        "aupro": None,
        "n_train_normal": 1131,
        "n_train_anomaly": 10,
        "n_test_normal": 377,
        "n_test_anomaly": 705,
        "scores_sha256": "ab" * 32,
        "heads": {},
        **changes,
    }


def request_value(names: list[str], **changes: object) -> dict[str, Any]:
    return {
        "cells": [{"cell": cell, "backbone": "lite0"} for cell in names],
        "methods": METHODS,
        "controls": CONTROLS,
        "results": "results",
        "notes": ["Frozen features at 96 px."],
        "datasets": {
            "elpv": {
                "title": "ELPV",
                "licence": "CC BY-NC-SA 4.0 & more",
                "citation": "Buerhop 2018, 100 % of it.",
            }
        },
        **changes,
    }


def rows_of(outcomes: dict[str, float | Outcome | None]) -> tuple[Request, list[CellRow]]:
    """Make the rows of runs from AUROCs (None: no AUROC) or outcomes by cell id."""
    request = parse_request(request_value(list(outcomes)), where="request.json")
    known = {
        Cell.parse(name): value
        if isinstance(value, Outcome)
        else ok(metrics(value), where="metrics.json")
        for name, value in outcomes.items()
    }
    return request, cell_rows(request.cells, known, methods=request.methods)


def summary_of(
    rows: list[CellRow], table: dict[Key, Published] | None = None
) -> dict[str, SummaryRow]:
    result = summary_rows(rows, table=table or {}, methods=[*METHODS, *CONTROLS])
    assert len({row.cell for row in result}) == len(result)
    return {row.cell: row for row in result}


def layouts(
    outcomes: dict[str, float | Outcome | None], table: dict[Key, Published] | None = None
) -> dict[str, Table]:
    request, rows = rows_of(outcomes)
    summary = list(summary_of(rows, table).values())
    return build_tables(summary, rows, request=request)
