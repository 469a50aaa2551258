"""What became of jobs that failed, and of the cells that depend on them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from osad.core.cells import Cell
from osad.core.errors import OsadError
from osad.core.files import read_json
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import Job, makers

MISSING_DATA = "MissingData"
"""Class of the error of a fetch that a person has to help: its cells are skipped, not failed."""


class Failure(NamedTuple):
    """Why a job made nothing.

    Attributes:
        name: the cell, or the file that was to be made.
        status: ``failed``, or ``skipped`` for want of data.
        reason: one line.
    """

    name: str
    status: str
    reason: str


def failures(jobs: Iterable[Job]) -> dict[str, Failure]:
    """Return the failures of jobs by the path of their first output, in the pipeline's order."""
    return {
        job.outputs[0]: _read(Path(job.failure), job.params.get("cell", job.outputs[0]))
        for job in jobs
        if Path(job.failure).exists()
    }


def _read(path: Path, name: str) -> Failure:
    """Return what the record of a failure says, whatever state the file is in."""
    try:
        record = read_json(path)
        status = "skipped" if record["error"] == MISSING_DATA else "failed"
        return Failure(name, status, f"{record['step']}: {record['reason']}")
    except (OsadError, KeyError, TypeError):
        return Failure(name, "failed", f"unknown; see {path}")


def of_cells(grid: Grid, jobs: list[Job], failures: Mapping[str, Failure]) -> dict[Cell, Failure]:
    """Return why cells have no number, for those with a failure on their way.

    The nearest counts: the cell's own job, then its run, what that starts from, its split and its
    features, and the data; but without the data nothing else matters, for example that the
    weights are missing too.
    """
    maker = makers(jobs)
    reasons = {}
    for cell in grid.cells if failures else ():
        waiting = [grid.artefact("metrics", cell)]
        seen: dict[str, None] = {}
        for path in waiting:  # It grows on the way.
            job = maker.get(path)
            if job is not None and job.outputs[0] not in seen:
                seen[job.outputs[0]] = None
                waiting += job.inputs
        on_the_way = [failures[path] for path in seen if path in failures]
        if on_the_way:
            reasons[cell] = min(on_the_way, key=lambda failure: failure.status != "skipped")
    return reasons
