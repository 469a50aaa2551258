"""How far a grid is: from the files on disk and the records that jobs leave; nothing is run."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from osad.core.errors import OsadError
from osad.core.files import read_json
from osad.core.kinds import fits
from osad.pipeline.failures import failures, of_cells
from osad.pipeline.jobs import Job
from osad.pipeline.parts import asked
from osad.pipeline.rules import Rules


@dataclass(frozen=True)
class Progress:
    """How far a grid is.

    Attributes:
        rules: number of jobs done and of all jobs, by rule, in the pipeline's order.
        cells: all cells of the grid, or of its part.
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
        left: rule and method of each job that is left.
        times: seconds of jobs that are done.
        parallel: how many jobs run at once.

    Returns:
        seconds, or None if no time is known for any of them.
    """
    of_rule: dict[str, list[float]] = defaultdict(list)
    for (rule, _), seconds in times.items():
        of_rule[rule] += seconds
    known = [times.get(kind) or of_rule.get(kind[0]) for kind in left]
    means = [sum(seconds) / len(seconds) for seconds in known if seconds]
    return sum(means) / parallel if means else None


def parallelism(spans: Sequence[tuple[float, float]], *, most: int) -> float:
    """Return how many jobs ran at once, on average over the time in which any ran.

    Spans are begin and end of each job, seconds.

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


def measure(rules: Rules) -> Progress:
    """Look at the files of a grid, or of its part."""
    grid_jobs = asked(rules)
    totals = Counter(job.rule.name for job in grid_jobs)
    complete: Counter[str] = Counter()
    left: list[tuple[str, str]] = []
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    spans: list[tuple[float, float]] = []
    for job in grid_jobs:
        kind = kind_of(job)
        if not all(Path(output).is_file() for output in job.outputs):
            left.append(kind)
            continue
        complete[job.rule.name] += 1
        span = span_of(job)
        if span:
            spans.append(span)
            times[kind].append(span[1] - span[0])
    paths = {path for job in grid_jobs if job.rule.name == "metrics" for path in job.outputs}
    own = {cell: rules.grid.artefact("metrics", cell) for cell in rules.grid.cells}
    cells = {cell: path for cell, path in own.items() if path in paths}
    done = {cell for cell, path in cells.items() if Path(path).is_file()}
    failed = of_cells(rules.grid, grid_jobs, failures(grid_jobs)).keys() - done
    return Progress(
        rules={rule: (complete[rule], total) for rule, total in totals.items()},
        cells=len(cells),
        done=len(done),
        failed=len(failed),
        seconds=estimate(left, times, parallel=parallelism(spans, most=os.cpu_count() or 1)),
    )


def changes(rules: Rules, *, every: float) -> Iterator[str]:
    """Yield a line now and after each change, until all is done; look ``every`` so many seconds."""
    last = ""
    while True:
        progress = measure(rules)
        if progress.line() != last:
            last = progress.line()
            yield last
        if progress.complete:
            return
        time.sleep(every)


def kind_of(job: Job) -> tuple[str, str]:
    """Return what jobs that take about equally long have in common: rule and method."""
    return job.rule.name, job.wildcards.get("method", "")


def span_of(job: Job) -> tuple[float, float] | None:
    """Return begin and end of a job by its receipt; None without one, or from a clone."""
    receipt = Path(job.receipt)
    try:
        end, seconds = receipt.stat().st_mtime, read_json(receipt)["machine"]["seconds"]
        return (end - seconds, end) if fits(seconds, float) and seconds >= 0 else None
    except (OSError, OsadError, KeyError, TypeError):
        return None
