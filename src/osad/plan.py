"""The jobs of the pipeline as data: what makes each output, from what, with which parameters.

Snakemake decides what to run from the rules in ``workflow/rules``; this module says the same in
plain Python for whoever must explain or check an output without running Snakemake. The two
cannot drift apart unnoticed: the ledger is written only for outputs whose Snakemake record has
exactly the inputs and parameters given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from osad.cells import Cell, manifest_path
from osad.features.packs import PACKS
from osad.workflow import Workflow

RUNS = ".osad/runs"
"""Where jobs leave their records (see `osad.steps.write_record`)."""


@dataclass(frozen=True)
class Job:
    """One job of the pipeline.

    Attributes:
        rule: name of the Snakemake rule.
        outputs: paths that it writes.
        inputs: paths that it reads, as the rule lists them.
        params: the rule's parameters by name, without ``code`` and ``environment``.
        modules: the modules whose closure is its code.
        environment: whether its outputs depend on the versions of the lock file.
        run: path of the record that the job leaves.
    """

    rule: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    params: dict[str, Any]
    modules: tuple[str, ...]
    run: str
    environment: bool = True


def jobs(workflow: Workflow) -> list[Job]:
    """Return all jobs of a grid; each after those whose outputs it reads."""
    return [*_data(workflow), *_splits(workflow), *_features(workflow), *_cells(workflow),
            *_tables(workflow)]  # fmt: skip


def _job(
    rule: str,
    output: str,
    inputs: list[str],
    params: dict[str, Any],
    modules: tuple[str, ...],
    *,
    environment: bool = True,
) -> Job:
    """Return a job with one output."""
    return Job(
        rule, (output,), tuple(inputs), params, modules, f"{RUNS}/{output}.json", environment
    )


def _data(workflow: Workflow) -> Iterator[Job]:
    for dataset in workflow.params.datasets:
        yield _job(
            "fetch",
            workflow.source(dataset),
            [],
            {"settings": workflow.settings(dataset)},
            workflow.data_roots("fetch", dataset),
            environment=False,
        )
    if workflow.weights in workflow.targets("data"):
        yield _job(
            "weights",
            workflow.weights,
            [],
            {"options": workflow.weights_options()},
            ("osad.steps.weights",),
            environment=False,
        )
    for dataset, category in workflow.categories():
        path = manifest_path(dataset, category)
        name = path.relative_to("data/manifests").with_suffix("").as_posix()
        yield _job(
            "manifest",
            str(path),
            [workflow.source(dataset)],
            {"options": workflow.manifest_options(name), "settings": workflow.settings(dataset)},
            workflow.data_roots("manifest", dataset),
        )


def _splits(workflow: Workflow) -> Iterator[Job]:
    for split in workflow.split_ids():
        dataset, category, _, _ = split.split("/")
        yield _job(
            "split",
            f"{workflow.params.results}/splits/{split}.csv",
            [workflow.manifest(dataset, category)],
            {"removed": workflow.params.removed},
            ("osad.steps.split",),
        )


def _features(workflow: Workflow) -> Iterator[Job]:
    wanted = set(workflow.targets("features"))
    for dataset, category in workflow.categories():
        inputs = [workflow.source(dataset), workflow.manifest(dataset, category)]
        for pack in PACKS:
            path = workflow.pack(dataset, category, pack)
            if path in wanted:
                yield _job(
                    "pixels" if pack == "pixels" else "pack",
                    path,
                    inputs if pack == "pixels" else [*inputs, workflow.weights],
                    {"options": workflow.feature_options(pack)},
                    ("osad.steps.features",),
                )


def _cells(workflow: Workflow) -> Iterator[Job]:
    for cell in workflow.cells():
        yield from cell_jobs(workflow, cell)


def cell_jobs(workflow: Workflow, cell: Cell) -> list[Job]:
    """Return the jobs ``train``, ``score`` and ``metrics`` of one cell."""
    split, packs = workflow.split(cell), workflow.packs(cell)
    test_packs = workflow.test_packs(cell)
    checkpoint, scores, metrics = (
        workflow.artefact(kind, cell) for kind in ("checkpoints", "scores", "metrics")
    )
    name, hyper = str(cell), workflow.hyper(cell.method)
    both = {"cell": name, "hyper": hyper}
    train, score = (workflow.method_roots(step, cell.method) for step in ("train", "score"))
    return [
        _job("train", checkpoint, [split, *packs], both, train),
        _job("score", scores, [split, *test_packs, checkpoint], both, score),
        _job("metrics", metrics, [split, scores], {"cell": name}, ("osad.steps.metrics",)),
    ]


def _tables(workflow: Workflow) -> Iterator[Job]:
    grid = {"grid": workflow.grid()}
    folder = f"{workflow.params.results}/tables"
    cells = f"{folder}/cells.csv"
    yield _job("cells", cells, workflow.targets("score"), grid, ("osad.steps.cells",))
    published = [f"data/published/{name}.csv" for name in workflow.published()]
    yield Job(
        "table",
        tuple(path for path in workflow.targets("tables") if path != cells),
        (cells, *published),
        grid,
        ("osad.steps.tables",),
        f"{RUNS}/{folder}/tables.json",
    )
