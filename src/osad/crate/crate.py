"""A number with everything behind it as a Workflow Run RO-Crate.

The crate follows RO-Crate 1.1 and the profiles Process, Workflow and Provenance Run Crate 0.5. It
holds the files of the number that are on disk and small; large ones and the images are described
by path, digest and size. Two exports of one commit, with the same files on disk, have equal bytes.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from osad.audit import git, graph, ledger
from osad.audit.graph import Target
from osad.audit.ledger import Entry, Ledger
from osad.core.errors import DataError
from osad.core.files import csv_text, filling, read_keyed
from osad.crate.bundle import LIMIT, Bundle, identifier
from osad.crate.runs import Runs
from osad.methods import registry as method_registry
from osad.pipeline.rules import Rules

MAIN = "Snakefile"
CONFIGURATION = "params.yaml"
FURTHER = ("LICENSE", "dvc.yaml", "dvc.lock", "requirements/workflow.lock")
"""Files of the project that say how it is run; copied where they are."""
FOLDERS = ("workflow", "data/published")
"""Folders of small files of the project that are copied whole."""
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
LICENCE = "https://spdx.org/licenses/Apache-2.0"
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
README = """# {name}

{description}

- `ro-crate-metadata.json` describes every file, every job with its inputs, parameters and outputs,
  and how the jobs follow from each other.
- `number.csv` has the line of the tables that prints the number{runs}.
- `provenance.jsonl` has the lines of the ledger: for each output its digest, command, parameters,
  inputs and code.
- The other files are where they are in the project.

Files of {limit} MB or more and the images of the data set are not here. Their paths and SHA-256
are: of features and weights in `ro-crate-metadata.json`, of images in `{manifest}`.
"""


def write_crate(rules: Rules, known: Ledger, target: Target, output: Path) -> None:
    """Write a cell with all its inputs as a Workflow Run RO-Crate, to a new or empty folder.

    Raises:
        CheckError: a file is not what the ledger says.
        ConfigError: the folder is not empty or cannot be made, or there is no commit to take the
            date from.
        DataError: a file that the crate cannot do without is missing.
    """
    with filling(output) as folder:
        _bundle(rules, known, target).write(folder)


def _bundle(rules: Rules, known: Ledger, target: Target) -> Bundle:
    """Put a crate together."""
    root = rules.grid.root
    commit, date = git.stamp(root)
    ends = [graph.artefact(known, "metrics", cell) for cell in target.cells]
    entries = {entry.path: entry for entry in graph.upstream(known, target.cells)}
    bundle = Bundle(root)
    main = bundle.workflow(
        MAIN, version=commit, license={"@id": LICENCE}, conformsTo={"@id": BIOSCHEMAS}
    )
    bundle.describe(datePublished=date, version=commit)
    _introduce(bundle, target, known)
    images = _images(bundle, rules, entries.values())
    inputs = [bundle.file(CONFIGURATION)]
    for path in _project_files(root):
        bundle.file(path)
    runs = Runs(bundle, rules, known, main, entries, images)
    runs.add(ends, inputs, target.name)
    _cite_method(bundle, target, entries.values())
    _add_number(bundle, root, known, target)
    lines = "".join(f"{ledger.line(entry)}\n" for entry in entries.values())
    bundle.text("provenance.jsonl", lines, description="The lines of the ledger, one per output")
    return bundle


def _introduce(bundle: Bundle, target: Target, known: Ledger) -> None:
    """Say what the crate is, of whom, and under which licence."""
    what = f"mean over {len(target.cells)} seeds" if target.mean else "run of one seed"
    name = f"{target.name}: a number of the benchmark osad and its inputs"
    description = (
        f"What the image-level AUROC of {target.name} ({what}) was made of: data, split, features, "
        "checkpoint, scores, parameters, code and environment, each with its SHA-256, and the "
        "jobs between them."
    )
    bundle.describe(name=name, description=description)
    licence = bundle.entity(
        LICENCE,
        "CreativeWork",
        name="Apache License 2.0",
        description="Of the project's code and results; images have the licence of their data set.",
    )
    bundle.link(bundle.root_id, "license", licence)
    author = bundle.entity("#maintainers", "Organization", name="The maintainers of osad")
    bundle.link(bundle.root_id, "author", author)
    for address, (title, version) in PROFILES.items():
        profile = bundle.entity(address, "CreativeWork", name=title, version=version)
        bundle.link(bundle.root_id, "conformsTo", profile)
    text = README.format(
        name=name,
        description=description,
        runs=", and `runs.csv` those of its runs" if target.mean else "",
        limit=LIMIT // 1_000_000,
        manifest=graph.manifest(target.cells[0]),
    )
    readme = bundle.text("README.md", text)
    bundle.link(readme, "about", bundle.root_id)


def _images(bundle: Bundle, rules: Rules, entries: Iterable[Entry]) -> dict[str, str]:
    """Describe the data sets; return their ids by the path of ``SOURCE.json``."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.rule != "fetch":
            continue
        folder = Path(entry.path).parent
        spec = rules.grid.dataset(name := folder.name)
        images = bundle.entity(
            f"{identifier('file', folder.as_posix())}/",
            "Dataset",
            name=spec.title,
            description=f"The images, which are not in this crate. {spec.licence_note}".strip(),
            url={"@id": spec.homepage} if spec.homepage else None,
        )
        licence = bundle.entity(
            identifier("licence", name),
            "CreativeWork",
            name=spec.licence,
            description=spec.licence_note or f"Licence of the images of {spec.title}",
        )
        bundle.link(images, "license", licence)
        _cite(bundle, images, identifier("citation", name), spec.citation)
        found[entry.path] = images
    return found


def _cite(bundle: Bundle, subject: str, name: str, text: str) -> None:
    """Let an entity and the crate cite a work, if there is one."""
    if text:
        work = bundle.entity(name, "CreativeWork", name=text)
        bundle.link(subject, "citation", work)
        bundle.link(bundle.root_id, "citation", work)


def _cite_method(bundle: Bundle, target: Target, entries: Iterable[Entry]) -> None:
    """Let the software that makes a run cite the paper of the method."""
    spec = method_registry.get(target.cells[0].method)
    if any(entry.rule == "run" for entry in entries):
        _cite(bundle, identifier("tool", "run"), identifier("citation", spec.name), spec.paper)


def _project_files(root: Path) -> list[str]:
    """Return the files that say how the project is run, sorted within each folder."""
    files = [path for path in FURTHER if (root / path).is_file()]
    for folder in FOLDERS:
        for path in sorted(path.relative_to(root) for path in (root / folder).rglob("*.*")):
            hidden = any(part.startswith((".", "__")) for part in path.parts)
            files += [] if hidden or not (root / path).is_file() else [path.as_posix()]
    return files


def _add_number(bundle: Bundle, root: Path, known: Ledger, target: Target) -> None:
    """Add the line of the tables that prints the number, and for a mean those of its runs."""
    tables = Path(known.results) / "tables"
    runs = [str(cell) for cell in target.cells]
    parts = [("number.csv", "cells.csv", runs)]
    if target.mean:
        parts = [("number.csv", "summary.csv", [target.name]), ("runs.csv", "cells.csv", runs)]
    for name, table, cells in parts:
        path = (tables / table).as_posix()
        rows = _rows(root, known, path, cells)
        bundle.text(name, rows, description=f"From {path}, with its header")


def _rows(root: Path, known: Ledger, path: str, cells: Sequence[str]) -> str:
    """Return some rows of a table as CSV."""
    rows = read_keyed(ledger.vouched(root, known, path), "cell")
    for cell in cells:
        if cell not in rows:
            raise DataError(f"{path}: has no row {cell}; run snakemake")
    columns = list(rows[cells[0]])
    return csv_text(columns, [rows[cell] for cell in cells])
