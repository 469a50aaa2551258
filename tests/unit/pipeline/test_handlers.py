"""What the start and the end of a run do, and what is said of cells without a number."""

import json
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from project_cases import rules_of

from osad.core.cells import Cell
from osad.core.errors import ConfigError
from osad.core.files import write_json, write_text
from osad.pipeline import handlers, unchanged
from osad.pipeline.failures import Failure, failures, of_cells
from osad.pipeline.grid import run_of
from osad.pipeline.handlers import REASONS, Handlers
from osad.pipeline.jobs import jobs, makers
from osad.runtime import snakemake_records
from osad.runtime.states import state

RULES = rules_of(
    methods=("ahl", "dra", "patchcore", "random"), seeds=(0, 1), shots=(1,),
    settings=("general", "normal"),
)  # fmt: skip
GRID, JOBS = RULES.grid, jobs(RULES)
MAKERS = makers(JOBS)
CELL, SHARING = (Cell("elpv", "all", "general-m1", name, 0) for name in ("dra", "patchcore"))
METRICS, SCORES = GRID.artefact("metrics", CELL), GRID.artefact("scores", CELL)
FETCHED, MANIFEST = "data/raw/elpv/SOURCE.json", "data/manifests/elpv.csv"
SPLIT, SHARED_SPLIT = GRID.split(CELL), GRID.split(run_of(SHARING))
CUTMIX = GRID.pack("elpv", "all", "tf_efficientnet_lite0-224", "cutmix")
WEIGHTS = [job.outputs[0] for job in MAKERS.values() if job.rule.name == "weights"]
OTHER = "results/checkpoints/elpv/all/general-m1/ahl/s1.safetensors"
"""Of a cell that no test makes."""
ENDS = ["cells", "comparison", "tables", "figures", "report_assets", "report_page"]
"""Steps that are run after any failure."""


@pytest.fixture(autouse=True)
def calls(monkeypatch, tmp_path):
    """Run handlers in an empty folder with a stand-in for the server and for processes."""
    calls = []

    def run(command, **_):
        calls.append(command)
        return SimpleNamespace(returncode=command[3] in os.environ.get("FAILING", "").split())

    server = SimpleNamespace(address="/tmp/address", stop=lambda: calls.append("stopped"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSAD_SERVER", "")
    monkeypatch.setattr(handlers, "start_server", lambda **_: server)
    monkeypatch.setattr("osad.pipeline.handlers.subprocess.run", run)
    return calls


def a_run() -> Handlers:
    return Handlers(
        RULES, adopt=lambda _: ["adopted 2"], record=lambda _: (True, "ledger: 5 outputs")
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("results/tables/summary.csv/", "results/tables/summary.csv: is a folder"),
        (f"{METRICS}/x", f"{METRICS}: is a folder"),
        ("results/scores", "results/scores: is no folder that may be written to"),
        ("data", "data: is no folder that may be written to"),
    ],
)
def test_places_are_tried_before_anything_is_computed(path, message):
    handlers.check_places(RULES)
    if path.endswith("/"):
        Path(path).mkdir(parents=True)
    else:
        write_text(path, "")
    with pytest.raises(ConfigError, match=f"^{message}"):
        handlers.check_places(RULES)


def test_a_name_that_no_file_can_have_is_refused():
    short: Any = [SimpleNamespace(files=[f"{'x' * 230}/a"])]
    long: Any = [SimpleNamespace(files=[f"{'x' * 231}/a"])]
    handlers.check_places(short)
    with pytest.raises(ConfigError, match="has a name of more than 230 bytes"):
        handlers.check_places(long)


def fail(path: str, reason: str = "bad", error: str = "DataError") -> None:
    """Leave the record of the failure of the job that makes a file."""
    write_json(MAKERS[path].failure, {"step": "x", "reason": reason, "error": error})


def make(*cells: Cell) -> None:
    """Write every file that the metrics of cells depend on, as in an earlier run."""
    waiting = [GRID.artefact("metrics", cell) for cell in cells]
    while waiting:
        job = MAKERS[waiting.pop()]
        waiting += job.inputs
        for path in job.outputs:
            write_text(path, "old")


def told() -> dict[str, tuple[str, str]]:
    """Return status and reason by cell."""
    return {str(cell): why[1:] for cell, why in of_cells(GRID, JOBS, failures(JOBS)).items()}


def like(*parts: str) -> set[str]:
    """Return the cells that have one of some texts in their ids."""
    return {cell for cell in map(str, GRID.cells) if any(part in cell for part in parts)}


# --- why a cell has no number -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "cells"),
    [
        (METRICS, {str(CELL)}),
        (GRID.artefact("scores", SHARING), like("patchcore/s0")),
        (SCORES, like("m1/dra/s0", "ahl/s0")),
        (SPLIT, like("general-m1") & like("s0")),
        (SHARED_SPLIT, like("normal-m0", "patchcore", "random", "constant") & like("s0")),
        (CUTMIX, like("ahl")),
        (GRID.masks("elpv", "all"), like("dra", "ahl", "patchcore")),
        (GRID.params.features.first.weights, like("dra", "ahl", "patchcore")),
        (MANIFEST, like("")),
        ("results/tables/cells.csv", set()),
    ],
)
def test_a_failure_concerns_all_cells_that_depend_on_it(path, cells):
    fail(path)
    assert told() == dict.fromkeys(cells, ("failed", "x: bad"))


def test_the_nearest_failure_counts_but_missing_data_most():
    fail(GRID.artefact("scores", SHARING), "loss is nan")
    fail(GRID.params.features.first.weights, "no disk")
    assert told() == {
        cell: ("failed", "x: loss is nan" if cell.endswith("patchcore/s0") else "x: no disk")
        for cell in like("patchcore", "dra", "ahl")
    }
    fail(FETCHED, "see page", "MissingData")
    assert told() == dict.fromkeys(like(""), ("skipped", "x: see page"))


def test_failures_have_the_name_of_the_cell_or_of_the_file():
    fail(SCORES, "no")
    fail(CUTMIX)
    write_text(".osad/failures/results/scores/visa/candle/x.csv.json", "of an earlier grid")
    assert list(failures(JOBS).values()) == [  # In the pipeline's order.
        Failure(CUTMIX, "failed", "x: bad"), Failure(str(CELL), "failed", "x: no"),
    ]  # fmt: skip
    for text in ("", "{", "[]", "3", '{"step": "x"}'):
        write_text(MAKERS[CUTMIX].failure, text)
        unknown = f"unknown; see {MAKERS[CUTMIX].failure}"
        assert next(iter(failures(JOBS).values())) == Failure(CUTMIX, "failed", unknown)


# --- the start and the end --------------------------------------------------------------------


def test_the_server_lives_as_long_as_the_run(calls, monkeypatch, capsys):
    run = a_run()
    run.restore()
    run.start()
    assert os.environ["OSAD_SERVER"] == "/tmp/address"
    run.success()
    assert "OSAD_SERVER" not in os.environ
    run.success()
    assert calls == ["stopped"]
    assert capsys.readouterr().err == "osad: adopted 2\n" + 2 * "osad: ledger: 5 outputs\n"
    monkeypatch.setattr(handlers, "start_server", lambda **_: None)
    run.start()
    assert "OSAD_SERVER" not in os.environ


@pytest.fixture
def complete(monkeypatch):
    """Make handlers of a grid of which all is there, by what they are told."""
    monkeypatch.setattr(RULES, "sources", state([]))
    for job in JOBS:
        for path in (*job.outputs, job.receipt):
            write_text(path, "made")

    def make(*, for_all: bool = True, agrees: bool = True) -> Handlers:
        unchanged.forget()
        return Handlers(RULES, lambda _: [], lambda _: (agrees, ""), None, lambda: for_all)

    return make


def test_what_was_seen_at_the_start_is_noted_when_nothing_is_to_be_done(complete):
    run = complete()
    run.restore()
    assert not unchanged.holds(RULES)
    run.nothing()
    assert unchanged.holds(RULES)
    run.start()  # Jobs are about to run.
    assert not unchanged.holds(RULES)
    # What has changed since is not vouched for, nor is a part of the grid.
    run = complete()
    run.restore()
    write_text(JOBS[0].outputs[0], "changed since")
    run.nothing()
    assert not unchanged.holds(RULES)
    run = complete(for_all=False)
    run.restore()
    run.nothing()
    assert not unchanged.PLACE.exists()


@pytest.mark.parametrize(
    ("told", "noted"), [({}, True), ({"for_all": False}, False), ({"agrees": False}, False)]
)
def test_the_end_of_a_run_is_noted_if_all_agrees(complete, told, noted):
    run = complete(**told)
    run.restore()
    run.start()
    write_text(JOBS[0].outputs[0], "made anew")
    run.success()
    assert unchanged.holds(RULES) is noted
    Path(METRICS).unlink()
    run = complete(**told)
    run.start()
    run.success()
    assert not unchanged.holds(RULES)


def test_the_start_after_a_run_without_an_end_says_what_is_there(capsys):
    run = a_run()
    run.restore()
    run.start()
    assert capsys.readouterr().err == "osad: adopted 2\n"
    os.close(run._turn.file)  # As when the process is killed.
    files = [path for rule in RULES for path in rule.files]
    write_text(SPLIT, "done")
    part, foreign = (Path(SPLIT).with_name(name) for name in (".s1.csv.7.part", ".own"))
    for path in (part, foreign):
        write_text(path, "half")
    run = a_run()
    run.restore()
    assert capsys.readouterr().err == (
        "osad: adopted 2\n"
        f"osad: the run before did not come to its end; 1 of {len(files)} files are there, and it "
        "goes on with the others\n"
    )
    assert (part.exists(), foreign.exists()) == (False, True)
    run.start()
    os.close(run._turn.file)
    for file in files:
        write_text(file, "done")
    # Snakemake may have nothing to do, so the ledger is written now, once.
    for told in ("osad: adopted 2\nosad: ledger: 5 outputs\n", "osad: adopted 2\n"):
        run = a_run()
        run.restore()
        assert capsys.readouterr().err == told
        os.close(run._turn.file)
    run = a_run()
    run.restore()
    run.start()
    run.success()
    os.close(run._turn.file)
    capsys.readouterr()
    a_run().restore()
    assert capsys.readouterr().err == "osad: adopted 2\n"


def test_a_receipt_that_snakemake_does_not_know_has_its_job_run_again(monkeypatch):
    """It would compare nothing of the job; an earlier version of this package left such ones."""
    write_text(MAKERS[CUTMIX].receipt, "{}")
    marked: list[str] = []
    monkeypatch.setattr("osad.runtime.snakemake_records.mark_unknown", marked.extend)
    a_run().restore()
    assert marked == [MAKERS[CUTMIX].receipt]


def test_what_a_run_without_an_end_left_in_a_storage_is_brought(capsys):
    """Snakemake may have nothing to do, and a run without jobs has no end that would bring it."""

    def bring(asked):
        for path in (path for job in asked for path in job.outputs):
            write_text(path, "made elsewhere")

    exchange: Any = SimpleNamespace(names=list, distrust=lambda _: None, collect=bring)
    run = Handlers(RULES, lambda _: [], lambda _: (True, "ledger: 5 outputs"), exchange)
    run.restore()
    run.start()
    os.close(run._turn.file)
    capsys.readouterr()
    again = Handlers(RULES, lambda _: [], lambda _: (True, "ledger: 5 outputs"), exchange)
    again.restore()
    assert capsys.readouterr().err == "osad: ledger: 5 outputs\n"
    os.close(again._turn.file)


def test_failures_are_listed_and_shown_in_tables_and_page(calls, capsys):
    fail(SCORES)
    fail(SPLIT)
    ends = [job for job in JOBS if job.rule.step in ENDS]
    for job in ends:
        write_text(job.receipt, "old")
    run = a_run()
    run.start()
    run.error()
    assert calls.pop(0) == "stopped"
    further = {"cells": ["--partial", "--failures", REASONS], "report_page": ["--partial"]}
    for command, job, step in zip(calls, ends, ENDS, strict=True):
        own = [sys.executable, *shlex.split(job.command)[1:]]
        assert command == own + further.get(step, [])
        assert not Path(job.receipt).exists()
        # The next run makes it again, though it is there.
        with snakemake_records._store() as store:
            assert store._filter_incomplete_keys(job.outputs) == set(job.outputs)
    reasons = json.loads(Path(REASONS).read_text())
    assert reasons[str(CELL)] == {"status": "failed", "reason": "x: bad"}
    assert reasons.keys() == like("general-m1") & like("s0")
    text = capsys.readouterr().err
    assert f"osad: failed: {CELL}: x: bad\n" in text
    assert "osad: 2 failed; tables and page show them as failed" in text
    assert "ledger" not in text


def test_on_a_full_disk_the_failures_are_listed_all_the_same(monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    fail(SCORES)
    monkeypatch.setattr(handlers, "write_json", full)
    a_run().error()
    assert capsys.readouterr().err == (
        f"osad: failed: {CELL}: x: bad\n"
        "osad: 1 failed; tables and page cannot be made (No space left on device), or they would "
        "show them as failed. Run the same command again to retry only these.\n"
    )


@pytest.mark.parametrize(
    ("failing", "ran"),
    [
        ("cells", 1),
        ("comparison", 2),
        ("tables", 3),
        ("figures", 6),
    ],
)
def test_without_tables_nothing_is_made_of_them(calls, monkeypatch, failing, ran):
    monkeypatch.setenv("FAILING", failing)
    fail(SPLIT)
    a_run().error()
    assert [command[3] for command in calls] == ENDS[:ran]


@pytest.mark.parametrize("more", [False, True])
def test_missing_data_are_told_apart_and_the_rest_is_recorded(capsys, more):
    fail(FETCHED, "see page", "MissingData")
    if more:
        fail(GRID.params.features.first.weights)
    a_run().error()
    text = capsys.readouterr().err
    assert f"osad: skipped: {FETCHED}: x: see page\n" in text
    assert "1 data sets are missing; tables and page show their cells as skipped" in text
    assert ("1 failed" in text) == more
    assert ("osad: ledger: 5 outputs\n" in text) != more


def test_a_cell_with_some_runs_is_shown_with_these(calls):
    """Its old files go, also those of a cell without any run; whole cells keep theirs."""
    fail(OTHER)
    pages = []
    for method, seeds in (("random", (0, 1)), ("dra", (1,)), ("patchcore", ())):
        name = f"elpv/all/general-m1/{method}"
        make(*(Cell.parse(f"{name}/s{seed}") for seed in seeds))
        pages.append(MAKERS[f"results/report/cells/{name}.js"])
        for path in (*pages[-1].outputs, pages[-1].receipt):
            write_text(path, "old")
    a_run().error()
    assert [command[3] for command in calls] == [*ENDS[:4], "report_cell", *ENDS[4:]]
    assert calls[4][3:] == [*pages[1].arguments(), "--partial"]
    for page, kept in zip(pages, (True, False, False), strict=True):
        assert {Path(path).exists() for path in (*page.outputs, page.receipt)} == {kept}


@pytest.mark.parametrize(
    ("cell", "missing"),
    [
        *((CELL, path) for path in (SCORES, GRID.artefact("maps", CELL), *GRID.packs_of(CELL))),
        *((CELL, path) for path in (GRID.masks("elpv", "all"), SPLIT, MANIFEST)),
        (SHARING, SHARED_SPLIT),
    ],
)
def test_old_metrics_of_a_cell_that_lacks_a_file_are_dropped(cell, missing):
    make(cell)
    fail(OTHER)
    a_run().error()
    assert Path(GRID.artefact("metrics", cell)).exists()
    Path(missing).unlink()
    a_run().error()
    assert not Path(GRID.artefact("metrics", cell)).exists()


@pytest.mark.parametrize("failed", [FETCHED, MANIFEST, SPLIT, SCORES, *WEIGHTS])
def test_old_metrics_behind_a_failed_job_are_dropped(failed):
    """Though all else of an earlier run is there, as after a wrong path of data or weights."""
    make(CELL)
    fail(failed)
    a_run().error()
    assert Path(METRICS).exists()  # It was brought since then.
    Path(failed).unlink()
    a_run().error()
    assert not Path(METRICS).exists()


def test_an_interrupted_run_without_failures_writes_nothing(calls, capsys, tmp_path):
    make(CELL)
    Path(SPLIT).unlink()
    before = sorted(tmp_path.rglob("*"))
    run = a_run()
    run.start()
    run.error()
    assert (calls, capsys.readouterr().err) == (["stopped"], "")
    assert sorted(tmp_path.rglob("*")) == before
