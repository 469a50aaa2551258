"""The one table of rules: what makes each file of a grid, from what, with which parameters.

The rule files of Snakemake, the jobs of a grid (`osad.pipeline.jobs`) and, through them, the
ledger, its checks, the progress and the tables of a run that failed are all derived from it.
"""

import functools
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from osad import backbones
from osad.core.cells import Cell
from osad.core.errors import ConfigError
from osad.data import registry as data_registry
from osad.features.tiles import SQUASH
from osad.methods import registry as method_registry
from osad.methods.inputs import NETWORK
from osad.pipeline import page
from osad.pipeline.describe import PIXELS, describe, feature_options, weights_options
from osad.pipeline.grid import Grid, path_of, run_of
from osad.pipeline.rule import Paths, Rule, Wildcards, as_text, constant
from osad.runtime.device import visible_gpus
from osad.runtime.states import State, below, state

RUN_FACETS = ("dataset", "category", "protocol", "method", "seed")
RUN = "{dataset}/{category}/{protocol}/{method}/s{seed}"
SPLIT = "{dataset}/{category}/{protocol}/s{seed}"
MEAN = "{dataset}/{category}/{protocol}/{method}"
PACK_FACETS = ("dataset", "category", "network", "pack")
PUBLISHED = "data/published"
TABLES = ("summary.csv", "metrics.json", *(
    f"{setting}.{kind}" for setting in ("general", "hard", "normal") for kind in ("md", "tex")
))  # fmt: skip
SHOWN = ("fetch", "weights", "manifest", "pixels", "pack", "masks")
"""Rules whose outputs the page lists with their digests."""


SOURCES = ("Snakefile", "params.yaml", "workflow", "profiles", "src", "requirements", "data/bench",
           PUBLISHED)  # fmt: skip
"""What is read, beside files of parameters, to know the jobs of a grid."""
LONGEST = 80_000
"""Bytes that texts may have in one option of a command; all of it may have 131,072 on Linux."""


class Rules:
    """The rules of a grid, as attributes and in the order of the pipeline."""

    def __init__(self, grid: Grid, *, on_cluster: Callable[[], bool] = lambda: False) -> None:
        """Make the table.

        Args:
            grid: what is computed.
            on_cluster: whether other machines run the jobs, known only when the first is planned;
                their GPUs are those that a profile grants, whatever is here.

        Raises:
            ConfigError: other packages are installed than those of the lock file, or texts are too
                long for the commands of jobs.
        """
        self.grid = grid
        self._environment = grid.environment()
        here = min(visible_gpus(), 1)  # Without a GPU jobs would wait for it in vain.
        self._gpus: Callable[[Wildcards], int] = lambda _w: 0 if on_cluster() else here
        self._rules: dict[str, Rule] = {}
        for add in (
            self._data, self._splits, self._features, self._runs, self._tables, self._report,
        ):  # fmt: skip
            add()
        told = [*grid.params.dataset_settings.values()]
        told += [self._rules["figure" if grid.params.figures else "cells"].params["grid"]({})]
        longest = max(len(shlex.quote(as_text(value)).encode()) for value in told)
        if longest > LONGEST:
            raise ConfigError(
                f"params.yaml: the texts of data sets and figures make a command of {longest} "
                f"bytes, more than {LONGEST}; shorten titles and citations"
            )

    @functools.cached_property
    def sources(self) -> State:
        """The state, when first asked for, of the files that were read to know the rules."""
        return state(below(f"{self.grid.root}/{place}" for place in SOURCES))

    def __getattr__(self, name: str) -> Rule:
        """Return a rule by its name."""
        try:
            return cast(Rule, self.__dict__["_rules"][name])
        except KeyError:
            raise AttributeError(f"there is no rule {name!r}") from None

    def __iter__(self) -> Iterator[Rule]:
        """Yield the rules, each after those that it reads the outputs of."""
        return iter(self._rules.values())

    def _add(
        self,
        name: str,
        outputs: Mapping[str, Paths] | str,
        each: Iterable[Mapping[str, str]] = ({},),
        *,
        step: str = "",
        roots: Callable[[Wildcards], tuple[str, ...]] | None = None,
        inputs: Mapping[str, Callable[[Wildcards], Paths]] | None = None,
        params: Mapping[str, Callable[[Wildcards], Any]] | None = None,
        environment: bool = True,
        silent: Iterable[str] = (),
        **resources: Any,
    ) -> None:
        """Add a rule, unless it has no outputs; with one output it is named ``output``."""
        if not outputs:
            return
        module = f"osad.pipeline.steps.{step or name}"
        further = roots or constant(())
        self._rules[name] = Rule(
            name=name,
            step=step or name,
            outputs={"output": outputs} if isinstance(outputs, str) else outputs,
            each=tuple(each),
            inputs=inputs or {},
            params=params or {},
            roots=lambda wildcards: (module, *further(wildcards)),
            environment=self._environment if environment else None,
            source=self.grid.root / "src",
            results=self.grid.results,
            silent=frozenset(silent),
            **resources,
        )

    # --- data, splits, features -----------------------------------------------------------

    def _data(self) -> None:
        grid, settings = self.grid, self.grid.params.dataset_settings
        networks = {Path(n.weights).name: n for n in grid.networks.values()}

        def roots(dataset: str) -> tuple[str, ...]:
            return (data_registry.module(dataset, settings[dataset].get("layout")),)

        self._add(
            "fetch",
            grid.source("{dataset}"),
            ({"dataset": name} for name in grid.params.datasets),
            params={"dataset": attrgetter("dataset"), "settings": lambda w: settings[w.dataset]},
            roots=lambda w: roots(w.dataset),
            environment=False,
            runtime=600,
        )
        self._add(
            "weights",
            "data/weights/{weights}",
            [{"weights": name} for name in networks],
            params={"options": lambda w: weights_options(networks[w.weights])},
            roots=lambda w: (backbones.module(networks[w.weights].backbone),),
            environment=False,
        )
        self._add(
            "manifest",
            "data/manifests/{manifest}.csv",
            ({"manifest": name} for name in grid.manifests),
            inputs={"source": lambda w: grid.source(_dataset(w))},
            params={
                "dataset": _dataset,
                "category": lambda w: w.manifest.partition("/")[2] or "all",
                "settings": lambda w: settings[_dataset(w)],
            },
            roots=lambda w: roots(_dataset(w)),
        )

    def _splits(self) -> None:
        grid, names = self.grid, ("dataset", "category", "protocol")
        self._add(
            "split",
            path_of(grid.results, "splits", SPLIT),
            (
                dict(zip(names, split.split("/"), strict=False)) | {"seed": split.split("/s")[-1]}
                for split in grid.split_ids
            ),
            inputs={"manifest": lambda w: grid.manifest(w.dataset, w.category)},
            params={
                **{name: attrgetter(name) for name in (*names, "seed")},
                "removed": constant(grid.params.removed),
            },
        )

    def _features(self) -> None:
        grid, frame = self.grid, self.grid.params.features.first.frame
        # Packs are made of the images behind the manifest. The manifest is in git; the images of
        # a fresh clone are not, and naming SOURCE.json makes Snakemake fetch them first.
        images: dict[str, Callable[[Wildcards], Paths]] = {
            "manifest": lambda w: grid.manifest(w.dataset, w.category),
            "source": lambda w: grid.source(w.dataset),
        }
        common: dict[str, Any] = {
            "step": "features", "silent": ("source", "weights"),
            "threads": 8, "mem_mb": 4000, "runtime": 240,
        }  # fmt: skip
        self._add(
            "pixels",
            grid.pack("{dataset}", "{category}", "", "pixels"),
            [dict(zip(PACK_FACETS, p[:2], strict=False)) for p in grid.packs if not p[2]],
            inputs=images,
            params={"options": constant(PIXELS)},
            **common,
        )
        self._add(
            "pack",
            grid.pack(*(f"{{{facet}}}" for facet in PACK_FACETS)),
            [dict(zip(PACK_FACETS, p, strict=True)) for p in grid.packs if p[2]],
            inputs=images | {"weights": lambda w: grid.networks[w.network].weights},
            params={
                "options": lambda w: feature_options(
                    w.pack, grid.params.features, grid.networks[w.network]
                )
            },
            roots=lambda w: (backbones.module(grid.networks[w.network].backbone),),
            gpus=self._gpus,
            **common,
        )
        self._add(
            "masks",
            grid.masks("{dataset}", "{category}"),
            [dict(zip(PACK_FACETS, place, strict=False)) for place in grid.masked],
            inputs=images,
            params={
                "size": constant(frame.side),
                **({} if frame.resize == SQUASH else {"resize": constant(frame.resize)}),
            },
        )

    # --- runs and what is said of them ----------------------------------------------------

    def _runs(self) -> None:
        grid = self.grid
        network = backbones.module(grid.params.features.first.backbone)
        # Rules have one limit for all of their jobs.
        images = any(method_registry.get(name).on_images for name in grid.params.methods)
        self._add(
            "run",
            {
                "checkpoint": path_of(grid.results, "checkpoints", RUN),
                "scores": path_of(grid.results, "scores", RUN),
                "maps": path_of(grid.results, "maps", RUN),
            },
            map(_facets, grid.runs),
            inputs={
                "split": lambda w: grid.split(_cell(w)),
                "packs": lambda w: grid.packs_of(_cell(w)),
                "base": lambda w: grid.base_of(_cell(w)),
                "weights": lambda w: grid.weights_of(_cell(w)),
            },
            params={
                "cell": lambda w: str(_cell(w)),
                "hyper": lambda w: dict(grid.params.hyper[w.method]),
            },
            roots=lambda w: (
                method_registry.module(w.method),
                *((NETWORK, network) if method_registry.get(w.method).on_images else ()),
            ),
            silent=("weights",),  # The pack of the images names them.
            gpus=self._gpus,
            mem_mb=8000 if images else 2000,
            runtime=1440 if images else 240,
        )

        def fitted(wildcards: Wildcards) -> list[str]:
            cell = _cell(wildcards)
            return [grid.split(run_of(cell))] if run_of(cell) != cell else []

        self._add(
            "metrics",
            path_of(grid.results, "metrics", RUN),
            map(_facets, grid.cells),
            inputs={
                "split": lambda w: grid.split(_cell(w)),
                "scores": lambda w: grid.artefact("scores", _cell(w)),
                "maps": lambda w: grid.artefact("maps", _cell(w)),
                "fitted": fitted,
                "masks": lambda w: grid.masks_of(_cell(w)),
            },
            params={"cell": lambda w: str(_cell(w))},
        )

    def _tables(self) -> None:
        grid, folder, figures = self.grid, f"{self.grid.results}/tables", self.grid.params.figures
        self._add(
            "cells",
            {"output": f"{folder}/cells.csv", "rates": f"{folder}/rates.csv"},
            inputs={
                "metrics": constant([grid.artefact("metrics", cell) for cell in grid.cells]),
                "scores": constant([grid.artefact("scores", run) for run in grid.runs]),
            },
            params={"grid": lambda _w: describe(grid)},
            silent=("metrics", "scores"),
        )
        splits = dict.fromkeys(grid.split(cell) for cell in grid.cells)
        self._add(
            "comparison",
            f"{folder}/comparison.csv",
            inputs={
                "cells": constant(f"{folder}/cells.csv"),
                "splits": constant([*splits]),
                "scores": constant([grid.artefact("scores", run) for run in grid.runs]),
                "printed": constant([*grid.published]),
            },
            params={"grid": lambda _w: describe(grid), "published": constant(PUBLISHED)},
            silent=("splits", "scores", "printed"),
        )
        self._add(
            "table",
            {"tables": [f"{folder}/{name}" for name in TABLES]},
            step="tables",
            inputs=self._printed(),
            params={
                "grid": lambda _w: describe(grid),
                "published": constant(PUBLISHED),
                "output": constant(folder),
            },
            silent=("printed", "tables"),
        )
        self._add(
            "figure",
            {"figures": page.figure_files(grid)} if figures else "",
            step="figures",
            inputs=self._printed(),
            params={
                "grid": lambda _w: describe(grid) | {"figures": [*map(asdict, figures)]},
                "published": constant(PUBLISHED),
                "output": constant(f"{grid.results}/figures"),
            },
            silent=("printed", "figures"),
        )

    def _printed(self) -> dict[str, Callable[[Wildcards], Paths]]:
        """Return our numbers, how they compare, and the published ones, as inputs."""
        folder = f"{self.grid.results}/tables"
        return {
            "cells": constant(f"{folder}/cells.csv"),
            "comparison": constant(f"{folder}/comparison.csv"),
            "printed": constant([*self.grid.published]),
        }

    # --- the page -------------------------------------------------------------------------

    def _report(self) -> None:
        grid, folder = self.grid, page.folder(self.grid)
        splits = page.splits_by_category(grid)
        self._add(
            "report_images",
            {
                "output": f"{folder}/manifests/{{dataset}}/{{category}}.js",
                "gallery": f"{folder}/gallery/{{dataset}}/{{category}}.js",
            },
            [dict(zip(PACK_FACETS, place, strict=False)) for place in grid.categories],
            inputs={
                "manifest": lambda w: grid.manifest(w.dataset, w.category),
                "splits": lambda w: splits[w.dataset, w.category],
                "source": lambda w: grid.source(w.dataset),
            },
            params={"category": lambda w: f"{w.dataset}/{w.category}"},
            silent=("source",),
        )
        self._add(
            "report_cell",
            {"output": f"{folder}/cells/{MEAN}.js", "images": f"{folder}/images/{MEAN}.js"},
            (dict(zip(RUN_FACETS[:4], mean.split("/"), strict=True)) for mean in grid.means),
            inputs={"files": lambda w: page.cell_inputs(grid, _mean(w))},
            params={"cell": _mean, "options": lambda w: page.cell_options(grid, _mean(w))},
            silent=("files",),
        )
        self._add(
            "report_assets",
            {"files": page.asset_outputs(grid)},
            inputs={
                "assets": constant([*grid.files(page.ASSETS)]),
                "figures": constant(page.shown_figures(grid)),
            },
            params={"output": constant(folder)},
            silent=("files",),
        )
        self._add(
            "report_page",
            {"page": f"{folder}/index.html", "data": f"{folder}/data.js"},
            inputs={
                **self._printed(),
                "shared": constant(
                    [p for name in SHOWN if name in self._rules for p in self._rules[name].files]
                ),
                "bench": constant([p for p in grid.files(page.BENCH) if p.endswith(".json")]),
                "templates": constant([*grid.files(page.TEMPLATES)]),
            },
            params={
                "grid": lambda _w: describe(grid) | {"report": page.describe_page(grid, self)},
                "published": constant(PUBLISHED),
                "lock": constant(self._environment),
                "output": constant(folder),
            },
            silent=("printed", "templates", "page", "data"),
        )


def _facets(cell: Cell) -> dict[str, str]:
    return {name: str(getattr(cell, name)) for name in RUN_FACETS}


def _cell(wildcards: Wildcards) -> Cell:
    names = (wildcards.dataset, wildcards.category, wildcards.protocol, wildcards.method)
    return Cell(*names, int(wildcards.seed))


def _mean(wildcards: Wildcards) -> str:
    return "/".join(getattr(wildcards, name) for name in RUN_FACETS[:4])


def _dataset(wildcards: Wildcards) -> str:
    return str(wildcards.manifest.partition("/")[0])
