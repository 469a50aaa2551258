"""Large ledgers: small files, one of them changed by a run, and lines that name folders."""

import dataclasses

import pytest

from osad.audit import ledger, shards
from osad.audit.ledger import Entry, Ledger
from osad.core.files import sha256_bytes

TABLE = "results/tables/cells.csv"


def entry(path, digest="0" * 64, **inputs):
    return Entry(path, digest, 1, "rule", "c", "f", {}, inputs)


def of(*entries):
    return Ledger({one.path: one for one in entries}, {"c": "command"}, {"f": []}, {})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


@pytest.fixture
def grid():
    """Two categories of one data set and one of another, two protocols, three methods, tables."""
    paths = [
        f"results/scores/{place}/{protocol}/{method}/s0.csv"
        for place in ("a/x", "a/y", "b/all")
        for protocol in ("general-m1", "hard-dent-m1")
        for method in ("dpdl", "dpdl.own", "dra")
    ]
    made = [entry(path, sha256_bytes(path.encode())) for path in paths]
    table = entry(TABLE, **{one.path: one.sha256 for one in made})
    return of(*made, table, entry("data/raw/a/SOURCE.json"), entry("results/splits/a/x/p/s0.csv"))


def test_only_large_shards_are_cut_as_far_as_needed(grid, tmp_path, monkeypatch):
    ledger.write(tmp_path, grid)
    assert files(tmp_path).keys() == {"a.jsonl", "b.jsonl", "_shared.jsonl"}
    # Six lines of b have 1,500 bytes, three of a protocol less than a thousand.
    monkeypatch.setattr(shards, "LARGEST", 1_000)
    ledger.write(tmp_path, grid, grid)
    places = [f"{place}.{one}" for place in ("a.x", "a.y", "b.all") for one in (
        "general-m1", "hard-dent-m1")]  # fmt: skip
    assert files(tmp_path).keys() == {
        f"{name}.jsonl" for name in ("a", "a.x.p", "_shared", *places)
    }
    assert ledger.read(tmp_path) == grid
    assert ledger.check_sums(tmp_path) == []
    # One line alone is never cut.
    monkeypatch.setattr(shards, "LARGEST", 1)
    ledger.write(tmp_path, grid, grid)
    assert {"b.all.hard-dent-m1.dpdl.own.s0.jsonl", "_shared.jsonl"} <= files(tmp_path).keys()
    assert ledger.read(tmp_path) == grid


def test_a_run_made_again_changes_its_shard_and_that_of_the_tables(grid, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "LARGEST", 1_000)
    ledger.write(tmp_path, grid)
    before, path = files(tmp_path), "results/scores/a/y/hard-dent-m1/dra/s0.csv"
    entries = {**grid.entries, path: entry(path, "1" * 64)}
    inputs = {**grid.entries[TABLE].inputs, path: "1" * 64}
    entries[TABLE] = dataclasses.replace(entries[TABLE], inputs=inputs)
    ledger.write(tmp_path, dataclasses.replace(grid, entries=entries), grid)
    after = files(tmp_path)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"a.y.hard-dent-m1.jsonl", "_shared.jsonl"}


def test_a_folder_stands_for_many_files_and_is_unfolded(grid, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MANY", 17)
    ledger.write(tmp_path, grid)
    (line,) = files(tmp_path)["_shared.jsonl"].decode().splitlines()
    assert '"inputs":{"results/scores/":"' in line
    known = ledger.read(tmp_path)
    assert known == grid
    assert [*known.entries[TABLE].inputs] == sorted(grid.entries[TABLE].inputs)


def test_what_is_not_the_whole_of_a_folder_is_named(grid, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MANY", 16)
    whole = grid.entries[TABLE].inputs
    first, *others = whole
    for inputs in ({name: whole[name] for name in others}, {**whole, first: "1" * 64}):
        known = dataclasses.replace(grid, entries={**grid.entries, TABLE: entry(TABLE, **inputs)})
        ledger.write(tmp_path, known)
        assert b'results/scores/"' not in files(tmp_path)["_shared.jsonl"]
        assert ledger.read(tmp_path) == known


def test_a_folder_of_other_files_is_not_taken_for_what_a_line_was_made_from(
    grid, tmp_path, monkeypatch
):
    monkeypatch.setattr(shards, "MANY", 17)
    ledger.write(tmp_path, grid)
    shard = tmp_path / "b.jsonl"
    shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[1:]))
    assert [*ledger.read(tmp_path).entries[TABLE].inputs] == ["results/scores/"]
    assert ledger.check_sums(tmp_path)
