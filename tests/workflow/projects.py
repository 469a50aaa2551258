"""Temporary copies of the project, and what Snakemake says when it runs in them."""

from __future__ import annotations

import contextlib
import copy
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
NEEDED = (
    "Snakefile", "params.yaml", "workflow", "profiles", "src", "configs", "requirements",
    "data/bench",
    "data/published", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore",
)  # fmt: skip
"""What of the project is copied; nothing that a run makes."""

USER, HOST = "nobody_in_particular", "host-of-nobody"
"""The names that runs are told; they must not appear in any output."""

IMAGES = {"train/good": 24, "test/good": 8, "test/dent": 13, "test/scratch": 14}
METHODS = [
    "mean_intensity", "mahalanobis", "patchcore", "mahalanobis_lda", "devnet", "dra", "ahl", "dpdl",
    "true_labels", "random", "constant",
]  # fmt: skip
"""One of each kind; tests of methods themselves need no workflow."""
PLAIN_METHODS = ["mean_intensity", "patchcore", "devnet", "dra", "ahl", "dpdl"]
"""One for each kind of code; a plain process costs seconds."""
WITHOUT_NORMAL = {"mahalanobis_lda", "devnet", "dra", "ahl", "dpdl"}
"""Methods that learn from anomalies, so that the setting without any is not theirs."""
NORMAL_ONLY = {
    "mean_intensity", "mahalanobis", "patchcore", "wt_flow", "flow_mismatching", "random",
    "constant",
}  # fmt: skip
"""Methods that learn from normals alone, or not at all: the run of normal-m0 serves all."""
WITH_MAPS = {"patchcore", "devnet", "dra", "ahl", "dpdl"}
"""Methods that give anomaly maps."""
PROTOCOLS = [
    "general-m10", "general-m1", "hard-dent-m10", "hard-dent-m1", "hard-scratch-m10",
    "hard-scratch-m1", "normal-m0",
]  # fmt: skip
SEEDS = [0, 1]
PARAMS: dict[str, Any] = {
    "results": "results",
    "grid": {
        "datasets": ["tiny"],
        "settings": ["general", "hard", "normal"],
        "shots": [10, 1],
        "seeds": SEEDS,
        "methods": METHODS,
    },
    "protocol": {"removed": 10},
    "datasets": {
        "tiny": {"layout": "folder", "raw_path": "photos", "defect_classes": ["dent", "scratch"]}
    },
    "features": {
        "backbone": "tf_efficientnet_lite0",
        "image_size": 64,
        "strides": [16, 32],
        "views": 2,
        "rotation": 30,
        "weights_file": None,
    },
    "methods": {
        "patchcore": {"candidates": 200, "coreset": 20},
        "devnet": {"epochs": 1, "iterations": 3, "batch": 8},
        "dra": {"epochs": 1, "iterations": 3, "batch": 8},
        "ahl": {"epochs": 1, "inner_steps": 1, "query_steps": 1, "batch": 9},
        "dpdl": {"epochs": 1, "iterations": 3, "batch": 9, "codebook_samples": 50, "prototypes": 4},
    },
    "figures": [
        {
            "name": "methods",
            "title": "Methods",
            "kind": "bar",
            "methods": "all",
            "protocols": "general",
        },
    ],
}
"""Every method, protocol and step, as little as possible of each."""

SMALL: dict[str, Any] = {"settings": ["general"], "shots": [10], "seeds": [0]}
"""A grid of one split."""


def params(**grid: Any) -> dict[str, Any]:
    """Return the parameters of the tests with some entries of the grid replaced."""
    changed = copy.deepcopy(PARAMS)
    changed["grid"].update(grid)
    return changed


def cells(
    *, methods: list[str] = METHODS, protocols: list[str] = PROTOCOLS, seeds: list[int] = SEEDS
) -> set[str]:
    """Return the ids of all cells of a grid."""
    return {
        f"tiny/all/{protocol}/{method}/s{seed}"
        for protocol in protocols
        for method in methods
        for seed in seeds
        if protocol != "normal-m0" or method.split(".")[0] not in WITHOUT_NORMAL
    }


def run_of(cell: str) -> str:
    """Return the run that a cell is made of: the one of normal-m0 for some methods."""
    dataset, category, protocol, method, seed = cell.split("/")
    shared = method.split(".")[0] in NORMAL_ONLY
    return "/".join((dataset, category, "normal-m0" if shared else protocol, method, seed))


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit status.
        output: what it wrote to both streams.
        server_seen: whether its fork server was alive at some time.
        left: command lines of processes of the project that outlived it.
    """

    code: int
    output: str
    server_seen: bool = False
    left: tuple[str, ...] = ()

    def check(self) -> Outcome:
        """Check that the command succeeded."""
        assert self.code == 0, self.output[-5000:]
        return self

    def refused(self, *fragments: str) -> None:
        """Check that the command failed with a message, not with a traceback."""
        assert self.code != 0, self.output[-3000:]
        for fragment in fragments:
            assert fragment in self.output, self.output[-5000:]
        assert "Traceback" not in self.output, self.output[-5000:]


@dataclass(frozen=True)
class Project:
    """A copy of the project.

    Attributes:
        root: its folder.
    """

    root: Path

    def environment(self) -> dict[str, str]:
        """Return an environment in which this copy of the package is the one imported."""
        dropped = ("OSAD_", "SNAKEMAKE_", "DVC_", "GIT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | {
            "PATH": search,
            "PYTHONPATH": str(self.root / "src"),
            "USER": USER,
            "LOGNAME": USER,
            "HOSTNAME": HOST,
            "DVC_NO_ANALYTICS": "1",
        }

    def run(self, *command: str, **environment: str) -> Outcome:
        """Run a command in the project."""
        seen = False
        with tempfile.TemporaryFile() as stream:
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
            try:
                deadline = time.monotonic() + 900
                while process.poll() is None:
                    assert time.monotonic() < deadline, f"{command} does not end"
                    seen = seen or any("osad.runtime.server" in line for line in self.processes())
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.2)
            finally:
                process.kill()
                process.wait()
            stream.seek(0)
            output = stream.read().decode(errors="replace")
        return Outcome(process.returncode, output, seen, tuple(self.processes()))

    def snakemake(self, *arguments: str, cores: int = 4, server: bool = True) -> Outcome:
        """Run Snakemake; arguments are targets, then options."""
        command = ["snakemake", *arguments, "--cores", str(cores)]
        return self.run(*command, OSAD_FORK_SERVER=str(int(server)))

    def dry_run(self, *arguments: str) -> tuple[dict[str, int], set[str]]:
        """Return what Snakemake would do: the number of jobs by rule, and the jobs' messages.

        The job ``all`` is left out of both after checking that it is among the jobs.
        """
        command = ["snakemake", *arguments, "--dry-run", "--quiet", "reason", "host"]
        output = self.run(*command).check().output
        if "Nothing to be done" in output:
            return {}, set()
        table = output.split("Job stats:\n", 1)[1].split("\n\n", 1)[0]
        rows = [line.split() for line in table.splitlines()[2:]]
        rules = {name: int(count) for name, count in rows}
        assert rules.pop("total") == sum(rules.values())
        assert rules.pop("all") == 1
        found = re.findall(r"^Job [1-9][0-9]*: (.+)$", output, re.MULTILINE)
        assert len(found) == len(set(found)) == sum(rules.values()), output[-5000:]
        return rules, set(found)

    def jobs_done(self, *arguments: str) -> set[str]:
        """Run Snakemake and return the messages of the jobs that it ran, without ``all``."""
        output = self.snakemake(*arguments).check().output
        return set(re.findall(r"^Job [1-9][0-9]*: (.+)$", output, re.MULTILINE))

    @contextlib.contextmanager
    def without(self, *paths: str) -> Iterator[None]:
        """Take files away and put them back as they were, links and times included."""
        aside = self.root.with_name(f"{self.root.name}-aside")
        aside.mkdir()
        moved = {self.root / path: aside / str(number) for number, path in enumerate(paths)}
        try:
            for path, place in moved.items():
                path.rename(place)
            yield
        finally:
            for path, place in moved.items():
                if os.path.lexists(place):
                    place.rename(path)
            aside.rmdir()

    def commit(self, message: str) -> None:
        """Commit everything to git, as somebody whom no configuration has to name."""
        self.run("git", "add", "--all").check()
        identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid")
        self.run("git", *identity, "commit", "--quiet", "--message", message).check()

    def write_params(self, content: dict[str, Any]) -> None:
        """Replace ``params.yaml``."""
        (self.root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def rows(self, path: str) -> list[dict[str, str]]:
        """Read a CSV file."""
        with (self.root / path).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def cell_rows(self) -> dict[str, dict[str, str]]:
        """Read ``cells.csv`` by cell."""
        return {row["cell"]: row for row in self.rows("results/tables/cells.csv")}

    def processes(self) -> Iterator[str]:
        """Yield the command lines of processes that run in the project's folder (on Linux)."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cwd").readlink() == self.root:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    if command:  # Empty when it has ended and waits to be collected.
                        yield command.decode(errors="replace")

    def outputs(self) -> dict[str, str]:
        """Return the SHA-256 of everything that a run makes, by path; without logs."""
        files = [
            path
            for folder in ("results", "provenance", "data/manifests", "data/raw", "data/weights")
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file() and path.relative_to(self.root).parts[1] not in ("logs", "failures")
        ]
        return {
            path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    def copy(self, root: Path) -> Project:
        """Copy everything, with times, to a new folder."""
        shutil.copytree(self.root, root, symlinks=True)
        return Project(root)


def new_project(root: Path, *, photos: Path | None = None) -> Project:
    """Copy the project's sources to a new folder, and a user's images into it."""
    for name in NEEDED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-*"))
        elif source.exists():
            shutil.copy2(source, target)
    if photos is not None:
        shutil.copytree(photos, root / "photos")
    return Project(root)
