"""The command ``osad audit``."""

import argparse
import contextlib
import json
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from osad.audit import actions, git, graph, ledger, remote, render
from osad.audit.ledger import Ledger
from osad.core.errors import CheckError, ConfigError, DataError
from osad.pipeline import config
from osad.pipeline.fingerprint import check_running
from osad.pipeline.grid import Grid
from osad.pipeline.parts import wanted
from osad.pipeline.rules import Rules

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
STAGES = (
    ("fetch", "data/weights"), ("features", "results/features"), ("runs", "results/maps"),
    ("tables", "results/figures"),
)  # fmt: skip
"""The stages of ``dvc.yaml``, each with a folder of its outputs that not all grids have."""
LISTED = 10
"""Number of missing files that are named one by one."""


def load_rules(options: argparse.Namespace) -> Rules:
    """Return the table of rules of the grid asked for; the methods' files are imported.

    Raises:
        ConfigError: another package runs than that of this folder.
        CheckError: a source of the project cannot be imported, so it is not what made the numbers.
    """
    root = Path().resolve()
    check_running(root / "src")
    try:
        part = getattr(options, "part", "")
        return Rules(Grid(config.load(Path(), *options.configfile, part=part), root))
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError) as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            files.append(error.filename or "")
        own = [file for file in files if Path(file).is_relative_to(root / "src")]
        if not own:
            raise
        path = Path(own[-1]).relative_to(root).as_posix()
        raise CheckError(
            f"{path}: cannot be imported ({error}); restore it with `git checkout {path}`"
        ) from error


def load_ledger(rules: Rules) -> Ledger:
    """Return the ledger of a grid.

    Raises:
        ConfigError: there is none.
    """
    where = ledger.folder(rules.grid.results)
    known = ledger.read(where)
    if not known.entries:
        raise ConfigError(f"{where}: has no ledger; run snakemake, or `osad audit record` after it")
    return known


def record(options: argparse.Namespace) -> None:
    """Write the ledger from what is on disk."""
    print(actions.record(load_rules(options))[1])


def adopt(options: argparse.Namespace) -> None:
    """Restore Snakemake's records for outputs that are what the ledger says."""
    adoption = actions.adopt(load_rules(options))
    print(f"adopted {len(adoption.adopted)} outputs, moved {len(adoption.removed)} away")
    if adoption.removed:
        raise CheckError("\n".join(adoption.removed))


def save(options: argparse.Namespace) -> None:
    """Write the ledger, then commit the outputs to DVC."""
    rules = load_rules(options)
    results, part = rules.grid.results, rules.grid.params.part
    outcome, line = actions.record(rules)
    print(line)
    own = {*wanted(rules)}
    absent = [f"{path}: is not made yet" for path in outcome.absent]
    for messages in (outcome.stale, absent):
        if left := [message for message in messages if message.partition(": ")[0] in own]:
            asked = f" --config part={part}" if part else ""
            raise CheckError(
                f"{left[0]} ({len(left)} such outputs); nothing is committed before a "
                f"complete run: snakemake --cores 8 --resources gpu=1{asked}"
            )
    # A part has no tables and no page; of another grid than that of params.yaml DVC has a file.
    count = 1 if results != "results" else 3 if part else len(STAGES)
    for _, folder in STAGES[:count]:
        Path(folder).mkdir(parents=True, exist_ok=True)
    remote.dvc("commit", "--force", *(stage for stage, _ in STAGES[:count]))
    if results != "results":
        remote.dvc("add", results)
    print("committed to DVC; now: git add --all; git commit; osad audit push")


def merge(options: argparse.Namespace) -> None:
    """Unite what other machines made of parts of the grid with what is here."""
    from osad.audit.merge import merge as merged
    from osad.audit.revision import checked_out

    rules, folders = load_rules(options), {}
    with contextlib.ExitStack() as stack:
        for name in options.others:
            folders[name] = Path(name)
            if not folders[name].is_dir():
                place = checked_out(rules.grid.root, name, rules.grid.results)
                folders[name] = stack.enter_context(place)
        done = merged(rules, folders)
    print(f"merged {len(done.sources)} outputs, {done.equal} were here with equal bytes")
    if done.stale:
        print(f"{len(done.stale)} outputs here are out of date, {done.stale[0]} for example")
    if done.missing:
        print(f"{len(done.missing)} runs are in no part, {done.missing[0]} for example")
    if done.lacking:
        raise CheckError(
            f"{done.lacking[0]}: the other ledger has a line of it, but its file could not be had "
            f"({len(done.lacking)} such files); make it there, or let that one send it "
            "(osad audit push), and merge again"
        )
    print("now: snakemake, which makes what is missing, tables and page; then osad audit save")


def explain(options: argparse.Namespace) -> None:
    """Print every input of a number, down to the digests of images."""
    from osad.audit.explain import explain as explained

    rules = load_rules(options)
    known = load_ledger(rules)
    target = graph.find(known, options.cell)
    explanation = explained(rules, known, target)
    if options.json:
        print(json.dumps(explanation, sort_keys=True, indent=1, ensure_ascii=False))
    else:
        print(render.text(explanation, options.depth), end="")


def verify(options: argparse.Namespace) -> None:
    """Check digests of everything that cells depend on; with --rebuild make them again."""
    from osad.audit.verify import verify as verified

    rules = load_rules(options)
    root = rules.grid.root
    problems = ledger.check_sums(ledger.folder(rules.grid.results))
    if problems:
        raise CheckError("\n".join(problems))
    known = load_ledger(rules)
    targets = _targets(options, known)
    if git.is_repository(root):
        for path in git.changes(root):
            print(f"note: {path}: has uncommitted changes", file=sys.stderr)
    if options.rebuild:
        _rebuild(options, root, known, targets or [])
        return
    findings = verified(rules, known, targets)
    for note in findings.notes:
        print(f"note: {note}", file=sys.stderr)
    unchecked = [f"note: {note}" for note in findings.unchecked]
    what = "everything in the ledger" if targets is None else _names(targets)
    missing = findings.missing
    if len(missing) > LISTED:  # A clone without data lacks thousands of images.
        missing = [*missing[:LISTED], f"{len(missing) - LISTED} more files are missing"]
    if findings.differs:
        raise CheckError("\n".join([*findings.differs, *missing, *unchecked]))
    if missing:
        raise DataError("\n".join([*missing, *unchecked]))
    _tell_unchecked(options, unchecked)
    print(
        f"verified {what}: {findings.files} files ({findings.images} images, the code included) "
        "have the digests of the ledger, metrics and tables follow from the scores"
    )


def _tell_unchecked(options: argparse.Namespace, notes: Sequence[str]) -> None:
    """Say what could not be checked, for which ``--strict`` lets a verification fail."""
    for note in notes:
        print(note, file=sys.stderr)
    if options.strict and notes:
        first = notes[0].removeprefix("note: ")
        raise CheckError(f"--strict: {first} ({len(notes)} such notes)")


def _names(targets: Sequence[graph.Target]) -> str:
    return ", ".join(target.name for target in targets)


def _targets(options: argparse.Namespace, known: Ledger) -> list[graph.Target] | None:
    """Return the cells asked for; None for all."""
    asked = [bool(options.cells), options.all, options.sample is not None]
    if sum(asked) != 1:
        raise ConfigError("give cells, or --all, or --sample K")
    if options.cells:
        return [graph.find(known, name) for name in options.cells]
    cells = [str(cell) for cell in graph.cells(known)]
    if options.all:
        return [graph.find(known, name) for name in cells] if options.rebuild else None
    if not 1 <= options.sample <= len(cells):
        raise ConfigError(f"--sample {options.sample}: must lie in 1 to {len(cells)}")
    chosen = random.Random(options.seed).sample(cells, options.sample)
    print(f"sample of {options.sample} cells with seed {options.seed}: {', '.join(chosen)}")
    return [graph.find(known, name) for name in chosen]


def _rebuild(
    options: argparse.Namespace, root: Path, known: Ledger, targets: Sequence[graph.Target]
) -> None:
    from osad.audit.rebuild import rebuild

    cells = [cell for target in targets for cell in target.cells]
    files = [path.resolve() for path in options.configfile]
    comparison = rebuild(root, known, cells, commit=options.commit, configfiles=files)
    for path in comparison.equal:
        print(f"equal: {path}")
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)
    unchecked = [f"note: {note}" for note in comparison.unchecked]
    if comparison.differs:
        raise CheckError("\n".join([*comparison.differs, *unchecked]))
    _tell_unchecked(options, unchecked)
    print(f"rebuilt {_names(targets)}: {len(comparison.equal)} artefacts have equal bytes")


def add_configfile(command: argparse.ArgumentParser) -> None:
    """Add the option that names the files of another grid."""
    command.add_argument(
        "--configfile", type=Path, action="append", default=[], metavar="FILE",
        help="of another grid than that of params.yaml, as for snakemake; once for each file",
    )  # fmt: skip


def add_part(command: argparse.ArgumentParser) -> None:
    """Add the option that names a part of the grid."""
    text = "only this part of the grid, as for snakemake --config part=K/N"
    command.add_argument("--part", default="", metavar="K/N", help=text)


def add_command(
    commands: Subparsers, function: Callable[[argparse.Namespace], None], *, grid: bool = True
) -> argparse.ArgumentParser:
    """Add a subcommand with the name and text of its function, of any grid; return its parser."""
    text = (function.__doc__ or "").strip()
    command = commands.add_parser(function.__name__, help=text, description=text)
    command.set_defaults(run=function)
    if grid:
        add_configfile(command)
    return command


def add_explain_options(command: argparse.ArgumentParser) -> None:
    """Add the options of ``osad audit explain`` but for the grid's."""
    command.add_argument("cell", metavar="CELL", help="id of a run, or of a mean (no /sN)")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.add_argument(
        "--depth", type=int, choices=range(1, render.DEPTH + 1), default=render.DEPTH,
        help="1 the number, 2 files, 3 also commands and code, 4 also every image",
    )  # fmt: skip


def add_parsers(top: argparse.ArgumentParser) -> Subparsers:
    """Add the subcommands and their options to the parser of ``osad audit``; return them."""
    commands = top.add_subparsers(dest="audit", required=True, metavar="COMMAND")
    for function in (record, adopt, save):
        command = add_command(commands, function)
    add_part(command)
    command = add_command(commands, merge)
    text = "other copies of the project, or commits and branches of them"
    command.add_argument("others", nargs="+", metavar="DIR|REV", help=text)
    for function in (remote.push, remote.pull):
        command = add_command(commands, function, grid=False)
        command.add_argument("--remote", metavar="NAME", help="another one than the default")
    add_explain_options(add_command(commands, explain))
    command = add_command(commands, verify)
    command.add_argument("cells", nargs="*", metavar="CELL", help="ids of runs or of means")
    command.add_argument("--all", action="store_true", help="everything in the ledger")
    command.add_argument("--sample", type=int, metavar="K", help="K cells drawn at random")
    command.add_argument("--seed", type=int, default=0, help="of --sample")
    command.add_argument("--rebuild", action="store_true", help="make the cells again")
    command.add_argument(
        "--strict", action="store_true", help="fail where something cannot be checked"
    )
    command.add_argument("--commit", default="HEAD", help="what --rebuild checks out")
    return commands
