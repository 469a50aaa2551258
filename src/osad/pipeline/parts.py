"""A part of a grid: what one of several machines makes that share nothing."""

from collections import Counter

from osad.core.cells import Cell
from osad.core.errors import ConfigError
from osad.pipeline.grid import Grid, run_of
from osad.pipeline.jobs import jobs
from osad.pipeline.rules import Rules


def wanted(rules: Rules) -> list[str]:
    """Return the files that a run of Snakemake is asked for, in the pipeline's order.

    Of a part these are the runs and metrics of its splits, and all that they are made of; tables
    and page are made of the whole (`osad.audit.merge`).

    Raises:
        ConfigError: the part is empty.
    """
    if not rules.grid.params.part:
        return [path for rule in rules for path in rule.files]
    splits, files = splits_of(rules.grid), set[str]()
    if not splits:
        raise ConfigError(
            f"params.yaml, part: {rules.grid.params.part} is empty, since there are "
            f"{len(rules.grid.split_ids)} splits; choose fewer parts"
        )
    for job in reversed(jobs(rules)):  # Each after those whose outputs it reads, so from behind.
        of_run = job.rule.name in ("run", "metrics")
        asked = of_run and run_of(Cell.parse(job.params["cell"])).split_id in splits
        if asked or not files.isdisjoint(job.outputs):
            files.update(job.outputs, job.inputs)
    return [path for rule in rules for path in rule.files if path in files]


def splits_of(grid: Grid) -> set[str]:
    """Return the ids of the splits whose runs belong to the grid's part.

    The splits, in the grid's order, are cut into pieces of about equally many runs, so that a
    category's features are computed in as few parts as can be.
    """
    part, count = map(int, grid.params.part.split("/"))
    runs = Counter(run.split_id for run in grid.runs)
    found, before = set(), 0
    for split in grid.split_ids:
        middle = 2 * before + runs[split]
        if middle * count // (2 * runs.total()) == part - 1:
            found.add(split)
        before += runs[split]
    return found
