"""What makes a note void that nothing was to be done, and when none is made."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from project_cases import rules_of

import osad
from osad.core.errors import ConfigError
from osad.core.files import write_text
from osad.pipeline import unchanged
from osad.pipeline.jobs import jobs
from osad.pipeline.rules import SOURCES

METHODS = ("dra", "random")


def rules(**grid):
    return rules_of(**{"methods": METHODS, "seeds": (0,), "shots": (1,), **grid})


JOBS = jobs(rules())
RECORD, MARK = ".snakemake/metadata/a", ".snakemake/incomplete/a"


@pytest.fixture
def complete(monkeypatch, tmp_path):
    """A folder with every file of a grid and a record, noted as one with nothing to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(osad, "STARTED", time.time() + 60)
    for job in JOBS:
        for path in (*job.outputs, job.receipt):
            write_text(path, path)
    write_text(RECORD, "")
    write_text("provenance/elpv.jsonl", "{}")
    unchanged.remember(unchanged.look(rules(), JOBS))


def test_it_holds_while_nothing_changes(complete):
    assert unchanged.holds(rules())
    assert unchanged.holds(rules())


def test_a_file_that_changes_ends_it(complete):
    def changes(act, path):
        made = rules()
        unchanged.remember(unchanged.look(made, JOBS))
        act(path)
        ended = not unchanged.holds(made)
        write_text(path, path)
        return ended

    ledger = "provenance/elpv.jsonl"
    for path in (JOBS[0].outputs[0], JOBS[-1].outputs[-1], JOBS[5].receipt, RECORD, ledger):
        assert changes(lambda path: write_text(path, path), path)
        assert changes(lambda path: Path(path).unlink(), path)
    for path in ("provenance/SHA256SUMS", MARK):
        assert changes(lambda path: write_text(path, ""), path)


@pytest.mark.parametrize("grid", [{"seeds": (1,)}, {"methods": ("dra",)}, {"results": "results/b"}])
def test_another_grid_ends_it(complete, grid):
    assert not unchanged.holds(rules(**grid))


def test_sources_and_snakemake_that_change_end_it(complete, monkeypatch):
    made = rules()
    made.sources = type(made.sources)("other", settled=True)
    assert not unchanged.holds(made)
    monkeypatch.setattr(unchanged, "version", lambda _: "9.0")
    assert not unchanged.holds(rules())


def test_all_that_is_read_to_know_the_jobs_is_a_source():
    root = rules().grid.root
    assert [place for place in SOURCES if not (root / place).exists()] == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}', '{"files": [3]}', "\0"])
def test_a_note_that_is_damaged_does_not_hold(complete, content):
    unchanged.PLACE.write_text(content)
    assert not unchanged.holds(rules())


def test_jobs_end_it(complete):
    unchanged.forget()
    assert not unchanged.holds(rules())
    unchanged.forget()
    unchanged.PLACE.mkdir()
    unchanged.remember({})  # It is a hint.
    with pytest.raises(ConfigError, match=r"^\.osad/unchanged\.json: cannot be removed \("):
        unchanged.forget()


def test_what_a_part_does_not_make_is_looked_at_for_adoption(complete):
    other = "results/tables/cells.csv"
    Path(other).unlink()
    made = rules()
    made.grid = replace(made.grid, params=replace(made.grid.params, part="1/1"))
    part = [job for job in JOBS if other not in job.outputs]
    assert unchanged.look(rules(), JOBS) is None
    unchanged.remember(unchanged.look(made, part))
    assert unchanged.holds(made)
    write_text(other, "pulled")
    assert not unchanged.holds(made)


def test_none_is_made_where_an_output_lacks_or_sources_are_new(complete, monkeypatch):
    made = rules()
    assert unchanged.look(made, JOBS)
    Path(JOBS[3].receipt).unlink()
    assert unchanged.look(made, JOBS) is None
    write_text(JOBS[3].receipt, "")
    monkeypatch.setattr(osad, "STARTED", 0.0)
    assert unchanged.look(rules(), JOBS) is None
