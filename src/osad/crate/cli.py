"""The command ``osad audit export``."""

import argparse
from pathlib import Path

from osad.audit import graph
from osad.audit.cli import Subparsers, add_command, load_ledger, load_rules


def export(options: argparse.Namespace) -> None:
    """Write a cell with all its inputs as a Workflow Run RO-Crate."""
    from osad.crate.crate import write_crate

    rules = load_rules(options)
    known = load_ledger(rules)
    write_crate(rules, known, graph.find(known, options.cell), options.output)
    print(f"wrote {options.output}")


def add_parser(commands: Subparsers) -> None:
    """Add the command and its options to those of ``osad audit``."""
    command = add_command(commands, export)
    command.add_argument("cell", metavar="CELL", help="id of a run, or of a mean (no /sN)")
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a new or empty folder"
    )
