"""Step ``cells``: collect the metrics of all runs into ``cells.csv``, one row a run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_json, sha256_file, write_csv
from osad.evaluation.tables.cells import COLUMNS, Outcome, cell_rows, ok
from osad.evaluation.tables.controls import REMEDY, control_problem
from osad.evaluation.tables.request import Request, parse_grid, parse_request

NOT_RUN = "not run: there is neither a metrics file nor a record of a failure"
DATA_FAILURES = Path(".osad/failures")
"""Where fetch and weights, which all grids share, leave the records of their failures."""
MISSING_DATA = "MissingData"
"""Class of the error of a fetch that a person has to help: the cells are skipped, not failed."""


def failure_paths(results: Path, cell: Cell, upstream: Sequence[str] = ()) -> list[Path]:
    """Return where the record of a failure that concerns a cell may be.

    The nearest comes first: the cell's own steps, those of the run that it starts from or shares,
    then its split, its features, the backbone's weights and the fetch of its data set.

    Args:
        results: folder of the results.
        cell: the run.
        upstream: protocol (empty: the cell's own) and method of the other run, if any.
    """
    folder = results / "failures"
    earlier = []
    if upstream:
        protocol, method = upstream
        earlier = [replace(cell, protocol=protocol or cell.protocol, method=method)]
    return [
        folder / f"{cell}.json",
        *(folder / f"{run}.json" for run in earlier),
        folder / "splits" / f"{cell.split_id}.json",
        *sorted((folder / "features" / cell.dataset / cell.category).glob("*.json")),
        DATA_FAILURES / "weights.json",
        DATA_FAILURES / "fetch" / f"{cell.dataset}.json",
    ]


def read_failure(path: Path) -> Outcome:
    """Return what the record of a failure says: failed, or skipped for want of data.

    Raises:
        DataError: the record is not an object with texts ``step`` and ``reason``.
    """
    record = read_json(path)
    texts = [record.get(name) if isinstance(record, dict) else None for name in ("step", "reason")]
    if not all(isinstance(text, str) and text for text in texts):
        raise DataError(f"{path}: is not a record of a failure; delete it and rerun the cell")
    status = "skipped" if record.get("error") == MISSING_DATA else "failed"
    return Outcome(status, f"{texts[0]}: {texts[1]}")


def read_outcome(
    results: Path, cell: Cell, *, partial: bool, upstream: Sequence[str] = ()
) -> Outcome:
    """Read what became of a cell.

    Args:
        results: folder of the results.
        cell: the run.
        partial: whether a run without metrics is an outcome instead of an error.
        upstream: see `failure_paths`.

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
    found = [
        read_failure(record) for record in failure_paths(results, cell, upstream) if record.exists()
    ]
    # Without the data nothing else matters, for example that the weights are missing too.
    found.sort(key=lambda outcome: outcome.status != "skipped")
    if not partial:
        because = f" ({found[0].reason})" if found else ""
        raise DataError(
            f"{path}: is missing{because}; run the cell, or make partial tables with --partial"
        )
    return found[0] if found else Outcome("skipped", NOT_RUN)


def read_request(file: str | None, grid: str | None) -> Request:
    """Read what is wanted, from a file of cells or, without one, from a grid.

    Args:
        file: path of a JSON file (see `osad.evaluation.tables.request.parse_request`).
        grid: JSON text, or path of a file with it (see `tables.request.parse_grid`).

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


def request_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that say what is wanted (see `read_request`)."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--request", metavar="FILE", help="JSON: cells, methods, texts")
    source.add_argument("--grid", metavar="JSON", help="JSON, or a file of it: what spans the grid")
    return parser


def main(argv: Sequence[str]) -> list[Path]:
    """Write ``cells.csv``.

    Args:
        argv: ``--request FILE | --grid JSON``, ``--output FILE [--partial]``.

    Raises:
        CheckError: a control is wrong, or metrics do not belong to the scores.
        ConfigError: the request is wrong.
        DataError: a file is missing or damaged.
    """
    parser = request_parser("osad cells", __doc__)
    parser.add_argument("--output", required=True, type=Path, help="CSV file to write")
    parser.add_argument(
        "--partial", action="store_true",
        help="accept cells without metrics: they are failed or skipped, with the reason",
    )  # fmt: skip
    options = parser.parse_args(argv)

    request = read_request(options.request, options.grid)
    results = Path(request.results)
    outcomes = {
        cell: read_outcome(
            results,
            cell,
            partial=options.partial,
            upstream=request.upstream.get(cell.method, ()),
        )
        for cell, _ in request.cells
    }
    rows = cell_rows(request.cells, outcomes, methods=request.methods)
    problem = control_problem(rows)
    if problem and not options.partial:
        raise CheckError(f"{problem}; {REMEDY}: repair them before making tables")
    if problem:
        print(f"warning: {problem}; {REMEDY}", file=sys.stderr)
    write_csv(options.output, COLUMNS, map(dataclasses.asdict, rows))
    return [options.output]
