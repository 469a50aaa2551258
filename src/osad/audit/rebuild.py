"""Making a cell again from the raw data, elsewhere, and comparing every artefact on the way."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit import git, graph, local
from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell
from osad.core.errors import CheckError, OsadError
from osad.core.files import read_json, sha256_file
from osad.pipeline.rule import FAILURES, RECEIPTS

TOLERANCE = 0.01
"""Largest difference of AUROC between kinds of devices, on which bytes may differ."""
NOT_COPIED = ("results", "provenance", "data/manifests")
"""What the commit holds of earlier runs: a rebuild makes it itself."""


@dataclass
class Comparison:
    """What a rebuild gave.

    Attributes:
        equal: paths with the digest of the ledger, in the pipeline's order.
        differs: one message for each artefact that differs, in the rebuild or here, the first one
            first.
        notes: what else a reader should know.
        unchecked: what is not here, so that it was compared with nothing.
    """

    equal: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def rebuild(
    root: Path,
    known: Ledger,
    cells: Sequence[Cell],
    *,
    commit: str = "HEAD",
    configfiles: Sequence[Path] = (),
) -> Comparison:
    """Make cells again in a clean checkout; compare their artefacts with the ledger and with here.

    The checkout has the files of a commit; of ``HEAD`` also the uncommitted changes of sources and
    parameters, which are reported. Raw data and weights that are here are linked, else they are
    fetched; everything else is made again.

    Raises:
        CheckError: the rebuild fails.
        ConfigError: this is no git repository, or there is no such commit.
    """
    comparison = Comparison()
    ends = [graph.artefact(known, "metrics", cell) for cell in cells]
    entries = graph.upstream(known, cells)
    parent = root / ".osad"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="rebuild-") as name:
        copy = Path(name)
        _check_out(root, copy, commit)
        if commit == "HEAD":
            comparison.notes += _overlay(root, copy)
        _link_raw(root, copy, entries)
        _run(copy, ends, configfiles)
        for entry in entries:
            rebuilt = sha256_file(copy / entry.path) if (copy / entry.path).is_file() else ""
            if rebuilt == entry.sha256:
                comparison.equal.append(entry.path)
            else:
                comparison.differs.append(
                    f"{entry.path}: differs from the ledger (rebuilt {rebuilt[:12]}..., ledger "
                    f"{entry.sha256[:12]}...)"
                    if rebuilt
                    else f"{entry.path}: was not made by the rebuild"
                )
        if comparison.differs:
            _judge(entries, copy, root, ends, comparison)
        absent = [entry.path for entry in entries if not (root / entry.path).is_file()]
        # What was edited here is wrong on every kind of device.
        comparison.unchecked += [
            *(f"{path}: is not here, so it cannot be checked" for path in absent),
            *local.unprinted(root, known, map(str, cells)),
        ]
        comparison.differs = [
            *local.edited(root, copy, known, entries),
            *comparison.differs,
            *local.misprinted(root, copy, known, cells, TOLERANCE),
        ]
    return comparison


def _check_out(root: Path, copy: Path, commit: str) -> None:
    """Put the files of a commit into an empty folder, without those of earlier runs."""
    resolved = git.run(root, "rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    archive = copy / "checkout.tar"
    git.run(root, "archive", "--format=tar", f"--output={archive}", resolved)
    shutil.unpack_archive(archive, copy, filter="data")
    archive.unlink()
    for path in NOT_COPIED:
        shutil.rmtree(copy / path, ignore_errors=True)


def _overlay(root: Path, copy: Path) -> list[str]:
    """Copy uncommitted changes; return a note for each."""
    notes = []
    for path in git.changes(root):
        if path.startswith(NOT_COPIED):
            continue
        target = copy / path
        target.unlink(missing_ok=True)
        if (root / path).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, target)
        notes.append(f"{path}: has uncommitted changes; the rebuild uses them")
    return notes


def _link_raw(root: Path, copy: Path, entries: Sequence[Entry]) -> None:
    """Link raw data and weights that are here; steps check their digests when they read them."""
    for entry in entries:
        source = root / entry.path
        if entry.rule == "fetch" and source.is_file():
            shutil.copytree(source.parent, copy / Path(entry.path).parent, copy_function=_link)
        elif entry.rule == "weights" and source.is_file():
            (copy / entry.path).parent.mkdir(parents=True, exist_ok=True)
            _link(str(source), str(copy / entry.path))


def _link(source: str, target: str) -> None:
    """Link a file (links of links resolved), or copy it to another file system."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def _run(copy: Path, targets: Sequence[str], configfiles: Sequence[Path]) -> None:
    """Run Snakemake for the targets with the code of the checkout."""
    command = [str(Path(sys.executable).parent / "snakemake"), *targets]
    command += ["--cores", str(os.cpu_count() or 1), "--resources", "gpu=1"]
    command += ["--configfile", *map(str, configfiles)] if configfiles else []
    dropped = ("OSAD_", "SNAKEMAKE_", "GIT_")
    environment = {k: value for k, value in os.environ.items() if not k.startswith(dropped)}
    environment["PYTHONPATH"] = str(copy / "src")
    search = os.environ.get("PATH", os.defpath)
    environment["PATH"] = os.pathsep.join([str(Path(command[0]).parent), search])
    result = subprocess.run(
        command, cwd=copy, env=environment, stdout=sys.stderr, stderr=sys.stderr, check=False
    )
    if result.returncode:
        why = [read_json(path)["reason"] for path in sorted((copy / FAILURES).rglob("*.json"))]
        raise CheckError("; ".join([f"{targets[0]}: cannot be made again", *why[:1]]))


def _judge(
    entries: Sequence[Entry], copy: Path, root: Path, ends: Sequence[str], comparison: Comparison
) -> None:
    """On another kind of device, accept equal numbers instead of equal bytes; say what was done."""
    recorded = {entry.env["device"] for entry in entries if "device" in entry.env}
    receipts = (read_json(path) for path in (copy / RECEIPTS).rglob("*.json"))
    devices = {receipt["environment"]["device"] for receipt in receipts}
    gaps = {end: _gap(root / end, copy / end) for end in ends}
    for end, gap in gaps.items():
        if gap is not None:
            comparison.notes.append(f"{end}: AUROC differs by {gap:.2g} from the recorded one")
    if devices <= recorded:
        comparison.notes.append(
            "the kind of device is the same; another model of processor can change the last bits"
        )
        return
    if all(gap is not None and gap <= TOLERANCE for gap in gaps.values()):
        comparison.notes.append(
            f"made on {', '.join(sorted(devices))} instead of {', '.join(sorted(recorded))}: "
            f"bytes differ, AUROC agrees within {TOLERANCE}"
        )
        comparison.notes += comparison.differs
        comparison.differs = []


def _gap(here: Path, there: Path) -> float | None:
    """Return the difference of AUROC between two metrics files, if both can be read."""
    try:
        values = [read_json(path)["auroc"] for path in (here, there)]
        return abs(float(values[0]) - float(values[1]))
    except (OsadError, KeyError, TypeError):
        return None
