"""Whether anything has changed since nothing was to be done.

To find that nothing is to be done Snakemake compares every job with its record, minutes of a large
grid. Where all that it would look at is as it was when that was found, it is asked for nothing.
What is compared is the state of files (`osad.runtime.states`), which changes whenever a file does.
"""

import argparse
import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from osad.core.errors import OsadError
from osad.core.files import read_json, sha256_bytes, write_json
from osad.pipeline.jobs import Job
from osad.pipeline.rules import Rules
from osad.runtime.states import below, state

PLACE = Path(".osad/unchanged.json")
RECORDS = (".snakemake/metadata", ".snakemake/metadata.db", ".snakemake/incomplete")


def asks_for_all(arguments: Sequence[str]) -> bool:
    """Tell whether Snakemake's command line asks for the whole grid and nothing else."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-n", "--dry-run", "--dryrun", action="store_true")
    parser.add_argument("-p", "--printshellcmds", action="store_true")
    parser.add_argument("-c", "--cores")
    parser.add_argument("-q", "--quiet", nargs="*")
    parser.add_argument("--resources", nargs="*")
    parser.add_argument("--config", nargs="*")
    parser.add_argument("--configfile", "--configfiles", nargs="*")
    try:
        others = parser.parse_known_args(arguments)[1]
    except argparse.ArgumentError:
        return False
    return not others and not os.environ.get("SNAKEMAKE_PROFILE")


def look(rules: Rules, jobs: Sequence[Job]) -> dict[str, Any] | None:
    """Return what is there now, for `remember`; nothing if not all of it is.

    Args:
        rules: the table of rules.
        jobs: those of the grid, or of its part.
    """
    outputs = [path for job in jobs for path in (*job.outputs, job.receipt)]
    if not rules.sources.settled or not all(map(os.path.exists, outputs)):
        return None
    paths = [*dict.fromkeys([*outputs, *(path for job in jobs for path in job.inputs)])]
    return {"files": paths, **_found(rules, paths)}


def is_in_order(jobs: Sequence[Job]) -> bool:
    """Tell whether no input is newer than an output of its job, and no job was interrupted."""
    times: dict[str, float] = {}

    def time(path: str) -> float:
        if path not in times:
            times[path] = max(os.lstat(path).st_mtime, os.stat(path).st_mtime)
        return times[path]

    with contextlib.suppress(OSError):
        return not any(map(os.path.isfile, below([RECORDS[-1]]))) and all(
            max(map(time, job.inputs), default=0.0) <= min(map(time, job.outputs)) for job in jobs
        )
    return False


def remember(rules: Rules, seen: dict[str, Any] | None) -> None:
    """Note that nothing was to be done with what was seen there; a hint, so no error if not."""
    if seen is not None:
        with contextlib.suppress(OSError):
            write_json(PLACE, seen | {"ledger": _ledger(rules)})


def forget() -> None:
    """Forget what was noted: jobs are about to run."""
    PLACE.unlink(missing_ok=True)


def holds(rules: Rules) -> bool:
    """Tell whether all is as it was when nothing was to be done."""
    try:
        before = read_json(PLACE)
        return bool(before == {
            "files": before["files"], **_found(rules, before["files"]), "ledger": _ledger(rules)
        })  # fmt: skip
    except (OsadError, KeyError, TypeError, ValueError):
        return False


def _found(rules: Rules, paths: Sequence[str]) -> dict[str, Any]:
    params = json.dumps(asdict(rules.grid.params), sort_keys=True, default=repr)
    return {
        "snakemake": version("snakemake"),
        "params": sha256_bytes(params.encode()),
        "sources": rules.sources.digest,
        "state": state(paths).digest,
        "records": state(below(RECORDS)).digest,
    }


def _ledger(rules: Rules) -> str:
    return state(below(["provenance", f"{rules.grid.results}/provenance"])).digest
