"""A small grid to inject faults into, and the verdict on what became of it.

After each fault the same command must give the bytes of an undisturbed run or refuse clearly:
non-zero, without a traceback, with a message that names the fault.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from photos import draw
from projects import SMALL, Outcome, Project, new_project, params

PATIENCE = 180.0
"""Seconds after which a command that was disturbed is taken to hang."""


class Skipped(Exception):
    """Why a fault cannot be injected here."""


@dataclass
class Row:
    """What became of the injections of a fault.

    Attributes:
        fault: what was done.
        times: how often.
        wrong: files that were lost, had other bytes or were not named.
        unclear: endings that neither succeeded nor said clearly why not.
        seconds: of all.
        notes: what was wrong or unclear, or why nothing was done.
    """

    fault: str
    times: int = 0
    wrong: int = 0
    unclear: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def expect(self, outcome: Outcome, reason: str = "") -> bool:
        """Count an ending that is unclear; return whether the command succeeded."""
        if outcome.code == 0:
            return True
        if not reason or "Traceback" in outcome.output or not re.search(reason, outcome.output):
            self.unclear += 1
            lines = [line for line in outcome.output.splitlines() if line.strip()]
            telling = [line for line in lines if re.search(r"Error|Traceback|osad", line)]
            self.notes.append(f"code {outcome.code}: " + " | ".join((telling or lines)[-6:])[:900])
        return False

    def compare(self, project: Project, right: dict[str, str], *, whole: bool = True) -> None:
        """Count the files that are not those of an undisturbed run; if not whole, some may lack."""
        found = {
            path: digest for path, digest in project.outputs().items() if whole or path in right
        }
        paths = right.keys() | found.keys() if whole else found.keys()
        wrong = sorted(path for path in paths if found.get(path) != right.get(path))
        self.wrong += len(wrong)
        self.notes += [f"wrong: {path}" for path in wrong[:5]]


class Running:
    """A command that leads a group of processes of its own."""

    def __init__(self, project: Project, *command: str) -> None:
        self.project = project
        self.stream: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `kill` closes it.
        self.process = subprocess.Popen(
            command, cwd=project.root, env=project.environment(), stdin=subprocess.DEVNULL,
            stdout=self.stream, stderr=self.stream, start_new_session=True,
        )  # fmt: skip

    def lives(self, seconds: float) -> bool:
        """Let it run for a time; return whether it still does."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> None:
        """End the whole group, whatever it has said."""
        self._end()
        self.stream.close()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def outcome(self) -> Outcome:
        """Wait for its end; one that does not come is none."""
        if self.lives(PATIENCE):
            self._end()
        with self.stream:
            self.stream.seek(0)
            return Outcome(self.process.returncode, self.stream.read().decode(errors="replace"))


@dataclass
class Bench:
    """A small grid: nothing of it, all of it, and how long it takes.

    Attributes:
        root: folder of its own.
        random: from which moments and places are drawn.
        methods: of the grid.
        cores: for Snakemake.
    """

    root: Path
    random: random.Random
    methods: list[str]
    cores: int = 1

    def __post_init__(self) -> None:
        photos = draw(self.root / "photos")
        self.empty = new_project(self.root / "empty", photos=photos)
        self.empty.write_params(params(**SMALL, methods=self.methods))
        self.finished = self.fresh("finished")
        start = time.monotonic()
        self.run(self.finished).check()
        self.seconds = time.monotonic() - start
        self.right = self.finished.outputs()

    def fresh(self, name: str = "project", *, of: Project | None = None) -> Project:
        """Return a new copy of a project, the empty one by default."""
        root = self.root / name
        shutil.rmtree(root, ignore_errors=True)
        return (of or self.empty).copy(root)

    def start(self, project: Project) -> Running:
        return Running(project, "snakemake", "--cores", str(self.cores))

    def run(self, project: Project) -> Outcome:
        return self.start(project).outcome()

    def moment(self, share: float = 1.0) -> float:
        """Draw a moment of an undisturbed run, in seconds from its start."""
        return self.random.uniform(0, share * self.seconds)

    def repeat(self, row: Row, project: Project) -> None:
        """Repeat the command undisturbed; all must be as if nothing had been."""
        row.expect(self.run(project))
        row.compare(project, self.right)
