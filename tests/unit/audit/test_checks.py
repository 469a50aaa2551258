"""Rules' shell commands read from their files, the ledger's listing, and what is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from crate_cases import NAME, MadeUp

from osad.audit import ledger, local, rules
from osad.audit.explain import explain
from osad.audit.graph import find
from osad.core.cells import Cell
from osad.core.errors import DataError

ROOT = Path(__file__).parents[3]
RUN = f"{NAME}/s0"
METRICS = f"results/metrics/{RUN}.json"


def test_commands_are_joined_inherited_and_hold_the_folder_of_results(tmp_path: Path) -> None:
    folder = tmp_path / rules.RULES
    folder.mkdir(parents=True)
    (folder / "a.smk").write_text(
        "rule one:\n    output:\n        'x',\n    shell:\n        'run {output}'  # note\n"
        "        f' --to {WF.params.results}/x'\n\n\nuse rule one as two with:\n"
        "    output:\n        'y',\n",
        encoding="utf-8",
    )
    command = rules.Command("workflow/rules/a.smk", "run {output} --to results/z/x")
    assert rules.commands(tmp_path, "results/z") == {"one": command, "two": command}
    (folder / "a.smk").write_text("rule one:\n    shell:\n        f'{other}'\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"workflow/rules/a\.smk: its shell commands"):
        rules.commands(tmp_path, "results")


def test_every_rule_of_the_project_that_makes_something_has_a_command() -> None:
    found = rules.commands(ROOT, "results")
    assert {"fetch", "weights", "split", "pack", "train", "score_maps", "share_maps", "table"} <= (
        found.keys()
    )
    assert found["train"].text.startswith("python -m osad.runtime.job train --cell {params.cell} ")
    assert found["train"].text.endswith(" 2>&1 | tee -i {log}")
    assert found["score"] == found["score_maps"]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A folder of a ledger with two files."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    text = "".join(f"{digest}  {name}\n" for name, digest in ledger.sums(tmp_path).items())
    (tmp_path / ledger.SUMS).write_text(text, encoding="utf-8")
    assert ledger.check_sums(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize("bit", [1, 2])
def test_any_flipped_bit_of_the_listing_is_noticed_as_its_own(listed: Path, bit: int) -> None:
    listing = listed / ledger.SUMS
    content = listing.read_bytes()
    for place in range(len(content)):
        listing.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        messages = ledger.check_sums(listed)
        assert [message.split(": ")[0] for message in messages] == [str(listing)], place


def test_an_edited_file_is_named_and_not_the_listing(listed: Path) -> None:
    (listed / "b.jsonl").write_text("c", encoding="utf-8")
    (message,) = ledger.check_sums(listed)
    assert message.startswith(f"{listed / 'b.jsonl'}: differs from what SHA256SUMS states")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """A project that a test may change."""
    project = MadeUp(tmp_path / "made-up")
    monkeypatch.chdir(project.root)
    return project


def told(made: MadeUp) -> list[str]:
    """Return what an explanation of a run says of files that differ."""
    missing = explain(made.root, made.ledger, find(made.ledger, RUN))["missing"]
    return [message for message in missing if "differs" in message]


@pytest.mark.parametrize(
    "path",
    [METRICS, "results/tables/cells.csv", "data/manifests/tiny.csv",
     "results/splits/tiny/all/general-m10/s0.csv"],
)  # fmt: skip
def test_explain_says_which_file_it_reads_is_edited(made: MadeUp, path: str) -> None:
    assert told(made) == []
    with (made.root / path).open("a", encoding="utf-8") as stream:
        stream.write("\n")
    assert told(made) == [f"{path}: differs from the ledger; run `osad audit verify`"]


def test_a_file_here_that_nothing_vouches_for_is_named(made: MadeUp, tmp_path: Path) -> None:
    entries = [made.ledger.entries[METRICS]]
    other = tmp_path / "rebuilt"

    def found() -> list[str]:
        messages = local.edited(made.root, other, made.ledger, entries)
        return [message.split(": ")[0] for message in messages]

    assert found() == []
    (made.root / METRICS).write_text("{}\n", encoding="utf-8")
    made.put("results/tables/summary.csv", "cell,auroc_mean\n")
    assert found() == [METRICS, "results/tables/summary.csv"]
    (other / METRICS).parent.mkdir(parents=True)  # As rebuilt: told as a rebuild that differs.
    (other / METRICS).write_text("{}\n", encoding="utf-8")
    (made.root / "results/tables/summary.csv").unlink()
    assert found() == []


@pytest.mark.parametrize(
    ("auroc", "mean", "named"),
    [
        ("0.75", "0.625", []),
        ("0.76", "0.625", ["results/tables/cells.csv"]),
        ("0.75", "0.63", ["results/tables/summary.csv"]),
    ],
)
def test_rows_are_compared_with_the_rebuilt_numbers(
    made: MadeUp, tmp_path: Path, auroc: str, mean: str, named: list[str]
) -> None:
    other = tmp_path / "rebuilt"
    (other / METRICS).parent.mkdir(parents=True)
    (other / METRICS).write_text(json.dumps({"auroc": 0.75}), encoding="utf-8")
    cells = f"cell,auroc\n{RUN},{auroc}\n{NAME}/s1,0.5\n"  # The mean is (0.75 + 0.5) / 2.
    made.put("results/tables/cells.csv", cells)
    made.put("results/tables/summary.csv", f"cell,auroc_mean\n{NAME},{mean}\n")
    found = local.misprinted(made.root, other, made.ledger, [Cell.parse(RUN)], 0.0)
    assert [message.split(": ")[0] for message in found] == named
    # On another kind of device, the bytes of the metrics differ and rates agree nearly.
    (other / METRICS).write_text(json.dumps({"auroc": 0.75}, indent=3), encoding="utf-8")
    assert local.misprinted(made.root, other, made.ledger, [Cell.parse(RUN)], 0.02) == []
