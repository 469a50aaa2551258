"""The commands ``osad export`` and ``osad page``."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from osad.audit.cli import add_command, add_configfile, load_ledger, load_rules
from osad.core.files import filling
from osad.exports.numbers import Numbers, read

Writer = Callable[[Numbers, Path], None]


def parquet(options: argparse.Namespace) -> None:
    """All cells as a table that pandas reads; needs pyarrow."""
    from osad.exports.parquet import check_installed, write

    check_installed()
    _write(options, write)


def huggingface(options: argparse.Namespace) -> None:
    """Means over seeds as model cards and evaluation results of Hugging Face."""
    from osad.exports.huggingface import hub_names, write

    hub = hub_names(options.hub_dataset)
    _write(options, lambda numbers, folder: write(numbers, folder, hub))


def every_eval_ever(options: argparse.Namespace) -> None:
    """Runs with the scores of all test images, in the schema of Every Eval Ever."""
    from osad.exports.every_eval_ever import write

    _write(options, write)


def _write(options: argparse.Namespace, write: Writer) -> None:
    """Read the cells, write them to a new or empty folder, and say how many there are."""
    rules = load_rules(options)
    with filling(options.output) as folder:
        numbers = read(rules.grid, load_ledger(rules), options.cells)
        write(numbers, folder)
    left_out = numbers.frame[numbers.frame.auroc.isna()]
    if len(left_out):
        print(
            f"note: {len(left_out)} of {len(numbers.frame)} cells have no AUROC, the first "
            f"{left_out.iloc[0].cell}",
            file=sys.stderr,
        )
    print(f"wrote {len(numbers.frame) - len(left_out)} cells to {options.output}")


def publish(options: argparse.Namespace) -> None:
    """Copy the page of the results to a folder for a web server."""
    from osad.exports.publish import publish as copy

    rules = load_rules(options)
    count = copy(rules, load_ledger(rules), options.publish)
    print(f"wrote {count} files to {options.publish}")


def add_options(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of one of these commands to its parser."""
    if name == "page":
        add_configfile(command)
        command.add_argument(
            "--publish", type=Path, required=True, metavar="DIR",
            help="new, empty, or made by this command; what else is in it stays",
        )  # fmt: skip
        return
    formats = command.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for function in (parquet, huggingface, every_eval_ever):
        one = add_command(formats, function)
        one.add_argument(
            "cells",
            nargs="*",
            metavar="CELL",
            help="ids of runs, or of means (no /sN); all without",
        )
        one.add_argument(
            "--output", type=Path, required=True, metavar="DIR", help="a new or empty folder"
        )
        if function is huggingface:
            one.add_argument(
                "--hub-dataset", action="append", default=[], metavar="NAME=OWNER/REPOSITORY",
                help="the data set on the Hub that is one of ours, for .eval_results",
            )  # fmt: skip
