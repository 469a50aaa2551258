"""Step ``tables``: make every table of the benchmark from ``cells.csv`` and ``comparison.csv``.

Written to the output folder: ``summary.csv``, ``metrics.json`` (for ``dvc metrics``) and
``general``, ``hard`` and ``normal``, each as ``.md`` and ``.tex``, also when the grid has no cell
of that setting.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osad.core.errors import DataError
from osad.core.files import write_json, write_text
from osad.evaluation import published
from osad.evaluation.tables.cells import (
    REMEDY,
    control_problem,
    read_cells,
    read_frame,
    write_frame,
)
from osad.evaluation.tables.compare import COLUMNS
from osad.evaluation.tables.layout import build_tables
from osad.evaluation.tables.markup import latex, markdown
from osad.evaluation.tables.request import Request, read_grid
from osad.evaluation.tables.summary import beside_comparison, metrics_tree, summary_frame
from osad.evaluation.tables.terminal import render_summary

if TYPE_CHECKING:
    import pandas as pd


def table_parser(step: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of all steps that show a grid's numbers."""
    parser = argparse.ArgumentParser(prog=f"osad {step}", description=description)
    parser.add_argument("--grid", required=True, metavar="JSON", help="the grid, or a file with it")
    parser.add_argument("--cells", required=True, type=Path, help="cells.csv of this grid")
    parser.add_argument("--comparison", required=True, type=Path, help="comparison.csv of it")
    parser.add_argument("--published", required=True, help="folder with CSVs of printed numbers")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    return parser


def read_numbers(
    options: argparse.Namespace, request: Request
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of ``cells.csv`` and those of ``summary.csv`` that follow from them.

    Raises:
        DataError: a file is missing or damaged, or holds the cells of another grid.
    """
    cells = read_cells(options.cells, request)
    titles = {name: method.title for name, method in request.methods.items()}
    printed = published.place(published.load(options.published), titles)
    summary = summary_frame(cells, printed, request.methods)
    compared = read_frame(options.comparison, COLUMNS)
    if [*compared.cell] != [*summary.cell]:
        raise DataError(
            f"{options.comparison}: holds the cells of another grid; delete it and make it again"
        )
    return cells, beside_comparison(summary, compared)


def main(argv: Sequence[str]) -> list[Path]:
    """Write all tables and print the summary; a wrong control becomes a footer of each table."""
    options = table_parser("tables", __doc__).parse_args(argv)
    request, _ = read_grid(options.grid)
    cells, summary = read_numbers(options, request)
    problem = control_problem(cells)
    if problem:
        warning = f"WRONG CONTROL: {problem}; {REMEDY}."
        request = dataclasses.replace(request, notes=(warning, *request.notes))
    output: Path = options.output
    written = [output / "summary.csv", output / "metrics.json"]
    write_frame(written[0], summary)
    write_json(written[1], metrics_tree(summary))
    for name, table in build_tables(summary, cells, request=request).items():
        for suffix, render in ((".md", markdown), (".tex", latex)):
            written.append(output / f"{name}{suffix}")
            write_text(written[-1], render(table))
    print(render_summary(summary), end="")
    return written
