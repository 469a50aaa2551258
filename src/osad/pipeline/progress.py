"""How far a grid is: from the files on disk and the records that jobs leave; nothing is run."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from osad.core.errors import OsadError
from osad.core.files import read_json
from osad.pipeline.handlers import Handlers
from osad.pipeline.jobs import RUNS, Job, jobs
from osad.pipeline.workflow import Workflow

METHOD = re.compile(r"/(?:general|hard|normal)[a-z0-9_-]*-m[0-9]+/([^/]+)/")


@dataclass(frozen=True)
class Progress:
    """How far a grid is.

    Attributes:
        rules: number of jobs done and of all jobs, by rule, in the pipeline's order.
        cells: all cells of the grid.
        done: cells with metrics.
        failed: cells without metrics for which a failure is recorded.
        seconds: how long the rest may take; None before any job like those left is done.
    """

    rules: Mapping[str, tuple[int, int]]
    cells: int
    done: int
    failed: int
    seconds: float | None

    @property
    def complete(self) -> bool:
        """Tell whether nothing is left to do."""
        return all(done == total for done, total in self.rules.values())

    def line(self) -> str:
        """Return one line, for example ``cells: 3 of 8 done, 1 failed, 4 left; about 2 min``."""
        left = self.cells - self.done - self.failed
        text = f"cells: {self.done} of {self.cells} done, {self.failed} failed, {left} left"
        if self.complete:
            return f"{text}; complete"
        jobs_left = sum(total - done for done, total in self.rules.values())
        text += f"; {jobs_left} jobs left"
        return text if self.seconds is None else f"{text}, about {duration(self.seconds)}"


def duration(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> duration(42), duration(600), duration(9000)
        ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def kind(rule: str, output: str) -> tuple[str, str]:
    """Return what jobs that take about the same time have in common: rule and method.

    Example:
        >>> kind("train", "results/checkpoints/elpv/all/general-m10/dpdl/s0.safetensors")
        ('train', 'dpdl')
    """
    match = METHOD.search(output)
    return rule, match.group(1) if match else ""


def estimate(
    left: Iterable[tuple[str, str]],
    times: Mapping[tuple[str, str], Sequence[float]],
    *,
    parallel: float,
) -> float | None:
    """Estimate how long the jobs that are left take.

    A job takes as long as the mean of those of its rule and method, else of its rule; a rule of
    which none is done counts nothing.

    Args:
        left: rule and method (see `kind`) of each job that is left.
        times: seconds of jobs that are done.
        parallel: how many jobs run at once.

    Returns:
        seconds, or None if no time is known for any of them.
    """
    of_rule: dict[str, list[float]] = defaultdict(list)
    for (rule, _), seconds in times.items():
        of_rule[rule] += seconds
    total, known = 0.0, False
    for rule, method in left:
        seconds = list(times.get((rule, method), ())) or of_rule.get(rule, [])
        if seconds:
            known = True
            total += sum(seconds) / len(seconds)
    return total / parallel if known else None


def parallelism(spans: Sequence[tuple[float, float]], *, most: int) -> float:
    """Return how many jobs ran at once, on average over the time in which any ran.

    Args:
        spans: begin and end of each job, seconds.
        most: the result is at most this.

    Example:
        >>> parallelism([(0, 2), (0, 2), (10, 12)], most=8)
        1.5
    """
    busy, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        busy += max(end - max(begin, until), 0.0)
        until = max(until, end)
    work = sum(end - begin for begin, end in spans)
    return min(max(work / busy, 1.0), float(most)) if busy else 1.0


def measure(workflow: Workflow, *, runs: Path = Path(RUNS)) -> Progress:
    """Look at the files of a grid.

    Args:
        workflow: the pipeline.
        runs: folder of the jobs' records.
    """
    done: dict[str, list[int]] = {}
    left: list[tuple[str, str]] = []
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    spans: list[tuple[float, float]] = []
    for job in jobs(workflow):
        count = done.setdefault(job.rule, [0, 0])
        count[1] += 1
        one = kind(job.rule, job.outputs[0])
        if not all(Path(output).is_file() for output in job.outputs):
            left.append(one)
            continue
        count[0] += 1
        span = _span(job, runs)
        if span:
            spans.append(span)
            times[one].append(span[1] - span[0])
    cells = workflow.cells()
    finished = {cell for cell in cells if Path(workflow.artefact("metrics", cell)).is_file()}
    failures = Handlers(workflow).failures()
    failed = sum(str(cell) in failures for cell in cells if cell not in finished)
    return Progress(
        rules={rule: (count[0], count[1]) for rule, count in done.items()},
        cells=len(cells),
        done=len(finished),
        failed=failed,
        seconds=estimate(left, times, parallel=parallelism(spans, most=os.cpu_count() or 1)),
    )


def changes(workflow: Workflow, *, every: float) -> Iterator[str]:
    """Yield a line about a grid now and after each change, until everything is done.

    Args:
        workflow: the pipeline.
        every: seconds between two looks.
    """
    last = ""
    while True:
        found = measure(workflow)
        if found.line() != last:
            last = found.line()
            yield last
        if found.complete:
            return
        time.sleep(every)


def _span(job: Job, runs: Path) -> tuple[float, float] | None:
    """Return begin and end of a job by its record; None without one, or from a clone."""
    path = runs / Path(job.run).relative_to(RUNS)
    try:
        end = path.stat().st_mtime
        return end - float(read_json(path)["machine"]["seconds"]), end
    except (OSError, OsadError, KeyError, TypeError, ValueError):
        return None
