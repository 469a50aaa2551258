"""Which numbers changed between two commits, and the changed inputs behind each of them."""

import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osad.audit import changes, git, graph, ledger
from osad.audit.changes import CODE
from osad.audit.ledger import Ledger
from osad.core.cells import Cell, Protocol
from osad.core.errors import CheckError, ConfigError, OsadError, listed
from osad.core.files import read_keyed, sha256_file
from osad.evaluation.tables.request import MEAN
from osad.evaluation.tables.summary import COMPARED
from osad.pipeline.grid import Grid, path_of

WORDS = {"cells": "run", "summary": "mean", "comparison": "comparison"}
"""What a row of a table is; comparisons are read from the columns of the summary."""
OWN = {"n_seeds", "auroc_mean", "auroc_std"}
"""Columns of the summary that come from the runs; others from the published numbers."""
MEAN_FIELD = "auroc_mean"
TOLD = ("auroc", MEAN_FIELD, "rank")
"""The field of a row that is shown, if it is among those that differ."""
SHOWN = 3
"""Rows of a group that are shown one by one."""
Rows = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Revision:
    """What a commit says of its numbers.

    Attributes:
        name: as it was asked for.
        commit: its digest.
        results: folder of results.
        ledger: its ledger.
        tables: rows by cell, by name of the table (see `WORDS`).
        notes: what is not vouched for.
    """

    name: str
    commit: str
    results: str
    ledger: Ledger
    tables: Mapping[str, Rows]
    notes: tuple[str, ...]

    def table(self, kind: str) -> str:
        """Return the path of a table."""
        return f"{self.results}/tables/{kind}.csv"


def read_revision(grid: Grid, name: str) -> Revision:
    """Read the ledger and the tables of a commit from git.

    Raises:
        ConfigError: there is no such commit, or it has no ledger or no tables.
        CheckError: its ledger is not as it was written.
    """
    root, results = grid.root, grid.results
    if not git.is_repository(root):
        raise ConfigError("git: this folder is no repository with a commit; compare in a clone")
    try:
        commit = git.run(root, "rev-parse", "--verify", "--quiet", "--end-of-options",
                         f"{name}^{{commit}}").strip()  # fmt: skip
    except ConfigError as error:
        raise ConfigError(f"{name}: is no commit here; `git log --oneline` lists them") from error
    where = ledger.folder(results)
    paths = [str(where), *(f"{results}/tables/{kind}.csv" for kind in ("cells", "summary"))]
    for path in paths:
        if not git.run(root, "ls-tree", commit, "--", path):
            raise ConfigError(f"{name}: this commit has no {path}; choose one after a whole run")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        git.run(root, "archive", f"--output={folder}/files.tar", commit, "--", *paths)
        try:
            with tarfile.open(folder / "files.tar") as archive:
                archive.extractall(folder, filter="data")
            problems = ledger.check_sums(folder / where)
            if problems:
                raise CheckError(problems[0])
            known = ledger.read(folder / where)
            graph.in_order(known.entries.values())
            tables = {Path(path).stem: read_keyed(folder / path, "cell") for path in paths[1:]}
        except (OsadError, tarfile.TarError) as error:
            told = str(error).replace(f"{folder}/", "").partition("; ")[0]
            raise CheckError(f"{name}: {told}; choose another commit") from error
        notes = tuple(
            f"{name}: {path} is not what the ledger of this commit vouches for"
            for path in paths[1:]
            if path not in known.entries or known.entries[path].sha256 != sha256_file(folder / path)
        )
    return Revision(name, commit, results, known, tables | _apart(tables), notes)


def _apart(tables: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the rows of the summary in two: of a mean itself, and how it compares with others."""
    split: dict[str, Rows] = {"summary": {}, "comparison": {}}
    for cell, row in tables["summary"].items():
        for column, value in row.items():
            kind = "comparison" if column in COMPARED else "summary"
            split[kind].setdefault(cell, {})[column] = value
    return split


def compare(old: Revision, new: Revision) -> dict[str, Any]:
    """Return every row of a table that differs, with its causes, as plain values.

    Returns:
        ``from`` and ``to``, the commits, and ``changes``: of each row ``table``, ``cell``,
        ``fields`` (both values by column; none if only one of the commits has the row) and
        ``causes``, sorted: code last, of which first what the fewest outputs are made with.
    """
    walked, entries = _walk(old, new), new.ledger.entries.values()
    uses = Counter(name for entry in entries for name in new.ledger.closures[entry.code])
    found: list[dict[str, Any]] = []
    of_mean: dict[str, set[str]] = defaultdict(set)
    of_place: dict[str, set[str]] = defaultdict(set)  # Whose methods are compared.

    def order(cause: str) -> tuple[bool, int, str]:
        return cause.startswith(CODE), uses[cause.removeprefix(CODE)], cause

    def add(kind: str, cell: str, behind: Iterable[str]) -> set[str]:
        """Add a row, if it differs; without causes of its own those of its table count."""
        before, after = old.tables[kind].get(cell), new.tables[kind].get(cell)
        told, fields = {*behind}, {}
        if before is None or after is None:
            told = {f"only {(new if before is None else old).name} has such cells"}
        else:
            fields = {n: [v, after[n]] for n, v in before.items() if after.get(n, v) != v}
            if not fields:
                return set()
            if not told or (kind == "summary" and not {*fields} <= OWN):
                told |= _local(old, new, new.table(kind))
        row = {"table": new.table(kind), "cell": cell, "fields": fields}
        causes = sorted(told or {"nothing that the ledgers record"}, key=order)
        found.append(row | {"causes": causes})
        return told

    for cell in _cells(old, new, "cells"):
        causes = add("cells", cell, _of_run(old, new, cell, walked))
        for mean in _means(cell):
            of_mean[mean] |= causes
            of_place[mean.rpartition("/")[0]] |= causes
    for mean in _cells(old, new, "summary"):
        of_place[mean.rpartition("/")[0]] |= add("summary", mean, of_mean[mean])
    for mean in _cells(old, new, "comparison"):
        add("comparison", mean, of_place[mean.rpartition("/")[0]])
    return {"from": old.commit, "to": new.commit, "changes": found}


def _cells(old: Revision, new: Revision, kind: str) -> list[str]:
    """Return the rows of a table in either commit; none if one has no such columns at all."""
    rows = [old.tables[kind], new.tables[kind]]
    return [*rows[0], *(cell for cell in rows[1] if cell not in rows[0])] if all(rows) else []


def _means(cell: str) -> set[str]:
    """Return the rows of the summary that a run may count in: its own mean and averages.

    Example:
        >>> sorted(_means("elpv/all/hard-mono-m10/dra/s0"))[:2]
        ['elpv/all/hard-mean-m10/dra', 'elpv/all/hard-mono-m10/dra']
    """
    run = Cell.parse(cell)
    protocol = Protocol.parse(run.protocol)
    rows = [run, replace(run, category=MEAN)]
    if protocol.known_class:
        rows.append(replace(run, protocol=str(replace(protocol, known_class=MEAN))))
    return {str(row).rpartition("/")[0] for row in rows}


def _walk(old: Revision, new: Revision) -> dict[str, set[str]]:
    """Return, for each output that has other bytes, the changed inputs that they are made from.

    What has the same bytes as before ends the walk: no change behind it has reached a number.
    """
    found: dict[str, set[str]] = {}
    for entry in graph.in_order(new.ledger.entries.values()):
        before = old.ledger.entries.get(entry.path)
        if before is None or before.sha256 == entry.sha256:
            continue
        causes = {*changes.between(old.ledger, new.ledger, entry.path)}
        for path, digest in entry.inputs.items():
            was = before.inputs.get(path, digest)
            if was != digest:
                causes |= found.get(path) or {_digests(path, was, digest)}
        if not causes and entry.inputs:  # Named by the rule: all of its jobs may be concerned.
            causes = {f"rule {entry.rule}: other bytes of the same inputs (another processor?)"}
        found[entry.path] = causes or {_digests(entry.path, before.sha256, entry.sha256)}
    return found


def _of_run(old: Revision, new: Revision, cell: str, walked: Mapping[str, set[str]]) -> set[str]:
    """Return why the metrics of a cell differ; empty if they do not."""
    path = path_of(new.results, "metrics", cell)
    without = [r.name for r in (old, new) if path not in r.ledger.entries]
    return {f"no line of its metrics in {name}" for name in without} or walked.get(path, set())


def _local(old: Revision, new: Revision, table: str) -> set[str]:
    """Return what differs in how a table was made, except for our own numbers."""
    before, after = (r.ledger.entries.get(table) for r in (old, new))
    if before is None or after is None:
        return set()
    return {*changes.between(old.ledger, new.ledger, table)} | {
        _digests(path, before.inputs[path], digest)
        for path, digest in after.inputs.items()
        if path not in new.ledger.entries and before.inputs.get(path, digest) != digest
    }


def _digests(path: str, before: str, now: str) -> str:
    return f"{path}: sha256 {before[:12]}... -> {now[:12]}..."


def render(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result of `compare` in words: rows with the same causes together."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in found["changes"]:
        groups[tuple(row["causes"])].append(row)
    yield f"changed: {_count(found['changes'])}" if groups else "no number differs"
    for causes, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        yield f"{_count(rows)}, by"
        code = [cause.removeprefix(CODE) for cause in causes if cause.startswith(CODE)]
        told = [cause for cause in causes if not cause.startswith(CODE)]
        told += [f"{CODE}{listed(code, between=', ')}"] if code else []
        yield listed([f"  {cause}" for cause in told])
        for row in sorted(rows, key=_importance)[:SHOWN]:
            name = _told(row)
            value = f": {name} {' -> '.join(row['fields'][name])}" if name else ""
            yield f"    {row['cell']}{value}"
        if len(rows) > SHOWN:
            yield f"    and {len(rows) - SHOWN} more (--json)"


def _told(row: Mapping[str, Any]) -> str:
    """Return the field of a row that is shown; empty without any."""
    return next((name for name in TOLD if name in row["fields"]), next(iter(row["fields"]), ""))


def _importance(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Order rows: means before others, then those that changed most."""
    name = _told(row)
    values = row["fields"].get(name, ())
    try:
        before, after = map(float, values)
    except ValueError:  # One of them has none, or they are no numbers.
        return name != MEAN_FIELD, 0.0
    return name != MEAN_FIELD, -abs(after - before)


def _count(rows: Iterable[Mapping[str, Any]]) -> str:
    counts = Counter(WORDS[Path(row["table"]).stem] for row in rows)
    return ", ".join(f"{count} {word}{'s' * (count > 1)}" for word, count in counts.items())
