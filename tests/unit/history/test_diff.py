"""Which numbers changed between two commits, and what is named as the cause of each."""

import dataclasses
import json
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import project_cases
import pytest
from project_cases import (
    CELLS,
    CHECKPOINT,
    MANIFEST,
    METRICS,
    NAME,
    PACK,
    RUN,
    SCORES,
    SHARED,
    SHARING,
    SUMMARY,
    MadeUp,
)  # fmt: skip

from osad import cli
from osad.audit.ledger import write
from osad.history.diff import render
from osad.pipeline.fingerprint import Module

made = project_cases.made
SOURCE, PUBLISHED = "data/raw/tiny/SOURCE.json", "data/published/paper.csv"


def commit(made: MadeUp) -> str:
    """Commit ledger and tables; return the commit."""
    write(made.root / "provenance", made.ledger)
    git = ["git", "-C", str(made.root), "-c", "user.name=n", "-c", "user.email=n@example.org"]
    for command in (["add", "provenance", "results/tables"], ["commit", "--quiet", "-mx"]):
        subprocess.run([*git, *command], check=True)
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()


def replaced(made: MadeUp, path: str, **changes: Any) -> None:
    made.ledger.entries[path] = dataclasses.replace(made.ledger.entries[path], **changes)


def other_bytes(made: MadeUp, *paths: str) -> None:
    """Give files other content, and all lines the digests that go with it."""
    for path in paths:
        made.vouch(path, f"other {path}")


def print_other(made: MadeUp, *cells: str, mean: str = "") -> None:
    """Print another AUROC of some cells, and of a mean over them."""
    lines = Path(CELLS).read_text(encoding="utf-8").splitlines(keepends=True)
    new = [line.replace(",0.75,", ",0.8,") if line.split(",")[0] in cells else line
           for line in lines]  # fmt: skip
    made.vouch(CELLS, "".join(new))
    if mean:
        text = Path(SUMMARY).read_text(encoding="utf-8")
        made.vouch(SUMMARY, text.replace(f"{mean},0.625", f"{mean},0.65"))


def found(capsys: pytest.CaptureFixture[str], old: str, new: str) -> dict[str, dict[str, Any]]:
    """Return what the command says of each row that differs."""
    assert cli.main(["diff", old, new, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = json.loads(captured.out)["changes"]
    by_row = {f"{Path(row['table']).stem} {row['cell']}": row for row in rows}
    assert len(by_row) == len(rows)
    return by_row


def parameter(made: MadeUp) -> None:
    for path in (SCORES, CHECKPOINT):
        params = json.loads(json.dumps(made.ledger.entries[path].params))
        params["hyper"]["epochs"] = 4
        replaced(made, path, params=params)
    other_bytes(made, SCORES, CHECKPOINT, METRICS)


def module(made: MadeUp) -> None:
    name, ledger = "osad.methods.devnet", made.ledger
    code = ledger.entries[SCORES].code
    ledger.modules[name] = Module("1" * 64, "2" * 64)
    ledger.closures["new"] = ledger.closures[code]
    for path in [path for path, entry in ledger.entries.items() if entry.code == code]:
        replaced(made, path, code="new")
    other_bytes(made, SCORES, METRICS)


def environment(made: MadeUp) -> None:
    env = made.ledger.entries[SCORES].env
    replaced(made, SCORES, env=env | {"lock": "0" * 64, "torch": "2.1"})
    other_bytes(made, SCORES, METRICS)


def processor(made: MadeUp) -> None:
    other_bytes(made, SCORES, METRICS)


def data(made: MadeUp) -> None:
    other_bytes(made, SOURCE, MANIFEST, PACK, SCORES, METRICS)


CHANGES: dict[Callable[[MadeUp], None], list[str]] = {
    parameter: ["methods.devnet.epochs: 3 -> 4"],
    module: ["code osad.methods.devnet"],
    environment: ["packages of requirements/numeric.lock", "torch: 2.0 -> 2.1"],
    processor: ["rule run: other bytes of the same inputs (another processor?)"],
    data: [f"{SOURCE}: sha256 "],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_changed_cells_are_named_with_the_inputs_that_changed(made: MadeUp, capsys, change):
    old = commit(made)
    change(made)
    # The last digits of a pack may be others without any number being so.
    replaced(made, "results/tables/comparison.csv", params={"other": 1})
    print_other(made, RUN, mean=NAME)
    rows = found(capsys, old, commit(made))
    assert rows.keys() == {f"cells {RUN}", f"summary {NAME}"}
    assert rows[f"cells {RUN}"]["fields"] == {"auroc": ["0.75", "0.8"]}
    assert rows[f"summary {NAME}"]["fields"] == {"auroc_mean": ["0.625", "0.65"]}
    for row in rows.values():
        assert len(row["causes"]) == len(CHANGES[change])
        for cause, text in zip(row["causes"], CHANGES[change], strict=True):
            assert cause.startswith(text)


def test_what_ends_in_equal_bytes_is_no_cause(made: MadeUp, capsys):
    old = commit(made)
    replaced(made, PACK, params={"options": "other"})
    replaced(made, SCORES, params={"cell": RUN, "hyper": {}})  # Its bytes are as before.
    other_bytes(made, METRICS)
    for path in (METRICS, f"results/metrics/{SHARING}.json"):
        replaced(made, path, command=made.ledger.entries[SCORES].command)
    print_other(made, RUN, SHARING)
    rows = found(capsys, old, commit(made))
    assert {name: row["causes"] for name, row in rows.items()} == {
        f"cells {RUN}": ["command of rule metrics"],
        f"cells {SHARING}": ["nothing that the ledgers record"],  # Only the table was edited.
    }


def test_a_cell_that_shares_a_run_is_followed_to_it(made: MadeUp, capsys):
    scores = f"results/scores/{SHARED}.csv"
    old = commit(made)
    replaced(made, scores, env=made.ledger.entries[scores].env | {"device": "cuda"})
    other_bytes(made, scores, *(f"results/metrics/{cell}.json" for cell in (SHARED, SHARING)))
    print_other(made, SHARED, SHARING)
    rows = found(capsys, old, commit(made))
    assert rows.keys() == {f"cells {SHARED}", f"cells {SHARING}"}
    assert [row["causes"] for row in rows.values()] == [["device: cpu -> cuda"]] * 2


def test_published_numbers_and_comparisons_have_causes_of_their_own(made: MadeUp, capsys):
    columns = "cell,auroc_mean,published_mean,rank\n"
    other = NAME.replace("devnet", "patchcore")
    elsewhere = "tiny/all/normal-m0/patchcore"
    made.vouch(SUMMARY, f"{columns}{NAME},0.6,0.5,1\n{other},0.5,,2\n{elsewhere},0.5,,1\n")
    old = commit(made)
    inputs = made.ledger.entries[SUMMARY].inputs
    replaced(made, SUMMARY, inputs=inputs | {PUBLISHED: "9" * 64})
    parameter(made)
    print_other(made, RUN)
    made.vouch(SUMMARY, f"{columns}{NAME},0.4,0.7,2\n{other},0.5,,1\n{elsewhere},0.5,,1\n")
    rows = found(capsys, old, commit(made))
    hyper = "methods.devnet.epochs: 3 -> 4"
    published = f"{PUBLISHED}: sha256 {inputs[PUBLISHED][:12]}... -> 999999999999..."
    assert {name: row["causes"] for name, row in rows.items()} == {
        f"cells {RUN}": [hyper],
        f"summary {NAME}": [published, hyper],
        f"comparison {NAME}": [published, hyper],
        f"comparison {other}": [published, hyper],
    }
    assert rows[f"comparison {other}"]["fields"] == {"rank": ["2", "1"]}


def test_cells_of_one_commit_alone_are_named(made: MadeUp, capsys):
    old = commit(made)
    lines = Path(CELLS).read_text(encoding="utf-8").splitlines(keepends=True)
    made.vouch(CELLS, "".join(line for line in lines if not line.startswith(f"{RUN},")))
    new = commit(made)
    (row,) = found(capsys, old, new).values()
    assert (row["cell"], row["fields"], row["causes"]) == (RUN, {}, [f"only {old} has such cells"])
    assert found(capsys, new, new) == {}


def test_commits_are_compared_without_any_data(made: MadeUp, capsys):
    old = commit(made)
    processor(made)
    print_other(made, RUN)
    commit(made)
    for folder in ("results", "data/raw", "provenance"):
        shutil.rmtree(folder)
    assert cli.main(["diff", old, "HEAD"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "changed: 1 run",
        "1 run, by",
        "  rule run: other bytes of the same inputs (another processor?)",
        f"    {RUN}: auroc 0.75 -> 0.8",
    ]


def test_many_cells_of_one_cause_are_a_few_lines():
    causes = [f"code osad.m{number}" for number in range(40)] + ["methods.dra.epochs: 1 -> 2"]
    rows = [
        {"table": "results/tables/cells.csv", "cell": f"c{number}", "causes": causes,
         "fields": {"average_precision": ["1", "2"], "auroc": ["0.5", "0.6"]}}
        for number in range(600)
    ]  # fmt: skip
    lines = "\n".join(render({"changes": rows})).splitlines()
    assert lines[:2] == ["changed: 600 runs", "600 runs, by"]
    assert "  methods.dra.epochs: 1 -> 2" in lines
    assert lines[-4:-1] == [f"    c{number}: auroc 0.5 -> 0.6" for number in range(3)]
    assert lines[-1] == "    and 597 more (--json)"
    assert len(lines) < 10
    assert [*render({"changes": []})] == ["no number differs"]


def test_means_are_shown_first_then_what_changed_most():
    rows = [
        {"table": f"results/tables/{table}.csv", "cell": cell, "causes": ["x"], "fields": fields}
        for table, cell, fields in (
            ("cells", "a/s0", {"auroc": ["0.5", "0.6"]}), ("cells", "a/s1", {"auroc": ["", "0.6"]}),
            ("cells", "a/s2", {"auroc": ["0.9", "0.5"]}), ("comparison", "b", {"rank": ["1", "2"]}),
            ("summary", "a", {"auroc_mean": ["0.5", "0.51"]}), ("cells", "c/s0", {}),
        )
    ]  # fmt: skip
    assert [line.split(":")[0].strip() for line in render({"changes": rows})][3:] == [
        "a", "b", "a/s2", "and 3 more (--json)",
    ]  # fmt: skip


def test_code_that_few_outputs_are_made_with_is_named_first(made: MadeUp, capsys):
    known, everywhere, special = made.ledger, "osad.core.cells", "osad.methods.devnet"
    known.modules.update((name, Module("1" * 64, "1" * 64)) for name in (everywhere, special))
    for code, names in known.closures.items():
        known.closures[code] = sorted({*names, everywhere})
    old = commit(made)
    known.modules.update((name, Module("2" * 64, "2" * 64)) for name in (everywhere, special))
    known.closures["new"] = [everywhere, special]
    replaced(made, SCORES, code="new")
    other_bytes(made, SCORES, METRICS)
    print_other(made, RUN)
    causes = found(capsys, old, commit(made))[f"cells {RUN}"]["causes"]
    named = [cause for cause in causes if cause.startswith("code ")]
    assert named.index(f"code {special}") < named.index(f"code {everywhere}")


def test_what_cannot_be_compared_is_told_in_a_line(made: MadeUp, capsys):
    def refused(old: str, new: str, code: int = 2) -> str:
        assert cli.main(["diff", old, new]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "HEAD: this commit has no results/tables/cells.csv" in refused("HEAD", "HEAD")
    good = commit(made)
    assert "nothing: is no commit here" in refused(good, "nothing")
    write(made.root / "provenance", made.ledger)
    made.edit("provenance/tiny.jsonl", '"size"', '"length"')
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org"]
    subprocess.run([*git, "commit", "--quiet", "-am", "damaged"], check=True)
    said = refused(good, "HEAD", 1)
    assert "HEAD: provenance/tiny.jsonl: differs from what SHA256SUMS states" in said
    subprocess.run([*git, "rm", "-r", "--quiet", "provenance"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "without"], check=True)
    assert "HEAD: this commit has no provenance" in refused(good, "HEAD")
    subprocess.run([*git, "reset", "--quiet", "--hard", good], check=True)
    text = (made.root / CELLS).read_text()
    (made.root / CELLS).write_text(text + text.splitlines()[1] + "\n")
    twice = commit(made)
    assert f"{CELLS}, line 8: 'tiny/all/" in (said := refused(good, twice, 1))
    assert "is there twice" in said
    shutil.rmtree(".git")
    assert "no repository" in refused(good, good)


def test_the_example_shows_the_runs_that_changed(made: MadeUp, capsys):
    old = commit(made)
    print_other(made, RUN, mean=NAME)
    rows = found(capsys, old, commit(made)).values()
    example = runpy.run_path(str(Path(__file__).parents[3] / "examples/compare.py"))
    ((change, cell, causes),) = example["largest"](rows)
    assert (cell, bool(causes)) == (RUN, True)
    assert change == pytest.approx(0.05)
    further = [
        {"cell": "a", "fields": {"auroc": ["0.5", "0.25"]}, "causes": ["b", "c"]},
        {"cell": "failed", "fields": {"auroc": ["", "0.25"]}, "causes": []},
        {"cell": "the same", "fields": {"scores_sha256": ["0", "1"]}, "causes": []},
    ]
    assert example["largest"]([*rows, *further])[0] == (-0.25, "a", "b; c")


def test_tables_that_no_ledger_vouches_for_are_noted(made: MadeUp, capsys):
    old = commit(made)
    made.edit(SUMMARY, "0.625", "0.999")
    new = commit(made)
    assert cli.main(["diff", old, new, "--json"]) == 0
    captured = capsys.readouterr()
    assert (
        captured.err == f"note: {new}: {SUMMARY} is not what the ledger of this commit "
        "vouches for\n"
    )
    (row,) = json.loads(captured.out)["changes"]
    assert row["causes"] == ["nothing that the ledgers record"]
