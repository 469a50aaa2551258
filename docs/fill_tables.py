"""Write measured numbers and hyper-parameters into the README and the methods' pages.

    python docs/fill_tables.py            # after a run of the default grid, or an edited parameter
    python docs/fill_tables.py --check    # exit 1 and name the pages that say something else

A page holds the places, between ``<!-- numbers: dpdl dpdl.literal -->`` (of
results/tables/summary.csv) or ``<!-- parameters: dpdl -->`` (of the methods' files) and
``<!-- end -->``; the names say which methods. Only the tables between them are written.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- (numbers|parameters): ([\w. ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = (
    ("general", "10", ""),
    ("general", "1", ""),
    ("hard", "10", "mean"),
    ("hard", "1", "mean"),
)
HEAD = (
    "| | general, 10 seen | general, 1 seen | hard mean, 10 seen | hard mean, 1 seen |",
    "|---|---|---|---|---|",
)
Rows = Mapping[tuple[str, ...], Mapping[str, str]]


def read(path: Path) -> Rows:
    """Return the rows of ``summary.csv`` on ELPV by method, setting, shots and known class."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["method"], row["setting"], row["shots"], row["known_class"]): row
            for row in csv.DictReader(file)
            if row["dataset"] == "elpv"
        }


def value(row: Mapping[str, str]) -> str:
    """Write mean and standard deviation, and the published mean in brackets where there is one."""
    printed = f" ({float(row['published_mean']):.3f})" if row["published_mean"] else ""
    return f"{float(row['auroc_mean']):.3f} ± {float(row['auroc_std']):.3f}{printed}"


def table(names: Sequence[str], rows: Rows) -> str:
    """Write one line per method.

    Raises:
        KeyError: a method has no row in the summary.
    """
    lines = list(HEAD)
    for name in names:
        cells = [value(rows[(name, *column)]) for column in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parameters(names: Sequence[str]) -> str:
    """Write one line per hyper-parameter; where there are several methods, with the method."""
    from osad.methods import fields, registry

    method = ["method"] if len(names) > 1 else []
    lines = [[*method, "parameter", "default", "range", ""]]
    lines.append(["---"] * len(lines[0]))
    for spec in map(registry.registered, names):
        whole = fields.table(spec.hyper, spec.resolve() | {**spec.full_budget})
        for row, full in zip(fields.table(spec.hyper, spec.resolve()), whole, strict=True):
            name, default, limits, text = row
            default += f" (full budget {full[1]})" if full[1] != default else ""
            lines.append([*([spec.name] if method else []), f"`{name}`", default, limits, text])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(text: str, rows: Rows) -> str:
    """Return a page with its places filled."""

    def content(place: re.Match[str]) -> str:
        names = place[3].split()
        return parameters(names) if place[2] == "parameters" else table(names, rows)

    return PLACE.sub(lambda place: place[1] + content(place) + place[4], text)


def pages() -> list[Path]:
    """Return the files that hold places."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if PLACE.search(path.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    """Write or check all pages; return 1 when a checked one differs."""
    rows = read(ROOT / "results" / "tables" / "summary.csv")
    stale, check = [], "--check" in arguments
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = filled(text, rows)
        if new != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'differs, run python docs/fill_tables.py' if check else 'written'}")
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
