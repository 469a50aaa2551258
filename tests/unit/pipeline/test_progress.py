"""How far a grid is, and what the commands that show it print."""

import dataclasses
import os
from pathlib import Path

import project_cases
from project_cases import MANIFEST, METRICS, RUN, SCORES, MadeUp
from report_cases import FAILED, Site

from osad import cli
from osad.core.files import write_json
from osad.pipeline import progress
from osad.pipeline.jobs import jobs, makers
from osad.pipeline.progress import Progress, estimate, measure, parallelism

made = project_cases.made


def test_the_rest_takes_as_long_as_what_is_like_it():
    times = {("run", "dpdl"): [10.0, 20.0], ("run", "dra"): [3.0], ("metrics", "dra"): [1.0]}
    left = [("run", "dpdl"), ("run", "dpdl"), ("metrics", "dpdl"), ("figure", "")]
    # Twice 15, then the mean of all metrics; nothing is known of figures.
    assert estimate(left, times, parallel=2) == (15 + 15 + 1) / 2
    # A method that has not run yet: the mean of all runs.
    assert estimate([("run", "mpfm")], times, parallel=1) == 11
    assert estimate([("figure", "")], times, parallel=1) is None
    assert estimate([], times, parallel=1) is None


def test_jobs_at_once_are_counted_without_the_gaps():
    assert parallelism([(0, 2), (0, 2), (10, 12)], most=8) == 1.5
    assert parallelism([(0, 4), (1, 2), (1, 3)], most=8) == 7 / 4
    assert parallelism([(0, 2)] * 9, most=4) == 4
    assert parallelism([], most=4) == 1


def test_progress_is_told_in_one_line():
    some = Progress({"run": (3, 8)}, cells=8, done=3, failed=1, seconds=600)
    assert some.line() == ("cells: 3 of 8 done, 1 failed, 4 left; 5 jobs left, about 10 min")
    assert not some.complete
    assert dataclasses.replace(some, seconds=None).line().endswith("; 5 jobs left")
    done = Progress({"run": (8, 8)}, cells=8, done=8, failed=0, seconds=None)
    assert done.complete
    assert done.line() == "cells: 8 of 8 done, 0 failed, 0 left; complete"


def test_a_grid_is_measured_by_its_files_and_the_receipts_of_its_jobs(made: MadeUp):
    rules = made.rules
    # Two seeds of one method in one protocol and of another in two, which has one run a seed.
    whole = measure(rules)
    assert (whole.cells, whole.done, whole.failed) == (6, 6, 0)
    assert (whole.rules["run"], whole.rules["metrics"]) == ((4, 4), (6, 6))
    assert (whole.complete, whole.seconds) == (True, None)
    for path in (SCORES, METRICS, MANIFEST):  # Of one run, one cell, and of all.
        Path(path).unlink()
    for number, job in enumerate(jobs(rules)):  # One after the other, each of 1.5 s.
        os.utime(job.receipt, (10 * number, 10 * number))
    part = measure(rules)
    assert (part.rules["run"], part.rules["metrics"]) == ((3, 4), (5, 6))
    assert (part.done, part.failed, part.complete) == (5, 0, False)
    # Nothing is known of the only manifest; a job from a clone says nothing of time.
    assert part.seconds == 1.5 + 1.5
    for odd in ({}, {"seconds": "nan"}, {"seconds": -5}, {"seconds": True}):
        for job in jobs(rules):
            write_json(job.receipt, {"machine": odd})
        assert measure(rules).seconds is None
    write_json(makers(jobs(rules))[SCORES].failure, {"step": "run", "reason": "x", "error": "E"})
    assert (measure(rules).failed, measure(rules).seconds) == (1, None)
    assert RUN in map(str, rules.grid.cells)


def test_a_part_is_measured_as_if_there_were_nothing_else(made: MadeUp, capsys):
    whole = measure(made.rules)
    counts = [0, 0]
    for one in (1, 2):
        assert cli.main(["progress", "--part", f"{one}/2"]) == 0
        out = capsys.readouterr().out
        assert "complete" in out
        assert "report_page" not in out
        counts[one - 1] = int(out.split("cells: ")[1].split()[0])
    assert (sum(counts), min(counts) > 0) == (whole.cells, True)
    Path(METRICS).unlink()  # Of seed 0, in the first part.
    ends = []
    for one in (1, 2):
        assert cli.main(["progress", "--part", f"{one}/2"]) == 0
        ends.append(capsys.readouterr().out.splitlines()[-1])
    assert ends[0].startswith(f"cells: {counts[0] - 1} of {counts[0]} done, 0 failed, 1 left")
    assert ends[1].endswith("complete")
    assert cli.main(["progress", "--part", "3/2"]) == 2
    assert "part: 3/2 is beyond the last part" in capsys.readouterr().err
    assert cli.main(["progress", "--part", "99/99"]) == 2
    assert "part: 99/99 is empty" in capsys.readouterr().err


def test_watching_ends_when_all_is_done(made: MadeUp, monkeypatch, capsys):
    steps = [Progress({"run": (n, 2)}, 2, n, 0, None) for n in (0, 0, 1, 2, 1)]
    monkeypatch.setattr(progress, "measure", lambda _: steps.pop(0))
    assert cli.main(["progress", "--watch", "--every", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # A line that says the same as the last is not printed.
    assert [line.split()[1] for line in lines] == ["0", "1", "2"]
    assert cli.main(["progress"]) == 0
    out = capsys.readouterr().out
    assert ["run", "1", "1"] in [line.split() for line in out.splitlines()]


def test_a_program_reads_the_whole_summary(site: Site, capsys):
    assert cli.main(["tables", str(site.root / "results/tables/summary.csv")]) == 0
    out = capsys.readouterr().out
    assert str(FAILED).rpartition("/")[0] in out
    assert "\x1b" not in out
