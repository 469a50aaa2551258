"""What gets a line in the ledger, and what gets its records back in a clone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import project_cases
import pytest
from project_cases import METHOD, METRICS, NAME, PACK, RUN, SCORES, SUMMARY, WEIGHTS, MadeUp

from osad import cli
from osad.audit import actions, ledger, record
from osad.audit.record import Outcome
from osad.core.errors import CheckError
from osad.core.files import read_json, write_json
from osad.pipeline.jobs import Job, jobs, makers
from osad.runtime import snakemake_records

made = project_cases.made
CHECKPOINT = f"results/checkpoints/{RUN}.safetensors"


def collect(made: MadeUp) -> Outcome:
    return record.collect(made.rules, made.ledger)


def behind(made: MadeUp, *paths: str) -> set[str]:
    """Return outputs and all that is made of them."""
    found = set(paths)
    for job in jobs(made.rules):
        if found & {*job.inputs}:
            found |= {*job.outputs}
    return found


def job_of(made: MadeUp, path: str) -> Job:
    return makers(jobs(made.rules))[path]


def rewrite(made: MadeUp, path: str, **changes: object) -> None:
    """Give an output another record of Snakemake."""
    job, known = job_of(made, path), made.ledger.entries[path]
    stated = {
        "rule": job.rule.name, "template": job.rule.command, "command": "",
        "inputs": known.inputs, "params": record.snakemake_params(job),
    }  # fmt: skip
    snakemake_records.write(path, **stated | changes)


def forget(made: MadeUp, path: str) -> None:
    shutil.rmtree(".snakemake/metadata")


def other_arguments(made: MadeUp) -> None:
    receipt = job_of(made, METRICS).receipt
    write_json(receipt, read_json(receipt) | {"arguments": ["metrics"]})


CHANGES: dict[str, tuple[Callable[[MadeUp], object], list[str], str]] = {
    "bytes": (lambda m: m.put(METRICS, "{}"), [METRICS], "its bytes are not what its job wrote"),
    "receipt": (
        lambda m: Path(job_of(m, CHECKPOINT).receipt).write_text("[]"),
        [CHECKPOINT, SCORES, f"results/maps/{RUN}.safetensors"], "no job has left a record of it",
    ),
    "arguments": (other_arguments, [METRICS], "its job was told other parameters"),
    "rule": (lambda m: rewrite(m, METRICS, rule="x"), [METRICS], "made by another rule or"),
    "files": (lambda m: rewrite(m, METRICS, inputs={}), [METRICS], "made by another rule or"),
    "command": (lambda m: rewrite(m, METRICS, template="x"), [METRICS], "made by another command"),
    "parameters": (
        lambda m: m.edit("params.yaml", "epochs: 3", "epochs: 4"),
        [f"results/checkpoints/{NAME}/s{seed}.safetensors" for seed in (0, 1)],
        "made with other parameters or code",
    ),
    "code": (
        lambda m: m.edit(METHOD, "= 1", "= 2"), [f"results/scores/{NAME}/s1.csv"],
        "made with other parameters or code",
    ),
    "input": (
        lambda m: m.put("data/published/paper.csv", "x"), ["results/tables/general.md"],
        "data/published/paper.csv has changed since",
    ),
    "lock": (
        lambda m: m.put("requirements/numeric.lock", ""), ["data/manifests/tiny.csv"],
        "made with other parameters or code",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_what_does_not_agree_gets_no_line_nor_what_is_made_of_it(made: MadeUp, kind):
    change, paths, message = CHANGES[kind]
    before = collect(made)
    assert (before.stale, before.edited, before.absent) == ([], [], [])
    assert before.ledger == made.ledger
    change(made)
    after = collect(made)
    told = after.edited if kind == "bytes" else after.stale
    for path in paths:
        assert any(line.startswith(f"{path}: {message}") for line in told), told
    lost = made.ledger.entries.keys() - after.ledger.entries.keys()
    assert behind(made, *paths) <= lost
    assert len(lost) == len(after.edited) + len(after.stale)
    if "parameters or code" not in message and kind != "input":
        assert lost == behind(made, *paths)


def test_a_comment_changes_nothing_but_the_digest_of_the_file(made: MadeUp):
    made.edit(METHOD, "# of learning", "# of forgetting")
    after = collect(made)
    assert after.stale == []
    assert after.ledger.entries == made.ledger.entries
    old, new = (known.modules["osad.methods.devnet"] for known in (made.ledger, after.ledger))
    assert (old.syntax == new.syntax, old.file == new.file) == (True, False)


def test_lines_of_files_that_are_not_here_are_kept_while_they_are_true(made: MadeUp):
    for path in (PACK, WEIGHTS, CHECKPOINT):
        Path(path).unlink()
    assert collect(made).ledger == made.ledger
    made.edit(METHOD, "= 1", "= 2")
    after = collect(made)
    assert after.absent == [CHECKPOINT]
    assert PACK in after.ledger.entries


def test_the_command_says_what_it_recorded(made: MadeUp, capsys):
    assert cli.main(["audit", "record"]) == 0
    count = len(made.ledger.entries)
    assert capsys.readouterr().out == f"ledger: {count} outputs recorded, nothing new\n"
    source = "data/raw/tiny/SOURCE.json"
    assert read_json(record.MACHINE)[0] == {"outputs": [source], "seconds": 1.5}
    Path(SUMMARY).write_text("cell\n")
    assert cli.main(["audit", "record"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"osad audit: {SUMMARY}: its bytes are not what its job wrote")
    assert SUMMARY not in ledger.read(Path("provenance")).entries


# --- in a clone -------------------------------------------------------------------------------


@pytest.fixture
def clone(made: MadeUp) -> MadeUp:
    """A project without what does not travel."""
    shutil.rmtree(".snakemake")
    shutil.rmtree(".osad")
    snakemake_records._open.cache_clear()
    return made


def test_a_clone_gets_its_records_back_once(clone: MadeUp):
    lines = actions.adopt_lines(clone.rules)
    assert lines == [f"adopted {len(clone.ledger.entries)} outputs that are what the ledger says"]
    assert actions.adopt_lines(clone.rules) == []
    assert "nothing new" in actions.record_line(clone.rules)
    assert collect(clone).ledger == clone.ledger


def test_what_differs_or_is_made_of_something_else_is_moved_away(clone: MadeUp, capsys):
    clone.put(SCORES, "edited")
    clone.put("data/published/paper.csv", "edited")
    assert cli.main(["audit", "adopt"]) == 1
    moved = {path: f"; moved to .osad/removed/{path}" for path in (SCORES, SUMMARY)}
    told = capsys.readouterr().err.removeprefix("osad audit: ").splitlines()
    assert told[0] == f"{SCORES}: differs from the ledger{moved[SCORES]}"
    source = "data/published/paper.csv differs from the ledger"
    assert f"{SUMMARY}: its input {source}{moved[SUMMARY]}" in told
    assert (Path(".osad/removed") / SCORES).read_text() == "edited"
    assert not Path(SCORES).exists()
    # What is made of a file that will be made again is for Snakemake to compare.
    for path, known in ((CHECKPOINT, True), (METRICS, True), (SCORES, False), (SUMMARY, False)):
        assert snakemake_records.is_recorded(path) == known


def test_what_a_change_has_left_behind_is_adopted_as_it_was_made(clone: MadeUp):
    """So Snakemake sees the change, as where the outputs were made."""
    clone.edit("params.yaml", "epochs: 3", "epochs: 4")
    assert len(actions.adopt(clone.rules).adopted) == len(clone.ledger.entries)
    assert any(line.startswith(CHECKPOINT) for line in collect(clone).stale)


def test_a_damaged_ledger_restores_nothing(clone: MadeUp):
    path = Path("provenance/tiny.jsonl")
    path.write_text(path.read_text().replace('"size":', '"size":1', 1))
    with pytest.raises(CheckError, match=r"tiny\.jsonl: differs from what SHA256SUMS states"):
        actions.adopt(clone.rules)
    assert not snakemake_records.is_recorded(METRICS)
    Path("provenance/SHA256SUMS").unlink()
    assert actions.adopt_lines(clone.rules) == []


def test_lines_are_json_with_sorted_keys(made: MadeUp):
    lines = Path("provenance/tiny.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    assert [value["path"] for value in values] == sorted(value["path"] for value in values)
    assert all(list(value) == sorted(value) for value in values)
