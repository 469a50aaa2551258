"""Which files the page consists of, what they are made from, and with which parameters.

The rules of ``workflow/rules/report.smk`` and `osad.pipeline.jobs` both ask here.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.methods import registry
from osad.pipeline.workflow import Workflow, compact_json

ASSETS = Path("src/osad/report/assets")
TEMPLATES = Path("src/osad/report/templates")
BENCH = Path("data/bench")
"""Folder of measured times and memory, one JSON file a machine (``bench/bench.py --json``)."""
KINDS = ("metrics", "scores", "checkpoints")
"""Files that every run has."""


@dataclass(frozen=True)
class Report:
    """The files of the page of one grid.

    Attributes:
        workflow: the pipeline.
    """

    workflow: Workflow

    # --- names of files -------------------------------------------------------------------

    @property
    def folder(self) -> str:
        """Return the folder of the page."""
        return f"{self.workflow.params.results}/report"

    @property
    def record(self) -> str:
        """Return the name under which the job that writes the page leaves its record."""
        return f"{self.folder}/page"

    def means(self) -> list[str]:
        """Return the ids of all table cells that are means over seeds, without averages."""
        return list(dict.fromkeys(str(cell).rpartition("/")[0] for cell in self.workflow.cells()))

    def mean(self, wildcards: Any) -> str:
        """Return the id of the table cell that a rule's wildcards name."""
        names = (wildcards.dataset, wildcards.category, wildcards.protocol, wildcards.method)
        return "/".join(names)

    def cell_outputs(self, mean: str) -> list[str]:
        """Return the two files of a table cell: its numbers, and its images."""
        return [f"{self.folder}/cells/{mean}.js", f"{self.folder}/images/{mean}.js"]

    def manifest_output(self, dataset: str, category: str) -> str:
        """Return the file that lists all images of a category with their digests."""
        return f"{self.folder}/manifests/{dataset}/{category}.js"

    def page_outputs(self) -> list[str]:
        """Return the files of the page itself."""
        return [f"{self.folder}/index.html", f"{self.folder}/data.js"]

    def asset_outputs(self) -> list[str]:
        """Return the files of the page that are copied."""
        figures = [f"{figure.name}.svg" for figure in self.workflow.params.figures]
        return [
            *(f"{self.folder}/assets/{Path(path).name}" for path in self.assets()),
            *(f"{self.folder}/figures/{name}" for name in figures),
        ]

    def targets(self) -> list[str]:
        """Return all files of the page."""
        cells = [path for mean in self.means() for path in self.cell_outputs(mean)]
        manifests = [self.manifest_output(*pair) for pair in self.workflow.categories()]
        return [*self.page_outputs(), *self.asset_outputs(), *manifests, *cells]

    # --- what they are made from ----------------------------------------------------------

    def runs(self, mean: str) -> list[Cell]:
        """Return the runs that a table cell averages."""
        seeds = self.workflow.params.seeds
        return [Cell.parse(f"{mean}/s{seed}") for seed in seeds]

    def cell_inputs(self, mean: str) -> list[str]:
        """Return the files that say what is shown of a table cell."""
        workflow, found = self.workflow, []
        for run in self.runs(mean):
            found += [workflow.split(run), *(workflow.artefact(kind, run) for kind in KINDS)]
            found += [*workflow.maps(run), *self._upstream(run)]
        return [*found, workflow.source(self.runs(mean)[0].dataset)]

    def _upstream(self, run: Cell) -> list[str]:
        """Return the checkpoint that a run starts from or shares, if any."""
        source = self.workflow.source_cell(run)
        shared = [self.workflow.artefact("checkpoints", source)] if source != run else []
        return [*self.workflow.base(run), *shared]

    def splits(self, dataset: str, category: str) -> list[str]:
        """Return all splits of a category."""
        return self._splits.get((dataset, category), [])

    @functools.cached_property
    def _splits(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for name in self.workflow.split_ids():
            dataset, category, _, _ = name.split("/")
            path = f"{self.workflow.params.results}/splits/{name}.csv"
            found.setdefault((dataset, category), []).append(path)
        return found

    def page_inputs(self) -> dict[str, list[str]]:
        """Return the files that the page is made from, by the name of the rule's input."""
        workflow = self.workflow
        return {
            "cells": [f"{workflow.params.results}/tables/cells.csv"],
            "published": [f"data/published/{name}.csv" for name in workflow.published()],
            "shared": [*workflow.targets("data"), *workflow.targets("features")],
            "bench": self.bench(),
            "templates": self._files(TEMPLATES),
        }

    def figures(self) -> list[str]:
        """Return the figures that the page shows."""
        return [path for path in self.workflow.targets("figures") if path.endswith(".svg")]

    def assets(self) -> list[str]:
        """Return the scripts, styles and licence texts that are copied, sorted."""
        return self._files(ASSETS)

    def bench(self) -> list[str]:
        """Return the files of measured times that the project has, sorted."""
        return [path for path in self._files(BENCH) if path.endswith(".json")]

    def _files(self, folder: Path) -> list[str]:
        found = sorted((self.workflow.root / folder).glob("[!.]*"))
        return [f"{folder}/{path.name}" for path in found if path.is_file()]

    # --- parameters of rules --------------------------------------------------------------

    def cell_options(self, mean: str) -> str:
        """Return the command-line options of the step ``report_cell``."""
        seeds = " ".join(str(run.seed) for run in self.runs(mean))
        text = f"--results {self.workflow.params.results} --seeds {seeds}"
        run = self.runs(mean)[0]
        if self.workflow.maps(run):
            text += " --maps"
        source, base = self.workflow.source_cell(run), registry.get(run.method).base
        other = replace(run, method=base) if base else source
        return text if other == run else f"{text} --upstream {str(other).rpartition('/')[0]}"

    def page(self) -> str:
        """Return what the page needs to know of the grid, as JSON."""
        workflow = self.workflow
        methods: dict[str, Any] = {
            name: {
                "paper": registry.get(name).paper,
                "hyper": workflow.params.hyper[name],
                "maps": registry.get(name).maps,
                # Only so that the page is made again when code has changed that it names.
                "code": [workflow.method_code(step, name) for step in ("train", "score")],
            }
            for name in workflow.params.methods
        }
        figures = [{"name": one.name, "title": one.title} for one in workflow.params.figures]
        report = {"methods": methods, "figures": figures, "metrics": workflow.code("metrics")}
        return compact_json(json.loads(workflow.grid()) | {"report": report})
