"""What is stale, why, and how long it takes."""

import os
from collections import Counter
from pathlib import Path

import project_cases
import pytest
from project_cases import CELLS, LOCK, METHOD, METRICS, SCORES, SUMMARY, MadeUp

from osad import cli
from osad.core.files import read_json, write_json
from osad.history.status import BEHIND, Status, measure
from osad.pipeline.jobs import jobs, makers
from osad.runtime import snakemake_records

made = project_cases.made
PUBLISHED = "data/published/paper.csv"
AFTER = {"comparison": 1, "table": 1, "report_page": 1}
"""What reads ``cells.csv``; the page's styles show no figures here."""


def told(status: Status) -> dict[str, Counter[str]]:
    """Return the number of jobs by rule of each cause."""
    found: dict[str, Counter[str]] = {}
    for job, causes in status.stale:
        for cause in causes:
            found.setdefault(cause, Counter())[job.rule.name] += 1
    return found


def interrupt(made: MadeUp) -> None:
    with snakemake_records._store() as store:
        store._mark_incomplete(METRICS, None)


def forget_receipt(made: MadeUp) -> None:
    with snakemake_records._store() as store:
        store._delete_record(makers(jobs(made.rules))[METRICS].receipt)


ONE = {"metrics": 1}
BEHIND_ONE = {"cells": 1, "report_cell": 1, **AFTER}
DEVNET = {"metrics": 2, "report_cell": 1, "cells": 1, **AFTER}
CASES = {
    "hyper": (lambda m: m.edit("params.yaml", "chs: 3", "chs: 4"),
              {"methods.devnet.epochs: 3 -> 4": {"run": 2}, BEHIND: DEVNET}),
    "code": (lambda m: m.edit(METHOD, "= 1", "= 2"),
             {"code osad.methods.devnet": {"run": 2}, BEHIND: DEVNET}),
    "comment": (lambda m: m.edit(METHOD, "of learning", "of forgetting"), {}),
    "deleted": (lambda m: Path(METRICS).unlink(), {"not made yet": ONE, BEHIND: BEHIND_ONE}),
    "source": (lambda m: m.put(PUBLISHED, "x"),
               {f"{PUBLISHED} has changed": AFTER}),
    "same content": (lambda m: m.put(PUBLISHED, Path(PUBLISHED).read_text()), {}),
    "interrupted": (interrupt, {"interrupted": ONE, BEHIND: BEHIND_ONE}),
    "receipt": (forget_receipt,
                {"Snakemake has no record of its receipt": ONE, BEHIND: BEHIND_ONE}),
    "command": (lambda m: m.rewrite(template="x"),
                {"command, inputs or parameters of rule metrics": ONE,
                 BEHIND: BEHIND_ONE}),
    "unknown parameter": (lambda m: m.rewrite(params={"cell": "x"}), {
        "cell (changed since the ledger was written)": ONE,
        "code (changed since the ledger was written)": ONE,
        "environment (changed since the ledger was written)": ONE, BEHIND: BEHIND_ONE}),
    "fewer inputs": (lambda m: m.rewrite(inputs={}),
                     {"command, inputs or parameters of rule metrics": ONE,
                      BEHIND: BEHIND_ONE}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_causes_are_named_with_the_jobs_that_they_lead_to(made: MadeUp, case):
    change, expected = CASES[case]
    change(made)
    status = measure(made.rules)
    assert told(status) == expected
    assert status.unvouched == []


def test_other_packages_are_a_cause_of_all_that_computes(made: MadeUp):
    made.put(LOCK, "")
    found = told(measure(made.rules))
    packages = found["packages of requirements/numeric.lock"]
    assert packages["run"] == 4
    assert "fetch" not in packages


def test_a_new_seed_is_not_made_yet_and_read_by_the_tables(made: MadeUp):
    made.edit("params.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    found = told(measure(made.rules))
    assert found["not made yet"] == {"split": 2, "run": 2, "metrics": 3}
    assert found["other files of results/metrics"]["cells"] == 1
    assert found[BEHIND].keys() <= {"table", "report_page"}


def test_an_edited_output_is_named_though_snakemake_leaves_it(made: MadeUp, capsys):
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out == f"everything is there: {len(jobs(made.rules))} jobs\n"
    made.put(SUMMARY, "edited")
    status = measure(made.rules)
    assert status.stale == []
    assert [line.partition(": ")[0] for line in status.unvouched] == [SUMMARY]
    assert cli.main(["status"]) == 1
    captured = capsys.readouterr()
    assert "no line of the ledger would vouch for them:\n  " + SUMMARY in captured.out
    assert captured.err.startswith(f"osad status: {SUMMARY}: its bytes are not what its job wrote")


def test_a_clone_gets_its_records_first_as_from_snakemake(made: MadeUp, capsys):
    for path in made.root.glob(".snakemake/metadata/*"):
        path.unlink()
    assert cli.main(["status"]) == 0
    assert "adopted" in capsys.readouterr().err


def test_contents_count_only_where_times_are_newer(made: MadeUp):
    """As for Snakemake; what the ledger would not vouch for is told all the same."""
    made.put(PUBLISHED, "x")
    os.utime(PUBLISHED, (1, 1))
    status = measure(made.rules)
    assert status.stale == []
    assert f"{CELLS.rpartition('/')[0]}/comparison.csv" in status.unvouched[0]
    assert f"{PUBLISHED} has changed since" in status.unvouched[0]


def test_a_job_that_failed_says_why(made: MadeUp):
    Path(SCORES).unlink()
    failure = makers(jobs(made.rules))[SCORES].failure
    write_json(failure, {"step": "run", "reason": "loss is nan", "error": "E"})
    assert told(measure(made.rules))["failed: run: loss is nan"] == {"run": 1}
    made.put(SCORES, "")  # A failure that is over is no cause.
    assert "failed: run: loss is nan" not in told(measure(made.rules))


def test_times_are_those_of_receipts_else_as_measured(made: MadeUp, capsys):
    Path(SCORES).unlink()
    status = measure(made.rules)
    assert status.seconds == 1.5 * len(status.stale)  # All jobs of the project took as long.
    assert not status.unknown
    for job in jobs(made.rules):  # As in a clone.
        write_json(job.receipt, read_json(job.receipt) | {"machine": {}})
    assert measure(made.rules).unknown.total() == len(status.stale)
    assert cli.main(["status"]) == 1
    assert "how long they take is not known" in capsys.readouterr().out
    write_json("data/bench/one.json", {"cells": {"devnet": {"cell_s": 7}}})
    write_json("data/bench/two.json", {"cells": 3})
    status = measure(made.rules)
    assert status.seconds == 7
    assert "run" not in status.unknown
    assert cli.main(["status"]) == 1
    out = capsys.readouterr().out
    assert "1 of them take about 7 s one after the other" in out
    assert "of the others is not known" not in out


def test_a_grid_of_which_nothing_is_made(made: MadeUp):
    made.edit("params.yaml", "results: results", "results: results/other")
    status = measure(made.rules)
    found = told(status)
    assert found.keys() == {"not made yet"}
    assert (found["not made yet"]["run"], found["not made yet"]["cells"]) == (4, 1)
    assert not {"fetch", "manifest"} & found["not made yet"].keys()  # Those are shared.


def test_of_a_part_only_its_own_is_stale(made: MadeUp, capsys):
    Path(METRICS).unlink()
    Path(CELLS).unlink()  # Of the whole.
    codes = {one: cli.main(["status", "--part", f"{one}/2"]) for one in (1, 2)}
    said = capsys.readouterr()
    assert codes == {1: 1, 2: 0}
    assert f"{METRICS}: not made yet; run snakemake --config part=1/2\n" in said.err
    assert "1 of " in said.out
    assert CELLS not in said.out + said.err
