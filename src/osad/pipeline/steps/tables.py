"""Step ``tables``: make every table of the benchmark from ``cells.csv``.

Written to the output folder: ``summary.csv``, ``metrics.json`` (for ``dvc metrics``) and
``general``, ``hard`` and ``normal``, each as ``.md`` and ``.tex``, also when the grid has no cell
of that setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from osad.core.errors import DataError
from osad.core.files import read_csv, write_csv, write_json, write_text
from osad.evaluation import published
from osad.evaluation.tables import summary as summary_table
from osad.evaluation.tables.cells import COLUMNS, CellRow, parse_rows
from osad.evaluation.tables.controls import REMEDY, control_problem
from osad.evaluation.tables.latex import latex
from osad.evaluation.tables.layout import build_tables
from osad.evaluation.tables.markdown import markdown
from osad.evaluation.tables.plain import render_summary
from osad.evaluation.tables.request import Request
from osad.evaluation.tables.summary import SummaryRow, metrics_tree, summary_rows
from osad.pipeline.steps.cells import read_request, request_parser


def read_cells(path: Path, request: Request) -> list[CellRow]:
    """Read ``cells.csv``.

    Raises:
        DataError: the file is missing or damaged, or holds the cells of another grid.
    """
    rows = parse_rows(read_csv(path, COLUMNS), where=str(path))
    if {row.cell for row in rows} != {str(cell) for cell, _ in request.cells}:
        raise DataError(f"{path}: holds the cells of another grid; delete it and make it again")
    return rows


def write_tables(
    request: Request,
    rows: Sequence[CellRow],
    *,
    table: Mapping[published.Key, published.Published],
    output: Path,
) -> tuple[list[SummaryRow], list[Path]]:
    """Write all tables; a wrong control becomes a footer of each.

    Args:
        request: what is wanted.
        rows: the rows of ``cells.csv``.
        table: printed numbers, from `osad.evaluation.published.index`.
        output: folder to write to.

    Returns:
        The rows of ``summary.csv`` and the files written.
    """
    problem = control_problem(rows)
    if problem:
        warning = f"WRONG CONTROL: {problem}; {REMEDY}."
        request = dataclasses.replace(request, notes=(warning, *request.notes))
    summary = summary_rows(rows, table=table, methods=request.methods)
    written = [output / "summary.csv", output / "metrics.json"]
    write_csv(written[0], summary_table.COLUMNS, map(dataclasses.asdict, summary))
    write_json(written[1], metrics_tree(summary))
    for name, layout in build_tables(summary, rows, request=request).items():
        for suffix, render in ((".md", markdown), (".tex", latex)):
            written.append(output / f"{name}{suffix}")
            write_text(written[-1], render(layout))
    return summary, written


def main(argv: Sequence[str]) -> list[Path]:
    """Write all tables and print the summary.

    Args:
        argv: ``--request FILE | --grid JSON``, ``--cells FILE --published DIR --output DIR``.

    Raises:
        ConfigError: the request is wrong.
        DataError: a file is missing or damaged.
    """
    parser = request_parser("osad tables", __doc__)
    parser.add_argument("--cells", required=True, type=Path, help="cells.csv of this grid")
    parser.add_argument("--published", required=True, help="folder with CSVs of printed numbers")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    options = parser.parse_args(argv)

    request = read_request(options.request, options.grid)
    rows = read_cells(options.cells, request)
    table = published.index(published.load(options.published))
    summary, written = write_tables(request, rows, table=table, output=options.output)
    print(render_summary(summary), end="")
    return written
