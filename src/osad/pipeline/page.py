"""Which files the page of the results consists of, and what they are made from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell
from osad.evaluation.figures.request import FORMATS
from osad.methods import registry
from osad.pipeline.grid import Grid, path_of, run_of

if TYPE_CHECKING:
    from osad.pipeline.rules import Rules

ASSETS = "src/osad/report/assets"
TEMPLATES = "src/osad/report/templates"
BENCH = "data/bench"
"""Folder of measured times and memory, one JSON file a machine (``bench/bench.py --json``)."""


def folder(grid: Grid) -> str:
    """Return the folder of the page."""
    return f"{grid.results}/report"


def figure_files(grid: Grid) -> list[str]:
    """Return the files of all figures, in every format."""
    names = [figure.name for figure in grid.params.figures]
    return [f"{grid.results}/figures/{name}.{kind}" for name in names for kind in FORMATS]


def shown_figures(grid: Grid) -> list[str]:
    """Return the figures that the page shows."""
    return [path for path in figure_files(grid) if path.endswith(".svg")]


def asset_outputs(grid: Grid) -> list[str]:
    """Return the files of the page that are copied."""
    copies = {"assets": grid.files(ASSETS), "figures": shown_figures(grid)}
    return [
        f"{folder(grid)}/{kind}/{path.rpartition('/')[2]}"
        for kind, paths in copies.items()
        for path in paths
    ]


def runs(grid: Grid, mean: str) -> list[Cell]:
    """Return the cells that a table cell averages."""
    return [Cell.parse(f"{mean}/s{seed}") for seed in grid.params.seeds]


def cell_inputs(grid: Grid, mean: str) -> list[str]:
    """Return the files that say what is shown of a table cell."""
    paths = []
    for cell in runs(grid, mean):
        kinds = ("metrics", "checkpoints", "scores", "maps")
        paths += [grid.split(cell), *(grid.artefact(kind, cell) for kind in kinds)]
        paths += grid.base_of(cell)
    return [*paths, grid.source(runs(grid, mean)[0].dataset)]


def cell_options(grid: Grid, mean: str) -> str:
    """Return the command-line options of the step ``report_cell``."""
    first = runs(grid, mean)[0]
    spec = registry.get(first.method)
    options = [f"--results {grid.results} --seeds", *map(str, grid.params.seeds)]
    if spec.maps:
        options.append("--maps")
    if run_of(first) != first:
        options.append(f"--fitted {str(run_of(first)).rpartition('/')[0]}")
    if spec.base:
        options.append(f"--upstream {str(replace(first, method=spec.base)).rpartition('/')[0]}")
    return " ".join(options)


def splits_by_category(grid: Grid) -> dict[tuple[str, str], list[str]]:
    """Return the paths of all splits by data set and category."""
    paths: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in grid.split_ids:
        dataset, category, _, _ = name.split("/")
        paths[dataset, category].append(path_of(grid.results, "splits", name))
    return paths


def describe_page(grid: Grid, rules: Rules) -> dict[str, Any]:
    """Return what the page needs to know of the grid besides `osad.pipeline.describe`."""
    methods = {
        name: {
            "paper": registry.get(name).paper,
            "hyper": grid.params.hyper[name],
            "maps": registry.get(name).maps,
            # Only so that the page is made again when code has changed that it names.
            "code": rules.run.code(SimpleNamespace(method=name)),
        }
        for name in grid.params.methods
    }
    figures = [{"name": figure.name, "title": figure.title} for figure in grid.params.figures]
    metrics = rules.metrics.code(SimpleNamespace())
    return {"methods": methods, "figures": figures, "metrics": metrics}
