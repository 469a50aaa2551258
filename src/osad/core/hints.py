"""What to do next: one line at the end of a command, for a person at a terminal."""

from __future__ import annotations

import argparse
import shlex
import sys

EXPLAINED = (
    "osad audit verify {cell}{grid} checks these digests, and with --rebuild makes them again"
)
HINTS = {
    "audit explain": EXPLAINED,
    "audit verify": "--rebuild makes them again; osad audit export CELL --output DIR packs a "
    "number with all that made it",
    "check-method": "in src/osad/methods, and named in grid.methods of params.yaml, it stands in "
    "every table; snakemake -n says what runs",
    "diff": "--json lists every cause; in a checkout osad explain CELL names every input",
    "explain": EXPLAINED,
    "export": "docs/exports.md says what reads it",
    "page": "python -m http.server --directory {publish} shows it; any web server will do",
    "predict": "{output} gets scores.csv and heat maps; --threshold decides, --watch scores what "
    "arrives (docs/own-images.md)",
    "select": "what you choose goes under methods in params.yaml; snakemake -n says what reruns",
    "status": "osad audit verify --all{grid} compares all bytes with the ledger",
    "tables": "osad explain CELL names what made a number; cells: {path.parent}/cells.csv",
}


def hint(options: argparse.Namespace) -> str:
    """Return the line of a command with its own arguments; empty without one, or for a program."""
    values = vars(options)
    if values.get("json"):
        return ""
    name = " ".join(values[key] for key in ("command", "audit") if key in values)
    return HINTS.get(name, "").format(grid=grid(options), **values)


def grid(options: argparse.Namespace, between: str = " --configfile ") -> str:
    """Return the options that name the same grid again; empty for that of ``params.yaml``.

    Between files Snakemake has a blank: it takes the last of options of the same name.
    """
    files = getattr(options, "configfile", [])
    names = [shlex.quote(str(file)) for file in files] if isinstance(files, list) else []
    return f" --configfile {between.join(names)}" if names else ""


def tell(options: argparse.Namespace) -> None:
    """Print the line, if standard output is a terminal."""
    if sys.stdout.isatty() and (text := hint(options)):
        print(text)
