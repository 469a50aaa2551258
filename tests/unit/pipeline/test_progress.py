"""How far a grid is, and the summary on a terminal."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import sys

import pytest
from report_cases import FAILED, SKIPPED, Site
from rich.console import Console

from osad import cli
from osad.core.files import write_json
from osad.evaluation.tables.summary import SummaryRow
from osad.evaluation.tables.terminal import summary_table
from osad.pipeline import progress
from osad.pipeline.progress import Progress, estimate, measure, parallelism

ROW = SummaryRow(
    "elpv", "all", "general", 10, "", "dpdl", 5, 0.9, 0.01, 0.845, 0.013, "DRA, Table 1",
    "elpv/all/general-m10/dpdl",
)  # fmt: skip


def test_the_rest_takes_as_long_as_what_is_like_it():
    times = {("train", "dpdl"): [10.0, 20.0], ("train", "dra"): [3.0], ("score", "dra"): [1.0]}
    left = [("train", "dpdl"), ("train", "dpdl"), ("score", "dpdl"), ("figure", "")]
    # Twice 15, then the mean of all scoring; nothing is known of figures.
    assert estimate(left, times, parallel=2) == (15 + 15 + 1) / 2
    # A method that has not run yet: the mean of all training.
    assert estimate([("train", "mpfm")], times, parallel=1) == 11
    assert estimate([("figure", "")], times, parallel=1) is None
    assert estimate([], times, parallel=1) is None


def test_jobs_at_once_are_counted_without_the_gaps():
    assert parallelism([(0, 2), (0, 2), (10, 12)], most=8) == 1.5
    assert parallelism([(0, 4), (1, 2), (1, 3)], most=8) == 7 / 4
    assert parallelism([(0, 2)] * 9, most=4) == 4
    assert parallelism([], most=4) == 1


def test_progress_is_told_in_one_line():
    found = Progress({"train": (3, 8)}, cells=8, done=3, failed=1, seconds=600)
    assert found.line() == ("cells: 3 of 8 done, 1 failed, 4 left; 5 jobs left, about 10 min")
    assert not found.complete
    unknown = dataclasses.replace(found, seconds=None)
    assert unknown.line().endswith("; 5 jobs left")
    done = Progress({"train": (8, 8)}, cells=8, done=8, failed=0, seconds=None)
    assert done.complete
    assert done.line() == "cells: 8 of 8 done, 0 failed, 0 left; complete"


def test_a_grid_is_measured_by_its_files(site: Site, monkeypatch):
    monkeypatch.chdir(site.root)
    found = measure(site.workflow)
    assert (found.cells, found.done, found.failed) == (72, 72 - 3, 1)
    assert found.rules["metrics"] == (72 - 1 - len(SKIPPED), 72)
    assert found.rules["report_cell"] == (35, 36)
    # Three trainings of a second each; whatever else is left has no record.
    train, score = found.rules["train"], found.rules["score"]
    assert (train, score) == ((69, 72), (24, 24))
    assert found.seconds is not None
    assert 0 < found.seconds <= 6


def test_watching_ends_when_all_is_done(monkeypatch, capsys):
    steps = [Progress({"train": (n, 2)}, 2, n, 0, None) for n in (0, 0, 1, 2)]
    monkeypatch.setattr(progress, "measure", lambda _: steps.pop(0))
    assert cli.main(["progress", "--watch", "--every", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # A line that says the same as the last is not printed.
    assert [line.split()[1] for line in lines] == ["0", "1", "2"]
    steps.append(Progress({"train": (1, 2)}, 2, 1, 0, None))
    assert cli.main(["progress"]) == 0
    out = capsys.readouterr().out
    assert ["train", "1", "1"] in [line.split() for line in out.splitlines()]


def test_a_record_from_a_clone_says_nothing_of_time(tmp_path):
    job = next(iter(progress.jobs(progress_workflow())))
    path = tmp_path / os.path.relpath(job.run, progress.RUNS)
    write_json(path, {"machine": {}})
    assert progress._span(job, tmp_path) is None
    write_json(path, {"machine": {"seconds": 2.5}})
    begin, end = progress._span(job, tmp_path) or (0, 0)
    assert end - begin == 2.5


def progress_workflow():
    from report_cases import workflow

    return workflow()


def test_the_summary_fits_a_narrow_terminal_and_marks_differences():
    stream = io.StringIO()
    worse = dataclasses.replace(ROW, auroc_mean=0.8)
    none = dataclasses.replace(ROW, auroc_mean=None, auroc_std=None, n_seeds=0)
    Console(file=stream, width=80, force_terminal=True, color_system="standard").print(
        summary_table([ROW, worse, none])
    )
    text = stream.getvalue()
    assert "\x1b[32m    +0.055" in text
    assert "\x1b[33m    -0.045" in text
    assert re.search(r"\x1b\[31m +n/a", text)
    assert "0.845 ± 0.013" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_program_reads_the_plain_summary(site: Site, monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    path = site.root / "results/tables/summary.csv"
    assert cli.main(["tables", str(path)]) == 0
    out = capsys.readouterr().out
    assert ("difference" in out) == terminal
    # A terminal may break the line, a program gets it whole.
    assert terminal or str(FAILED).rpartition("/")[0] in out
