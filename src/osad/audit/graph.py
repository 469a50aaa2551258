"""What a cell depends on, from the ledger."""

import graphlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell, manifest_path
from osad.core.errors import ConfigError, DataError
from osad.pipeline.grid import path_of
from osad.pipeline.jobs import jobs
from osad.pipeline.rules import Rules


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


def cells(ledger: Ledger) -> list[Cell]:
    """Return the cells of a ledger, sorted."""
    start = f"{ledger.results}/metrics/"
    names = [path.removeprefix(start) for path in ledger.entries if path.startswith(start)]
    return sorted(Cell.parse(name.removesuffix(".json")) for name in names)


def find(ledger: Ledger, name: str) -> Target:
    """Return the runs of a ledger that an id means; errors as `choose`."""
    return choose(cells(ledger), name, "the ledger")


def choose(known: Sequence[Cell], name: str, where: str) -> Target:
    """Return those of some cells that an id means; ``where`` says whose they are.

    Raises:
        ConfigError: the id is not one of a cell, or there is no such cell.
    """
    mean = not re.search(r"/s[0-9]+$", name)
    Cell.parse(f"{name}/s0" if mean else name)
    runs = [cell for cell in known if name in (str(cell), str(cell).rpartition("/")[0])]
    if not runs:
        near = (str(cell) for cell in known if cell.method in name.split("/"))
        example = min(near, default=str(known[0]))
        raise ConfigError(f"cell {name}: is not in {where}; one that is: {example}")
    return Target(name, tuple(runs), mean)


def run_of(ledger: Ledger, cell: Cell) -> Cell:
    """Return the run that a cell's metrics were made of, as their line says."""
    start = f"{ledger.results}/scores/"
    entry = ledger.entries.get(artefact(ledger, "metrics", cell))
    for path in entry.inputs if entry else ():
        if path.startswith(start):
            return Cell.parse(path.removeprefix(start).removesuffix(".csv"))
    return cell


def artefact(ledger: Ledger, kind: str, cell: Cell) -> str:
    """Return the path of a cell's ``metrics``, or of its run's file of another kind."""
    owner = cell if kind == "metrics" else run_of(ledger, cell)
    return path_of(ledger.results, kind, owner)


def split_path(ledger: Ledger, cell: Cell) -> str:
    """Return the path of the split that a cell uses."""
    return path_of(ledger.results, "splits", cell.split_id)


def manifest(cell: Cell) -> str:
    """Return the path of the manifest that a cell's images are in."""
    return str(manifest_path(cell.dataset, cell.category))


def upstream(ledger: Ledger, cells: Iterable[Cell]) -> list[Entry]:
    """Return the lines of metrics, checkpoints and all behind them, in the pipeline's order.

    No metrics are made from a checkpoint, but it is what the scores of its run were given with.
    """
    chosen: dict[str, Entry] = {}
    kinds = ("metrics", "checkpoints")
    waiting = [artefact(ledger, kind, cell) for cell in cells for kind in kinds]
    while waiting:
        path = waiting.pop()
        entry = ledger.entries.get(path)
        if entry is not None and path not in chosen:
            chosen[path] = entry
            waiting.extend(entry.inputs)
    return in_order(chosen.values())


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sort lines so that each comes after those of its inputs; rule by rule, then by path.

    Raises:
        DataError: a file was made from itself.
    """
    lines = {entry.path: entry for entry in entries}
    graph = {path: [name for name in lines[path].inputs if name in lines] for path in lines}
    sorter = graphlib.TopologicalSorter(graph)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise DataError(
            f"the ledger says that {error.args[1][0]} was made from itself; restore it with `git "
            "checkout`"
        ) from error
    ordered: list[Entry] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda path: (lines[path].rule, path.encode()))
        ordered += [lines[path] for path in ready]
        sorter.done(*ready)
    return ordered


def commands(rules: Rules, ledger: Ledger, entries: Iterable[Entry]) -> dict[str, str]:
    """Return the command that made each output.

    It follows from the table of rules where that still says what the line says; else it is the
    shell command of the line's rule, with its placeholders.
    """
    lines = {entry.path: entry for entry in entries}
    texts = {path: ledger.commands[entry.command] for path, entry in lines.items()}
    for job in jobs(rules):
        for path in job.outputs:
            entry = lines.get(path)
            if entry is None or texts[path] != job.rule.command:
                continue
            if (sorted(entry.inputs), entry.params) == (sorted(job.inputs), job.params):
                texts[path] = job.command
    return texts


def sources(entries: Iterable[Entry], ledger: Ledger) -> dict[str, str]:
    """Return digests of the inputs that no job makes, by path: files of the project itself."""
    return {
        path: digest
        for entry in entries
        for path, digest in sorted(entry.inputs.items())
        if path not in ledger.entries
    }
