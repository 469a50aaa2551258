"""What the start and the end of a run do."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from project_cases import rules_of

from osad.core.cells import Cell
from osad.core.files import write_json, write_text
from osad.pipeline import handlers
from osad.pipeline.grid import run_of
from osad.pipeline.handlers import REASONS, Handlers
from osad.pipeline.jobs import jobs, makers

RULES = rules_of(methods=("patchcore", "dra", "random"), seeds=(0, 1), shots=(1,))
MAKERS = makers(jobs(RULES))
CELL = Cell("elpv", "all", "general-m1", "dra", 0)
SHARING = Cell("elpv", "all", "general-m1", "patchcore", 0)
FETCHED = "data/raw/elpv/SOURCE.json"
ENDS = ["cells", "tables", "figures", "report_assets", "report_page"]
"""Steps that are run after any failure."""


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Run handlers in an empty folder with a stand-in for the server and for processes."""
    calls = []

    def run(command, **_):
        calls.append(command)
        return SimpleNamespace(returncode=command[3] in os.environ.get("FAILING", "").split())

    server = SimpleNamespace(address="/tmp/address", stop=lambda: calls.append("stopped"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSAD_SERVER", "")
    monkeypatch.setattr(handlers, "start_server", lambda: server)
    monkeypatch.setattr(handlers.subprocess, "run", run)
    return calls


def handlers_of_run() -> Handlers:
    return Handlers(RULES, adopt=lambda _: ["adopted 2"], record=lambda _: "ledger: 5 outputs")


def fail(path: str, error: str = "DataError") -> None:
    write_json(MAKERS[path].failure, {"step": "x", "reason": "no disk", "error": error})


def make(*cells: Cell) -> None:
    """Write every file that the metrics of cells depend on, as in an earlier run."""
    waiting = [RULES.grid.artefact("metrics", cell) for cell in cells]
    while waiting:
        job = MAKERS[waiting.pop()]
        waiting += job.inputs
        for path in job.outputs:
            write_text(path, "old")


def steps(calls: list) -> list[str]:
    return [command[3] for command in calls]


def test_the_server_lives_as_long_as_the_run(calls, monkeypatch, capsys):
    run = handlers_of_run()
    run.restore()
    run.start()
    assert os.environ["OSAD_SERVER"] == "/tmp/address"
    run.success()
    assert calls == ["stopped"]
    assert "OSAD_SERVER" not in os.environ
    run.success()
    assert calls == ["stopped"]
    assert capsys.readouterr().err == "osad: adopted 2\n" + 2 * "osad: ledger: 5 outputs\n"
    monkeypatch.setattr(handlers, "start_server", lambda: None)
    run.start()
    assert "OSAD_SERVER" not in os.environ


def test_failures_are_listed_and_shown_in_tables_and_page(calls, capsys):
    scores = RULES.grid.artefact("scores", CELL)
    fail(scores)
    fail(RULES.grid.split(CELL))
    ends = [job for job in jobs(RULES) if job.rule.step in ENDS]
    for job in ends:
        write_text(job.receipt, "old")
    run = handlers_of_run()
    run.start()
    run.error()
    assert calls.pop(0) == "stopped"
    assert steps(calls) == ENDS
    further = {"cells": ["--partial", "--failures", REASONS], "report_page": ["--partial"]}
    for command, job in zip(calls, ends, strict=True):
        own = [sys.executable, *shlex.split(job.command)[1:]]
        assert command == own + further.get(job.rule.step, [])
        assert not Path(job.receipt).exists()
    reasons = json.loads(Path(REASONS).read_text())
    assert reasons[str(CELL)] == {"status": "failed", "reason": "x: no disk"}
    assert not any("normal-m0" in cell for cell in reasons)
    text = capsys.readouterr().err
    assert f"osad: failed: {CELL}: x: no disk\n" in text
    assert "osad: 2 failed; tables and page show them as failed" in text
    assert "ledger" not in text


@pytest.mark.parametrize(("failing", "ran"), [("cells", 1), ("tables", 2), ("figures", 5)])
def test_without_tables_nothing_is_made_of_them(calls, monkeypatch, failing, ran):
    monkeypatch.setenv("FAILING", failing)
    fail(RULES.grid.split(CELL))
    handlers_of_run().error()
    assert steps(calls) == ENDS[:ran]


@pytest.mark.parametrize("more", [False, True])
def test_missing_data_are_told_apart_and_the_rest_is_recorded(calls, capsys, more):
    fail(FETCHED, "MissingData")
    if more:
        fail(RULES.grid.weights)
    handlers_of_run().error()
    text = capsys.readouterr().err
    assert f"osad: skipped: {FETCHED}: x: no disk\n" in text
    assert "1 data sets are missing; tables and page show their cells as skipped" in text
    assert ("1 failed" in text) == more
    assert ("osad: ledger: 5 outputs\n" in text) != more
    assert steps(calls) == ENDS


def test_a_cell_with_some_runs_is_shown_with_these(calls):
    """Its old files go, also those of a cell without any run; whole cells keep theirs."""
    fail(FETCHED)
    pages = {}
    for method, seeds in (("random", (0, 1)), ("dra", (1,)), ("patchcore", ())):
        cells = [Cell("elpv", "all", "general-m1", method, seed) for seed in seeds]
        make(*cells)
        name = f"elpv/all/general-m1/{method}"
        pages[name] = MAKERS[f"results/report/cells/{name}.js"]
        for path in (*pages[name].outputs, pages[name].receipt):
            write_text(path, "old")
    handlers_of_run().error()
    whole, some, none = pages.values()
    assert steps(calls) == [*ENDS[:3], "report_cell", *ENDS[3:]]
    assert calls[3][3:] == [*some.arguments(), "--partial"]
    for page, kept in ((whole, True), (some, False), (none, False)):
        assert {Path(path).exists() for path in (*page.outputs, page.receipt)} == {kept}


@pytest.mark.parametrize(
    ("cell", "missing"),
    [
        (CELL, RULES.grid.artefact("scores", CELL)),
        (CELL, RULES.grid.artefact("maps", CELL)),
        (CELL, RULES.grid.packs_of(CELL)[0]),
        (CELL, RULES.grid.masks("elpv", "all")),
        (CELL, RULES.grid.split(CELL)),
        (CELL, RULES.grid.manifest("elpv", "all")),
        (SHARING, RULES.grid.split(run_of(SHARING))),
    ],
)
def test_old_metrics_of_a_cell_that_lacks_a_file_are_dropped(calls, cell, missing):
    make(cell)
    metrics = Path(RULES.grid.artefact("metrics", cell))
    fail(missing)
    handlers_of_run().error()
    assert metrics.exists()
    Path(missing).unlink()
    handlers_of_run().error()
    assert not metrics.exists()


def test_an_interrupted_run_without_failures_writes_nothing(calls, capsys, tmp_path):
    make(CELL)
    Path(RULES.grid.split(CELL)).unlink()
    before = sorted(tmp_path.rglob("*"))
    run = handlers_of_run()
    run.start()
    run.error()
    assert calls == ["stopped"]
    assert capsys.readouterr().err == ""
    assert sorted(tmp_path.rglob("*")) == before
