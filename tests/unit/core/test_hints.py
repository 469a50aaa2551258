import re
import sys

import pytest

from osad import cli
from osad.core.hints import HINTS, hint

CELL = "elpv/all/general-m10/dpdl/s0"
OWN = "--configfile configs/own.yaml"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("status", "osad audit verify --all compares all bytes with the ledger"),
        (f"status {OWN}", f"osad audit verify --all {OWN} compares all bytes with the ledger"),
        (f"explain {CELL}", f"osad audit verify {CELL} checks these digests, and with --rebuild"),
        (f"audit explain {CELL} {OWN}", f"osad audit verify {CELL} {OWN} checks these digests"),
        (f"explain {CELL} --json", ""),
        (f"audit verify {CELL}", "--rebuild makes them again; osad audit export CELL"),
        ("diff v1 v2", "--json lists every cause; in a checkout osad explain CELL"),
        ("diff v1 v2 --json", ""),
        ("tables", "osad explain CELL names what made a number; cells: results/tables/cells.csv"),
        ("tables results/own/tables/summary.csv",
         "osad explain CELL names what made a number; cells: results/own/tables/cells.csv"),
        (f"predict {CELL} new --output scored", "scored gets scores.csv and heat maps;"),
        ("select dpdl epochs=1,2", "what you choose goes under methods in params.yaml; snakemake"),
        ("check-method mine.py", "in src/osad/methods, and named in grid.methods of params.yaml,"),
        ("page --publish site", "python -m http.server --directory site shows it"),
        ("export parquet --output table", "docs/exports.md says what reads it"),
        ("methods", ""), ("audit save", ""),
    ],
)  # fmt: skip
def test_a_hint_names_what_to_do_next_with_the_arguments_given(command, expected):
    told = hint(cli.parser().parse_args(command.split()))
    assert told.startswith(expected)
    assert bool(told) == bool(expected)
    assert "\n" not in told
    assert len(told) < 160


def test_hints_name_commands_that_exist():
    commands = re.findall(r"osad ([a-z]+)", " ".join(HINTS.values()))
    assert commands
    assert {*commands, *(name.split()[0] for name in HINTS)} <= set(cli.COMMANDS)


@pytest.mark.parametrize("terminal", [True, False])
def test_hints_are_for_a_terminal(terminal, monkeypatch, capsys):
    monkeypatch.setitem(cli.COMMANDS, "tables", lambda _: print("numbers"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert cli.main(["tables"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "numbers"
    assert [line.split()[0] for line in said[1:]] == ["osad"] * terminal
