"""Whether anything has changed since nothing was to be done.

To find that nothing is to be done Snakemake compares every job with its record, minutes of a large
grid. Where all that decides it is as it was when that was found, there is nothing to compare: what
the system says of files (`osad.runtime.states`), the parameters, and the version of Snakemake.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError, OsadError
from osad.core.files import read_json, sha256_bytes, write_json
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rules import Rules
from osad.runtime.states import below, state

PLACE = Path(".osad/unchanged.json")
RECORDS = (".snakemake/metadata", ".snakemake/metadata.db", ".snakemake/incomplete")


def look(rules: Rules, asked: Sequence[Job]) -> dict[str, Any] | None:
    """Return what is there now, for `remember`; nothing if not all of it is.

    Args:
        rules: the table of rules.
        asked: the jobs of the grid, or of its part.
    """
    outputs = (path for job in asked for path in (*job.outputs, job.receipt))
    if not rules.sources.settled or not all(map(os.path.exists, outputs)):
        return None
    whole = jobs(rules) if rules.grid.params.part else asked  # Adoption is not for a part alone.
    paths = (path for job in whole for path in (*job.outputs, job.receipt, *job.inputs))
    return _found(rules, [*dict.fromkeys(paths)])


def remember(seen: dict[str, Any]) -> None:
    """Note that nothing was to be done with what was seen there; a hint, so no error if not."""
    with contextlib.suppress(OSError, ValueError):
        write_json(PLACE, seen)


def forget() -> None:
    """Forget what was noted: jobs are about to run.

    Raises:
        ConfigError: the note cannot be removed.
    """
    try:
        PLACE.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{PLACE}: cannot be removed ({error.strerror}); see to it") from error


def holds(rules: Rules) -> bool:
    """Tell whether all is as it was when nothing was to be done."""
    try:
        before = read_json(PLACE)
        return bool(before == _found(rules, before["files"]))
    except (OsadError, KeyError, TypeError, ValueError):
        return False


def ledger_state(rules: Rules) -> str:
    """Return the state of the ledger's files."""
    return state(below(["provenance", f"{rules.grid.results}/provenance"])).digest


def _found(rules: Rules, paths: Sequence[str]) -> dict[str, Any]:
    params = json.dumps(asdict(rules.grid.params), sort_keys=True, default=repr)
    return {
        "snakemake": version("snakemake"),
        "params": sha256_bytes(params.encode()),
        "sources": rules.sources.digest,
        "files": paths,
        "state": state(paths).digest,
        "records": state(below(RECORDS)).digest,
        "ledger": ledger_state(rules),
    }
