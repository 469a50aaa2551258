"""What a cell depends on, from the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell, manifest_path
from osad.core.errors import ConfigError
from osad.pipeline.workflow import SUFFIXES

ORDER = ("fetch", "weights", "manifest", "split", "pixels", "pack", "masks", "train", "score",
         "score_maps", "share", "share_maps", "metrics", "cells", "table", "figure",
         "report_images", "report_cell", "report_assets", "report_page")  # fmt: skip
"""Rules in the order of the pipeline."""


@dataclass(frozen=True)
class Target:
    """A cell as asked for: one run, or the mean over its seeds.

    Attributes:
        name: the id as given.
        cells: the run, or the runs of all seeds in the ledger.
        mean: whether it is a mean.
    """

    name: str
    cells: tuple[Cell, ...]
    mean: bool


def results_folder(ledger: Ledger) -> str:
    """Return the folder of results that the lines are of.

    Raises:
        ConfigError: the ledger has no cell.
    """
    for path in ledger.entries:
        folder, found, _ = path.partition("/metrics/")
        if found:
            return folder
    raise ConfigError("the ledger has no cell; run snakemake, or `osad audit record` after it")


def cells(ledger: Ledger) -> list[Cell]:
    """Return the cells of a ledger, sorted."""
    start = f"{results_folder(ledger)}/metrics/"
    names = [path.removeprefix(start) for path in ledger.entries if path.startswith(start)]
    return sorted(Cell.parse(name.removesuffix(".json")) for name in names)


def find(ledger: Ledger, name: str) -> Target:
    """Return the runs that an id means.

    Raises:
        ConfigError: the id is not one of a cell, or the ledger has no such cell.
    """
    known = cells(ledger)
    if re.search(r"/s[0-9]+$", name):
        cell = Cell.parse(name)
        wanted = [cell] if cell in known else []
    else:
        Cell.parse(f"{name}/s0")
        wanted = [cell for cell in known if str(cell).rpartition("/")[0] == name]
    if not wanted:
        near = sorted({str(cell) for cell in known if cell.method in name.split("/")})
        example = near[0] if near else str(known[0])
        raise ConfigError(f"cell {name}: is not in the ledger; one that is: {example}")
    return Target(name, tuple(wanted), mean=not re.search(r"/s[0-9]+$", name))


def artefact(ledger: Ledger, kind: str, cell: Cell) -> str:
    """Return the path of a cell's ``checkpoints``, ``scores``, ``maps`` or ``metrics`` file."""
    return f"{results_folder(ledger)}/{kind}/{cell}.{SUFFIXES[kind]}"


def split_path(ledger: Ledger, cell: Cell) -> str:
    """Return the path of the split that a cell uses."""
    return f"{results_folder(ledger)}/splits/{cell.split_id}.csv"


def manifest(cell: Cell) -> str:
    """Return the path of the manifest that a cell's images are in."""
    return str(manifest_path(cell.dataset, cell.category))


def upstream(ledger: Ledger, outputs: Iterable[str]) -> list[Entry]:
    """Return the lines of outputs and of all that they are made of, in the pipeline's order."""
    found: dict[str, Entry] = {}
    waiting = list(outputs)
    while waiting:
        path = waiting.pop()
        entry = ledger.entries.get(path)
        if entry is not None and path not in found:
            found[path] = entry
            waiting.extend(entry.inputs)
    return in_order(found.values())


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sort lines by the order of the pipeline, then by path."""
    place = {rule: number for number, rule in enumerate(ORDER)}
    return sorted(entries, key=lambda entry: (place.get(entry.rule, 99), entry.path.encode()))


def sources(entries: Iterable[Entry], ledger: Ledger) -> dict[str, str]:
    """Return digests of the inputs that no job makes, by path: files of the project itself."""
    return {
        path: digest
        for entry in entries
        for path, digest in sorted(entry.inputs.items())
        if path not in ledger.entries
    }


def modules(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the digests of all modules that lines name, sorted.

    A module with two digests appears with the last; `osad.audit.record` admits only one.
    """
    found: dict[str, str] = {}
    for entry in entries:
        found |= entry.modules()
    return dict(sorted(found.items()))
