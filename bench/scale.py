"""Measure how planning, ledger, tables and page grow with the number of runs.

    python bench/scale.py                    # 1,000 to 30,000 runs; half an hour, 10 GB of disk
    python bench/scale.py --runs 1000 3000   # some of them; what is not named stays as it was

A grid of so many runs is generated: the data sets, categories, protocols and seeds of
``configs/paper.yaml`` with as many methods that learn from anomalies as it takes, further variants
of DPDL where the papers have too few. What its jobs would compute is made up, a few bytes a file;
receipts, Snakemake's records and everything that is measured are real. Numbers go to
``data/scale.json``; ``make reference`` writes them as a table into ``docs/scale.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from osad.audit import git
from osad.audit.record import recorded_params
from osad.core.cells import Cell
from osad.core.config_files import read_yaml
from osad.core.files import read_json, sha256_bytes, sha256_file, write_csv, write_json
from osad.data.manifest import Record, write_manifest
from osad.data.splits import SplitRow, write_split
from osad.evaluation.metrics import auroc, average_precision
from osad.evaluation.scores import COLUMNS
from osad.evaluation.tables.cells import RATES
from osad.methods import registry
from osad.pipeline import config, unchanged
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records
from osad.runtime.states import TICK_SECONDS

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT / "configs/paper.yaml"
NUMBERS = ROOT / "data/scale.json"
PROJECT = [name for name in git.SOURCES if name != "data/manifests"] + ["data/bench"]
SIZES = (1_000, 3_000, 10_000, 30_000)
TEST = (1, 1, 0, 0)
"""Labels of the test images of every split."""
REAL = ("cells", "comparison", "table", "figure", "report_assets", "report_page")
"""Rules whose outputs are not made up."""


def generated(runs: int, datasets: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is laid over ``params.yaml``, for a grid of at least so many runs."""
    content = read_yaml(PAPER) | {"results": "results"}
    grid = Grid(config.load(ROOT, PAPER), ROOT)
    content["grid"]["datasets"] = [*(datasets or grid.params.datasets)]
    chosen = [cell for cell in grid.cells if cell.dataset in content["grid"]["datasets"]]
    count = -(-runs // sum(cell.method == "devnet" for cell in chosen))
    names = [name for name in grid.params.methods if "normal" not in registry.get(name).settings]
    more = {f"dpdl.v{number}": {"epochs": 6 + number} for number in range(count - len(names))}
    content["grid"]["methods"] = [*names, *more][:count]
    methods = {name.partition(".")[0] for name in content["grid"]["methods"]}
    own = {name: values for name, values in content["methods"].items() if name in methods}
    return content | {"variants": more, "methods": own}


# --- what jobs would have made --------------------------------------------------------------


class MadeUp:
    """Outputs, receipts and Snakemake's records of a grid in the current folder."""

    def __init__(self, grid: Grid) -> None:
        """Begin with a grid of which nothing is there."""
        self.grid = grid
        self.digests: dict[str, str] = {}
        self.rows: dict[str, list[SplitRow]] = {}

    def make(self, job: Job) -> None:
        """Make up what a job leaves, outputs included."""
        for path in job.outputs:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._write(path, job)
        self.vouch(job)

    def vouch(self, job: Job) -> None:
        """Leave the receipt and the records of a job whose outputs are there."""
        for path in (*job.inputs, *job.outputs):
            if path not in self.digests:
                self.digests[path] = sha256_file(path)
        inputs = {path: self.digests[path] for path in job.inputs}
        params = recorded_params(job.params, job.code, job.rule.environment)
        receipt = {
            "step": job.rule.step,
            "arguments": job.arguments(),
            "code": {},
            "outputs": {path: self.digests[path] for path in job.outputs},
            "environment": {"python": "3.11.7", "torch": "2.0", "device": "cpu"},
            "machine": {"seconds": 1.5},
        }
        write_json(job.receipt, receipt)
        for path in (*job.outputs, job.receipt):
            snakemake_records.write(
                path, rule=job.rule.name, template=job.rule.command, command=job.command,
                inputs=inputs, params=params,
            )  # fmt: skip

    def _write(self, path: str, job: Job) -> None:
        facets, rule = job.wildcards, job.rule.name
        if rule == "manifest":
            write_manifest(path, self._images(facets["manifest"]))
        elif rule == "split":
            place = f"{facets['dataset']}/{facets['category']}"
            self.rows[path] = self._split(
                place if facets["category"] != "all" else facets["dataset"]
            )
            write_split(path, self.rows[path])
        elif path.startswith(f"{self.grid.results}/scores/"):
            table = self._scores(job.params["cell"], job.inputs[0])
            write_csv(path, COLUMNS, table)
        elif rule == "metrics":
            scores, labels = self._numbers(job.params["cell"]), [*TEST]
            values = dict.fromkeys(RATES) | {
                "auroc": auroc(scores, labels),
                "average_precision": average_precision(scores, labels),
                "n_train_normal": 2, "n_train_anomaly": 1, "n_test_normal": 2, "n_test_anomaly": 2,
            }  # fmt: skip
            own = self.grid.artefact("scores", Cell.parse(job.params["cell"]))
            write_json(path, values | {"scores_sha256": self.digests[own]})
        else:
            Path(path).write_text(f"{path}\n", encoding="utf-8")

    @staticmethod
    def _numbers(cell: str) -> list[float]:
        draw = random.Random(cell)
        return [draw.random() for _ in TEST]

    def _scores(self, cell: str, split: str) -> list[dict[str, Any]]:
        test = [row for row in self.rows[split] if row.role == "test"]
        return [
            dict(
                zip(COLUMNS, (row.path, row.sha256, row.label, row.class_name, score), strict=True)
            )
            for row, score in zip(test, self._numbers(cell), strict=True)
        ]

    @staticmethod
    def _images(name: str) -> list[Record]:
        """Return the images of a manifest after writing them: one anomaly and four normal more."""
        dataset, _, category = name.partition("/")
        folder = f"data/raw/{dataset}/{category or 'all'}"
        kinds = (("train/good", 2), ("test/good", 2), ("test/dent", 3))
        found = []
        for kind, count in kinds:
            split, _, what = kind.partition("/")
            for number in range(count):
                path = f"{folder}/{kind}/{number}.png"
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text(path, encoding="utf-8")
                digest = sha256_bytes(path.encode())
                found.append(Record(path, int(what != "good"), what, split, sha256=digest))
        return sorted(found, key=lambda record: record.path.encode())

    def _split(self, name: str) -> list[SplitRow]:
        rows = []
        for image in self._images(name):
            taught = image.label and image.path.endswith("/0.png")
            role = "train_normal" if image.split == "train" else "test"
            role = "train_anomaly" if taught else role
            rows.append(SplitRow(image.path, image.sha256, role, image.label, image.class_name))
        return rows


# --- measuring ------------------------------------------------------------------------------


LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
os.write(int(sys.argv[1]), b"%f %d" % (usage.ru_utime + usage.ru_stime, usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts a command from a small process: its peak memory counts from that of who started it."""


def measured(command: Sequence[str], folder: Path, says: str = "") -> dict[str, float]:
    """Run a command in a folder; return its processor and wall seconds and its peak memory, MB.

    It must succeed and say something.
    """
    own = {**os.environ, "PYTHONPATH": str(folder / "src")}
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        reader, writer = os.pipe()
        with os.fdopen(reader, encoding="ascii") as numbers:
            launched = [sys.executable, "-c", LAUNCH, str(writer), *command]
            code = subprocess.run(
                launched, cwd=folder, env=own, stdout=said, stderr=said, pass_fds=[writer]
            ).returncode
            os.close(writer)
            seconds, kilobytes = numbers.read().split()
        wall = time.perf_counter() - start
        said.seek(0)
        text = said.read().decode(errors="replace")
        if code or says not in text:
            sys.exit(f"{' '.join(command)[:500]}\n{text[-3000:]}")
    return {
        "cpu_s": round(float(seconds), 1),
        "wall_s": round(wall, 1),
        "peak_mb": round(int(kilobytes) / 1024),
    }


def measure(runs: int, folder: Path) -> dict[str, Any]:
    """Measure everything on a grid of so many runs in an empty folder."""
    for name in git.run(ROOT, "ls-files", "-z", "--", *PROJECT).split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    file = folder / "scale.yaml"
    file.write_text(json.dumps(generated(runs)), encoding="utf-8")
    grid = Grid(config.load(folder, file), folder)
    rules = Rules(grid)
    python, given = sys.executable, ["--configfile", str(file)]
    plan = [python, "-m", "snakemake", "--dry-run", "--cores", "1"]
    osad = [python, "-m", "osad.cli"]
    found: dict[str, Any] = {"plan": measured([*plan, *given], folder, "This was a dry-run")}
    print(f"  plan {found['plan']}", flush=True)
    with contextlib.chdir(folder):
        made, late = MadeUp(grid), []
        grid_jobs = jobs(rules)
        for job in grid_jobs:
            if job.rule.name in REAL:
                late.append(job)
            else:
                made.make(job)
        steps: dict[str, list[dict[str, float]]] = {"tables": [], "page": []}
        for job in late:
            command = [python, "-m", "osad.runtime.job", *job.arguments()]
            kind = "page" if job.rule.name.startswith("report") else "tables"
            steps[kind].append(measured(command, folder))
            made.vouch(job)
    for kind, parts in steps.items():
        found[kind] = {
            key: round((max if key == "peak_mb" else sum)(part[key] for part in parts), 1)
            for key in parts[0]
        }
        print(f"  {kind} {found[kind]}", flush=True)
    time.sleep(TICK_SECONDS)  # Files just copied count as changed.
    run = [python, "-m", "snakemake", "--cores", "1"]
    for name, gone, command, says in (
        ("ledger", "", [*osad, "audit", "record"], "outputs recorded"),
        ("one job", "results/report/index.html", run, "(100%) done"),
        ("no-op", "", plan, "no file has changed"),
        ("comparison", unchanged.PLACE, plan, "Nothing to be done"),
        ("verify", "", [*osad, "audit", "verify", "--all"], "verified everything"),
        ("status", "", [*osad, "status"], "everything is there"),
        ("progress", "", [*osad, "progress"], "complete"),
    ):
        if gone:
            (folder / gone).unlink()
        found[name] = measured([*command, *given], folder, says)
        print(f"  {name} {found[name]}", flush=True)
    shards = [path.stat().st_size for path in (folder / "provenance").glob("*.jsonl")]
    return found | {
        "runs": len(grid.runs),
        "jobs": len(grid_jobs),
        "files": sum(len(job.outputs) for job in grid_jobs),
        "shards": len(shards),
        "largest_shard_mb": round(max(shards) / 1e6, 1),
        "ledger_mb": round(sum(shards) / 1e6, 1),
    }


def main() -> None:
    """Measure the sizes asked for and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="*", default=SIZES, help="about how many")
    parser.add_argument("--json", type=Path, default=NUMBERS, help="where the numbers go")
    options = parser.parse_args()
    numbers = read_json(options.json) if options.json.is_file() else {}
    for runs in options.runs:
        print(f"{runs} runs", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            numbers[str(runs)] = measure(runs, Path(folder))
        write_json(options.json, numbers)


if __name__ == "__main__":
    main()
