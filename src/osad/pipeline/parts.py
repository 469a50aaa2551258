"""A part of a grid: what one of several machines makes that share nothing."""

import contextlib
import itertools
import os
import statistics
from collections import Counter

from osad.core.cells import Cell
from osad.core.errors import ConfigError, OsadError
from osad.core.files import read_json
from osad.pipeline import page
from osad.pipeline.grid import Grid, run_of
from osad.pipeline.jobs import PHASES, Job, jobs
from osad.pipeline.rules import Rules


def wanted(rules: Rules) -> list[str]:
    """Return the files that a run of Snakemake makes, in the pipeline's order."""
    return [path for job in asked(rules) for path in job.outputs]


def needed(rules: Rules) -> list[str]:
    """Return of the `wanted` files those that Snakemake must be asked for to get all.

    It compares each job that makes what another one reads, and if that one is to run, makes what
    is missing of it. So a file need not be asked for that is read by a job and is there, or is
    read by a job that lacks an output itself.
    """
    grid_jobs = asked(rules)
    files = [path for job in grid_jobs for path in job.outputs]
    absent = {*itertools.filterfalse(os.path.exists, files)}
    reached: set[str] = set()
    for job in grid_jobs:
        runs = not absent.isdisjoint(job.outputs)
        reached.update(path for path in job.inputs if runs or path not in absent)
    return [path for path in files if path not in reached]


def targets(rules: Rules, phase: str) -> list[str]:
    """Return the files of a phase (see `PHASES`), of a part those that belong to it."""
    if not rules.grid.params.part:
        return [path for rule in rules if rule.name in PHASES[phase] for path in rule.files]
    return [path for job in asked(rules) if job.rule.name in PHASES[phase] for path in job.outputs]


def asked(rules: Rules) -> list[Job]:
    """Return the jobs of a grid, or of its part; each after those whose outputs it reads.

    Those of a part are the runs and metrics of its splits, and all that they are made of; tables
    and page are made of the whole (`osad.audit.merge`).

    Raises:
        ConfigError: the part is empty.
    """
    grid_jobs = jobs(rules)
    if not rules.grid.params.part:
        return grid_jobs
    splits, files = splits_of(rules.grid), set[str]()
    if not splits:
        raise ConfigError(
            f"params.yaml, part: {rules.grid.params.part} is empty, since there are "
            f"{len(rules.grid.split_ids)} splits; choose fewer parts"
        )
    found = []
    for job in reversed(grid_jobs):  # Each after those whose outputs it reads, so from behind.
        of_run = job.rule.name in ("run", "metrics")
        its_own = of_run and run_of(Cell.parse(job.params["cell"])).split_id in splits
        if its_own or not files.isdisjoint(job.outputs):
            files.update(job.inputs)
            found.append(job)
    return found[::-1]


def splits_of(grid: Grid) -> set[str]:
    """Return the ids of the splits whose runs belong to the grid's part.

    The splits, in the grid's order, are cut into pieces that take about equally long, so that a
    category's features are computed in as few parts as can be.
    """
    part, count = map(int, grid.params.part.split("/"))
    seconds = measured(grid)
    usual = statistics.fmean(seconds.values()) if seconds else 1.0
    costs: Counter[str] = Counter()
    for run in grid.runs:  # Whole milliseconds: sums that no machine rounds in another way.
        costs[run.split_id] += max(round(1000 * seconds.get(run.method, usual)), 1)
    found, before = set(), 0
    for split in grid.split_ids:
        middle = 2 * before + costs[split]
        if middle * count // (2 * costs.total()) == part - 1:
            found.add(split)
        before += costs[split]
    return found


def measured(grid: Grid) -> dict[str, float]:
    """Return the seconds of one run of each method of the grid, as far as any were measured.

    They are those of ``data/bench``, which all machines have from git: receipts are each machine's
    own. A method's and its variants' are of the machine that most methods were measured on: times
    of one machine can be compared. A variant that was not measured takes as long as its method.
    """
    machines: list[dict[str, float]] = []
    for path in grid.files(page.BENCH, "*.json"):
        with contextlib.suppress(OsadError, AttributeError, KeyError, TypeError, ValueError):
            cells = read_json(grid.root / path)["cells"].items()
            machines.append({k: float(v["cell_s"]) for k, v in cells if "cell_s" in v})
    found: dict[str, float] = {}
    for machine in sorted(machines, key=len, reverse=True):
        known = {name.split(".")[0] for name in found}
        found |= {k: v for k, v in machine.items() if k.split(".")[0] not in known}
    times = {name: found.get(name, found.get(name.split(".")[0])) for name in grid.params.methods}
    return {name: seconds for name, seconds in times.items() if seconds is not None}
