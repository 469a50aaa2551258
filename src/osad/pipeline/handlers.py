"""What happens at the start and the end of a Snakemake run."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError
from osad.core.files import write_json
from osad.pipeline import unchanged
from osad.pipeline.failures import Failure, failures, of_cells
from osad.pipeline.jobs import Job
from osad.pipeline.parts import asked
from osad.pipeline.rules import Rules
from osad.pipeline.storage import Exchange
from osad.runtime import snakemake_records as records
from osad.runtime.control import Server, start_server
from osad.runtime.turn import Turn

REASONS = ".osad/failures.json"
"""Why cells have no number, for the tables of a run that failed."""
EARLY = ("cells", "comparison", "table")
"""Rules without whose files nothing else of these is made."""


LONGEST = 230
"""Bytes of a name of an output; while it is written its name is longer, and systems allow 255."""


def check_places(rules: Rules) -> None:
    """Check that every output can be written, before hours are spent on what it is made of.

    Raises:
        ConfigError: a folder is in the place of a file or the other way round, a folder may not be
            written to, or a name is too long.
    """
    folders: dict[str, None] = {}
    for path in (path for rule in rules for path in rule.files):
        if os.path.isdir(path):
            raise ConfigError(f"{path}: is a folder, and a file must be written there; move it")
        if max(map(len, os.fsencode(path).split(b"/"))) > LONGEST:
            raise ConfigError(f"{path}: has a name of more than {LONGEST} bytes; shorten it")
        folders[os.path.dirname(path)] = None
    for folder in folders:
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder) or "."
        if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder}: is no folder that may be written to; move it away")


@dataclass
class Handlers:
    """Handlers of one run; see Snakemake's onstart, onsuccess and onerror.

    Attributes:
        rules: the table of rules.
        adopt: restores Snakemake's records in a clone and returns what to say about it.
        record: writes the ledger; returns whether all agrees with it, and one line about it.
        exchange: brings what jobs have left in a storage, if there is one.
        asks_for_all: whether Snakemake compares the whole grid, known once it plans.
    """

    rules: Rules
    adopt: Callable[[Rules], list[str]]
    record: Callable[[Rules], tuple[bool, str]]
    exchange: Exchange | None = None
    asks_for_all: Callable[[], bool] = lambda: False
    _server: Server | None = field(default=None, init=False)
    _turn: Turn = field(default_factory=Turn, init=False)
    _seen: dict[str, Any] | None = field(default=None, init=False)

    def nothing(self) -> None:
        """Note that Snakemake has found nothing to do for the whole grid."""
        if self._seen is not None and self.asks_for_all():
            unchanged.remember(self._seen)

    def start(self, *, here: bool = True) -> None:
        """Start the resident fork server; without one, jobs are plain processes.

        Args:
            here: whether jobs run on this machine; a job of a cluster must not leave its node.

        Raises:
            ConfigError: another run is at work in this folder.
        """
        unchanged.forget()
        self._turn.begin()
        file = self._turn.file
        if not here:
            return
        self._server = start_server(keep=() if file is None else [file])
        if self._server is not None:
            os.environ["OSAD_SERVER"] = self._server.address

    def restore(self) -> None:
        """Restore Snakemake's records in a clone (see `osad.audit.adopt`) and say so.

        After a run that did not come to its end it is said what is there of it. If that is all, the
        ledger is written now: Snakemake may have nothing to do, and a run without jobs has no end.

        Raises:
            OsadError: the ledger is damaged, or an output was edited.
        """
        grid_jobs = asked(self.rules)
        files = [path for job in grid_jobs for path in job.outputs]
        ended = self._turn.take(files if self.exchange is None else self.exchange.names(files))
        for message in self.adopt(self.rules):
            _say(message)
        # Of a job one of whose outputs has no record Snakemake compares nothing.
        receipts = (job.receipt for job in grid_jobs)
        records.mark_unknown(filter(os.path.exists, receipts))
        if self.exchange is not None:
            self.exchange.distrust(grid_jobs)
        if not ended:
            self._seen = unchanged.look(self.rules, grid_jobs)
            return
        self._collect(grid_jobs)
        for folder in {os.path.dirname(path) for path in files}:
            for part in Path(folder).glob(".*.part"):
                part.unlink()
        there = sum(map(os.path.exists, files))
        if there < len(files):
            _say(
                f"the run before did not come to its end; {there} of {len(files)} files are there, "
                "and it goes on with the others"
            )
        else:
            self._complete()

    def success(self) -> None:
        """Stop the server and write the ledger.

        Raises:
            OsadError: an output was edited; the others are recorded.
        """
        self._stop()
        grid_jobs = asked(self.rules)
        self._collect(grid_jobs)
        seen = unchanged.look(self.rules, grid_jobs) if self.asks_for_all() else None
        if self._complete() and seen is not None:
            unchanged.remember(seen | {"ledger": unchanged.ledger_state(self.rules)})

    def error(self) -> None:
        """Stop the server, write tables and page with what there is, and list what failed.

        Where only data are missing that a person has to get, all else is done, so the ledger is
        written as at the end of a successful run.
        """
        self._stop()
        grid_jobs = asked(self.rules)
        self._collect(grid_jobs)
        failed = failures(grid_jobs)
        if not failed:
            return
        shown = "tables and page" + " of all parts" * bool(self.rules.grid.params.part) + " show"
        try:
            self._drop_stale(grid_jobs, failed)
            self._partial(grid_jobs, failed)
        except OSError as error:  # A full disk.
            shown = f"tables and page cannot be made ({error.strerror}), or they would show"
        for failure in failed.values():
            _say(f"{failure.status}: {failure.name}: {failure.reason}")
        skipped = sum(failure.status == "skipped" for failure in failed.values())
        if skipped:
            _say(
                f"{skipped} data sets are missing; {shown} their cells as skipped. "
                "`osad datasets` says how to get them."
            )
        if skipped < len(failed):
            _say(
                f"{len(failed) - skipped} failed; {shown} them as failed. "
                "Run the same command again to retry only these."
            )
        else:
            self._complete()

    def _collect(self, grid_jobs: list[Job]) -> None:
        if self.exchange is not None:
            self.exchange.collect(grid_jobs)

    def _complete(self) -> bool:
        agrees, line = self.record(self.rules)
        _say(line)
        self._turn.complete()
        return agrees

    def _partial(self, grid_jobs: list[Job], failed: dict[str, Failure]) -> None:
        """Make tables and page with what there is; no receipt vouches for them.

        Snakemake would take them for made, so they are marked for the next run to make again.

        The steps are those of the rules with ``--partial``; where a step cannot do without what
        is missing, those after it that need it fail too and say so.
        """
        grid = self.rules.grid
        reasons = {
            str(cell): {"status": failure.status, "reason": failure.reason}
            for cell, failure in of_cells(grid, grid_jobs, failed).items()
        }
        write_json(Path(REASONS), reasons)
        partial = ["--partial"]
        further = {"cells": [*partial, "--failures", REASONS]}
        further |= {"comparison": [], "table": [], "figure": []}
        further |= {"report_cell": partial, "report_assets": [], "report_page": partial}
        for job in grid_jobs:
            name = job.rule.name
            if name not in further or (name == "report_cell" and not self._is_partial(job)):
                continue
            Path(job.receipt).unlink(missing_ok=True)
            records.mark_incomplete(job.outputs)
            command = [sys.executable, "-m", "osad.runtime.job", *job.arguments(), *further[name]]
            if subprocess.run(command, check=False).returncode and name in EARLY:
                return

    def _is_partial(self, job: Job) -> bool:
        """Tell whether some seeds of a page's table cell have metrics; delete what is outdated."""
        metrics = [Path(path).exists() for path in job.inputs if "/metrics/" in path]
        if all(metrics):
            return False  # Its own job has made its files, or will.
        for path in (*job.outputs, job.receipt):
            Path(path).unlink(missing_ok=True)
        return any(metrics)

    def _drop_stale(self, grid_jobs: list[Job], failed: Mapping[str, Failure]) -> None:
        """Delete metrics behind a job that failed, or that lack an earlier file.

        They are of an earlier run: Snakemake deletes the outputs of a failed job but not what was
        made from them before. Without this the tables would show the old number of a cell whose
        data, weights or features have just failed.
        """
        behind: set[str] = set()
        for job in grid_jobs:  # Each after those whose outputs it reads.
            late = job.rule.name in ("split", "run", "metrics")
            lacks = late and not all(map(os.path.exists, job.inputs))
            # What is there although it failed once was brought since then, by DVC for example.
            lost = job.outputs[0] in failed and not all(map(os.path.exists, job.outputs))
            if lost or lacks or not behind.isdisjoint(job.inputs):
                behind.update(job.outputs)
                for path in job.outputs if job.rule.name == "metrics" else ():
                    Path(path).unlink(missing_ok=True)

    def _stop(self) -> None:
        os.environ.pop("OSAD_SERVER", None)
        if self._server is not None:
            self._server.stop()
            self._server = None


def _say(message: str) -> None:
    print(f"osad: {message}", file=sys.stderr)
