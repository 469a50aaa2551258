"""Step ``cells``: collect the metrics of all cells.

``cells.csv`` has one row a cell with the columns that never change; ``rates.csv`` has every metric
that the metrics step computes, one row for each table cell and metric, over seeds.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.core.errors import CheckError, DataError
from osad.core.files import read_json, sha256_file
from osad.evaluation.tables.cells import (
    REMEDY,
    cell_frame,
    check_metrics,
    control_problem,
    write_frame,
)
from osad.evaluation.tables.request import Request, read_grid
from osad.evaluation.tables.summary import rate_frame

NOT_RUN = "not run: there is neither a metrics file nor a record of a failure"


def read_metrics(request: Request, cell: Cell) -> Mapping[str, Any] | None:
    """Return the metrics of a cell; None if there is no file of them.

    Raises:
        CheckError: they were not computed from the scores that are there.
        DataError: a file is damaged, or the scores are missing.
    """
    results = Path(request.results)
    path = results / "metrics" / f"{cell}.json"
    if not path.exists():
        return None
    metrics = check_metrics(read_json(path), where=str(path))
    scores = results / "scores" / f"{request.run_of(cell)}.csv"
    if sha256_file(scores) != metrics["scores_sha256"]:
        raise CheckError(f"{path}: not computed from the present {scores}; make it again")
    return metrics


def main(argv: Sequence[str]) -> list[Path]:
    """Write ``cells.csv`` and ``rates.csv``."""
    parser = argparse.ArgumentParser(prog="osad cells", description=__doc__)
    parser.add_argument("--grid", required=True, metavar="JSON", help="the grid, or a file with it")
    parser.add_argument("--output", required=True, type=Path, help="cells.csv to write")
    parser.add_argument("--rates", required=True, type=Path, help="rates.csv to write")
    parser.add_argument(
        "--partial", action="store_true",
        help="accept cells without metrics: they are failed or skipped, with the reason",
    )  # fmt: skip
    parser.add_argument(
        "--failures", type=Path, help="JSON: status and reason by id of a cell without metrics"
    )
    options = parser.parse_args(argv)

    request, _ = read_grid(options.grid)
    failures = read_json(options.failures) if options.failures else {}
    outcomes: dict[Cell, Mapping[str, Any]] = {}
    for cell in request.cells:
        metrics = read_metrics(request, cell)
        if metrics is None and not options.partial:
            raise DataError(
                f"{request.results}/metrics/{cell}.json: is missing; run the cell, or make partial "
                "tables with --partial"
            )
        failure = failures.get(str(cell), {"status": "skipped", "reason": NOT_RUN})
        outcomes[cell] = failure if metrics is None else metrics
    cells = cell_frame(request, outcomes)
    if problem := control_problem(cells):
        if not options.partial:
            raise CheckError(f"{problem}; {REMEDY}: repair them before making tables")
        print(f"warning: {problem}; {REMEDY}", file=sys.stderr)
    write_frame(options.output, cells)
    write_frame(options.rates, rate_frame(outcomes))
    return [options.output, options.rates]
