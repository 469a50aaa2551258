"""What the Snakemake rules need to know: targets, inputs, parameters and fingerprints.

The rules themselves hold no logic; everything here is plain Python that tests can call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osad.backbones import get_backbone
from osad.core.cells import NAME, Cell, manifest_path
from osad.core.files import sha256_file
from osad.data import registry as data_registry
from osad.evaluation.figures.style import FORMATS
from osad.methods import registry as method_registry
from osad.pipeline.config import Params, protocols
from osad.pipeline.fingerprint import code_fingerprint
from osad.pipeline.lockfile import check_installed
from osad.runtime.device import visible_gpus

TABLES = (
    "cells.csv",
    "summary.csv",
    "metrics.json",
    "general.md",
    "general.tex",
    "hard.md",
    "hard.tex",
    "normal.md",
    "normal.tex",
)
SUFFIXES = {
    "checkpoints": "safetensors",
    "scores": "csv",
    "maps": "safetensors",
    "metrics": "json",
}
SHARED = "normal-m0"
"""The protocol whose runs serve all protocols, for methods that learn from normals alone."""
NUMERIC_LOCK = Path("requirements/numeric.lock")


@dataclass(frozen=True)
class Workflow:
    """The pipeline of one set of parameters.

    Attributes:
        params: the parameters.
        root: the project's folder, which holds ``src`` and ``requirements``.
    """

    params: Params
    root: Path

    # --- names of files -------------------------------------------------------------------

    @property
    def weights(self) -> str:
        """Return the path of the backbone's weights file."""
        return f"data/weights/{get_backbone(self.params.features.backbone).file}"

    def source(self, dataset: str) -> str:
        """Return the file that says a data set is complete."""
        return f"data/raw/{dataset}/SOURCE.json"

    def manifest(self, dataset: str, category: str) -> str:
        """Return the path of a manifest."""
        return str(manifest_path(dataset, category))

    def cell(self, wildcards: Any) -> Cell:
        """Return the cell that a rule's wildcards name."""
        names = (wildcards.dataset, wildcards.category, wildcards.protocol, wildcards.method)
        return Cell(*names, int(wildcards.seed))

    def published(self) -> list[str]:
        """Return the names of the files of published numbers."""
        return sorted(path.stem for path in (self.root / "data/published").glob("*.csv"))

    def split(self, cell: Cell) -> str:
        """Return the path of the split that a cell uses."""
        return f"{self.params.results}/splits/{cell.split_id}.csv"

    def pack(self, dataset: str, category: str, pack: str) -> str:
        """Return the path of a feature pack."""
        folder = f"{self.params.results}/features/{dataset}/{category}"
        if pack == "pixels":
            return f"{folder}/pixels.safetensors"
        features = self.params.features
        return f"{folder}/{features.backbone}-{features.image_size}/{pack}.safetensors"

    def packs(self, cell: Cell) -> list[str]:
        """Return the feature packs that a cell is trained on."""
        spec = method_registry.get(cell.method)
        return [self.pack(cell.dataset, cell.category, pack) for pack in spec.packs]

    def test_packs(self, cell: Cell) -> list[str]:
        """Return the feature packs that a cell is scored on."""
        spec = method_registry.get(cell.method)
        return [self.pack(cell.dataset, cell.category, pack) for pack in spec.test_packs]

    def masks(self, dataset: str, category: str) -> str:
        """Return the path of the packed defect masks, none of them in it if there are none."""
        return f"{self.params.results}/features/{dataset}/{category}/masks.safetensors"

    def artefact(self, kind: str, cell: Cell) -> str:
        """Return the path of a cell's ``checkpoints``, ``scores``, ``maps`` or ``metrics`` file."""
        return f"{self.params.results}/{kind}/{cell}.{SUFFIXES[kind]}"

    def maps(self, cell: Cell) -> list[str]:
        """Return the path of a cell's anomaly maps, or nothing if its method gives none."""
        return [self.artefact("maps", cell)] if method_registry.get(cell.method).maps else []

    def localisation(self, cell: Cell) -> list[str]:
        """Return the masks that a cell's anomaly maps are judged by; nothing without maps."""
        return [self.masks(cell.dataset, cell.category)] if self.maps(cell) else []

    def base(self, cell: Cell) -> list[str]:
        """Return the checkpoint that a cell's fit starts from; nothing for most methods."""
        base = method_registry.get(cell.method).base
        return [self.artefact("checkpoints", replace(cell, method=base))] if base else []

    def source_cell(self, cell: Cell) -> Cell:
        """Return the run whose fit and scores a cell shares; for most methods the cell itself.

        A method that learns from training normals alone would fit the same model in every
        protocol: their training normals are the same, and so are the scores of an image.
        """
        normal_only = method_registry.get(cell.method).normal_only
        return replace(cell, protocol=SHARED) if normal_only else cell

    # --- what there is --------------------------------------------------------------------

    def categories(self) -> list[tuple[str, str]]:
        """Return all (data set, category) of the grid."""
        return [
            (name, category)
            for name in self.params.datasets
            for category in self._dataset(name).categories
        ]

    def split_ids(self) -> list[str]:
        """Return the ids of all splits of the grid and of the runs that its cells share."""
        wanted = [
            f"{dataset}/{category}/{protocol}/s{seed}"
            for dataset, category in self.categories()
            for protocol in protocols(self.params, dataset, category)
            for seed in self.params.seeds
        ]
        return list(dict.fromkeys([*wanted, *(cell.split_id for cell in self.runs())]))

    def cells(self) -> list[Cell]:
        """Return all cells of the grid."""
        return [
            Cell(dataset, category, str(protocol), method, seed)
            for dataset, category in self.categories()
            for protocol in protocols(self.params, dataset, category)
            for method in self.params.methods
            if protocol.setting in method_registry.get(method).settings
            for seed in self.params.seeds
        ]

    def runs(self) -> list[Cell]:
        """Return all cells of the grid, then the runs outside it whose results they share."""
        cells = self.cells()
        return list(dict.fromkeys([*cells, *map(self.source_cell, cells)]))

    def targets(self, phase: str) -> list[str]:
        """Return the files of a phase.

        The phases: data, splits, features, train, score, metrics, figures, tables.
        """
        if phase == "data":
            files = [self.source(name) for name in self.params.datasets]
            files += [self.manifest(*pair) for pair in self.categories()]
            return [*files, *self._weights_needed()]
        if phase == "splits":
            return [f"{self.params.results}/splits/{split}.csv" for split in self.split_ids()]
        if phase == "features":
            needed = (self.packs(cell) + self.localisation(cell) for cell in self.cells())
            return sorted({path for paths in needed for path in paths})
        if phase == "train":
            return [self.artefact("checkpoints", cell) for cell in self.runs()]
        if phase == "score":
            scores = [self.artefact("scores", cell) for cell in self.runs()]
            maps = [path for cell in self.runs() for path in self.maps(cell)]
            return [*scores, *maps, *self.targets("metrics")]
        if phase == "metrics":
            return [self.artefact("metrics", cell) for cell in self.cells()]
        if phase == "figures":
            return [
                f"{self.params.results}/figures/{figure.name}.{kind}"
                for figure in self.params.figures
                for kind in FORMATS
            ]
        if phase == "tables":
            return [f"{self.params.results}/tables/{name}" for name in TABLES]
        raise ValueError(f"unknown phase {phase!r}")

    def constraints(self) -> dict[str, str]:
        """Return the regular expression of every wildcard, from what the grid contains."""
        pairs = self.categories()
        found = {cell.protocol for cell in self.runs()}
        found |= {str(p) for pair in pairs for p in protocols(self.params, *pair)}
        return {
            "results": re.escape(self.params.results),
            "dataset": _any(dataset for dataset, _ in pairs),
            "category": _any(category for _, category in pairs),
            "protocol": _any(found),
            "method": _any(self.params.methods),
            "seed": "[0-9]+",
            "pack": NAME,
            "manifest": _any(_manifest_name(*pair) for pair in pairs),
        }

    def kinds(self) -> dict[str, dict[str, str]]:
        """Return the wildcards of the rules that differ by kind of method.

        Returns:
            by rule, the expressions for ``method`` and, for rules that share, ``protocol``.
        """
        specs = [method_registry.get(name) for name in self.params.methods]
        others = {cell.protocol for cell in self.cells()} - {SHARED}
        found = {}
        for suffix, maps in (("", False), ("_maps", True)):
            kind = [spec for spec in specs if spec.maps == maps]
            found[f"score{suffix}"] = {"method": _any(spec.name for spec in kind)}
            found[f"share{suffix}"] = {
                "method": _any(spec.name for spec in kind if spec.normal_only),
                "protocol": _any(others),
            }
        return found

    # --- parameters of rules --------------------------------------------------------------

    def settings(self, dataset: str) -> str:
        """Return a data set's settings as JSON."""
        return compact_json(self.params.dataset_settings[dataset])

    def manifest_options(self, manifest: str) -> str:
        """Return the command-line options of the manifest step."""
        dataset, _, category = manifest.partition("/")
        return f"--dataset {dataset} --category {category or 'all'}"

    def hyper(self, method: str) -> str:
        """Return a method's resolved hyper-parameters as JSON."""
        return compact_json(self.params.hyper[method])

    def grid(self) -> str:
        """Return what the tables step needs to know of the grid, as JSON."""
        specs = {name: method_registry.get(name) for name in self.params.methods}
        datasets = {name: self._dataset(name) for name in self.params.datasets}
        return compact_json(
            {
                "results": self.params.results,
                "seeds": self.params.seeds,
                "protocols": {
                    f"{dataset}/{category}": [
                        str(protocol) for protocol in protocols(self.params, dataset, category)
                    ]
                    for dataset, category in self.categories()
                },
                "methods": [
                    {
                        "name": name,
                        "settings": spec.settings,
                        "control": spec.control,
                        "backbone": self.params.features.backbone if spec.uses_backbone else "",
                        "changes": self.params.changes.get(name, {}),
                        "cuts": self.params.cuts.get(name, {}),
                        "upstream": _upstream(spec),
                    }
                    for name, spec in specs.items()
                ],
                "notes": self.notes(),
                "datasets": {name: spec.texts() for name, spec in datasets.items()},
            }
        )

    def figures(self) -> str:
        """Return what the figures step needs to know of the grid, as JSON."""
        figures = [figure.as_value() for figure in self.params.figures]
        return compact_json(json.loads(self.grid()) | {"figures": figures})

    def notes(self) -> list[str]:
        """Return the lines that say how the protocol differs from the papers'."""
        features = self.params.features
        turned = f", rotated by up to {features.rotation:g} degrees" if features.rotation else ""
        return [
            f"Ours: frozen {features.backbone} features at {features.image_size} px, cached once "
            f"({features.views} CutMix views of each training normal{turned}); methods train "
            "adapters and heads on them. Published: image-level training of ResNet-18 at 448 px "
            "(or as the source says).",
            "Hyper-parameters were chosen on held-out training normals and pseudo anomalies, "
            "never on test images; see docs/hyper-parameters.md.",
        ]

    def code(self, step: str) -> str:
        """Return the fingerprint of the code of a step."""
        return self.fingerprint(_roots(step))

    def method_code(self, step: str, method: str) -> str:
        """Return the fingerprint of the code of a step with one method."""
        return self.fingerprint(self.method_roots(step, method))

    def data_code(self, step: str, dataset: str) -> str:
        """Return the fingerprint of the code of a step with one data set."""
        return self.fingerprint(self.data_roots(step, dataset))

    def method_roots(self, step: str, method: str) -> tuple[str, ...]:
        """Return the modules whose closure is the code of a step with one method."""
        return (*_roots(step), method_registry.module(method))

    def data_roots(self, step: str, dataset: str) -> tuple[str, ...]:
        """Return the modules whose closure is the code of a step with one data set."""
        layout = self.params.dataset_settings[dataset].get("layout")
        return (*_roots(step), data_registry.module(dataset, layout))

    def fingerprint(self, roots: Iterable[str]) -> str:
        """Return the fingerprint of the code that modules depend on."""
        return code_fingerprint(roots, self.root / "src")

    def environment(self) -> str:
        """Return the digest of the lock file of everything that can change a number.

        Raises:
            ConfigError: other versions are installed.
        """
        check_installed(self.root / NUMERIC_LOCK)
        return sha256_file(self.root / NUMERIC_LOCK)

    def feature_options(self, pack: str) -> str:
        """Return the command-line options that decide what a feature pack holds."""
        if pack == "pixels":
            return "--pack pixels"
        features = self.params.features
        strides = ",".join(map(str, features.strides))
        return (
            f"--pack {pack} --backbone {features.backbone} --weights {self.weights} "
            f"--image-size {features.image_size} --strides {strides} --views {features.views} "
            f"--rotation {features.rotation}"
        )

    def weights_options(self) -> str:
        """Return the command-line options of the weights step."""
        features = self.params.features
        local = f" --local {features.weights_file}" if features.weights_file else ""
        return f"--backbone {features.backbone}{local}"

    def gpu(self) -> int:
        """Return how many GPUs a job that can use one asks for.

        It is 0 on a machine without a GPU: a job that asks for one waits for the others that do,
        and cores would idle.
        """
        return min(visible_gpus(), 1)

    def _dataset(self, name: str) -> data_registry.DatasetSpec:
        return data_registry.get(name, self.params.dataset_settings[name])

    def _weights_needed(self) -> list[str]:
        specs = (method_registry.get(name) for name in self.params.methods)
        return [self.weights] if any(spec.uses_backbone for spec in specs) else []


def _upstream(spec: method_registry.MethodSpec) -> list[str]:
    """Return protocol (empty: the same) and method of what a method's runs need, if anything."""
    if spec.normal_only:
        return [SHARED, spec.name]
    return ["", spec.base] if spec.base else []


def _roots(step: str) -> tuple[str, ...]:
    return (f"osad.pipeline.steps.{step}",)


def _any(names: Iterable[str]) -> str:
    """Return an expression for any of some names; one that matches nothing without any."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or "(?!)"


def _manifest_name(dataset: str, category: str) -> str:
    return manifest_path(dataset, category).relative_to("data/manifests").with_suffix("").as_posix()


def compact_json(value: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys and without blanks: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
