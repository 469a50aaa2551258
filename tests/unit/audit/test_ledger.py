"""The ledger's files: written, read, and what is told of damaged ones; what a cell depends on."""

import dataclasses

import project_cases
import pytest
from project_cases import METRICS, NAME, PACK, RUN, SCORES, SHARED, SHARING, WEIGHTS, MadeUp

from osad.audit import graph, ledger
from osad.audit.ledger import Entry, Ledger, Module
from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError

made = project_cases.made
ONE = Entry("results/scores/b/all/x/y/s0.csv", "1" * 64, 3, "run", "c1", "k1", {"lr": 0.1})
TWO = Entry("results/tables/cells.csv", "2" * 64, 5, "cells", "c2", "k2", {}, {ONE.path: "1" * 64})
SMALL = Ledger(
    {entry.path: entry for entry in (ONE, TWO)},
    {"c1": "run {input}", "c2": "collect"},
    {"k1": ["a", "b"], "k2": ["a"]},
    {"a": Module("f1", "s1"), "b": Module("f2", "s2")},
)


def test_a_ledger_is_read_as_it_was_written(tmp_path):
    more = dataclasses.replace(SMALL, commands={**SMALL.commands, "c3": "of no line"})
    assert ledger.write(tmp_path, more)
    assert ledger.read(tmp_path) == SMALL  # Only what lines name is kept.
    assert {path.name for path in tmp_path.iterdir()} == {
        "b.jsonl", "_shared.jsonl", "commands.json", "code.json", "SHA256SUMS",
    }  # fmt: skip
    assert ledger.check_sums(tmp_path) == []
    assert not ledger.write(tmp_path, SMALL)
    assert SMALL.modules_of([TWO]) == {"a": Module("f1", "s1")}
    assert ledger.write(tmp_path, dataclasses.replace(SMALL, entries={TWO.path: TWO}))
    assert not (tmp_path / "b.jsonl").exists()
    assert ledger.read(tmp_path / "nothing") == Ledger()
    with pytest.raises(CheckError, match="SHA256SUMS: is missing"):
        ledger.check_sums(tmp_path / "nothing")


def test_texts_of_a_line_may_have_line_separators(tmp_path):
    title = "one\u2028two\u2029three\x85four\x1cfive\nsix"
    entry = dataclasses.replace(ONE, params={"settings": {"title": title}})
    ledger.write(tmp_path, dataclasses.replace(SMALL, entries={entry.path: entry}))
    assert ledger.read(tmp_path).entries == {entry.path: entry}
    assert ledger.check_sums(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "shard"),
    [
        ("data/raw/elpv/SOURCE.json", "elpv"),
        ("data/manifests/mvtec/carpet.csv", "mvtec"),
        ("data/weights/net.pth", "_shared"),
        ("results/smoke/maps/elpv/all/normal-m0/x/s0.safetensors", "elpv"),
        ("results/report/cells/elpv/all/normal-m0/x.js", "elpv"),
        ("results/report/index.html", "_shared"),
        ("results/figures/all.png", "_shared"),
    ],
)
def test_lines_stand_with_those_of_their_data_set(path, shard):
    assert ledger.shard(path) == shard


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("b.jsonl", '{"code"', '{"code', "b.jsonl, line 1: is not a line of a ledger"),
        (
            "b.jsonl",
            '"size":3',
            '"size":3,"size":4',
            "b.jsonl, line 1: .*the key 'size' is there twice",
        ),
        ("b.jsonl", '"size"', '"length"', "b.jsonl, line 1: is not a line of a ledger"),
        ("b.jsonl", '"rule":"run"', '"rule":3', "b.jsonl, line 1: .* rule or code is no text"),
        ("b.jsonl", ONE.path, TWO.path, "cells.csv is there twice"),
        ("commands.json", '"c1"', '"c7"', "do not have what every line names .'c1'."),
        ("code.json", '"k2"', '"k3"', "do not have what every line names .'k2'."),
        ("code.json", '"b": [', '"d": [', "do not have what every line names .'b'."),
    ],
)
def test_a_damaged_ledger_is_not_read(tmp_path, name, old, new, message):
    ledger.write(tmp_path, SMALL)
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=f"{message}.*; restore it with `git checkout"):
        ledger.read(tmp_path)
    (problem,) = ledger.check_sums(tmp_path)
    assert problem.startswith(f"{tmp_path / name}: differs from what SHA256SUMS states")


@pytest.mark.parametrize("bit", [1, 2])
def test_any_flipped_bit_of_the_listing_is_noticed_as_its_own(tmp_path, bit):
    ledger.write(tmp_path, SMALL)
    listing = tmp_path / ledger.SUMS
    content = listing.read_bytes()
    for place in range(len(content)):
        listing.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        messages = ledger.check_sums(tmp_path)
        assert [message.split(": ")[0] for message in messages] == [str(listing)], place


# --- what a cell depends on -------------------------------------------------------------------


def test_lines_come_after_those_of_their_inputs():
    order = {"d": "ab", "b": "a", "a": "", "c": "", "e": "dx"}  # x has no line.
    lines = [Entry(p, "", 0, "r", "", "", {}, dict.fromkeys(of, "")) for p, of in order.items()]
    assert [line.path for line in graph.in_order(lines)] == ["a", "c", "b", "d", "e"]


def test_all_behind_a_cell_is_found_with_the_checkpoint_of_its_run(made: MadeUp):
    known, own, sharing = made.ledger, Cell.parse(RUN), Cell.parse(SHARING)
    assert (graph.run_of(known, own), graph.run_of(known, sharing)) == (own, Cell.parse(SHARED))
    assert graph.artefact(known, "metrics", sharing) == f"results/metrics/{SHARING}.json"
    assert graph.artefact(known, "scores", sharing) == f"results/scores/{SHARED}.csv"
    with pytest.raises(ConfigError, match="the ledger has no cell"):
        graph.results_folder(SMALL)
    paths = [entry.path for entry in graph.upstream(known, [sharing])]
    run = [f"results/{kind}/{SHARED}" for kind in ("checkpoints", "maps", "scores")]
    assert paths == [
        "data/raw/tiny/SOURCE.json", WEIGHTS, "data/manifests/tiny.csv",
        "results/features/tiny/all/masks.safetensors", PACK,
        "results/splits/tiny/all/general-m10/s0.csv", "results/splits/tiny/all/normal-m0/s0.csv",
        f"{run[0]}.safetensors", f"{run[1]}.safetensors", f"{run[2]}.csv",
        f"results/metrics/{SHARING}.json",
    ]  # fmt: skip


def test_an_id_means_a_run_or_all_its_seeds(made: MadeUp):
    for name, cells in ((RUN, [RUN]), (NAME, [f"{NAME}/s0", f"{NAME}/s1"])):
        target = graph.find(made.ledger, name)
        assert (target.name, list(map(str, target.cells))) == (name, cells)
        assert target.mean == (name == NAME)
    with pytest.raises(ConfigError, match=f"is not in the ledger; one that is: {NAME}/s0"):
        graph.find(made.ledger, f"{NAME}/s7")
    with pytest.raises(ConfigError, match="expected DATASET/CATEGORY"):
        graph.find(made.ledger, "tiny/all")


def test_commands_follow_from_the_table_while_it_says_what_the_line_says(made: MadeUp):
    entries = graph.upstream(made.ledger, [Cell.parse(RUN)])
    command = graph.commands(made.rules, made.ledger, entries)[METRICS]
    assert command == (
        f"python -m osad.runtime.job metrics --split results/splits/tiny/all/general-m10/s0.csv "
        f"--scores {SCORES} --maps results/maps/{RUN}.safetensors --fitted "
        f"--masks results/features/tiny/all/masks.safetensors --cell {RUN} --output {METRICS}"
    )
    for changes in ({"params": {"cell": "x"}}, {"inputs": {}}):
        old = dataclasses.replace(made.ledger.entries[METRICS], **changes)
        text = graph.commands(made.rules, made.ledger, [old])[METRICS]
        assert text == made.rules.metrics.command != command
    # Inputs that no job makes are files of the project.
    assert graph.sources(made.ledger.entries.values(), made.ledger).keys() == {
        "data/published/paper.csv", "src/osad/report/assets/style.css",
    }  # fmt: skip
