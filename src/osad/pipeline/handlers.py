"""What happens at the start and the end of a Snakemake run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit import actions
from osad.core.errors import OsadError
from osad.evaluation.tables.cells import Outcome
from osad.pipeline.jobs import RUNS
from osad.pipeline.steps.cells import DATA_FAILURES, read_failure
from osad.pipeline.workflow import Workflow
from osad.report.targets import Report
from osad.runtime.control import Server, start_server


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

    def adopt(self) -> None:
        """Restore Snakemake's records in a clone (see `osad.audit.adopt`) and say so."""
        adoption = actions.adopt(self.workflow)
        for message in adoption.removed:
            print(f"osad: {message}", file=sys.stderr)
        if adoption.adopted:
            print(
                f"osad: adopted {len(adoption.adopted)} outputs that are what the ledger says",
                file=sys.stderr,
            )

    def success(self) -> None:
        """Stop the server and write the ledger.

        Raises:
            OsadError: an output was edited; the others are recorded.
        """
        self._stop()
        self._record()

    def error(self) -> None:
        """Stop the server, write tables and page with what there is, and list what failed.

        Where only data are missing that a person has to get, all else is done, so the ledger is
        written as at the end of a successful run.
        """
        self._stop()
        failures = self.failures()
        if not failures:
            return
        self._drop_stale()
        if self._partial_tables():
            self._partial_page()
        for name, outcome in failures.items():
            print(f"osad: {outcome.status}: {name}: {outcome.reason}", file=sys.stderr)
        skipped = [name for name, outcome in failures.items() if outcome.status == "skipped"]
        failed = len(failures) - len(skipped)
        if skipped:
            print(
                f"osad: {len(skipped)} data sets are missing; tables and page show their cells as "
                "skipped. `osad datasets` says how to get them.",
                file=sys.stderr,
            )
        if failed:
            print(
                f"osad: {failed} failed; tables and page show them as failed. "
                "Run the same command again to retry only these.",
                file=sys.stderr,
            )
        else:
            self._record()

    def failures(self) -> dict[str, Outcome]:
        """Return what became of failed jobs of this grid by name, sorted."""
        folder = Path(self.workflow.params.results) / "failures"
        names = {str(cell) for cell in self.workflow.runs()}
        names |= {f"splits/{split}" for split in self.workflow.split_ids()}
        names |= {"weights", *(f"fetch/{name}" for name in self.workflow.params.datasets)}
        pairs = {
            f"features/{dataset}/{category}" for dataset, category in self.workflow.categories()
        }
        records = {
            path.relative_to(place).with_suffix("").as_posix(): path
            for place in (folder, DATA_FAILURES)
            for path in place.rglob("*.json")
        }
        # Records of an earlier grid may lie there too.
        return {
            name: _outcome(path)
            for name, path in sorted(records.items())
            if name in names or name.rpartition("/")[0] in pairs
        }

    def _record(self) -> None:
        outcome, changed = actions.record(self.workflow)
        print(f"osad: {actions.describe(outcome, changed=changed)}", file=sys.stderr)

    def _partial_tables(self) -> bool:
        """Write the tables with what there is; no record of a job vouches for them.

        Returns:
            whether they are written.
        """
        grid, folder = self.workflow.grid(), f"{self.workflow.params.results}/tables"
        cells = ["cells", "--partial", "--output", f"{folder}/cells.csv"]
        tables = ["tables", "--cells", f"{folder}/cells.csv", "--published", "data/published"]
        for record in ("cells.csv.json", "tables.json"):
            Path(RUNS, folder, record).unlink(missing_ok=True)
        for step in (cells, [*tables, "--output", folder]):
            if not _run([*step, "--grid", grid]):
                return False
        return True

    def _partial_page(self) -> None:
        """Write figures and page with what there is; no record of a job vouches for them."""
        workflow, report = self.workflow, Report(self.workflow)
        for mean in report.means():
            done = [Path(workflow.artefact("metrics", cell)).exists() for cell in report.runs(mean)]
            if all(done):
                continue  # Its own job has made its files, or will.
            outputs = report.cell_outputs(mean)
            for path in (*outputs, f"{RUNS}/{outputs[0]}.json"):
                Path(path).unlink(missing_ok=True)
            if any(done):
                options = shlex.split(report.cell_options(mean))
                files = ["--output", outputs[0], "--images", outputs[1]]
                _run(["report_cell", "--partial", "--cell", mean, *options, *files])
        results = workflow.params.results
        common = ["--cells", f"{results}/tables/cells.csv", "--published", "data/published"]
        assets = ["report_assets", "--assets", *report.assets(), "--output", report.folder]
        if report.figures():
            for record in (f"{results}/figures/figures", f"{report.folder}/assets"):
                Path(RUNS, f"{record}.json").unlink(missing_ok=True)
            figures = ["figures", *common, "--grid", workflow.figures()]
            _run([*figures, "--output", f"{results}/figures"])
            assets += ["--figures", *report.figures()]
        _run(assets)
        Path(RUNS, f"{report.record}.json").unlink(missing_ok=True)
        inputs = report.page_inputs()
        page = [*common, "--shared", *inputs["shared"], "--bench", *inputs["bench"]]
        page += ["--lock", workflow.environment(), "--grid", report.page()]
        _run(["report_page", "--partial", *page, "--output", report.folder])

    def _drop_stale(self) -> None:
        """Delete the metrics of cells that lack an earlier file: they are of an earlier run.

        Snakemake deletes the outputs of a failed job but not what was made from them before.
        Without this the tables would show the old number of a cell that has just failed.
        """
        workflow = self.workflow
        for cell in workflow.cells():
            earlier = [workflow.manifest(cell.dataset, cell.category), workflow.split(cell)]
            earlier += [*workflow.packs(cell), *workflow.localisation(cell), *workflow.base(cell)]
            for run in (workflow.source_cell(cell), cell):
                earlier += [workflow.artefact(kind, run) for kind in ("checkpoints", "scores")]
                earlier += workflow.maps(run)
            if not all(Path(path).exists() for path in earlier):
                Path(workflow.artefact("metrics", cell)).unlink(missing_ok=True)

    def _stop(self) -> None:
        os.environ.pop("OSAD_SERVER", None)
        if self._server is not None:
            self._server.stop()
            self._server = None


def _run(step: list[str]) -> bool:
    """Run a step; return whether it was done."""
    command = [sys.executable, "-m", "osad.runtime.job", *step]
    return not subprocess.run(command, check=False).returncode


def _outcome(path: Path) -> Outcome:
    """Return what the record of a failure says, whatever state the file is in."""
    try:
        return read_failure(path)
    except OsadError:
        return Outcome("failed", f"unknown; see {path}")
