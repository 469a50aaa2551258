"""The ledger's files: written, read, and what is told of damaged ones; what a cell depends on."""

import contextlib
import dataclasses
import json
import random
from typing import Any

import project_cases
import pytest
from project_cases import METRICS, NAME, PACK, RUN, SCORES, SHARED, SHARING, WEIGHTS, MadeUp

from osad.audit import graph, ledger
from osad.audit.ledger import Entry, Ledger
from osad.audit.shards import placed
from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import write_text
from osad.pipeline.fingerprint import Module

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


@pytest.mark.parametrize("name", ["_shared.jsonl", "b.jsonl", "commands.json", "code.json"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_ledger_whose_writing_is_ended_can_be_read(tmp_path, monkeypatch, name, times):
    """The lines of both ledgers find what they name; written again, all is as if nothing was."""
    other = Ledger(
        {e.path: dataclasses.replace(e, command="c3", code="k3") for e in (ONE, TWO)},
        {"c3": "run else"}, {"k3": ["a"]}, {"a": Module("f9", "s9")},
    )  # fmt: skip
    ledger.write(tmp_path, SMALL)
    left, write = [name] * times, write_text

    def killed(path, text):
        if path.name in left:
            left.remove(path.name)
            if not left:
                path.with_name(f".{name}.7.part").write_text(text[:5])
                raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(ledger, "write_text", killed)
    monkeypatch.setattr(
        ledger, "write_json", lambda path, value: killed(path, json.dumps(value, sort_keys=True))
    )
    with contextlib.suppress(KeyboardInterrupt):
        ledger.write(tmp_path, other, SMALL)
    assert ledger.read(tmp_path).entries.keys() == SMALL.entries.keys()
    left.clear()
    ledger.write(tmp_path, other, ledger.read(tmp_path))
    assert ledger.read(tmp_path) == other
    assert ledger.check_sums(tmp_path) == []
    assert not list(tmp_path.glob(".*"))


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
    assert placed(path)[1][0] == shard


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
        ("b.jsonl", '"rule":"run"', '"rule":3', "b.jsonl, line 1: .* .rule is 3"),
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


VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    ["rule"],
    {"a": 1},
    {"../a": "b"},
    "a\nb",
    "\u2028",
]
"""Values of all types of JSON, and texts that only some keys may have."""
SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
"""Characters that end a line for `str.splitlines` and none for JSON Lines."""


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Entry)])
def test_a_value_of_another_type_is_named_with_its_line(tmp_path, key):
    ledger.write(tmp_path, SMALL)
    good = json.loads(ledger.line(ONE))
    every: dict[str, list[Any]] = {
        "size": [0, -1], "params": [{}, {"a": 1}, {"../a": "b"}], "inputs": [{}],
        "env": [{}, {"../a": "b"}], "path": ["x"],
    }  # fmt: skip
    allowed = every.get(key, ["", "x", "a\nb", "\u2028"])
    for value in [v for v in VALUES if not any(v == a and type(v) is type(a) for a in allowed)]:
        for changed in (good | {key: value}, {k: v for k, v in good.items() if k != key}):
            text = json.dumps(changed, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            (tmp_path / "b.jsonl").write_text(f"{text}\n", encoding="utf-8")
            with pytest.raises(DataError, match=r"b\.jsonl, line 1: is not a line of a ledger"):
                ledger.read(tmp_path)


def test_texts_may_hold_what_ends_lines_elsewhere(tmp_path):
    params = {"lr": 0.1, "citation": f"A.{SEPARATORS}B."}
    entry = dataclasses.replace(ONE, params=params)
    known = dataclasses.replace(SMALL, entries={**SMALL.entries, ONE.path: entry})
    ledger.write(tmp_path, known)
    assert ledger.read(tmp_path) == known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-1], "line 1: .*cut off"),
        (lambda text: text[:-20], "line 1: is not a line"),
        (lambda text: text + text[:30], "line 2: is not a line"),
        (lambda text: text + text, "is there twice"),
        (lambda text: text.replace("\n", "\r\n"), "line 1: is not a line"),
        (lambda text: "\n" + text, "line 1: is not a line"),
        (lambda text: text.replace(":", ": ", 1), "line 1: .*not written by osad"),
        (lambda text: text.replace('"lr":0.1', '"lr":NaN'), "line 1: is not a line"),
        (lambda text: text.replace('"lr"', '"lr":0.1,"lr"'), "the key .lr. is there twice"),
        (lambda text: text.replace("0.1", "9" * 5000), "line 1: is not a line"),
        (lambda text: text.replace("0.1", "[" * 100_000), "line 1: is not a line"),
        (lambda text: text.replace('"run"', '"\\ud800"'), "line 1: .*can.t encode character"),
        (lambda text: text.replace(ONE.path, f"../{ONE.path}"), "line 1: .*'.' or '..'"),
        (lambda text: text.replace(ONE.path, "/etc/passwd"), "line 1: .* is absolute"),
    ],
)  # fmt: skip
def test_lines_that_osad_did_not_write_are_named(tmp_path, change, message):
    ledger.write(tmp_path, SMALL)
    path = tmp_path / "b.jsonl"
    path.write_bytes(change(path.read_bytes().decode()).encode())
    with pytest.raises(DataError, match=rf"b\.jsonl.*{message}"):
        ledger.read(tmp_path)


@pytest.mark.parametrize("name", ["commands.json", "code.json"])
@pytest.mark.parametrize("text", [
    "[]", "3", "null", '"c1"', "{}", "[" * 100_000, "", '{"c1": 5, "c2": "x"}',
    '{"closures": {"k1": ["a", 1], "k2": ["a"]}, "modules": {"a": ["f1", "s1"]}}',
    '{"closures": {"k1": ["a"], "k2": ["a"]}, "modules": {"a": ["f1", 3]}}',
    '{"closures": [], "modules": []}',
])  # fmt: skip
def test_what_lines_name_must_be_texts(tmp_path, name, text):
    ledger.write(tmp_path, SMALL)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"do not have what every line names|is not valid JSON"):
        ledger.read(tmp_path)


def test_any_damage_is_an_error_or_none(tmp_path):
    """What is read is what would be written; all else is named."""
    ledger.write(tmp_path, SMALL)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    chance, refused = random.Random(11), 0
    pieces = [b"\x00", b"\xff", b"\n", b'"', b"}", b"{", b"[", b"9" * 400, b"null,", b""]
    pieces.append("\u2028".encode())
    for _ in range(600):
        path, content = chance.choice(list(files.items()))
        start = chance.randrange(len(content))
        end = start + chance.choice([0, 1, 1, 2, 9])
        path.write_bytes(content[:start] + chance.choice(pieces) + content[end:])
        try:
            known = ledger.read(tmp_path)
        except DataError:
            refused += 1
        else:
            assert all(ledger.line(e) in path.read_text("utf-8") for e in known.entries.values()
                       if path.stem == placed(e.path)[1][0])  # fmt: skip
        assert all(isinstance(message, str) for message in ledger.check_sums(tmp_path))
        path.write_bytes(content)
    assert 300 < refused < 600


def test_a_file_made_from_itself_is_named(tmp_path):
    lines = [Entry(p, "", 0, "r", "", "", {}, {of: ""}) for p, of in (("a", "b"), ("b", "a"))]
    with pytest.raises(DataError, match=r"the ledger says that [ab] was made from itself"):
        graph.in_order(lines)


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
        _ = SMALL.results
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
    several: list[dict[str, Any]] = [{"params": {"cell": "x"}}, {"inputs": {}}]
    for changes in several:
        old = dataclasses.replace(made.ledger.entries[METRICS], **changes)
        text = graph.commands(made.rules, made.ledger, [old])[METRICS]
        assert text == made.rules.metrics.command != command
    # Inputs that no job makes are files of the project.
    assert graph.sources(made.ledger.entries.values(), made.ledger).keys() == {
        "data/published/paper.csv", "src/osad/report/assets/style.css",
    }  # fmt: skip
