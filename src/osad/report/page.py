"""What the page shows of all table cells: the rows of the summary, texts, methods, digests."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.lazy import lazy
from osad.evaluation.tables.cells import FACETS, REMEDY, control_problem
from osad.evaluation.tables.footers import differences_text
from osad.evaluation.tables.layout import (
    TITLES,
    build_tables,
    methods_in_rows,
    papers_order,
    place_label,
    rivals,
    texts,
)
from osad.evaluation.tables.markup import LATEX
from osad.evaluation.tables.request import MEAN, Request
from osad.evaluation.tables.summary import COLUMNS

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")


def row_values(summary: pd.DataFrame, request: Request) -> list[dict[str, Any]]:
    """Return what the page needs of each table cell, in the order of ``summary.csv``.

    Returns:
        for each row ``fields`` (those of ``summary.csv`` as text), ``ours``, ``published`` and
        ``difference`` as printed, ``rank`` and ``of`` (0: it does not compete) and ``label``; and
        ``printed``, every published value with its sources.
    """
    difference = summary.auroc_mean - summary.published_mean
    ranks = summary[["rank"]].fillna(0).astype(int)
    values = ranks.assign(
        of=rivals(summary).where(ranks["rank"] > 0, 0),
        ours=texts(summary, "auroc").replace("", "n/a"),
        published=texts(summary, "published"),
        printed=summary.published_all.str.split("; ").map(lambda values: [*filter(None, values)]),
        difference=difference.map("{:+.3f}".format, na_action="ignore").fillna(""),
        label=[
            place_label(request, row.dataset, row.category, row.known_class)
            for row in summary.itertuples()
        ],
    )
    text = summary[[*COLUMNS]].to_csv(index=False, header=False, lineterminator="\n")
    lines = csv.reader(io.StringIO(text, newline=""))
    return [
        {"fields": fields, **row}
        for fields, row in zip(lines, values.to_dict("records"), strict=True)
    ]


def method_values(
    request: Request,
    details: Mapping[str, Mapping[str, Any]],
    modules: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, Any]]:
    """Return what the page says of each method.

    Args:
        request: the grid.
        details: ``paper``, ``hyper`` and ``maps`` by method.
        modules: names of the modules that trained and scored it, by method.
    """
    return {
        name: {
            "title": method.title,
            "control": method.control,
            "backbone": method.backbone,
            "changes": differences_text(method.changes),
            "cuts": differences_text(method.cuts),
            "paper": details[name]["paper"],
            "maps": details[name]["maps"],
            "hyper": {
                key: json.dumps(value, ensure_ascii=False)
                for key, value in sorted(details[name]["hyper"].items())
            },
            "modules": list(modules[name]),
        }
        for name, method in request.methods.items()
    }


@dataclass(frozen=True)
class Content:
    """What both the data and the text of the page are made of.

    Attributes:
        request: the grid.
        cells: rows of ``cells.csv``.
        summary: rows of ``summary.csv``.
        methods: from `method_values`.
    """

    request: Request
    cells: pd.DataFrame
    summary: pd.DataFrame
    methods: Mapping[str, Mapping[str, Any]]

    @property
    def problems(self) -> pd.DataFrame:
        """The rows of runs that are not ``ok``."""
        return self.cells[self.cells.status != "ok"]


def page_value(
    content: Content,
    *,
    files: Mapping[str, str],
    code: Mapping[str, str],
    lock: str,
    absent: Sequence[str],
    bench: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the data of the page, to be written by `osad.report.scripts.script`."""
    request, summary, problems = content.request, content.summary, content.problems
    competing = set(summary.method)
    return {
        "results": request.results,
        "columns": list(COLUMNS),
        "rows": row_values(summary, request),
        "methods": dict(content.methods),
        "order": list(request.methods),
        "datasets": dataset_order(summary),
        "settings": TITLES,
        "mean": MEAN,
        "seeds": sorted(set(content.cells.seed.tolist())),
        "methodsInRows": methods_in_rows(
            [name for name in request.methods if name in competing], request.controls
        ),
        "problems": {row.cell: [row.status, row.reason] for row in problems.itertuples()},
        "files": dict(files),
        "code": dict(code),
        "lock": lock,
        "absent": list(absent),
        "bench": list(bench),
        "latex": LATEX,
    }


def dataset_order(summary: pd.DataFrame) -> list[str]:
    """Return the data sets in the order of the papers' tables, others after them."""
    names = summary.dataset.drop_duplicates()
    return list(names.sort_values(key=papers_order, kind="stable"))


def page_html(
    content: Content, *, figures: Sequence[Mapping[str, str]], bench: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page's HTML, from the template of this package."""
    import jinja2

    request, cells, summary = content.request, content.cells, content.summary
    problem = control_problem(cells)
    tables = build_tables(summary, cells, request=request)
    values = {
        "warning": f"Wrong control: {problem}; {REMEDY}." if problem else "",
        "results": request.results,
        "n_runs": len(cells),
        "n_cells": cells.groupby([*FACETS]).ngroups,
        "n_seeds": cells.seed.nunique(),
        "notes": request.notes,
        "settings": [
            {"name": name, "title": TITLES[name], "footers": tables[name].footers}
            for name in TITLES
            if tables[name].blocks
        ],
        "problems": content.problems.to_dict("records"),
        "datasets": list(request.datasets.items()),
        "methods": content.methods,
        "sources": sorted(set(summary.published_source) - {""}),
        "figures": list(figures),
        "bench": list(bench),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("index.html.j2").render(**values)
