"""Grids, runs and metrics from which the tests of tables, figures and page are made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osad.core.cells import Cell
from osad.evaluation import published
from osad.evaluation.tables.cells import cell_frame, check_metrics
from osad.evaluation.tables.compare import comparison_frame
from osad.evaluation.tables.layout import Table, build_tables
from osad.evaluation.tables.request import Request, parse_grid
from osad.evaluation.tables.summary import beside_comparison, summary_frame

FOLDER = Path(__file__).parents[2] / "data/published"
TITLES = {
    "dpdl": "DPDL", "dra": "DRA", "patchcore": "PatchCore", "dpdl.no_dpl": "DPDL (no dpl)",
    "true_labels": "True labels", "random": "Random", "constant": "Constant",
}  # fmt: skip
CONTROLS = ("true_labels", "random", "constant")
DATASETS = {"elpv": "ELPV", "mvtec": "MVTec AD", "sdd": "SDD", "aitex": "AITEX", "mine": "mine"}
Outcome = float | Mapping[str, Any] | None
"""An AUROC (None: the run has none), or what cells of a run that is not ok have."""


def bad(status: str, reason: str) -> dict[str, str]:
    return {"status": status, "reason": reason}


def runs_of(place: str, **outcomes: Outcome | list[Outcome]) -> dict[str, Outcome]:
    """Return the outcome of each run of a place: by method that of seed 0, or of all seeds."""
    return {
        f"{place}/{name}/s{seed}": value
        for name, values in outcomes.items()
        for seed, value in enumerate(values if isinstance(values, list) else [values])
    }


def metrics(auroc: float | None, **changes: object) -> dict[str, Any]:
    return {
        "auroc": auroc, "average_precision": 0.9, "pixel_auroc": None, "aupro": None,
        "n_train_normal": 1131, "n_train_anomaly": 10, "n_test_normal": 377, "n_test_anomaly": 705,
        "scores_sha256": "ab" * 32, "heads": {}, **changes,
    }  # fmt: skip


def method(name: str, **changes: object) -> dict[str, Any]:
    base, _, variant = name.partition(".")
    return {
        "name": name,
        "title": TITLES.get(name) or f"{TITLES.get(base, base)} ({variant})",
        "settings": ["general", "hard", "normal"],
        "control": name in CONTROLS,
        **{"backbone": "lite0", "normal_only": False, "changes": {}, "cuts": {}, **changes},
    }


def grid_value(**changes: object) -> dict[str, Any]:
    return {
        "results": "results",
        "seeds": [0, 1],
        "protocols": {"elpv/all": ["general-m10"]},
        "methods": [method(name) for name in TITLES],
        "notes": ["Frozen features at 96 px."],
        "datasets": {
            name: {"title": title, "licence": "CC & more", "citation": "100 % of it.", "notes": []}
            for name, title in DATASETS.items()
        },
        **changes,
    }


def request_of(**changes: object) -> Request:
    return parse_grid(grid_value(**changes), where="--grid")


def cells_of(outcomes: Mapping[str, Outcome], request: Request | None = None) -> pd.DataFrame:
    """Make the rows of runs by the cell's id."""
    known = {
        Cell.parse(name): value
        if isinstance(value, Mapping)
        else check_metrics(metrics(value), where="metrics.json")
        for name, value in outcomes.items()
    }
    return cell_frame(request or request_of(), known)


def printed(request: Request | None = None) -> pd.DataFrame:
    methods = (request or request_of()).methods.values()
    return published.place(published.load(FOLDER), {info.name: info.title for info in methods})


def compared_of(cells: pd.DataFrame, request: Request | None = None) -> pd.DataFrame:
    """Make the rows of the comparison; each draw of test images gives the AUROC of the run."""
    known, request = cells[cells.auroc.notna()], request or request_of()
    draws = {row.cell: np.full(2, row.auroc) for row in known.itertuples()}
    methods, controls = request.methods, request.controls
    return comparison_frame(cells, draws, printed(request), methods=methods, controls=controls)


def summary_of(cells: pd.DataFrame, request: Request | None = None) -> pd.DataFrame:
    """Make the summary, by the id of the table cell."""
    summary = summary_frame(cells, printed(request), (request or request_of()).methods)
    summary = beside_comparison(summary, compared_of(cells, request))
    assert summary.cell.is_unique
    return summary.set_index(summary.cell.rename(None))


def tables_of(outcomes: Mapping[str, Outcome], request: Request | None = None) -> dict[str, Table]:
    cells = cells_of(outcomes, request)
    return build_tables(summary_of(cells, request), cells, request=request or request_of())
