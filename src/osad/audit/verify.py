"""Whether everything that a number depends on still is what the ledger says."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit import graph, ledger, rules
from osad.audit.graph import Target
from osad.audit.ledger import RULE_KEY, Entry, Ledger
from osad.audit.state import Digests, as_values, outputs
from osad.core.cells import Cell
from osad.core.errors import OsadError
from osad.core.files import read_csv, read_json, sha256_file
from osad.data.manifest import read_manifest
from osad.data.source import SOURCE_NAME, read_source
from osad.evaluation.metrics import auroc, average_precision
from osad.pipeline.fingerprint import module_file
from osad.pipeline.jobs import jobs
from osad.pipeline.workflow import NUMERIC_LOCK, Workflow


@dataclass
class Findings:
    """What a verification found.

    Attributes:
        differs: one message for each thing that is not as the ledger says, in the pipeline's
            order; each begins with the file's path.
        missing: one message for each file that is not there.
        files: number of files whose digest was compared, images included.
        images: number of images among them.
    """

    differs: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    files: int = 0
    images: int = 0


def verify(workflow: Workflow, known: Ledger, targets: Sequence[Target] | None) -> Findings:
    """Compare what cells depend on with the ledger.

    Args:
        workflow: the pipeline as it is now.
        known: the ledger.
        targets: the cells; None for everything in the ledger.
    """
    findings = Findings()
    where = ledger.folder(workflow.params.results)
    findings.differs += ledger.check_sums(where)
    if findings.differs:
        return findings  # What a damaged ledger says of other files proves nothing.
    cells = graph.cells(known) if targets is None else [c for t in targets for c in t.cells]
    entries = _entries(known, cells, everything=targets is None)
    digests = Digests()
    checked: set[str] = set()
    for entry in entries:
        good = _file(entry.path, entry.sha256, digests, findings)
        if entry.rule == "manifest" and good and entry.path not in checked:
            checked.add(entry.path)
            _images(entry, findings)
    for path, digest in graph.sources(entries, known).items():
        _file(path, digest, digests, findings)
    _links(entries, known, findings)
    _code(workflow, entries, findings)
    _rules(workflow, entries, findings)
    _lock(workflow, entries, findings)
    _params(workflow, entries, findings)
    _numbers(known, cells, findings)
    return findings


def _entries(known: Ledger, cells: Iterable[Cell], *, everything: bool) -> list[Entry]:
    if everything:
        return graph.in_order(known.entries.values())
    ends = [graph.artefact(known, "metrics", cell) for cell in cells]
    folder = f"{graph.results_folder(known)}/tables/"
    tables = [entry for path, entry in known.entries.items() if path.startswith(folder)]
    # The tables print the cells, but depend on all others too: only their own bytes count here.
    return [*graph.upstream(known, ends), *graph.in_order(tables)]


def _file(path: str, stated: str, digests: Digests, findings: Findings) -> bool:
    """Compare a file with its digest; return whether they agree."""
    found = digests.get(path)
    if found is None:
        findings.missing.append(f"{path}: is missing; get it with `dvc pull` or run snakemake")
        return False
    findings.files += 1
    if found != stated:
        findings.differs.append(
            f"{path}: differs from the ledger (sha256 {found[:12]}..., ledger {stated[:12]}...)"
        )
    return found == stated


def _images(manifest: Entry, findings: Findings) -> None:
    """Compare every image and mask of a manifest that is itself as it should be."""
    records = read_manifest(manifest.path)
    for record in records:
        findings.images += _raw(record.path, record.sha256, manifest.path, findings)
    masks = {record.mask for record in records if record.mask}
    for path in manifest.inputs if masks else ():
        if Path(path).name != SOURCE_NAME:
            continue
        try:
            source = read_source(Path(path))
        except OsadError:
            continue  # Missing or damaged: its digest has told so.
        for name, digest in source.files.items():
            if f"{source.root}/{name}" in masks:
                _raw(f"{source.root}/{name}", digest, path, findings)


def _raw(path: str, stated: str, where: str, findings: Findings) -> bool:
    """Compare a raw file with the digest that a list of files has; return whether it is there."""
    if not Path(path).is_file():
        findings.missing.append(f"{path}: is missing; get it with `dvc pull`")
        return False
    findings.files += 1
    found = sha256_file(path)
    if found != stated:
        findings.differs.append(
            f"{path}: differs from {where} (sha256 {found[:12]}..., stated {stated[:12]}...)"
        )
    return True


def _links(entries: Iterable[Entry], known: Ledger, findings: Findings) -> None:
    """Check that each line names its inputs with the digests that their own lines have."""
    for entry in entries:
        for path, digest in entry.inputs.items():
            own = known.entries.get(path)
            if own is not None and own.sha256 != digest:
                findings.differs.append(
                    f"{entry.path}: was made from another {path} (sha256 {digest[:12]}..., its "
                    f"own line says {own.sha256[:12]}...)"
                )


def _code(workflow: Workflow, entries: Iterable[Entry], findings: Findings) -> None:
    """Compare the sources with the digests of the code."""
    for name, stated in graph.modules(entries).items():
        path = module_file(name, workflow.root / "src")
        relative = "src/" + name.replace(".", "/")
        if path is None:
            findings.differs.append(f"{relative}.py: is gone; the ledger names it as code")
            continue
        relative = path.relative_to(workflow.root).as_posix()
        findings.files += 1
        if sha256_file(path) != stated:
            findings.differs.append(f"{relative}: differs from the code that made the numbers")


def _rules(workflow: Workflow, entries: Iterable[Entry], findings: Findings) -> None:
    """Compare the shell commands of the rules with those that made the outputs."""
    try:
        commands = rules.commands(workflow.root, workflow.params.results)
    except OsadError as error:
        findings.differs.append(str(error))
        return
    stated = dict.fromkeys((entry.rule, entry.code[RULE_KEY]) for entry in entries)
    for rule, digest in stated:
        command = commands.get(rule)
        if command is None:
            findings.differs.append(f"{rules.RULES}: has no rule {rule}; the ledger names it")
        elif ledger.digest_text(command.text) != digest:
            findings.differs.append(
                f"{command.path}: the shell command of rule {rule} differs from that which made "
                "the numbers"
            )


def _lock(workflow: Workflow, entries: Iterable[Entry], findings: Findings) -> None:
    stated = {entry.env["lock"] for entry in entries if "lock" in entry.env}
    if stated and stated != {sha256_file(workflow.root / NUMERIC_LOCK)}:
        findings.differs.append(f"{NUMERIC_LOCK}: differs from that which made the numbers")


def _params(workflow: Workflow, entries: Iterable[Entry], findings: Findings) -> None:
    """Compare the parameters with those of today's ``params.yaml``."""
    try:
        now = outputs(jobs(workflow))
    except OsadError as error:
        # A source that cannot be read gives no plan; that it differs has been told then.
        if not findings.differs:
            raise
        findings.differs.append(str(error))
        return
    for entry in entries:
        job = now.get(entry.path)
        if job is None:
            findings.differs.append(
                f"params.yaml: {entry.path} is not in its grid any more; run snakemake"
            )
        elif as_values(job.params) != entry.params:
            findings.differs.append(
                f"params.yaml: {entry.path} was made with other parameters"
                f"{_first_difference(as_values(job.params), entry.params)}"
            )


def _first_difference(now: object, stated: object, name: str = "") -> str:
    if isinstance(now, dict) and isinstance(stated, dict):
        for key in sorted(now.keys() | stated.keys()):
            if now.get(key) != stated.get(key):
                place = f"{name}.{key}" if name else str(key)
                return _first_difference(now.get(key), stated.get(key), place)
    text = f"{now!r}, the ledger says {stated!r}"
    return f": {name} is {text}" if name and len(text) < 300 else ""


def _numbers(known: Ledger, cells: Sequence[Cell], findings: Findings) -> None:
    """Compute the metrics from the scores again and compare them with metrics and tables."""
    folder = Path(graph.results_folder(known)) / "tables"
    try:
        rows = {row["cell"]: row for row in read_csv(folder / "cells.csv", ["cell", "auroc"])}
        means = {row["cell"]: row for row in read_csv(folder / "summary.csv", ["auroc_mean"])}
    except OsadError:
        return  # Missing or damaged: its digest has told so.
    for cell in cells:
        path = graph.artefact(known, "metrics", cell)
        try:
            metrics = read_json(path)
            scores = read_csv(graph.artefact(known, "scores", cell), ["label", "score"])
            labels = [int(row["label"]) for row in scores]
            values = [float(row["score"]) for row in scores]
        except (OsadError, ValueError):
            continue
        again = {"auroc": auroc(values, labels)}
        again["average_precision"] = average_precision(values, labels)
        row = rows.get(str(cell), {})
        for name, value in again.items():
            if metrics.get(name) != value:
                findings.differs.append(f"{path}: {name} is not that of the scores ({value!r})")
            if row.get(name) != ("" if value is None else repr(value)):
                findings.differs.append(
                    f"{folder}/cells.csv: {name} of {cell} is not that of the scores ({value!r})"
                )
    for name in sorted({str(cell).rpartition("/")[0] for cell in cells} & means.keys()):
        runs = [row for cell, row in rows.items() if cell.rpartition("/")[0] == name]
        numbers = [float(row["auroc"]) for row in runs if row["auroc"]]
        expected = repr(statistics.fmean(numbers)) if numbers else ""
        if means[name]["auroc_mean"] != expected:
            findings.differs.append(
                f"{folder}/summary.csv: auroc_mean of {name} is not the mean of its runs "
                f"({expected})"
            )
