"""What gets a line in the ledger, and what gets its records back in a clone."""

import re
import shutil
from pathlib import Path

import project_cases
import pytest
from project_cases import CHECKPOINT, METHOD, METRICS, PACK, SCORES, SUMMARY, WEIGHTS, MadeUp

from osad import cli
from osad.audit import actions, ledger, record
from osad.audit.ledger import Ledger
from osad.audit.record import Outcome
from osad.core.errors import CheckError
from osad.core.files import read_json, sha256_file, write_json
from osad.pipeline.jobs import jobs, makers
from osad.pipeline.rule import RECEIPTS
from osad.runtime import snakemake_records

made = project_cases.made
PUBLISHED = "data/published/paper.csv"
COMPARISON = "results/tables/comparison.csv"


def collect(made: MadeUp) -> Outcome:
    return record.collect(made.rules, made.ledger)


def receipt(made: MadeUp, path: str, **changes: object) -> None:
    """Give the job that makes a file another receipt."""
    receipt = makers(jobs(made.rules))[path].receipt
    write_json(receipt, {**read_json(receipt), **changes})


CHANGES = {
    "its bytes are not what its job wrote": (METRICS, lambda m: m.put(METRICS, "{}")),
    "no job has left a record of it": (SCORES, lambda m: receipt(m, SCORES, outputs={})),
    "its job was told other parameters": (METRICS, lambda m: receipt(m, METRICS, arguments=[])),
    "made by another rule or from other files": (METRICS, lambda m: m.rewrite(inputs={})),
    "made by another command": (METRICS, lambda m: m.rewrite(template="x")),
    "made with other parameters": (SCORES, lambda m: m.edit("params.yaml", "chs: 3", "chs: 4")),
    "made with other parameters or code": (SCORES, lambda m: m.edit(METHOD, "= 1", "= 2")),
    f"{PUBLISHED} has changed since": (COMPARISON, lambda m: m.put(PUBLISHED, "x")),
    "made with other": (project_cases.MANIFEST, lambda m: m.put(project_cases.LOCK, "")),
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_does_not_agree_gets_no_line_nor_what_is_made_of_it(made: MadeUp, message):
    path, change = CHANGES[message]
    before = collect(made)
    assert (before.stale, before.edited, before.absent) == ([], [], [])
    assert before.ledger == made.ledger
    behind = {path}
    for job in jobs(made.rules):
        behind |= {*job.outputs} if behind & {*job.inputs} else set()
    change(made)
    after = collect(made)
    assert any(line.startswith(f"{path}: {message}") for line in after.edited + after.stale)
    assert bool(after.edited) == ("bytes" in message)
    lost = made.ledger.entries.keys() - after.ledger.entries.keys()
    assert behind <= lost
    assert len(lost) == len(after.edited) + len(after.stale)
    if path == METRICS:
        assert behind == lost


@pytest.mark.parametrize(
    "damage",
    [
        {"outputs": []}, {"outputs": {SCORES: 5}}, {"machine": None}, {"arguments": {}},
        {"environment": {"python": 3}}, {"environment": []}, {"code": [1]},
    ],
)  # fmt: skip
def test_a_damaged_receipt_vouches_for_nothing(made: MadeUp, damage):
    receipt(made, SCORES, **damage)
    assert collect(made).ledger == made.ledger  # Its lines do, as for one that is lost.
    after = record.collect(made.rules, Ledger())
    assert any(line.startswith(f"{SCORES}: ") for line in after.stale + after.edited)
    assert SCORES not in after.ledger.entries
    assert cli.main(["audit", "record"]) in (0, 1)


def test_lines_outlive_receipts_that_are_lost(made: MadeUp):
    """Else the end of the next run, or `osad audit record`, would empty the ledger."""
    shutil.rmtree(RECEIPTS)
    after = collect(made)
    assert after.ledger == made.ledger
    assert (after.stale, after.edited, after.absent) == ([], [], [])
    made.put(METRICS, "{}")  # A lost receipt hides no edit,
    made.edit(METHOD, "= 1", "= 2")  # nor what code has left behind.
    after = collect(made)
    assert METRICS not in after.ledger.entries
    assert SCORES not in after.ledger.entries
    # Nobody says that it was edited: it may be a table of a run that failed, which has no receipt.
    assert any(METRICS in message for message in after.stale)
    assert not after.edited
    assert not record.collect(made.rules, Ledger()).ledger.entries


def test_a_receipt_names_no_other_versions_than_its_job_had(made: MadeUp):
    receipt(made, SCORES, environment={"lock": "another"})
    entry = collect(made).ledger.entries[SCORES]
    assert entry.env == {"lock": made.ledger.entries[SCORES].env["lock"]}


def test_code_that_ran_is_the_code_that_a_line_names(made: MadeUp):
    """Of a job that was told one code and ran another, as after an edit in the middle of a run."""
    module, rules = "osad.methods.devnet", made.rules
    left = makers(jobs(rules))[SCORES].receipt
    assert SCORES in record.collect(rules, Ledger()).ledger.entries  # Its sources are read now.

    def recorded(ran: str, previous: Ledger) -> bool:
        write_json(left, read_json(left) | {"code": {module: ran, "osad.cli": "not of its code"}})
        outcome = record.collect(rules, previous)
        told = f"{SCORES}: its job ran another {module}; delete it and run snakemake"
        assert (told in outcome.stale) == (SCORES not in outcome.ledger.entries)
        return SCORES in outcome.ledger.entries

    assert recorded(sha256_file(METHOD), Ledger())
    assert not recorded("0" * 64, Ledger())
    assert recorded("0" * 64, made.ledger)  # Vouched for earlier; comments have changed since.
    made.edit(METHOD, "# of learning", "# of forgetting")
    assert recorded(sha256_file(METHOD), Ledger())
    made.edit(METHOD, "= 1", "= 2")
    assert not recorded(sha256_file(METHOD), Ledger())


def test_a_comment_changes_nothing_but_the_digest_of_the_file(made: MadeUp):
    made.edit(METHOD, "# of learning", "# of forgetting")
    after = collect(made)
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


def test_lines_of_files_that_snakemake_does_not_know_are_kept_while_they_are_true(
    made: MadeUp, monkeypatch
):
    """As of tables from git in a clone where another grid was made."""
    shown, read = {SCORES, METRICS, SUMMARY, COMPARISON}, snakemake_records.read
    monkeypatch.setattr(
        snakemake_records, "read", lambda path: None if path in shown else read(path)
    )
    assert collect(made).ledger == made.ledger
    assert collect(made).agrees
    Path(METRICS).unlink()
    assert collect(made).ledger == made.ledger
    made.put(PUBLISHED, "edited")
    assert any(line.startswith(COMPARISON) for line in collect(made).stale)
    made.put(SCORES, "edited")
    after = collect(made)
    assert shown.isdisjoint(after.ledger.entries)
    assert not after.agrees


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
    assert collect(clone).ledger == clone.ledger


def test_what_differs_or_is_made_of_something_else_is_moved_away(clone: MadeUp, capsys):
    clone.put(SCORES, "edited")
    clone.put(PUBLISHED, "edited")
    assert cli.main(["audit", "adopt"]) == 1
    told = capsys.readouterr().err.removeprefix("osad audit: ").splitlines()
    assert told[0] == f"{SCORES}: differs from the ledger; moved to .osad/removed/{SCORES}"
    source = f"its input {PUBLISHED} differs from the ledger"
    assert f"{SUMMARY}: {source}; moved to .osad/removed/{SUMMARY}" in told
    assert (Path(".osad/removed") / SCORES).read_text() == "edited"
    assert not Path(SCORES).exists()
    # What is made of a file that will be made again is for Snakemake to compare.
    for path, known in ((CHECKPOINT, True), (METRICS, True), (SCORES, False), (SUMMARY, False)):
        assert bool(snakemake_records.unknown([path])) != known


def test_what_a_change_has_left_behind_is_adopted_as_it_was_made(clone: MadeUp):
    """So Snakemake sees the change, as where the outputs were made."""
    clone.edit("params.yaml", "epochs: 3", "epochs: 4")
    assert len(actions.adopt(clone.rules).adopted) == len(clone.ledger.entries)
    assert any(line.startswith(CHECKPOINT) for line in collect(clone).stale)


def test_a_damaged_ledger_restores_nothing(clone: MadeUp):
    clone.edit("provenance/tiny.jsonl", '"size":', '"size":1')
    with pytest.raises(CheckError, match=r"tiny\.jsonl: differs from what SHA256SUMS states"):
        actions.adopt(clone.rules)
    assert snakemake_records.unknown([METRICS])
    Path("provenance/SHA256SUMS").unlink()
    with pytest.raises(CheckError, match=r"SHA256SUMS: is missing; restore it with `git checkout"):
        actions.adopt(clone.rules)


def test_results_that_nothing_knows_are_made_again(clone: MadeUp):
    """Of an output without a record Snakemake would compare nothing."""
    shutil.rmtree("provenance")
    (line,) = actions.adopt_lines(clone.rules)
    assert re.match(r"results/\S+: nothing says what it was made of \(\d+ such files\)", line)
    assert snakemake_records.is_interrupted(METRICS)
    # Whether a manifest is that of the raw data is seen when it is read.
    assert not snakemake_records.is_interrupted(project_cases.MANIFEST)
    assert actions.adopt_lines(clone.rules) == []


def test_a_damaged_ledger_is_not_written_anew(made: MadeUp):
    """Lines would be lost, or wrong ones vouched for, and the list of digests would fit them."""
    listing = Path("provenance/SHA256SUMS").read_bytes()
    made.edit("provenance/tiny.jsonl", '"sha256":"', '"sha256":"0')
    damaged = Path("provenance/tiny.jsonl").read_bytes()
    with pytest.raises(CheckError, match=r"tiny\.jsonl: differs from what SHA256SUMS states"):
        actions.record(made.rules)
    Path("provenance/tiny.jsonl").unlink()
    with pytest.raises(CheckError, match=r"tiny\.jsonl: is not in provenance"):
        actions.record(made.rules)
    assert Path("provenance/SHA256SUMS").read_bytes() == listing
    # It is as a process leaves it that was ended while it wrote.
    Path("provenance/tiny.jsonl").write_bytes(damaged)
    Path("provenance", ledger.WRITING).touch()
    actions.record(made.rules)
    assert Path("provenance/SHA256SUMS").read_bytes() == listing
    assert not Path("provenance", ledger.WRITING).exists()
