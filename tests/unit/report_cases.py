"""The results of a small grid, made by hand and not by training, and the page of them."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from osad.core.cells import Cell
from osad.core.files import sha256_file, write_csv, write_json, write_text
from osad.core.seeds import numpy_generator
from osad.data.manifest import Record, write_manifest
from osad.data.splits import read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.figures.request import parse_figures
from osad.pipeline import config
from osad.pipeline.steps import (
    cells,
    figures,
    metrics,
    report_assets,
    report_cell,
    report_images,
    report_page,
    split,
    tables,
)
from osad.pipeline.workflow import Workflow
from osad.report.targets import Report

ROOT = Path(__file__).parents[2]
MINE = {"layout": "folder", "raw_path": "images", "defect_classes": ["scratch", "dent"]}
CLASSES = {"elpv": ("mono", "poly"), "mine": ("dent", "scratch")}
METHODS = ("dpdl", "dra", "random")
WITH_MAPS = ("dpdl", "dra")
FAILED = Cell("elpv", "all", "general-m1", "dra", 1)
SKIPPED = tuple(Cell("mine", "all", "hard-dent-m1", "dra", seed) for seed in (0, 1))
REASON = "loss is nan at step 3 <b>&"
MACHINE = "2 processors of a made-up kind"
SKILL = {"dpdl": 1.5, "dra": 0.8, "random": 0.0}


@dataclass(frozen=True)
class Site:
    """A folder with results and their page.

    Attributes:
        root: the folder, which stands for the project's.
        workflow: the grid.
    """

    root: Path
    workflow: Workflow

    @property
    def report(self) -> Report:
        return Report(self.workflow)

    @property
    def page(self) -> Path:
        return self.root / self.report.folder / "index.html"


def workflow() -> Workflow:
    """Return a grid of two data sets, two settings and three methods, one of them a control."""
    params = config.load(ROOT)
    drawn = [{"name": "all", "title": "All methods", "kind": "bar",
              "methods": ["dpdl", "dra"], "protocols": ["general-m10"]}]  # fmt: skip
    figure = parse_figures(drawn, where="x", methods=METHODS, protocols=["general-m10"])
    changed = dataclasses.replace(
        params,
        datasets=("elpv", "mine"),
        dataset_settings={"elpv": {}, "mine": MINE},
        settings=("general", "hard"),
        shots=(10, 1),
        seeds=(0, 1),
        methods=METHODS,
        hyper={name: params.hyper[name] for name in METHODS},
        changes={},
        figures=figure,
    )
    return Workflow(changed, ROOT)


def make_images(root: Path, dataset: str) -> None:
    """Write the images, the manifest, and the SOURCE.json of a data set."""
    folder = Path("data/raw") / dataset
    counts = {"train/good": 8, "test/good": 8}
    counts |= {f"test/{name}": 13 for name in CLASSES[dataset]}
    records = []
    for place, count in counts.items():
        for number in range(count):
            path = folder / place / f"{number:03}.png"
            generator = numpy_generator("image", str(path))
            pixels = generator.integers(60, 200, (12, 12)).repeat(6, 0).repeat(6, 1)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / path)
            part, kind = place.split("/")
            label = int(kind != "good")
            digest = sha256_file(root / path)
            records.append(Record(path.as_posix(), label, kind, part, sha256=digest))
    write_manifest(root / f"data/manifests/{dataset}.csv", records)
    write_json(root / folder / "SOURCE.json", {"dataset": dataset, "source": "made", "files": {}})


def make_run(root: Path, wf: Workflow, run: Cell) -> None:
    """Write checkpoint, scores, maps and metrics of one run."""
    rows = [row for row in read_split(root / wf.split(run)) if row.role == "test"]
    generator = numpy_generator("run", str(run))
    noise = generator.standard_normal(len(rows)).astype(np.float32)
    scores = [float(n + SKILL[run.method] * r.label) for n, r in zip(noise, rows, strict=True)]
    path = root / wf.artefact("scores", run)
    columns = ("path", "sha256", "label", "class", "score")
    values = [
        (r.path, r.sha256, r.label, r.class_name, s) for r, s in zip(rows, scores, strict=True)
    ]
    write_csv(path, columns, [dict(zip(columns, value, strict=True)) for value in values])
    write_text(root / wf.artefact("checkpoints", run), f"weights of {run}\n")
    if wf.maps(run):
        maps = generator.standard_normal((len(rows), 4, 4)).astype(np.float32)
        paths, digests = tuple(r.path for r in rows), tuple(r.sha256 for r in rows)
        found = anomaly_maps.AnomalyMaps(str(run), paths, digests, 64, maps)
        anomaly_maps.write(root / wf.artefact("maps", run), found)
    output = root / wf.artefact("metrics", run)
    options = ["--scores", path, "--split", root / wf.split(run), "--output", output]
    metrics.main([str(option) for option in options])
    facts = {"python": "3.11", "torch": "2.14.1", "device": "cpu"}
    for kind in ("checkpoints", "scores"):
        record = {"environment": facts, "machine": {"seconds": 1.0}}
        write_json(root / f".osad/runs/{wf.artefact(kind, run)}.json", record)


def make_results(root: Path, wf: Workflow) -> None:
    """Write everything before the tables; one run has failed, the runs of one cell never ran."""
    for dataset in wf.params.datasets:
        make_images(root, dataset)
    for name in wf.split_ids():
        dataset, category, protocol, seed = name.split("/")
        options = ["--manifest", root / f"data/manifests/{dataset}.csv", "--dataset", dataset]
        options += ["--category", category, "--protocol", protocol, "--seed", seed[1:]]
        options += ["--removed", 10, "--output", root / f"{wf.params.results}/splits/{name}.csv"]
        split.main([str(option) for option in options])
    for run in wf.cells():
        if run != FAILED and run not in SKIPPED:
            make_run(root, wf, run)
    failure = {"step": "train", "reason": REASON, "error": "TrainingError"}
    write_json(root / f"{wf.params.results}/failures/{FAILED}.json", failure)
    for path in (*wf.targets("features"), wf.weights):
        write_text(root / path, f"stands for {path}\n")


def make_tables(wf: Workflow) -> None:
    """Write the tables, figures and measured times below the current folder."""
    folder = f"{wf.params.results}/tables"
    cells.main(["--grid", wf.grid(), "--partial", "--output", f"{folder}/cells.csv"])
    common = ["--cells", f"{folder}/cells.csv", "--published", str(ROOT / "data/published")]
    tables.main(["--grid", wf.grid(), *common, "--output", folder])
    figures.main(["--grid", wf.figures(), *common, "--output", f"{wf.params.results}/figures"])
    numbers = {"train_s": 1.25, "score_s": 2, "cell_s": 3.25, "cpu_s": 4, "peak_mb": 512}
    bench = {"machine": MACHINE, "cells": {"dpdl": {**numbers, "per": "protocol and seed"}}}
    write_json("data/bench/one.json", bench)


def make_page(wf: Workflow) -> None:
    """Write the page below the current folder, as the rules and the handlers do together."""
    report = Report(wf)
    for dataset, category in wf.categories():
        options = ["--category", f"{dataset}/{category}", "--manifest"]
        options += [wf.manifest(dataset, category), "--splits", *report.splits(dataset, category)]
        report_images.main([*options, "--output", report.manifest_output(dataset, category)])
    skipped = {str(run).rpartition("/")[0] for run in SKIPPED}
    for mean in report.means():
        if mean not in skipped:
            numbers, images = report.cell_outputs(mean)
            options = ["--partial", "--cell", mean, *shlex.split(report.cell_options(mean))]
            report_cell.main([*options, "--output", numbers, "--images", images])
    assets = [str(ROOT / path) for path in report.assets()]
    options = ["--assets", *assets, "--figures", *report.figures()]
    report_assets.main([*options, "--output", report.folder])
    inputs = report.page_inputs()
    options = ["--partial", "--grid", report.page(), "--cells", *inputs["cells"], "--published"]
    options += [str(ROOT / "data/published"), "--lock", "ab" * 32, "--shared", *inputs["shared"]]
    report_page.main([*options, "--bench", "data/bench/one.json", "--output", report.folder])
