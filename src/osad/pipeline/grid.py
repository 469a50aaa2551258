"""A grid: its splits, runs and cells, and where each of their files stands."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from osad.core.cells import NAME, Cell, manifest_path
from osad.core.files import sha256_bytes
from osad.data import registry as data_registry
from osad.evaluation.tables.request import SHARED
from osad.features.kinds import KINDS
from osad.methods import registry as method_registry
from osad.pipeline.config import Params, protocols
from osad.pipeline.lockfile import check_installed, pins
from osad.pipeline.networks import Network

NUMERIC_LOCK = Path("requirements/numeric.lock")
SUFFIXES = {
    "splits": "csv",
    "checkpoints": "safetensors",
    "scores": "csv",
    "maps": "safetensors",
    "metrics": "json",
}
"""Endings of the files of splits, runs and cells by folder."""


def path_of(results: str, kind: str, name: object) -> str:
    """Return the path of a file of a split, run or cell by its id, or an id with wildcards."""
    return f"{results}/{kind}/{name}.{SUFFIXES[kind]}"


def run_of(cell: Cell) -> Cell:
    """Return the run that a cell's metrics are made of: the cell itself for most methods.

    A method that learns from normals alone has one run per seed: it would fit the same model in
    every protocol, since their training normals are the same, and so are the scores of an image.
    """
    spec = method_registry.get(cell.method)
    return replace(cell, protocol=SHARED) if spec.normal_only else cell


@dataclass(frozen=True)
class Grid:
    """All that one set of parameters makes.

    Attributes:
        params: the parameters.
        root: the project's folder, which holds ``src`` and ``requirements``.
    """

    params: Params
    root: Path

    # --- what there is --------------------------------------------------------------------

    def dataset(self, name: str) -> data_registry.DatasetSpec:
        """Return the specification of a data set."""
        return data_registry.get(name, self.params.dataset_settings[name])

    @functools.cached_property
    def categories(self) -> tuple[tuple[str, str], ...]:
        """All (data set, category)."""
        return tuple(
            (name, category)
            for name in self.params.datasets
            for category in self.dataset(name).categories
        )

    @functools.cached_property
    def manifests(self) -> tuple[str, ...]:
        """Names of all manifests: data set, and category where there are several."""
        paths = (manifest_path(*pair).with_suffix("") for pair in self.categories)
        return tuple(path.relative_to("data/manifests").as_posix() for path in paths)

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells: what the tables print, seed by seed."""
        return tuple(
            Cell(dataset, category, str(protocol), method, seed)
            for dataset, category in self.categories
            for protocol in protocols(self.params, dataset, category)
            for method in self.params.methods
            if protocol.setting in method_registry.get(method).settings
            for seed in self.params.seeds
        )

    @functools.cached_property
    def runs(self) -> tuple[Cell, ...]:
        """All runs, each after the one whose checkpoint it starts from."""
        runs = dict.fromkeys(map(run_of, self.cells))
        return tuple(sorted(runs, key=lambda run: bool(method_registry.get(run.method).base)))

    @functools.cached_property
    def means(self) -> tuple[str, ...]:
        """Ids of all table cells that are means over seeds, without averages."""
        return tuple(dict.fromkeys(str(cell).rpartition("/")[0] for cell in self.cells))

    @functools.cached_property
    def split_ids(self) -> tuple[str, ...]:
        """Ids of all splits: those of the protocols, and of the runs that cells share."""
        ids = [
            f"{dataset}/{category}/{protocol}/s{seed}"
            for dataset, category in self.categories
            for protocol in protocols(self.params, dataset, category)
            for seed in self.params.seeds
        ]
        return tuple(dict.fromkeys([*ids, *(run.split_id for run in self.runs)]))

    @functools.cached_property
    def packs(self) -> tuple[tuple[str, str, str, str], ...]:
        """Data set, category, network and kind of all feature packs that the runs read."""
        return tuple(
            dict.fromkeys(
                (run.dataset, run.category, *pack)
                for run in self.runs
                for pack in self.kinds(method_registry.get(run.method).packs)
            )
        )

    def kinds(self, packs: Iterable[str]) -> list[tuple[str, str]]:
        """Return network (empty for ``pixels``) and kind of the packs that a method reads."""
        networks = [*self.params.features.named]
        return [
            (network, pack)
            for pack in packs
            for network in (
                [""] if not KINDS[pack].backbone else networks[: None if KINDS[pack].pooled else 1]
            )
        ]

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        """The networks of all packs, by their names; none where no method reads features."""
        used = {network for _, _, network, _ in self.packs}
        return {name: n for name, n in self.params.features.named.items() if name in used}

    @functools.cached_property
    def masked(self) -> tuple[tuple[str, str], ...]:
        """Data set and category of all packs of masks that cells are judged by."""
        return tuple(dict.fromkeys((c.dataset, c.category) for c in self.cells if self.masks_of(c)))

    @functools.cached_property
    def published(self) -> tuple[str, ...]:
        """Files of published numbers, sorted."""
        return self.files("data/published", "*.csv")

    def files(self, folder: str, pattern: str = "[!.]*") -> tuple[str, ...]:
        """Return the files of a folder of the project, sorted."""
        paths = sorted((self.root / folder).glob(pattern))
        return tuple(f"{folder}/{path.name}" for path in paths if path.is_file())

    def constraints(self) -> dict[str, str]:
        """Return the regular expression of every wildcard, from what the grid contains."""
        return {
            "dataset": _any(dataset for dataset, _ in self.categories),
            "category": _any(category for _, category in self.categories),
            "protocol": _any(split.split("/")[2] for split in self.split_ids),
            "method": _any(self.params.methods),
            "seed": "[0-9]+",
            "pack": NAME,
            "network": _any(self.networks),
            "weights": _any(Path(network.weights).name for network in self.networks.values()),
            "manifest": _any(self.manifests),
        }

    # --- where it stands ------------------------------------------------------------------

    @property
    def results(self) -> str:
        """Folder of everything that the pipeline makes."""
        return self.params.results

    def source(self, dataset: str) -> str:
        """Return the file that says a data set is complete."""
        return f"data/raw/{dataset}/SOURCE.json"

    def manifest(self, dataset: str, category: str) -> str:
        """Return the path of a manifest."""
        return str(manifest_path(dataset, category))

    def split(self, cell: Cell) -> str:
        """Return the path of a cell's split."""
        return path_of(self.results, "splits", cell.split_id)

    def pack(self, dataset: str, category: str, network: str, pack: str) -> str:
        """Return the path of a feature pack."""
        place = "/".join(filter(None, (dataset, category, network, pack)))
        return f"{self.results}/features/{place}.safetensors"

    def packs_of(self, run: Cell) -> list[str]:
        """Return the feature packs that a run reads, of each kind the first network's first."""
        kinds = self.kinds(method_registry.get(run.method).packs)
        return [self.pack(run.dataset, run.category, *pack) for pack in kinds]

    def masks(self, dataset: str, category: str) -> str:
        """Return the path of the packed defect masks, none of them in it if there are none."""
        return f"{self.results}/features/{dataset}/{category}/masks.safetensors"

    def masks_of(self, cell: Cell) -> list[str]:
        """Return the masks that a cell's anomaly maps are judged by; nothing without maps."""
        has_maps = method_registry.get(cell.method).maps
        return [self.masks(cell.dataset, cell.category)] if has_maps else []

    def artefact(self, kind: str, cell: Cell) -> str:
        """Return the path of a cell's ``metrics``, or of what its run wrote (see `SUFFIXES`)."""
        return path_of(self.results, kind, cell if kind == "metrics" else run_of(cell))

    def base_of(self, run: Cell) -> list[str]:
        """Return the checkpoint that a run's fit starts from; nothing for most methods."""
        base = method_registry.get(run.method).base
        return [self.artefact("checkpoints", replace(run, method=base))] if base else []

    def weights_of(self, run: Cell) -> list[str]:
        """Return the weights that a run's training of a backbone starts from; most have none."""
        trains = method_registry.get(run.method).on_images
        return [self.params.features.first.weights] if trains else []

    # --- what it depends on besides files -------------------------------------------------

    def versions(self) -> str:
        """Return the digest of the versions of all packages that can change a number."""
        lines = (f"{pin.name}{pin.specifier}\n" for pin in pins(self.root / NUMERIC_LOCK))
        return sha256_bytes("".join(sorted(lines)).encode())

    def environment(self) -> str:
        """Return the digest of the `versions` after a check that they are installed.

        Raises:
            ConfigError: other versions are installed.
        """
        check_installed(self.root / NUMERIC_LOCK)
        return self.versions()


def _any(names: Iterable[str]) -> str:
    """Return an expression for any of some names; one that matches nothing without any."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or "(?!)"
