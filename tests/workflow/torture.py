"""Inject faults into runs and write what came of it into docs/reliability.md.

    python tests/workflow/torture.py KILLS=100 DISKS=20     # the other counts as below

`faults.FAULTS` says what each count is of; with a count of 0 the row stays as it is.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

from disturbed import Bench, Row
from faults import FAULTS, inject
from projects import ROOT

PAGE = ROOT / "docs/reliability.md"
COUNTS = {
    "KILLS": 100, "SERVERS": 20, "DISKS": 20, "PAIRS": 20, "CUTS": 20, "DAMAGES": 100,
    "RIGHTS": 10, "CLOCKS": 10, "SEED": 0,
}  # fmt: skip
METHODS = ["mean_intensity", "constant"]
"""What reads features and is fitted, and a control."""
HEADER = (
    "| fault | times | bytes lost or wrong: files | unclear endings | seconds | commit |\n"
    "|---|---|---|---|---|---|\n"
)


def parse(arguments: list[str]) -> dict[str, int]:
    """Return the counts, with those of the arguments.

    Raises:
        SystemExit: an argument is no count.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    for name, value in given.items():
        if name not in COUNTS or not value.isdecimal():
            raise SystemExit(f"{name}={value}: give {', '.join(COUNTS)} as NAME=NUMBER")
    return COUNTS | {name: int(value) for name, value in given.items()}


def commit() -> str:
    """Return the commit of the sources, and whether they are what it has."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    clean = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode == 0
    return name if clean else f"{name} with changes"


def line(row: Row, said: str) -> str:
    """Return a row of the table."""
    why = f" ({row.notes[-1]})" if row.notes and not row.times else ""
    numbers = f"{row.times} | {row.wrong} | {row.unclear} | {row.seconds:.0f}"
    return f"| {row.fault}{why} | {numbers} | {said} |\n"


def replaced(page: str, rows: list[Row], said: str) -> str:
    """Return the page with new rows in its table; others stay."""
    before, rest = page.split(HEADER)
    old, after = rest.split("<!-- end -->")
    lines = {
        text: known + "\n" for known in old.splitlines() for text in [known[2:].split(" | ")[0]]
    }
    lines |= {row.fault: line(row, said) for row in rows}
    table = "".join(lines[text] for text, _ in FAULTS.values() if text in lines)
    return f"{before}{HEADER}{table}<!-- end -->{after}"


def main(arguments: list[str]) -> int:
    """Inject all faults; return 1 if a byte was wrong or an ending unclear."""
    counts = parse(arguments)
    said = commit()
    rows = []
    with tempfile.TemporaryDirectory(prefix="osad-torture-") as folder:
        bench = Bench(Path(folder), random.Random(counts.pop("SEED")), METHODS)
        print(f"an undisturbed run takes {bench.seconds:.1f} s", flush=True)
        for name in (name for name in FAULTS if counts[name]):
            rows.append(inject(bench, name, counts[name]))
            print(rows[-1], flush=True)
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(replaced(page, rows[-1:], said), encoding="utf-8")
    return int(any(row.wrong or row.unclear for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
