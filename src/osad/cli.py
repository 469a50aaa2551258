"""The command ``osad``."""

import argparse
import contextlib
import io
import os
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from osad import __version__
from osad.core.errors import ConfigError, OsadError
from osad.core.hints import tell


def datasets(options: argparse.Namespace) -> None:
    """Print the data sets: id, paper, licence, counts, and where they are or how to get them."""
    from osad.data import overview
    from osad.pipeline import config

    settings = config.load(Path()).dataset_settings
    _print_table(overview.COLUMNS, overview.rows(Path(), settings))
    lines = overview.remedies(Path(), settings)
    if lines:
        print("", "Not on disk; see docs/datasets/originals.md:", *lines, sep="\n")


def methods(options: argparse.Namespace) -> None:
    """Print the methods: id, settings, what they read, source; or their hyper-parameters."""
    from osad.methods import fields, registry

    if options.parameters is None:
        columns = ["id", "title", "settings", "packs", "source"]
        rows = [
            [
                *(spec.name, spec.title, ", ".join(spec.settings), ", ".join(spec.packs) or "-"),
                spec.paper,
            ]
            for spec in registry.all_specs()
        ]
    else:
        names = [options.parameters] if options.parameters else registry.modules()
        columns = ["method", *fields.COLUMNS]
        rows = [
            [spec.name, *row]
            for spec in map(registry.registered, names)
            for row in fields.table(spec.hyper, spec.resolve())
        ]
    _print_table(columns, rows)


def check_method(options: argparse.Namespace) -> None:
    """Check that a method keeps its contract: a registered one, or a file of your own."""
    from osad.methods.check import report
    from osad.runtime.device import make_deterministic

    make_deterministic()
    report(options.method)


def tables(options: argparse.Namespace) -> None:
    """Print the summary: ours beside the published numbers."""
    from osad.evaluation.tables.summary import read_summary
    from osad.evaluation.tables.terminal import render_summary, summary_table

    rows = read_summary(options.path)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(summary_table(rows))
    else:  # A program may read it: no colours, nothing cut off.
        print(render_summary(rows), end="")


def progress(options: argparse.Namespace) -> None:
    """Print how far the grid is: jobs and cells done, failed, left, and about how long it takes."""
    from osad.audit.cli import load_rules
    from osad.pipeline.progress import changes, measure

    if not 0.1 <= options.every <= 86_400:
        raise ConfigError(f"--every {options.every}: must lie in 0.1 to 86400 seconds")
    rules = load_rules(options)
    if options.watch:
        with contextlib.suppress(KeyboardInterrupt):
            for line in changes(rules, every=options.every):
                print(line, flush=True)
        return
    found = measure(rules)
    lines = [[rule, str(done), str(total - done)] for rule, (done, total) in found.rules.items()]
    _print_table(["rule", "done", "left"], lines)
    print(found.line())


def status(options: argparse.Namespace) -> None:
    """Print what is stale, because of what, and how long it takes; 1 if anything is."""
    from osad.history.cli import status as run

    run(options)


def diff(options: argparse.Namespace) -> None:
    """Print which numbers changed between two commits, and the changed inputs behind them."""
    from osad.history.cli import diff as run

    run(options)


def cite(options: argparse.Namespace) -> None:
    """Print BibTeX of the method, data set and weights of a number, and of this project."""
    from osad.history.cli import cite as run

    run(options)


def audit(options: argparse.Namespace) -> None:
    """Say which inputs produced a number, and check it."""
    options.run(options)


def explain(options: argparse.Namespace) -> None:
    """Print every input of a number, as ``osad audit explain`` does."""
    from osad.audit.cli import explain as run

    run(options)


def export(options: argparse.Namespace) -> None:
    """Write numbers in a format that others read: Parquet, Hugging Face, Every Eval Ever."""
    options.run(options)


def page(options: argparse.Namespace) -> None:
    """Copy the page of the results to a folder for a web server."""
    from osad.exports.cli import publish

    publish(options)


def predict(options: argparse.Namespace) -> None:
    """Score your own images with a trained cell; write scores and heat maps."""
    from osad.predict.cli import run

    run(options)


def select(options: argparse.Namespace) -> None:
    """Compare hyper-parameters of a method without looking at the test images of the tables."""
    from osad.select.cli import run

    run(options)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "audit": audit,
    "check-method": check_method,
    "cite": cite,
    "datasets": datasets,
    "diff": diff,
    "explain": explain,
    "export": export,
    "methods": methods,
    "page": page,
    "predict": predict,
    "progress": progress,
    "select": select,
    "status": status,
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
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 200)
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
            from osad.audit.cli import add_parsers
            from osad.crate.cli import add_parser

            add_parser(add_parsers(command))
        if name == "check-method":
            command.add_argument(
                "method", metavar="FILE_OR_NAME", help="its file or folder, or its registered name"
            )
        if name in ("cite", "diff", "status"):
            from osad.history.cli import add_options as add_history_options

            add_history_options(name, command)
        if name in ("export", "page"):
            from osad.exports.cli import add_options as add_export_options

            add_export_options(name, command)
        if name == "explain":
            from osad.audit.cli import add_configfile, add_explain_options

            add_configfile(command)
            add_explain_options(command)
        if name == "methods":
            command.add_argument(
                "--parameters", nargs="?", const="", metavar="NAME",
                help="print the hyper-parameters of a method or variant; of all methods without it",
            )  # fmt: skip
        if name == "predict":
            from osad.predict.cli import add_options

            add_options(command)
        if name == "progress":
            from osad.audit.cli import add_configfile, add_part

            add_configfile(command)
            add_part(command)
            command.add_argument(
                "--watch", action="store_true", help="print a line at each change until it is done"
            )
            command.add_argument(
                "--every", type=float, default=10.0, metavar="SECONDS", help="between two looks"
            )
        if name == "select":
            from osad.select.cli import add_options as add_select_options

            add_select_options(command)
        if name == "tables":
            command.add_argument(
                "path",
                nargs="?",
                type=Path,
                default=Path("results/tables/summary.csv"),
                help="summary.csv of a run",
            )
    return top


def _repair_streams() -> None:
    """Let no text be unprintable, and no file that is opened take the place of a closed stream."""
    for number, mode in enumerate("rww"):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest free number: this one.
            opened = open(number, mode, closefd=False)  # noqa: SIM115 - stays open.
            setattr(sys, ("stdin", "stdout", "stderr")[number], opened)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_no_device(options: argparse.Namespace) -> None:
    """Check that no path is a device: some never end, and reading one fills the memory.

    Raises:
        ConfigError: one is.
    """
    for value in vars(options).values():
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, Path):
                try:
                    mode = path.stat().st_mode
                except (OSError, ValueError):
                    continue  # Whoever opens it says what is wrong.
                if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                    raise ConfigError(f"{path}: is a device; give a file or a folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when done, 1 when a check failed, 2 for wrong usage or input."""
    _repair_streams()
    command = "osad"
    try:
        options = parser().parse_args(argv)
        command = f"osad {options.command}"
        _check_no_device(options)
        COMMANDS[options.command](options)
        tell(options)
        sys.stdout.flush()
        return 0
    except OsadError as error:
        message, code = str(error), error.exit_code
    except BrokenPipeError:
        message, code = "", 0  # The reader (head, less) has seen enough.
    except KeyboardInterrupt:
        message, code = "interrupted", 128 + signal.SIGINT
    except OSError as error:
        where = error.filename or "standard output or a file"
        message, code = f"{where}: {error.strerror or error}", 2
    with contextlib.suppress(OSError):
        print(f"{command}: {message}" if message else "", end="\n" * bool(message), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # It would be tried again, with a traceback, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    sys.exit(main())
