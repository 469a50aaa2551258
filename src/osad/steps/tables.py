"""Step ``tables``: collect the metrics of all runs and write every table of the benchmark.

Written to the output folder: ``cells.csv``, ``summary.csv``, ``metrics.json`` (for ``dvc
metrics``) and ``general``, ``hard`` and ``normal``, each as ``.md`` and ``.tex``, also when the
grid has no cell of that setting.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from osad import published
from osad.cells import Cell
from osad.errors import CheckError, ConfigError, DataError
from osad.files import read_json, sha256_file, write_csv, write_json, write_text
from osad.tables import cells as cell_table
from osad.tables import summary as summary_table
from osad.tables.cells import Outcome, cell_rows, ok
from osad.tables.controls import check_controls
from osad.tables.latex import latex
from osad.tables.layout import build_tables
from osad.tables.markdown import markdown
from osad.tables.plain import render_summary
from osad.tables.request import Request, parse_grid, parse_request
from osad.tables.summary import metrics_tree, summary_rows

NOT_RUN = "not run: there is neither a metrics file nor a record of a failure"


def failure_paths(results: Path, cell: Cell) -> list[Path]:
    """Return where the record of a failure that concerns a cell may be.

    The nearest comes first: the cell's own steps, then its split, then its features.
    """
    folder = results / "failures"
    return [
        folder / f"{cell}.json",
        folder / "splits" / f"{cell.split_id}.json",
        *sorted((folder / "features" / cell.dataset / cell.category).glob("*.json")),
    ]


def read_failure(path: Path) -> str:
    """Return the reason in the record of a failure.

    Raises:
        DataError: the record is not an object with texts ``step`` and ``reason``.
    """
    record = read_json(path)
    texts = [record.get(name) if isinstance(record, dict) else None for name in ("step", "reason")]
    if not all(isinstance(text, str) and text for text in texts):
        raise DataError(f"{path}: is not a record of a failure; delete it and rerun the cell")
    return f"{texts[0]}: {texts[1]}"


def read_outcome(results: Path, cell: Cell, *, partial: bool) -> Outcome:
    """Read what became of a cell.

    Args:
        results: folder of the results.
        cell: the run.
        partial: whether a run without metrics is an outcome instead of an error.

    Raises:
        CheckError: the metrics were not computed from the scores file that is there.
        DataError: a file is missing or damaged.
    """
    path = results / "metrics" / f"{cell}.json"
    if path.exists():
        outcome = ok(read_json(path), where=str(path))
        scores = results / "scores" / f"{cell}.csv"
        if sha256_file(scores) != outcome.metrics["scores_sha256"]:
            raise CheckError(f"{path}: not computed from the present {scores}; make it again")
        return outcome
    reasons = [read_failure(record) for record in failure_paths(results, cell) if record.exists()]
    if not partial:
        because = f" ({reasons[0]})" if reasons else ""
        raise DataError(
            f"{path}: is missing{because}; run the cell, or make partial tables with --partial"
        )
    return Outcome("failed", reasons[0]) if reasons else Outcome("skipped", NOT_RUN)


def write_tables(
    request: Request,
    outcomes: Mapping[Cell, Outcome],
    *,
    table: Mapping[published.Key, published.Published],
    output: Path,
    partial: bool,
) -> str:
    """Write all tables and return the summary as plain text.

    Args:
        request: what is wanted.
        outcomes: what became of each run.
        table: printed numbers, from `osad.published.index`.
        output: folder to write to.
        partial: whether wrong controls become a footer of the tables instead of an error.

    Raises:
        CheckError: a control is wrong; nothing is written then.
    """
    rows = cell_rows(request.cells, outcomes, methods=request.methods)
    problems = check_controls(rows)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"control {problems[0]}{more}"
        remedy = "splits, labels or scoring are wrong, so no number can be trusted"
        if not partial:
            raise CheckError(f"{message}; {remedy}: repair them before making tables")
        print(f"warning: {message}; {remedy}", file=sys.stderr)
        warning = f"WRONG CONTROL: {message}; {remedy}."
        request = dataclasses.replace(request, notes=(warning, *request.notes))
    summary = summary_rows(rows, table=table, methods=request.methods)

    write_csv(output / "cells.csv", cell_table.COLUMNS, map(dataclasses.asdict, rows))
    write_csv(output / "summary.csv", summary_table.COLUMNS, map(dataclasses.asdict, summary))
    write_json(output / "metrics.json", metrics_tree(summary))
    for name, layout in build_tables(summary, rows, request=request).items():
        write_text(output / f"{name}.md", markdown(layout))
        write_text(output / f"{name}.tex", latex(layout))
    return render_summary(summary)


def read_request(file: str | None, grid: str | None) -> Request:
    """Read what is wanted, from a file of cells or, without one, from a grid.

    Args:
        file: path of a JSON file (see `osad.tables.request.parse_request`).
        grid: JSON text, or path of a file with it (see `osad.tables.request.parse_grid`).

    Raises:
        ConfigError: the content is wrong.
        DataError: the file is missing or not JSON.
    """
    if file is not None:
        return parse_request(read_json(file), where=file)
    text = grid or ""
    if not text.lstrip().startswith("{"):
        return parse_grid(read_json(text), where=text)
    try:
        return parse_grid(json.loads(text), where="--grid")
    except ValueError as error:
        raise ConfigError(f"--grid: is not valid JSON ({error}); correct it") from error


def main(argv: Sequence[str]) -> None:
    """Write all tables and print the summary.

    Args:
        argv: ``--request FILE | --grid JSON``, ``--published DIR --output DIR [--partial]``.

    Raises:
        CheckError: a control is wrong, or metrics do not belong to the scores.
        ConfigError: the request is wrong.
        DataError: a file is missing or damaged.
    """
    parser = argparse.ArgumentParser(prog="osad.steps tables", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--request", metavar="FILE", help="JSON: cells, methods, texts")
    source.add_argument("--grid", metavar="JSON", help="JSON, or a file of it: what spans the grid")
    parser.add_argument("--published", required=True, help="folder with CSVs of printed numbers")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    parser.add_argument(
        "--partial", action="store_true",
        help="accept cells without metrics: they are failed or skipped, with the reason",
    )  # fmt: skip
    options = parser.parse_args(argv)

    request = read_request(options.request, options.grid)
    table = published.index(published.load(options.published))
    results = Path(request.results)
    outcomes = {
        cell: read_outcome(results, cell, partial=options.partial) for cell, _ in request.cells
    }
    text = write_tables(
        request, outcomes, table=table, output=options.output, partial=options.partial
    )
    print(text, end="")
