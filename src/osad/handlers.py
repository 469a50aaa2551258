"""What happens at the start and the end of a Snakemake run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osad.files import read_json
from osad.runtime.control import Server, start_server
from osad.workflow import Workflow


@dataclass
class Handlers:
    """Handlers of one run; see Snakemake's onstart, onsuccess and onerror.

    Attributes:
        workflow: the pipeline.
    """

    workflow: Workflow
    _server: Server | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the resident fork server; without one, jobs are plain processes."""
        self._server = start_server()
        if self._server is not None:
            os.environ["OSAD_SERVER"] = self._server.address

    def success(self) -> None:
        """Stop the server."""
        self._stop()

    def error(self) -> None:
        """Stop the server, write the tables with what there is, and list what failed."""
        self._stop()
        failures = self.failures()
        if not failures:
            return
        command = [sys.executable, "-m", "osad.job", "tables", "--partial"]
        command += ["--grid", self.workflow.grid(), "--published", "data/published"]
        command += ["--output", f"{self.workflow.params.results}/tables"]
        subprocess.run(command, check=False)
        for name, reason in failures.items():
            print(f"osad: failed: {name}: {reason}", file=sys.stderr)
        print(
            f"osad: {len(failures)} failed; the tables show them as failed. "
            "Run the same command again to retry only these.",
            file=sys.stderr,
        )

    def failures(self) -> dict[str, str]:
        """Return the reasons of failed jobs by name, sorted."""
        folder = Path(self.workflow.params.results) / "failures"
        found = {}
        for path in sorted(folder.rglob("*.json")):
            record: dict[str, Any] = read_json(path)
            name = path.relative_to(folder).with_suffix("").as_posix()
            found[name] = str(record.get("reason", "unknown"))
        return found

    def _stop(self) -> None:
        os.environ.pop("OSAD_SERVER", None)
        if self._server is not None:
            self._server.stop()
            self._server = None
