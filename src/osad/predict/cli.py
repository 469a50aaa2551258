"""The command ``osad predict``."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from osad.audit.cli import add_configfile, load_rules
from osad.core.errors import CheckError, ConfigError
from osad.core.hints import tell
from osad.predict import threshold
from osad.predict.check import Tools, find_tools, parse_cell
from osad.runtime.environment import computing_environment
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
        "--threshold", metavar="RULE",
        help="decide: fpr=RATE (of false alarms, by held-out normals), best-f1, or a number",
    )  # fmt: skip
    command.add_argument(
        "--labelled", type=Path, metavar="DIR",
        help="choose the threshold on your own images, DIR/good and other folders of anomalies, "
        "instead of the run's test images",
    )  # fmt: skip
    command.add_argument(
        "--strict", action="store_true", help="score nothing where something cannot be checked"
    )
    command.add_argument(
        "--watch", action="store_true",
        help="IMAGES is one folder that grows: score what arrives until Ctrl-C",
    )  # fmt: skip
    command.add_argument("--gpu", type=int, default=0, metavar="N", help="1 to compute on a GPU")
    command.add_argument(
        "--cores", type=int, default=processors(), metavar="N",
        help="processes, all by default; scores do not change",
    )  # fmt: skip


def run(options: argparse.Namespace) -> NoReturn:
    """Check what the prediction is made with, then become the job that computes it.

    Raises:
        OsadError: something is missing, wrong, or not what the ledger says.
    """
    if not 1 <= options.cores <= MOST or not 0 <= options.gpu <= MOST:
        raise ConfigError(f"--cores must lie in 1 to {MOST} and --gpu in 0 to {MOST}")
    if options.threshold is not None:
        threshold.parse(options.threshold)
    elif options.labelled:
        raise ConfigError("--labelled: is for a threshold; say which with --threshold")
    if options.watch and len(options.images) != 1:
        raise ConfigError(f"--watch: wants one folder, not {len(options.images)} of IMAGES")
    words = job(prepare(options), options.images, options)
    tell(options)  # Now: this process becomes the job's.
    sys.stdout.flush()
    sys.stderr.flush()
    if options.watch:
        # Without the client, which ends a job when it is interrupted: this one sums up first.
        words[2:4] = ["osad.runtime.harness", "watch"]
        os.execve(words[0], words, computing_environment(os.environ))
    os.execv(words[0], words)


def prepare(options: argparse.Namespace) -> Tools:
    """Find what images are scored with and say what could not be checked.

    Raises:
        OsadError: something is missing, wrong, or not what the ledger says.
    """
    rules = load_rules(options)
    scores = options.threshold is not None and options.labelled is None
    tools = find_tools(rules, parse_cell(options.cell, rules.grid), scores=scores)
    for note in tools.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.strict and tools.notes:
        raise CheckError(f"--strict: {tools.notes[0]} ({len(tools.notes)} such notes)")
    return tools


def job(tools: Tools, images: Iterable[Path], options: argparse.Namespace) -> list[str]:
    """Return the command that scores images.

    It has the environment of every computing process (see `osad.runtime.job`), which must be set
    before Python starts; without it the last bits could differ from the pipeline's.
    """
    return [
        *(sys.executable, "-m", "osad.runtime.job", "predict", *tools.arguments()),
        *("--gpu", str(options.gpu), "--cores", str(options.cores)),
        # No parser may take a path or a number for an option.
        *([] if options.threshold is None else [f"--threshold={options.threshold}"]),
        *([f"--labelled={options.labelled}"] if options.labelled else []),
        *("--output", str(options.output), "--images"),
        *(f"./{path}" if str(path).startswith("-") else str(path) for path in images),
    ]
