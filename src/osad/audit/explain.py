"""Everything that a number was made of, from the table down to the images."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from osad.audit import git, graph, ledger, remote
from osad.audit.graph import Target
from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell
from osad.core.errors import ConfigError, OsadError
from osad.core.files import read_csv, read_keyed, sha256_file
from osad.evaluation.tables.cells import read_metrics
from osad.pipeline.rules import Rules

ONE = ("auroc", "average_precision", "status", "reason")
MEAN = ("auroc_mean", "auroc_std", "n_seeds", "published_mean")
"""What an explanation says of the row of a cell, and of a mean."""
ROLES = ("train_normal", "train_anomaly", "test", "unused")
"""Roles of images; ``unused`` are in the manifest (and in the features) but not in the split."""


def explain(rules: Rules, known: Ledger, target: Target) -> dict[str, Any]:
    """Return all inputs of a run, or of a mean over seeds, as one tree of plain values.

    Returns:
        ``cell``, ``number`` (as in the tables), ``runs`` (one for each seed, see `_run`),
        ``artefacts`` (lines of the ledger in the pipeline's order), ``code``, ``sources``,
        ``environment``, ``git``, ``dvc`` and ``missing`` (what could not be said, and why; also
        which of the files that numbers and images were read from are not those of the ledger).
    """
    missing: list[str] = []
    runs = [_run(known, cell, missing) for cell in target.cells]
    folder = known.results
    tables = {name: f"{folder}/tables/{name}.csv" for name in ("cells", "summary")}
    entries = graph.upstream(known, target.cells)
    commands = graph.commands(rules, known, entries)
    root = rules.grid.root
    missing += [
        f"{path}: input of {entry.path} is neither in the ledger nor there"
        for entry in entries
        for path in entry.inputs
        if path not in known.entries and not Path(path).is_file()
    ]
    printed = tables["summary" if target.mean else "cells"]
    missing += _edited(known, target, tables.values())
    return {
        "cell": target.name,
        "number": _number(target, printed, missing),
        "runs": runs,
        "artefacts": [
            asdict(entry)  # With its command instead of the digest of it.
            | {"command": commands[entry.path], "on_disk": Path(entry.path).is_file()}
            for entry in entries
        ],
        "tables": [  # Without their hundreds of inputs.
            {"path": entry.path, "sha256": entry.sha256, "inputs": len(entry.inputs)}
            for entry in map(known.entries.get, tables.values())
            if entry
        ],
        "images": _images(known, target, missing),
        "code": {name: digests.file for name, digests in known.modules_of(entries).items()},
        "sources": graph.sources(entries, known),
        "environment": _environment(entries),
        "git": _git(root, known, target, missing),
        "dvc": _dvc(root, folder, missing),
        "missing": missing,
    }


def _run(known: Ledger, cell: Cell, missing: list[str]) -> dict[str, Any]:
    """Return the files and numbers of one run."""
    metrics: dict[str, Any] = {}
    try:
        metrics = dict(read_metrics(graph.artefact(known, "metrics", cell)))
    except OsadError as error:
        missing.append(f"{error} (dvc pull)")
    checkpoint = graph.artefact(known, "checkpoints", cell)
    return {
        "cell": str(cell),
        "seed": cell.seed,
        "metrics": metrics,
        "run": str(graph.run_of(known, cell)),
        "params": known.entries[checkpoint].params if checkpoint in known.entries else {},
        "split": graph.split_path(known, cell),
        "checkpoint": checkpoint,
        "scores": graph.artefact(known, "scores", cell),
    }


def _number(target: Target, path: str, missing: list[str]) -> dict[str, Any]:
    """Return the row of the table that prints the cell."""
    try:
        rows = read_keyed(path, "cell", MEAN if target.mean else ONE)
    except OsadError as error:
        missing.append(str(error))
        return {}
    for number, (cell, row) in enumerate(rows.items(), start=2):
        if cell == target.name:
            return {"table": path, "line": number, **row}
    missing.append(f"{path}: has no row {target.name}")
    return {}


def _images(known: Ledger, target: Target, missing: list[str]) -> dict[str, Any]:
    """Return path and digest of every image by role; for a mean, by seed and role."""
    found: dict[str, Any] = {}
    for cell in target.cells:
        try:
            rows = read_csv(graph.manifest(cell), ["path", "sha256"])
        except OsadError as error:
            missing.append(str(error))
            rows = []
        images = {row["path"]: row["sha256"] for row in rows}
        roles: dict[str, dict[str, str]] = {role: {} for role in ROLES}
        path = graph.split_path(known, cell)
        try:
            for row in read_csv(path, ["path", "sha256", "role"]):
                roles.setdefault(row["role"], {})[row["path"]] = row["sha256"]
                images.pop(row["path"], None)
        except OsadError as error:
            missing.append(f"{error} (dvc pull); roles of images are not known")
        roles["unused"] = images
        found[f"s{cell.seed}"] = roles
    return found


def _edited(known: Ledger, target: Target, tables: Iterable[str]) -> Iterator[str]:
    """Say which files, of those that an explanation repeats, are not what their lines say."""
    paths = dict.fromkeys(tables)
    for cell in target.cells:
        metrics = graph.artefact(known, "metrics", cell)
        paths |= dict.fromkeys((graph.manifest(cell), graph.split_path(known, cell), metrics))
    for path in paths:
        entry = known.entries.get(path)
        if entry is None:
            yield f"{path}: has no line in the ledger, so it cannot be checked"
        elif Path(path).is_file() and sha256_file(path) != entry.sha256:
            yield f"{path}: differs from the ledger; run `osad audit verify`"


def _environment(entries: list[Entry]) -> dict[str, Any]:
    """Return each fact of where the files were made: its value, or all values where they differ."""
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, value in entry.env.items():
            found.setdefault(name, {})[value] = None
    values = {name: [*known] for name, known in found.items()}
    return {name: known if len(known) > 1 else known[0] for name, known in values.items()}


def _git(root: Path, known: Ledger, target: Target, missing: list[str]) -> dict[str, Any]:
    if not git.is_repository(root):
        missing.append("git: this folder is no repository with a commit")
        return {}
    where = str(ledger.folder(known.results))
    origins = {}
    for cell in target.cells:
        entry = known.entries[graph.artefact(known, "metrics", cell)]  # By it the cell was found.
        origins[str(cell)] = git.origin(root, entry.sha256, where) or "not committed yet"
    return {"commit": git.head(root), "changes": git.changes(root), "introduced_by": origins}


def _dvc(root: Path, folder: str, missing: list[str]) -> dict[str, str]:
    """Return what ``dvc.lock`` pins, by output."""
    if not (root / "dvc.lock").is_file():
        missing.append("dvc.lock: is missing; run `osad audit save`")
        return {}
    try:
        return {
            out["path"]: f"{out.get('hash', 'md5')}:{out.get(out.get('hash', 'md5'), '')}"
            for stage in remote.stages(root)
            for out in stage.get("outs", [])
            if out["path"].startswith(("data/", f"{folder}/"))
        }
    except ConfigError as error:
        missing.append(str(error))
    except (AttributeError, KeyError, TypeError) as error:
        missing.append(f"dvc.lock: is damaged ({error!r}); restore it with `git checkout dvc.lock`")
    return {}
