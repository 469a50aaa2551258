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

from osad.core.cells import Cell, manifest_path
from osad.features.packs import PACKS
from osad.pipeline.workflow import Workflow
from osad.report.targets import Report

RUNS = ".osad/runs"
"""Where jobs leave their records (see `osad.pipeline.steps.write_record`)."""


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
            *_tables(workflow), *_report(workflow)]  # fmt: skip


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
            ("osad.pipeline.steps.weights",),
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
            ("osad.pipeline.steps.split",),
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
                    ("osad.pipeline.steps.features",),
                )
        masks = workflow.masks(dataset, category)
        if masks in wanted:
            size = {"size": workflow.params.features.image_size}
            yield _job("masks", masks, inputs, size, ("osad.pipeline.steps.masks",))


def _cells(workflow: Workflow) -> Iterator[Job]:
    # Runs first that others share; a base comes before what starts from it.
    runs = workflow.runs()
    for cell in sorted(runs, key=lambda cell: _depth(workflow, cell)):
        yield from run_jobs(workflow, cell)
    for cell in workflow.cells():
        yield _metrics(workflow, cell)


def _depth(workflow: Workflow, cell: Cell) -> bool:
    return bool(workflow.base(cell)) or workflow.source_cell(cell) != cell


def run_jobs(workflow: Workflow, cell: Cell) -> list[Job]:
    """Return the jobs that make one run's checkpoint, scores and maps: two, or one that shares."""
    if workflow.source_cell(cell) != cell:
        return [_share(workflow, cell)]
    split, packs = workflow.split(cell), workflow.packs(cell)
    checkpoint, scores = (workflow.artefact(kind, cell) for kind in ("checkpoints", "scores"))
    maps = workflow.maps(cell)
    both = {"cell": str(cell), "hyper": workflow.hyper(cell.method)}
    train, score = (workflow.method_roots(step, cell.method) for step in ("train", "score"))
    return [
        _job("train", checkpoint, [split, *packs, *workflow.base(cell)], both, train),
        Job(
            f"score{_suffix(maps)}",
            (scores, *maps),
            (split, *workflow.test_packs(cell), checkpoint),
            {**both, "maps": " ".join(maps)},
            score,
            f"{RUNS}/{scores}.json",
        ),
    ]


def _suffix(maps: list[str]) -> str:
    """Return what tells the rules apart that also write anomaly maps."""
    return "_maps" if maps else ""


def _share(workflow: Workflow, cell: Cell) -> Job:
    """Return the job that takes a run from that of another protocol."""
    source, maps = workflow.source_cell(cell), workflow.maps(cell)
    kinds = ("checkpoints", "scores", *(["maps"] if maps else []))
    inputs = (
        workflow.split(cell),
        workflow.split(source),
        *(workflow.artefact(kind, source) for kind in kinds),
    )
    return Job(
        f"share{_suffix(maps)}",
        tuple(workflow.artefact(kind, cell) for kind in kinds),
        inputs,
        {"cell": str(cell), "maps": " ".join(maps)},
        ("osad.pipeline.steps.share",),
        f"{RUNS}/{workflow.artefact('scores', cell)}.json",
    )


def _metrics(workflow: Workflow, cell: Cell) -> Job:
    """Return the job that makes a cell's metrics."""
    return _job(
        "metrics",
        workflow.artefact("metrics", cell),
        [
            workflow.split(cell),
            workflow.artefact("scores", cell),
            *workflow.maps(cell),
            *workflow.localisation(cell),
        ],
        {"cell": str(cell)},
        ("osad.pipeline.steps.metrics",),
    )


def _tables(workflow: Workflow) -> Iterator[Job]:
    grid = {"grid": workflow.grid()}
    folder = f"{workflow.params.results}/tables"
    cells = f"{folder}/cells.csv"
    yield _job("cells", cells, workflow.targets("score"), grid, ("osad.pipeline.steps.cells",))
    published = [f"data/published/{name}.csv" for name in workflow.published()]
    yield Job(
        "table",
        tuple(path for path in workflow.targets("tables") if path != cells),
        (cells, *published),
        grid,
        ("osad.pipeline.steps.tables",),
        f"{RUNS}/{folder}/tables.json",
    )
    figures = workflow.targets("figures")
    if figures:
        yield Job(
            "figure",
            tuple(figures),
            (cells, *published),
            {"grid": workflow.figures()},
            ("osad.pipeline.steps.figures",),
            f"{RUNS}/{workflow.params.results}/figures/figures.json",
        )


def _report(workflow: Workflow) -> Iterator[Job]:
    report = Report(workflow)
    for dataset, category in workflow.categories():
        yield _job(
            "report_images",
            report.manifest_output(dataset, category),
            [workflow.manifest(dataset, category), *report.splits(dataset, category)],
            {"category": f"{dataset}/{category}"},
            ("osad.pipeline.steps.report_images",),
        )
    for mean in report.means():
        outputs = report.cell_outputs(mean)
        yield Job(
            "report_cell",
            tuple(outputs),
            tuple(report.cell_inputs(mean)),
            {"cell": mean, "options": report.cell_options(mean)},
            ("osad.pipeline.steps.report_cell",),
            f"{RUNS}/{outputs[0]}.json",
        )
    assets = report.asset_outputs()
    yield Job(
        "report_assets",
        tuple(assets),
        (*report.assets(), *report.figures()),
        {},
        ("osad.pipeline.steps.report_assets",),
        f"{RUNS}/{report.folder}/assets.json",
    )
    yield Job(
        "report_page",
        tuple(report.page_outputs()),
        tuple(path for paths in report.page_inputs().values() for path in paths),
        {"grid": report.page()},
        ("osad.pipeline.steps.report_page",),
        f"{RUNS}/{report.record}.json",
    )
