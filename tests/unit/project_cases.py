"""The table of rules of grids, and a made-up project with records and a ledger."""

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import osad
from osad.audit import actions
from osad.audit import ledger as files
from osad.audit.ledger import Ledger
from osad.audit.record import recorded_params
from osad.core.cells import Cell, Protocol
from osad.core.files import METADATA_KEY, sha256_bytes, sha256_file, write_csv, write_json
from osad.data import registry as data_registry
from osad.data.manifest import Record, write_manifest
from osad.data.splits import SplitRow, write_split
from osad.evaluation.metrics import auroc, average_precision
from osad.evaluation.scores import COLUMNS
from osad.evaluation.tables.cells import COLUMNS as CELL_COLUMNS
from osad.evaluation.tables.cells import COUNTS, RATES
from osad.pipeline import config, fingerprint
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import Job, jobs, makers
from osad.pipeline.networks import Network
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records

ROOT = Path(__file__).parents[2]
OWN = {"layout": "folder", "raw_path": "images", "defect_classes": ["scratch", "dent"]}
"""Settings of a user's own data set."""
shipped = functools.cache(lambda: config.load(ROOT))


def rules_of(**changes: Any) -> Rules:
    """Return the table of the shipped grid with other parameters."""
    return Rules(Grid(dataclasses.replace(shipped(), **changes), ROOT))


SEVERAL = dataclasses.replace(
    shipped().features,
    networks=(
        Network("tf_efficientnet_lite0", 224),
        Network("tf_efficientnet_lite0", 320),
        Network("tf_efficientnet_lite1", 240),
    ),
)
"""Features of two further networks, one of them the first at another size."""


# --- a project ----------------------------------------------------------------------------

DATE = "2024-02-03T04:05:06+00:00"
"""Of the project's only commit."""
NAME = "tiny/all/general-m10/devnet"
RUN = f"{NAME}/s0"
SHARED, SHARING = (f"tiny/all/{protocol}/patchcore/s0" for protocol in ("normal-m0", "general-m10"))
"""A run, and another cell that is made of it."""
LARGE = 10_000_000
PACK = "results/features/tiny/all/tf_efficientnet_lite0-64/plain.safetensors"
WEIGHTS = "data/weights/efficientnet-lite0-57934424.pth"
LOCK = "requirements/numeric.lock"
MANIFEST = "data/manifests/tiny.csv"
SPLIT = "results/splits/tiny/all/general-m10/s0.csv"
CHECKPOINT = f"results/checkpoints/{RUN}.safetensors"
SCORES, METRICS = f"results/scores/{RUN}.csv", f"results/metrics/{RUN}.json"
CELLS, SUMMARY = "results/tables/cells.csv", "results/tables/summary.csv"
METHOD = "src/osad/methods/devnet.py"
PARAMS = """
results: results
grid:
  {datasets: [tiny], settings: [general, normal], shots: [10], seeds: [0, 1],
   methods: [devnet, patchcore]}
protocol: {removed: 10}
datasets:
  tiny:
    {layout: folder, raw_path: photos, title: Tiny, licence: CC BY 4.0, licence_note: Attribution.,
     citation: "A. Author: Tiny things. 2020."}
features:
  {backbone: tf_efficientnet_lite0, image_size: 64, strides: [16, 32], views: 2, rotation: 0,
   weights_file: null}
methods: {devnet: {epochs: 3}}
figures: []
"""
SOURCES = {
    "Snakefile": "rule all:\n",
    "params.yaml": PARAMS,
    str(config.SCHEMA): (ROOT / config.SCHEMA).read_text(encoding="utf-8"),
    LOCK: f"numpy=={version('numpy')} --hash=sha256:{'0' * 64}\n",
    "requirements/workflow.lock": "rocrate==0.16.0\nsnakemake==9.27.1\n",
    "workflow/rules/run.smk": "rule run:\n",
    "data/published/paper.csv": "method,auroc\nx,0.5\n",
    "dvc.lock": "schema: '2.0'\n",
    "dvc.yaml": "stages: {a: {cmd: b}}\n",
    "LICENSE": "Apache License\n",
    "src/osad/report/assets/style.css": "p {}\n",
    f"src/{data_registry.module('tiny', 'folder').replace('.', '/')}.py": "import osad.core.errors",
    METHOD: "RATE = 1  # of learning\n",
    **{f"src/osad/{name}.py": "" for name in (
        "core/errors", "runtime/environment", "methods/patchcore", "backbones/efficientnet_lite",
    )},
    **{f"src/osad/pipeline/steps/{path.name}": f"STEP = '{path.stem}'\n"
       for path in (ROOT / "src/osad/pipeline/steps").glob("*.py")},
}  # fmt: skip
IMAGES = [
    Record(path, int("dent" in path), path.split("/")[4], path.split("/")[3], "", sha256)
    for kind in ("test/dent", "test/good", "train/good")
    for path in (f"data/raw/tiny/{kind}/{number}.png" for number in (0, 1))
    for sha256 in (sha256_bytes(path.encode()),)
]
ENV = {"python": "3.11.7", "torch": "2.0", "device": "cpu"}
SCORED = {0: (0.5, 0.9, 0.1, 0.6), 1: (0.7, 0.0, 0.1, 0.6)}
"""By seed, of two anomalous and two normal images: 3 and 2 of 4 pairs are in the right order."""


SCHEMAS: dict[bytes, dict[str, Any]] = {}


def _schema(root: Path, read: Callable[[Path], dict[str, Any]] = config.read_schema) -> Any:
    """Read a schema of these bytes once; to read and check it is most of a quick command's time."""
    path = root / config.SCHEMA
    content = path.read_bytes() if path.is_file() else b""
    if content not in SCHEMAS:
        SCHEMAS[content] = read(root)
    return SCHEMAS[content]


class MadeUp:
    """A project of two methods, all files some bytes long except a feature pack."""

    def __init__(self, root: Path, *, first: bool = False) -> None:
        self.root = root
        if not first:
            shutil.copytree(_template(), root)
            return
        for path, text in (SOURCES | {image.path: image.path for image in IMAGES}).items():
            self.put(path, text)
        rules = self.rules
        with contextlib.chdir(root):
            for job in jobs(rules):
                self._make(job, rules.grid)
            actions.record(rules)
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        dates = {f"GIT_{role}_DATE": DATE for role in ("COMMITTER", "AUTHOR")}
        for arguments in (
            ["init", "--quiet"],
            ["add", "--", *SOURCES, "provenance", MANIFEST],
            [*who, "commit", "--quiet", "--message", "made up"],
        ):
            command = ["git", "-C", str(root), *arguments]
            subprocess.run(command, env={"PATH": os.environ["PATH"]} | dates, check=True)

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it the current folder, and its package the one that runs."""
        monkeypatch.setattr(config, "read_schema", _schema)
        monkeypatch.chdir(self.root)
        monkeypatch.setattr(osad, "__file__", str(self.root / "src/osad/__init__.py"))

    def put(self, path: str, text: str) -> None:
        """Write a file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file."""
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        self.put(path, text.replace(old, new, 1))

    def refresh(self) -> None:
        """Forget the sources that this process has read."""
        for function in vars(fingerprint).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()

    @property
    def rules(self) -> Rules:
        """The table of rules as a new process sees it."""
        self.refresh()
        return Rules(Grid(config.load(self.root), self.root))

    def forget(self, path: str) -> None:
        """Take a line out of the ledger, as if it had never been there."""
        self.ledger.entries.pop(path)
        files.write(self.root / "provenance", self.ledger)

    def vouch(self, path: str, text: str) -> None:
        """Give a file another content, and the ledger its digest."""
        self.put(path, text)
        entries, digest = self.ledger.entries, sha256_bytes(text.encode())
        old = entries[path].sha256
        for name, entry in entries.items():
            inputs = {p: digest if d == old else d for p, d in entry.inputs.items()}
            entries[name] = dataclasses.replace(entry, inputs=inputs)
        entries[path] = dataclasses.replace(entries[path], sha256=digest)
        files.write(self.root / "provenance", self.ledger)

    def rewrite(self, **changes: object) -> None:
        """Give the metrics another record of Snakemake."""
        job = makers(jobs(self.rules))[METRICS]
        write_record(METRICS, job, **{"inputs": self.ledger.entries[METRICS].inputs} | changes)

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The ledger as it was recorded; to be changed in memory."""
        return files.read(self.root / "provenance")

    def _make(self, job: Job, grid: Grid) -> None:
        """Write the outputs of a job and the records that it leaves: its receipt, Snakemake's."""
        for path in job.outputs:
            self.put(path, f"{path}\n")
        output, cell = job.outputs[0], job.params.get("cell", "")
        scores = SCORED[Cell.parse(cell).seed] if job.rule.name in ("run", "metrics") else ()
        if output == PACK:
            os.truncate(PACK, LARGE)
        elif output == MANIFEST:
            write_manifest(Path(MANIFEST), IMAGES)
        elif job.rule.name == "split":
            roles = {"test": "test", "train": "train_normal"}
            rows = [(r.path, r.sha256, roles[r.split], r.label, r.class_name) for r in IMAGES]
            write_split(output, [SplitRow(*row) for row in rows])
        elif job.rule.name == "run":
            scored = [
                (image.path, image.sha256, image.label, image.class_name, score)
                for image, score in zip(IMAGES[:4], scores, strict=True)
            ]
            table = [dict(zip(COLUMNS, row, strict=True)) for row in scored]
            write_csv(job.outputs[1], COLUMNS, table)
            header = json.dumps({"__metadata__": {METADATA_KEY: '{"features": []}'}}).encode()
            Path(output).write_bytes(len(header).to_bytes(8, "little") + header)
        elif job.rule.name == "metrics":
            values = dict.fromkeys(RATES) | {"auroc": auroc(scores, [1, 1, 0, 0])}
            values["average_precision"] = average_precision(scores, [1, 1, 0, 0])
            digest = sha256_file(grid.artefact("scores", Cell.parse(cell)))
            counts = dict(zip(COUNTS, (2, 0, 2, 2), strict=True)) | {"scores_sha256": digest}
            write_json(output, values | counts)
        elif output == CELLS:
            paths = {str(cell): Path(grid.artefact("metrics", cell)) for cell in grid.cells}
            made = [
                {"cell": name, "status": "ok", "reason": "", "backbone": "",
                 **vars(Cell.parse(name)), **vars(Protocol.parse(name.split("/")[2])),
                 **json.loads(path.read_text())}
                for name, path in paths.items()
            ]  # fmt: skip
            columns = dict.fromkeys(["cell", *RATES, *COUNTS, *CELL_COLUMNS])
            write_csv(CELLS, [*columns], [{n: row[n] for n in columns} for row in made])
        elif output == SUMMARY:  # The mean of 3/4 and 2/4.
            values = {"auroc_mean": 0.625, "auroc_std": "", "n_seeds": 2, "published_mean": ""}
            write_csv(SUMMARY, ["cell", *values], [{"cell": name, **values} for name in grid.means])
        digests = {path: sha256_file(path) for path in (*job.inputs, *job.outputs)}
        receipt = {"arguments": job.arguments(), "environment": ENV, "machine": {"seconds": 1.5}}
        write_json(job.receipt, receipt | {"outputs": {p: digests[p] for p in job.outputs}})
        for path in (*job.outputs, job.receipt):
            write_record(path, job, inputs={path: digests[path] for path in job.inputs})


def write_record(path: str, job: Job, **further: object) -> None:
    """Write Snakemake's record of an output as its job leaves it, with what else is given."""
    stated: dict[str, Any] = {
        "rule": job.rule.name, "template": job.rule.command, "command": job.command,
        "params": recorded_params(job.params, job.code, job.rule.environment),
    }  # fmt: skip
    snakemake_records.write(path, **stated | further)


@functools.cache
def _template() -> Path:
    """Return a folder with a project, which is gone when this process ends."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return MadeUp(Path(folder), first=True).root


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """A project that is the current folder and that a test may change."""
    project = MadeUp(tmp_path / "made-up")
    project.enter(monkeypatch)
    return project
