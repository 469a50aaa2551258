"""The command ``osad``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from osad import __version__
from osad.errors import OsadError


def datasets(options: argparse.Namespace) -> None:
    """Print the data sets: id, paper, licence, counts, and where they are or how to get them."""
    from osad import config, overview

    settings = config.load(Path()).dataset_settings
    _print_table(overview.COLUMNS, overview.rows(Path(), settings))
    lines = overview.remedies(Path(), settings)
    if lines:
        print("", "Not on disk; see docs/datasets/originals.md:", *lines, sep="\n")


def methods(options: argparse.Namespace) -> None:
    """Print the methods: id, settings, what they read, and their source."""
    from osad.methods import registry

    _print_table(
        ["id", "title", "settings", "packs", "source"],
        [
            [
                spec.name,
                spec.title,
                ", ".join(spec.settings),
                ", ".join(spec.packs) or "-",
                spec.paper,
            ]
            for spec in registry.all_specs()
        ],
    )


def tables(options: argparse.Namespace) -> None:
    """Print the summary: ours beside the published numbers."""
    from osad.tables.plain import render_summary
    from osad.tables.summary import read_summary

    print(render_summary(read_summary(options.path)), end="")


def audit(options: argparse.Namespace) -> None:
    """Say which inputs produced a number, and check it."""
    options.run(options)


def predict(options: argparse.Namespace) -> None:
    """Score your own images with a trained cell; write scores and heat maps."""
    from osad.predict.commands import run

    run(options)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "audit": audit,
    "datasets": datasets,
    "methods": methods,
    "predict": predict,
    "tables": tables,
}


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Without a terminal nothing is cut off: the output may be read by a program.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table, highlight=False, markup=False)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="osad", description="Open-set supervised image anomaly detection benchmark."
    )
    top.add_argument("--version", action="version", version=f"osad {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        text = (function.__doc__ or "").strip()
        command = commands.add_parser(name, help=text, description=text)
        if name == "audit":
            from osad.audit.commands import add_parsers

            add_parsers(command)
        if name == "predict":
            from osad.predict.commands import add_options

            add_options(command)
        if name == "tables":
            command.add_argument(
                "path",
                nargs="?",
                type=Path,
                default=Path("results/tables/summary.csv"),
                help="summary.csv of a run",
            )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when done, 1 when a check failed, 2 for wrong usage or input."""
    options = parser().parse_args(argv)
    try:
        COMMANDS[options.command](options)
    except OsadError as error:
        print(f"osad {options.command}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
