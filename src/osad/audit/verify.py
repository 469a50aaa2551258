"""Whether everything that a number depends on still is what the ledger says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit import git, graph, ledger, local
from osad.audit.changes import leaves
from osad.audit.graph import Target
from osad.audit.ledger import Digests, Entry, Ledger
from osad.core.cells import Cell
from osad.core.errors import OsadError
from osad.core.files import sha256_file
from osad.data.manifest import read_manifest
from osad.data.source import SOURCE_NAME, read_source
from osad.data.splits import read_split
from osad.evaluation.metrics import auroc, average_precision
from osad.evaluation.scores import read_scores, select
from osad.evaluation.tables.cells import read_metrics
from osad.pipeline.fingerprint import module_file, syntax_digest_of
from osad.pipeline.grid import NUMERIC_LOCK
from osad.pipeline.jobs import jobs, makers
from osad.pipeline.rules import Rules

TABLES = ("cells", "summary")
"""Tables that print a cell or its mean."""


@dataclass
class Findings:
    """What a verification found.

    Attributes:
        differs: one message for each thing that is not as the ledger says, in the pipeline's
            order; each begins with the file's path.
        missing: one message for each file that is not there.
        notes: what differs without a number being able to change.
        unchecked: what could not be checked.
        files: number of files whose digest was compared, images included.
        images: number of images among them.
    """

    differs: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    files: int = 0
    images: int = 0


def verify(rules: Rules, known: Ledger, targets: Sequence[Target] | None) -> Findings:
    """Compare what cells, or (None) everything in the ledger, depend on with the ledger."""
    findings = Findings()
    where = ledger.folder(rules.grid.results)
    findings.differs += ledger.check_sums(where)
    if findings.differs:
        return findings  # What a damaged ledger says of other files proves nothing.
    cells = graph.cells(known) if targets is None else [c for t in targets for c in t.cells]
    if targets is None:  # Metrics without a line, too, must follow from scores that have one.
        cells = list(dict.fromkeys([*cells, *_scored(rules, known)]))
    entries = _entries(known, cells, everything=targets is None)
    _unvouched(rules, known, targets, findings)
    digests = Digests()
    checked: set[str] = set()
    for entry in entries:
        good = _file(entry.path, entry.sha256, digests, findings)
        if entry.rule == "manifest" and good and entry.path not in checked:
            checked.add(entry.path)
            _images(entry, findings)
    for path, digest in graph.sources(entries, known).items():
        _file(path, digest, digests, findings)
    findings.differs += [
        f"{entry.path}: was made from another {path} (sha256 {digest[:12]}..., its own line says "
        f"{known.entries[path].sha256[:12]}...)"
        for entry in entries
        for path, digest in entry.inputs.items()
        if path in known.entries and known.entries[path].sha256 != digest
    ]
    _code(rules, known, entries, findings)
    _commands(rules, entries, findings)
    locks = {entry.env["lock"] for entry in entries if "lock" in entry.env}
    if locks and locks != {rules.grid.versions()}:
        findings.differs.append(f"{NUMERIC_LOCK}: differs from that which made the numbers")
    _params(rules, entries, findings)
    _numbers(known, cells, findings)
    return findings


def _scored(rules: Rules, known: Ledger) -> list[Cell]:
    """Return the cells of the grid that have metrics here, and scores in the ledger."""
    cells = (c for c in rules.grid.cells if graph.artefact(known, "scores", c) in known.entries)
    return [cell for cell in cells if Path(graph.artefact(known, "metrics", cell)).exists()]


def _entries(known: Ledger, cells: Iterable[Cell], *, everything: bool) -> list[Entry]:
    if everything:
        return graph.in_order(known.entries.values())
    folder = f"{known.results}/tables/"
    tables = [entry for path, entry in known.entries.items() if path.startswith(folder)]
    # The tables print the cells, but depend on all others too: only their own bytes count here.
    return [*graph.upstream(known, cells), *graph.in_order(tables)]


def _unvouched(
    rules: Rules, known: Ledger, targets: Sequence[Target] | None, findings: Findings
) -> None:
    """Name what has no line: files of cells, or (None) all files of the grid that are here."""
    if targets is None:
        paths = [path for job in jobs(rules) for path in job.outputs if Path(path).is_file()]
    else:
        names = {target.name for target in targets}
        ids = {cell: str(cell) for cell in rules.grid.cells}
        cells = [cell for cell, name in ids.items() if {name, name.rpartition("/")[0]} & names]
        kinds = ("metrics", "scores", "maps", "checkpoints")
        paths = [graph.artefact(known, kind, cell) for cell in cells for kind in kinds]
        paths += [f"{known.results}/tables/{name}.csv" for name in TABLES]
    findings.unchecked += [
        f"{path}: has no line in the ledger, so it cannot be checked"
        for path in dict.fromkeys(paths)
        if path not in known.entries
    ]
    if not git.is_repository(rules.grid.root):
        findings.unchecked.append(
            "git: this folder is no repository with a commit, so uncommitted changes are not known"
        )


def _file(path: str, stated: str, digests: Digests, findings: Findings, where: str = "") -> bool:
    """Compare a file with the digest in the ledger, or that of a raw file in a list of them.

    Returns:
        whether the file of the ledger agrees, or the raw file is there.
    """
    found = digests[path]
    if found is None:
        remedy = "" if where else " or run snakemake"
        findings.missing.append(f"{path}: is missing; get it with `dvc pull`{remedy}")
        return False
    findings.files += 1
    if found != stated:
        source = "stated" if where else "ledger"
        findings.differs.append(
            f"{path}: differs from {where or 'the ledger'} (sha256 {found[:12]}..., {source} "
            f"{stated[:12]}...)"
        )
    return bool(where) or found == stated


def _images(manifest: Entry, findings: Findings) -> None:
    """Compare every image and mask of a manifest that is itself as it should be."""
    records, digests = read_manifest(manifest.path), Digests()
    for record in records:
        path, stated = record.path, record.sha256
        findings.images += _file(path, stated, digests, findings, manifest.path)
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
                _file(f"{source.root}/{name}", digest, digests, findings, path)


def _code(rules: Rules, known: Ledger, entries: Iterable[Entry], findings: Findings) -> None:
    """Compare what the sources compute with the digests of the code."""
    root = rules.grid.root
    for name, stated in known.modules_of(entries).items():
        path = module_file(name, root / "src")
        if path is None:
            gone = f"src/{name.replace('.', '/')}.py"
            findings.differs.append(f"{gone}: is gone; the ledger names it as code")
            continue
        relative = path.relative_to(root).as_posix()
        findings.files += 1
        if sha256_file(path) == stated.file:
            continue
        differs = f"{relative}: differs from the code that made the numbers"
        try:
            if syntax_digest_of(path, root / "src") != stated.syntax:
                findings.differs.append(differs)
                continue
        except OsadError as error:
            findings.differs += [differs, str(error)]
            continue
        findings.notes.append(f"{relative}: only its comments, texts or layout have changed")


def _commands(rules: Rules, entries: Iterable[Entry], findings: Findings) -> None:
    """Compare the shell commands of the rules with those that made the outputs."""
    commands = {rule.name: ledger.digest_text(rule.command) for rule in rules}
    for name, stated in dict.fromkeys((entry.rule, entry.command) for entry in entries):
        if name not in commands:
            findings.differs.append(f"src/osad/pipeline/rules.py: has no rule {name} any more")
        elif commands[name] != stated:
            findings.differs.append(
                f"src/osad/pipeline/rules.py: the shell command of rule {name} differs from that "
                "which made the numbers"
            )


def _params(rules: Rules, entries: Iterable[Entry], findings: Findings) -> None:
    """Compare the parameters with those of today's ``params.yaml``."""
    now = makers(jobs(rules))
    for entry in entries:
        job = now.get(entry.path)
        if job is None:
            findings.differs.append(
                f"params.yaml: {entry.path} is not in its grid any more; run snakemake"
            )
            continue
        try:
            params = job.params
        except OsadError as error:  # A source that cannot be read gives no parameters.
            if not findings.differs:
                raise
            findings.differs.append(str(error))
            return
        if params != entry.params:
            findings.differs.append(
                f"params.yaml: {entry.path} was made with other parameters"
                f"{_first_difference(params, entry.params)}"
            )


def _first_difference(now: object, stated: object) -> str:
    for name, value, other in leaves(now, stated):
        text = f"{value!r}, the ledger says {other!r}"
        return f": {name} is {text}" if len(text) < 300 else ""
    return ""


def _numbers(known: Ledger, cells: Sequence[Cell], findings: Findings) -> None:
    """Compute the metrics from the scores again and compare them with metrics and tables.

    Files that are missing or damaged have been told by their digests, where they have lines.
    """
    remade = {}
    for cell in cells:
        path = graph.artefact(known, "metrics", cell)
        try:
            metrics = read_metrics(path)
            test = (r for r in read_split(graph.split_path(known, cell)) if r.role == "test")
            images = select(read_scores(Path(graph.artefact(known, "scores", cell))), test)
        except OsadError as error:
            findings.unchecked.append(f"the numbers of {cell} cannot be checked: {error}")
            continue
        labels, scores = [image.label for image in images], [image.score for image in images]
        again = {f.__name__: f(scores, labels) for f in (auroc, average_precision)}
        remade[str(cell)] = local.Remade(again)
        findings.differs += [
            f"{path}: {name} is {metrics.get(name)!r}, the scores give {value!r}"
            for name, value in again.items()
            if metrics.get(name) != value
        ]
    findings.differs += local.wrong_numbers(Path(), known, remade, "the scores give")
    findings.unchecked += local.unprinted(Path(), known, remade)
