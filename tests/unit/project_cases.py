"""The table of rules of grids, and a made-up project with records and a ledger."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from osad.audit import actions
from osad.audit.ledger import Ledger
from osad.audit.record import snakemake_params
from osad.core.cells import Cell
from osad.core.files import sha256_file, write_csv, write_json
from osad.data import registry as data_registry
from osad.data.manifest import Record, write_manifest
from osad.data.splits import SplitRow, write_split
from osad.evaluation.metrics import auroc, average_precision
from osad.evaluation.tables.cells import COUNTS, RATES
from osad.pipeline import config, fingerprint
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records

ROOT = Path(__file__).parents[2]
OWN = {"layout": "folder", "raw_path": "images", "defect_classes": ["scratch", "dent"]}
"""Settings of a user's own data set."""
shipped = functools.cache(lambda: config.load(ROOT))


def rules_of(**changes: Any) -> Rules:
    """Return the table of the shipped grid with other parameters."""
    return Rules(Grid(dataclasses.replace(shipped(), **changes), ROOT))


# --- a project ----------------------------------------------------------------------------

DATE = "2024-02-03T04:05:06+00:00"
"""Of the project's only commit."""
NAME = "tiny/all/general-m10/devnet"
RUN = f"{NAME}/s0"
SHARING = "tiny/all/general-m10/patchcore/s0"
"""A cell that is made of the run of `SHARED`."""
SHARED = "tiny/all/normal-m0/patchcore/s0"
LARGE = 10_000_000
PACK = "results/features/tiny/all/tf_efficientnet_lite0-64/plain.safetensors"
WEIGHTS = "data/weights/efficientnet-lite0-57934424.pth"
LOCK = "requirements/numeric.lock"
MANIFEST = "data/manifests/tiny.csv"
SPLIT = "results/splits/tiny/all/general-m10/s0.csv"
SCORES = f"results/scores/{RUN}.csv"
METRICS = f"results/metrics/{RUN}.json"
CELLS, SUMMARY = "results/tables/cells.csv", "results/tables/summary.csv"
METHOD = "src/osad/methods/devnet.py"
PARAMS = {
    "results": "results",
    "grid": {
        "datasets": ["tiny"], "settings": ["general", "normal"], "shots": [10], "seeds": [0, 1],
        "methods": ["devnet", "patchcore"],
    },
    "protocol": {"removed": 10},
    "datasets": {
        "tiny": {
            "layout": "folder", "raw_path": "photos", "title": "Tiny", "licence": "CC BY 4.0",
            "licence_note": "Attribution.", "citation": "A. Author: Tiny things. 2020.",
        },
    },
    "features": {
        "backbone": "tf_efficientnet_lite0", "image_size": 64, "strides": [16, 32], "views": 2,
        "rotation": 0, "weights_file": None,
    },
    "methods": {"devnet": {"epochs": 3}},
    "figures": [],
}  # fmt: skip
SOURCES = {
    "Snakefile": "rule all:\n",
    LOCK: f"numpy=={version('numpy')} --hash=sha256:{'0' * 64}\n",
    "requirements/workflow.lock": "rocrate==0.16.0\nsnakemake==9.27.1\n",
    "workflow/rules/run.smk": "rule run:\n",
    "data/published/paper.csv": "method,auroc\nx,0.5\n",
    "src/osad/report/assets/style.css": "p {}\n",
    "dvc.lock": "schema: '2.0'\n",
    "LICENSE": "Apache License\n",
    "src/osad/runtime/environment.py": "",
    f"src/{data_registry.module('tiny', 'folder').replace('.', '/')}.py": "import osad.core.errors",
    "src/osad/core/errors.py": "",
    METHOD: "RATE = 1  # of learning\n",
    "src/osad/methods/patchcore.py": "",
    "src/osad/backbones/efficientnet_lite.py": "",
}
STEPS = (
    "fetch", "weights", "manifest", "split", "features", "masks", "run", "metrics", "cells",
    "tables", "report_images", "report_cell", "report_assets", "report_page",
)  # fmt: skip
ENV = {"python": "3.11.7", "torch": "2.0", "device": "cpu"}
SCORED = {0: (0.1, 0.6, 0.5, 0.9), 1: (0.1, 0.6, 0.7, 0.0)}
"""By seed, of two normal and two anomalous images: 3 and 2 of 4 pairs are in the right order."""


class MadeUp:
    """A project of two methods, all files some bytes long except a feature pack."""

    def __init__(self, root: Path) -> None:
        self.root = root
        sources = SOURCES | {"params.yaml": yaml.safe_dump(PARAMS)}
        sources[str(config.SCHEMA)] = (ROOT / config.SCHEMA).read_text(encoding="utf-8")
        sources |= {f"src/osad/pipeline/steps/{step}.py": f"STEP = '{step}'\n" for step in STEPS}
        for path, text in sources.items():
            self.put(path, text)
        for number, record in enumerate(self._images()):
            self.put(record.path, f"image {number}\n")
        rules = self.rules
        with contextlib.chdir(root):
            for job in jobs(rules):
                self._make(job, rules.grid)
                self._vouch(job)
            actions.record(rules)
        self._git(list(sources))

    def put(self, path: str, text: str) -> None:
        """Write a file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file."""
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        self.put(path, text.replace(old, new, 1))

    @property
    def rules(self) -> Rules:
        """The table of rules as a new process sees it."""
        for function in vars(fingerprint).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
        return Rules(Grid(config.load(self.root), self.root))

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The ledger as it was recorded; to be changed in memory."""
        return actions.ledger.read(self.root / "provenance")

    @staticmethod
    def _images() -> list[Record]:
        """The records without digests: two images to train on, and two of each kind to test."""
        kinds = [("train", "good"), ("test", "good"), ("test", "dent")]
        return [
            Record(f"data/raw/tiny/{split}/{kind}/{n}.png", int(kind != "good"), kind, split)
            for split, kind in kinds
            for n in range(2)
        ]

    def _make(self, job: Job, grid: Grid) -> None:
        """Write the outputs of a job."""
        cell = job.params.get("cell", "")
        for path in job.outputs:
            self.put(path, f"{path}\n")
            if path == PACK:
                os.truncate(path, LARGE)
        if job.rule.name in ("manifest", "split"):
            images = [dataclasses.replace(r, sha256=sha256_file(r.path)) for r in self._images()]
            images.sort(key=lambda record: record.path)
        if job.rule.name == "manifest":
            write_manifest(Path(MANIFEST), images)
        if job.rule.name == "split":
            write_split(Path(job.outputs[0]), [
                SplitRow(
                    r.path, r.sha256, "test" if r.split == "test" else "train_normal", r.label,
                    r.class_name,
                )
                for r in images
            ])  # fmt: skip
        if job.rule.name == "run":
            columns = ("path", "sha256", "label", "class", "score")
            rows = [
                (r.path, sha256_file(r.path), r.label, r.class_name, score)
                for r, score in zip(self._images()[2:], SCORED[Cell.parse(cell).seed], strict=True)
            ]
            table = [dict(zip(columns, row, strict=True)) for row in sorted(rows)]
            write_csv(job.outputs[1], columns, table)
        if job.rule.name == "metrics":
            scores, labels = SCORED[Cell.parse(cell).seed], [0, 0, 1, 1]
            values = {"auroc": auroc(scores, labels), "pixel_auroc": None, "aupro": None}
            values["average_precision"] = average_precision(scores, labels)
            counts = dict(zip(COUNTS, (2, 0, 2, 2), strict=True))
            digest = sha256_file(grid.artefact("scores", Cell.parse(cell)))
            write_json(job.outputs[0], values | counts | {"scores_sha256": digest})
        if job.rule.name == "cells":
            metrics = {path: json.loads(Path(path).read_text()) for path in job.inputs[:6]}
            rows = [
                {"cell": path[len("results/metrics/") : -len(".json")], "status": "ok", **values}
                for path, values in metrics.items()
            ]
            columns = ["cell", *RATES, *COUNTS, "scores_sha256", "status", "reason"]
            write_csv(CELLS, columns, [{"reason": ""} | row for row in rows])
        if job.rule.name == "table":  # The mean of 3/4 and 2/4.
            values = {"auroc_mean": 0.625, "auroc_std": "", "n_seeds": 2, "published_mean": ""}
            rows = [{"cell": mean, **values} for mean in grid.means]
            write_csv(SUMMARY, list(rows[0]), rows)

    def _vouch(self, job: Job) -> None:
        """Leave the records of a job that is done: Snakemake's and its receipt."""
        digests = {path: sha256_file(path) for path in job.inputs}
        for path in job.outputs:
            snakemake_records.write(
                path, rule=job.rule.name, template=job.rule.command, command=job.command,
                inputs=digests, params=snakemake_params(job),
            )  # fmt: skip
        outputs = {path: sha256_file(path) for path in job.outputs}
        receipt = {"arguments": job.arguments(), "outputs": outputs, "environment": ENV}
        receipt["machine"] = {"seconds": 1.5}
        write_json(job.receipt, receipt)

    def _git(self, sources: list[str]) -> None:
        """Make the folder a repository with a commit of a known date."""
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        dates = {f"GIT_{role}_DATE": DATE for role in ("COMMITTER", "AUTHOR")}
        for arguments in (
            ["init", "--quiet"],
            ["add", "--", *sources, "provenance", MANIFEST],
            [*who, "commit", "--quiet", "--message", "made up"],
        ):
            command = ["git", "-C", str(self.root), *arguments]
            subprocess.run(command, env={"PATH": os.environ["PATH"]} | dates, check=True)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """A project that is the current folder and that a test may change."""
    project = MadeUp(tmp_path / "made-up")
    monkeypatch.chdir(project.root)
    return project
