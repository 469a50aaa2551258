"""The command ``osad predict``."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from osad.audit.cli import add_configfile, load_rules
from osad.core.errors import CheckError, ConfigError
from osad.predict.check import find_tools, parse_cell
from osad.runtime.server import processors

MOST = 1024
"""Larger numbers of processes or GPUs are slips."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``osad predict`` to its parser."""
    command.add_argument("cell", metavar="CELL", help="id of a run, for example .../dpdl/s0")
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGES", help="files and folders")
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a new or empty folder"
    )
    add_configfile(command)
    command.add_argument(
        "--strict", action="store_true", help="score nothing where something cannot be checked"
    )
    command.add_argument("--gpu", type=int, default=0, metavar="N", help="1 to compute on a GPU")
    command.add_argument(
        "--cores", type=int, default=processors(), metavar="N",
        help="processes; scores do not change",
    )  # fmt: skip


def run(options: argparse.Namespace) -> NoReturn:
    """Check what the prediction is made with, then become the job that computes it.

    The job has the environment of every computing process (see `osad.runtime.job`), which must be
    set before Python starts; without it the last bits could differ from the pipeline's.

    Raises:
        OsadError: something is missing, wrong, or not what the ledger says.
    """
    if not 1 <= options.cores <= MOST or not 0 <= options.gpu <= MOST:
        raise ConfigError(f"--cores must lie in 1 to {MOST} and --gpu in 0 to {MOST}")
    rules = load_rules(options)
    tools = find_tools(rules, parse_cell(options.cell, rules.grid))
    for note in tools.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.strict and tools.notes:
        raise CheckError(f"--strict: {tools.notes[0]} ({len(tools.notes)} such notes)")
    arguments = [
        *tools.arguments(),
        *("--gpu", str(options.gpu), "--cores", str(options.cores)),
        *("--output", str(options.output), "--images"),
        # No parser may take a path for an option.
        *(f"./{path}" if str(path).startswith("-") else str(path) for path in options.images),
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "osad.runtime.job", "predict", *arguments])
