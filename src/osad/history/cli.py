"""The commands ``osad status``, ``osad diff`` and ``osad cite``."""

import argparse
import json
import sys

from osad.audit import actions, git, graph
from osad.audit.cli import add_configfile, add_part, load_rules
from osad.core.errors import CheckError
from osad.core.hints import grid


def status(options: argparse.Namespace) -> None:
    """Run ``osad status``.

    Raises:
        CheckError: something is stale.
    """
    from osad.history.status import measure

    rules = load_rules(options)
    for line in actions.adopt_lines(rules):  # As at every start of Snakemake.
        print(line, file=sys.stderr)
    found = measure(rules)
    print(*found.lines(), sep="\n", flush=True)
    if found.stale:
        part = f" --config part={options.part}" if options.part else ""
        job, causes = found.stale[0]
        raise CheckError(f"{job.outputs[0]}: {causes[0]}; run snakemake{grid(options, ' ')}{part}")
    if found.unvouched:
        raise CheckError(found.unvouched[0])


def diff(options: argparse.Namespace) -> None:
    """Run ``osad diff``."""
    from osad.history.diff import compare, read_revision, render

    rules = load_rules(options)
    old, new = (read_revision(rules.grid, name) for name in (options.old, options.new))
    for note in (*old.notes, *new.notes):
        print(f"note: {note}", file=sys.stderr)
    found = compare(old, new)
    if options.json:
        print(json.dumps(found, sort_keys=True, indent=1, ensure_ascii=False))
    else:
        print(*render(found), sep="\n")


def cite(options: argparse.Namespace) -> None:
    """Run ``osad cite``."""
    from osad.history.cite import references

    grid = load_rules(options).grid
    target = graph.choose(grid.cells, options.cell, "the grid")
    commit, changed = "", False
    if git.is_repository(grid.root):
        commit = git.run(grid.root, "log", "-1", "--format=%H %cs").strip()
        changed = bool(git.changes(grid.root))
    print("\n\n".join(references(grid, target.cells[0], commit, changed=changed)))


def add_options(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of one of these commands to its parser."""
    add_configfile(command)
    if name == "status":
        add_part(command)
    if name == "diff":
        command.add_argument("old", metavar="REV1", help="a commit, branch or tag of git")
        command.add_argument("new", metavar="REV2", help="another one")
        command.add_argument("--json", action="store_true", help="every number and its causes")
    if name == "cite":
        command.add_argument("cell", metavar="CELL", help="id of a run, or of a mean (no /sN)")
