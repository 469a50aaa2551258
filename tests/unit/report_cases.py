"""The results of a small grid, made by hand and not by training, and the page of them."""

import dataclasses
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from osad.core.cells import Cell
from osad.core.files import sha256_file, write_csv, write_json, write_tensors, write_text
from osad.core.seeds import numpy_generator
from osad.data.manifest import Record, write_manifest
from osad.data.splits import read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation import scores
from osad.evaluation.figures.request import parse_figures
from osad.methods import registry
from osad.pipeline import config
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import Job, jobs_of, makers
from osad.pipeline.rules import Rules

ROOT = Path(__file__).parents[2]
MINE = {"layout": "folder", "raw_path": "images", "defect_classes": ["scratch", "dent"]}
CLASSES = {"elpv": ("mono", "poly"), "mine": ("dent", "scratch")}
SKILL = {"dpdl": 1.5, "dra": 0.8, "patchcore": 1.0, "random": 0.0}
FAILED = Cell("elpv", "all", "general-m1", "dra", 1)
SKIPPED = tuple(Cell("mine", "all", "hard-dent-m1", "dra", seed) for seed in (0, 1))
REASON = "loss is nan at step 3 <b>&"
MACHINE = "2 processors of a made-up kind"
FACTS = {"device": "cpu"}


def data_of(script: str) -> Any:
    """Return the value that a script of the page hands over."""
    return json.loads(script[script.index("(") + 1 :].removesuffix(");\n"))


@dataclass(frozen=True)
class Site:
    """A folder with results and their page, which stands for the project's."""

    root: Path
    rules: Rules

    @property
    def grid(self) -> Grid:
        return self.rules.grid

    @property
    def page(self) -> Path:
        return self.root / "results/report/index.html"


def site_rules() -> Rules:
    """Return a grid of two data sets, two settings and four methods, one of them a control."""
    params = config.load(ROOT)
    drawn = [{"name": "all", "title": "All methods", "kind": "bar",
              "methods": ["dpdl", "dra"], "protocols": ["general-m10"]}]  # fmt: skip
    figures = parse_figures(drawn, where="x", methods=SKILL, protocols=["general-m10"])
    changed = dataclasses.replace(
        params, datasets=tuple(CLASSES), dataset_settings={"elpv": {}, "mine": MINE},
        settings=("general", "hard"), shots=(10, 1), seeds=(0, 1), methods=tuple(SKILL),
        hyper={name: params.hyper[name] for name in SKILL}, changes={}, figures=figures,
    )  # fmt: skip
    return Rules(Grid(changed, ROOT))


def do(job: Job, *further: str) -> None:
    """Run the step of a job here, below the current folder."""
    step, *options = job.arguments()
    importlib.import_module(f"osad.pipeline.steps.{step}").main([*options, *further])


def make_images(dataset: str) -> None:
    """Write the images, the manifest, and the SOURCE.json of a data set."""
    folder = Path("data/raw") / dataset
    counts = {"train/good": 8, "test/good": 8, **{f"test/{name}": 13 for name in CLASSES[dataset]}}
    records = []
    for place, count in counts.items():
        for number in range(count):
            path = folder / place / f"{number:03}.png"
            generator = numpy_generator("image", str(path))
            pixels = generator.integers(60, 200, (12, 12)).repeat(6, 0).repeat(6, 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            part, kind = place.split("/")
            digest = sha256_file(path)
            records.append(Record(path.as_posix(), int(kind != "good"), kind, part, sha256=digest))
    write_manifest(f"data/manifests/{dataset}.csv", records)
    files = {str(Path(record.path).relative_to(folder)): record.sha256 for record in records}
    write_json(folder / "SOURCE.json", {"dataset": dataset, "source": "made", "files": files})


def make_run(grid: Grid, run: Cell) -> None:
    """Write checkpoint, scores, maps and receipt of one run."""
    rows = [row for row in read_split(grid.split(run)) if row.role == "test"]
    generator = numpy_generator("run", str(run))
    noise = generator.standard_normal(len(rows)).astype(np.float32)
    lines = [
        {"path": row.path, "sha256": row.sha256, "label": row.label, "class": row.class_name,
         "score": float(number + SKILL[run.method] * row.label)}
        for number, row in zip(noise, rows, strict=True)
    ]  # fmt: skip
    write_csv(grid.artefact("scores", run), scores.COLUMNS, lines)
    checkpoint = grid.artefact("checkpoints", run)
    write_tensors(checkpoint, {"x": torch.ones(1)}, {"cell": str(run), **FACTS})
    maps = None
    if registry.get(run.method).maps:
        values = generator.standard_normal((len(rows), 4, 4)).astype(np.float32)
        paths, digests = tuple(r.path for r in rows), tuple(r.sha256 for r in rows)
        size = grid.params.features.first.image_size
        maps = anomaly_maps.AnomalyMaps(str(run), paths, digests, size, values)
    anomaly_maps.write(Path(grid.artefact("maps", run)), maps, cell=str(run))
    write_json(f".osad/runs/{checkpoint}.json", {"machine": {"seconds": 1.0}})


def make_results(rules: Rules) -> None:
    """Write everything before the tables; one run has failed, the runs of one cell never ran."""
    grid = rules.grid
    for folder in ("src", "data/published"):
        Path(folder).parent.mkdir(exist_ok=True)
        Path(folder).symlink_to(ROOT / folder)
    for dataset in CLASSES:
        make_images(dataset)
    for rule in (rules.weights, rules.pixels, rules.pack):
        for path in rule.files:
            write_text(path, f"stands for {path}\n")
    for job in (*jobs_of(rules.split), *jobs_of(rules.masks)):
        do(job)
    for run in grid.runs:
        if run not in (FAILED, *SKIPPED):
            make_run(grid, run)
    for job in jobs_of(rules.metrics):
        if Cell.parse(job.params["cell"]) not in (FAILED, *SKIPPED):
            do(job)
    failed = makers([*jobs_of(rules.run)])[grid.artefact("checkpoints", FAILED)]
    write_json(failed.failure, {"step": "run", "reason": REASON, "error": "TrainingError"})


def make_tables(rules: Rules) -> None:
    """Write the tables, figures and measured times."""
    write_json("failures.json", {str(FAILED): {"status": "failed", "reason": f"run: {REASON}"}})
    further: dict[str, Sequence[str]] = {"cells": ("--partial", "--failures", "failures.json")}
    for rule in (rules.cells, rules.comparison, rules.table, rules.figure):
        for job in jobs_of(rule):
            do(job, *further.get(rule.name, ()))
    numbers = {"cell_s": 3.25, "cpu_s": 4, "peak_mb": 512}
    bench = {"machine": MACHINE, "cells": {"dpdl": {**numbers, "per": "protocol and seed"}}}
    write_json("data/bench/one.json", bench)
    other = {"machine": f"{MACHINE}, with a GPU", "cells": {"dra": {**numbers, "per": "run"}}}
    write_json("data/bench/two.json", other)


def make_page(rules: Rules) -> None:
    """Write the page, as the rules and the handlers do together."""
    skipped = str(SKIPPED[0]).rpartition("/")[0]
    for rule in (rules.report_images, rules.report_assets):
        for job in jobs_of(rule):
            do(job)
    for job in jobs_of(rules.report_cell):
        if job.params["cell"] != skipped:
            do(job, "--partial")
    (job,) = jobs_of(rules.report_page)
    do(job, "--partial", "--bench", "data/bench/one.json", "data/bench/two.json")
