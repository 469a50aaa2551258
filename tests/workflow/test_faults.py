"""A few faults of some kinds; `make torture` injects many of all."""

from __future__ import annotations

import random

import pytest
import torture
from disturbed import Bench, Row
from faults import FAULTS, inject
from projects import ROOT, Outcome

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The smallest grid: no network, nothing is learned."""
    return Bench(tmp_path_factory.mktemp("bench"), random.Random(0), ["constant"], cores=2)


QUICK = ("KILLS", "DAMAGES", "RIGHTS", "CLOCKS")
"""Those that take seconds; `make torture` injects all."""


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_after_a_fault_the_same_command_gives_the_same_bytes(bench: Bench, name: str) -> None:
    row = inject(bench, name, {"KILLS": 2, "DAMAGES": 2}.get(name, 1))
    if not row.times:
        pytest.skip(row.notes[-1])
    assert (row.wrong, row.unclear) == (0, 0), row.notes


@pytest.mark.parametrize(
    ("outcome", "unclear"),
    [
        (Outcome(0, ""), 0),
        (Outcome(1, "osad run: a.csv: the disk is full"), 0),
        (Outcome(1, "the disk is full\nTraceback (most recent call last)"), 1),
        (Outcome(1, "something else"), 1),
        (Outcome(-9, "the disk is full?"), 1),
    ],
)
def test_an_ending_is_clear_if_it_says_why(outcome: Outcome, unclear: int) -> None:
    row = Row("x")
    assert row.expect(outcome, "disk is full$") == (outcome.code == 0)
    assert row.unclear == unclear == len(row.notes)


def test_a_wrong_a_lost_and_a_further_file_are_counted(bench: Bench) -> None:
    project = bench.fresh(of=bench.finished)
    row = Row("x")
    row.compare(project, bench.right)
    assert row.wrong == 0
    (project.root / "results/tables/cells.csv").write_text("")
    (project.root / "results/tables/.cells.csv.7.part").write_text("")
    (project.root / "data/manifests/tiny.csv").unlink()
    row.compare(project, bench.right, whole=False)
    assert row.wrong == 1
    row.compare(project, bench.right)
    assert row.wrong == 4


def test_the_page_has_what_was_measured() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = page.split(torture.HEADER)[1].split("<!-- end -->")[0].splitlines()
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [
        text for text, _ in FAULTS.values()
    ]
    new = torture.replaced(page, [Row(FAULTS["DISKS"][0], 2, 1, 0, 3.4)], "abc")
    assert "| the disk is full | 2 | 1 | 0 | 3 | abc |\n" in new
    changed = set(new.splitlines()) ^ set(page.splitlines())
    assert all(line.startswith("| the disk is full | ") for line in changed)
    assert torture.replaced(new, [], "x") == new


def test_counts_are_given_by_name() -> None:
    assert torture.parse(["KILLS=3"])["KILLS"] == 3
    assert torture.parse([])["KILLS"] == torture.COUNTS["KILLS"]
    assert torture.COUNTS.keys() - {"SEED"} == FAULTS.keys()
    for wrong in ("KILLS=-1", "KILL=3", "KILLS"):
        with pytest.raises(SystemExit, match="give KILLS"):
            torture.parse([wrong])
