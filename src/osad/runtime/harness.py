"""Run one step in this process: ``python -m osad.runtime.harness STEP --option value ...``.

A step is a module of `osad.pipeline.steps` (or ``predict``, which no rule runs) with
``main(argv: list[str]) -> list[Path]``: it parses its own options, reads, computes, writes, and
returns the files written. `main` here finds the step by name and turns what it raises into a
message and an exit code. On request it leaves a record: of a failure, its reason; of success, the
digests of what was written, by which a later edit of an output is noticed, and the environment
that it was made in.
"""

import argparse
import errno
import importlib
import os
import pkgutil
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from osad.core.errors import ConfigError, OsadError
from osad.core.files import sha256_file, write_json
from osad.runtime.facts import code_facts, environment_facts, machine_facts, peak_memory

FULL = "the disk is full; free space and run the same command again"
MEMORY_ADVICE = "out of memory; run fewer jobs at once or use a machine with more memory"
USAGE = (
    "usage: python -m osad.runtime.harness STEP [--failure PATH] [--record PATH] "
    "[options of the step]"
)
STEPS = "osad.pipeline.steps"
OTHERS = {"predict": "osad.predict.step", "watch": "osad.predict.watch"}
"""Steps outside the pipeline by name: no rule runs them."""


class Cancelled(BaseException):
    """The signal of this number asked to stop; it passes every ``except Exception``."""


def known_steps() -> list[str]:
    """Return the names of all steps, sorted."""
    package = importlib.import_module(STEPS)
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted([*(name for name in names if not name.startswith("_")), *OTHERS])


def split_shared(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split ``--failure PATH`` and ``--record PATH`` from the arguments.

    Returns:
        The paths, or None, as attributes ``failure`` and ``record``; and the other arguments.

    Example:
        >>> split_shared(["run", "--failure", "f.json", "--gpu", "0"])[1]
        ['run', '--gpu', '0']
    """
    parser = argparse.ArgumentParser(prog="osad", add_help=False, allow_abbrev=False)
    parser.add_argument("--failure", type=Path, help="where the reason of a failure is written")
    parser.add_argument("--record", type=Path, help="where a record of success is written")
    return parser.parse_known_args(argv)


def one_line(text: str) -> str:
    r"""Return a message as one line that is the same in every checkout.

    Absolute paths become relative to the current directory or, elsewhere, their last part;
    memory addresses become ``0x``.

    Example:
        >>> one_line("/data/set/a.png: cannot be read,\n  see https://x.org/a/b")
        'a.png: cannot be read, see https://x.org/a/b'
    """
    for folder in (os.getcwd(), os.path.expanduser("~")):  # They may have blanks in them.
        text = text.replace(folder.rstrip("/") + "/", "") if folder != "/" else text
    text = re.sub(r"""(?<![\w.:/~-])/(?:[^\s/'":;,()\[\]]+/)*([^\s/'":;,()\[\]]+)""", r"\1", text)
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}", "0x", text)
    return " ".join(text.split())


def write_failure(path: Path, *, step: str, reason: str, error: str) -> None:
    """Write why a job failed, as JSON."""
    try:
        write_json(path, {"step": step, "reason": one_line(reason), "error": error})
    except OSError as problem:
        print(f"osad {step}: {path}: cannot be written ({problem.strerror})", file=sys.stderr)


def write_record(path: Path, argv: Sequence[str], outputs: Sequence[Path], seconds: float) -> None:
    """Write as JSON what a job, the step's name and its options, made in how much time."""
    record = {
        "step": argv[0],
        "arguments": list(argv),
        "outputs": {str(output): sha256_file(output) for output in outputs},
        "environment": environment_facts(),
        "code": code_facts(),
        "machine": machine_facts() | {"seconds": round(seconds, 3), "peak_mb": peak_memory()},
    }
    write_json(path, record)


def _out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that memory is exhausted, on the host or on a GPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's; not imported for this.
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _of_the_disk(error: Exception) -> str:
    """Return the reason where a disk is full or a folder has no rights, else nothing."""
    file = error.filename if isinstance(error, OSError) else None
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return f"{file}: {FULL}" if file else FULL
    return f"{file}: {error.strerror}" if file and isinstance(error, OSError) else ""


def _run_step(argv: Sequence[str]) -> list[Path]:
    """Import the step named first, run it with the other arguments, return what it wrote."""
    steps = known_steps()
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        print(USAGE, f"steps: {', '.join(steps)}", sep="\n")
        return []
    if name not in steps:
        raise ConfigError(f"unknown step {name!r}; known steps: {', '.join(steps)}")
    module = importlib.import_module(OTHERS.get(name, f"{STEPS}.{name}"))
    return [*module.main(list(argv[1:]))]


def main(argv: list[str]) -> int:
    """Run one step and return the exit code of its process.

    With ``--failure PATH`` an old file there is deleted first; if the job fails, the file holds
    ``step``, ``reason`` and ``error`` (the name of the error's class). ``--record PATH`` is the
    same for a job that is done (see `write_record`).

    Returns:
        0 done; the error's ``exit_code`` for an expected error, told in one message; 1 for any
        other error, with its traceback; 2 for wrong usage.
    """
    start = time.perf_counter()
    failure = record = None
    step = argv[0] if argv else ""
    try:
        shared, rest = split_shared(argv)
        failure, record = shared.failure, shared.record
        for path in (failure, record):
            if path is not None:
                path.unlink(missing_ok=True)
        written = _run_step(rest)
        if record is not None:
            write_record(record, rest, written, time.perf_counter() - start)
        return 0
    except SystemExit as stop:  # argparse has printed its message.
        if stop.code is None or isinstance(stop.code, int):
            code, reason = stop.code or 0, "wrong usage; the log of the job has the message"
        else:
            code, reason = 1, str(stop.code)
            print(f"osad {step}: {reason}", file=sys.stderr)
        error_name = "SystemExit"
    except OsadError as error:
        code, reason, error_name = error.exit_code, str(error), type(error).__name__
        print(f"osad {step}: {reason}", file=sys.stderr)
    except Exception as error:
        code, error_name = 1, type(error).__name__
        if _out_of_memory(error):
            reason = MEMORY_ADVICE
            print(f"osad {step}: {reason} ({error_name}: {error})", file=sys.stderr)
        elif reason := _of_the_disk(error):
            code = 2
            print(f"osad {step}: {reason}", file=sys.stderr)
        else:
            reason = f"{error_name}: {error}"
            traceback.print_exc()
    if failure is not None and code != 0:
        write_failure(failure, step=step, reason=reason, error=error_name)
    return code


def run(argv: list[str]) -> int:
    """Run one step as the whole of this process (see `main`).

    SIGTERM and SIGINT end the process through the usual clean-up, so that no half-written file
    stays behind; the process still ends by that signal, and no failure is recorded.
    """

    def cancel(number: int, _frame: object) -> None:
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise Cancelled(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, cancel)
    try:
        return main(argv)
    except Cancelled as cancelled:
        (number,) = cancelled.args
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return 128 + int(number)


if __name__ == "__main__":
    # By its name, as the fork server does: what a job is told to have run must not differ.
    sys.exit(importlib.import_module("osad.runtime.harness").run(sys.argv[1:]))
