"""Snakemake's own records of outputs, in ``.snakemake/metadata``.

Snakemake decides from them what is out of date. They do not travel with a clone; the ledger holds
what is needed to write them again. Their format is Snakemake's and has no promise of stability,
so it is checked first.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osad.core.errors import CheckError

FORMAT = 6
"""The version of the record format that this module knows."""
METADATA = Path(".snakemake/metadata")
INCOMPLETE = Path(".snakemake/incomplete")


def check_format() -> None:
    """Check that the installed Snakemake writes records as this module does.

    Raises:
        CheckError: its record format is another one.
    """
    from snakemake import __version__
    from snakemake.persistence import RECORD_FORMAT_VERSION

    if RECORD_FORMAT_VERSION != FORMAT:
        raise CheckError(
            f"Snakemake {__version__} keeps its records in format {RECORD_FORMAT_VERSION}, known "
            f"here is format {FORMAT}; install requirements/workflow.lock"
        )


def record_path(output: str, folder: Path = METADATA) -> Path:
    """Return where the record of an output is.

    Names are base64 of the path, cut into folders where the file system limits their length.
    """
    limit = 255
    if os.name == "posix" and folder.is_dir():
        limit = os.pathconf(folder, "PC_NAME_MAX") or limit
    name = urlsafe_b64encode(output.encode()).decode()
    parts = [name[start : start + limit - 1] for start in range(0, len(name), limit - 1)]
    return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def is_recorded(output: str) -> bool:
    """Tell whether Snakemake knows an output, be it complete or interrupted."""
    return record_path(output).is_file() or record_path(output, INCOMPLETE).exists()


def read(output: str) -> dict[str, Any] | None:
    """Return the record of a complete output, or None if there is none that can be read."""
    try:
        record = json.loads(record_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = record.get("record_format_version") == FORMAT and not record.get("incomplete")
    return record if complete else None


def input_digests(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 that each input had when the job ended, by path."""
    checksums = record.get("input_checksums") or {}
    return {path: str(value).removeprefix("sha256:") for path, value in checksums.items()}


def serialised(values: Mapping[str, Any]) -> list[str]:
    """Return parameters as a record holds them."""
    return sorted(repr(value) for value in values.values())


def write(
    output: str,
    *,
    rule: str,
    template: str,
    command: str,
    inputs: Mapping[str, str],
    params: Mapping[str, Any],
) -> None:
    """Write the record of an output as if its job had just ended.

    Args:
        output: its path.
        rule: name of the rule.
        template: the rule's shell command.
        command: what was run.
        inputs: digests by path.
        params: all parameters of the rule.
    """
    path = record_path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    when = os.stat(output).st_mtime
    record = {
        "rule": rule,
        "input": sorted(inputs),
        "log": [],
        "shellcmd": command,
        "params": serialised(params),
        "code": template,
        "record_format_version": FORMAT,
        "conda_env": None,
        "container_img_url": None,
        # That of jobs that run in the environment of Snakemake itself.
        "software_stack_hash": hashlib.md5(usedforsecurity=False).hexdigest(),
        "job_hash": None,
        "starttime": when,
        "endtime": when,
        "incomplete": False,
        "external_jobid": None,
        "input_checksums": {name: f"sha256:{digest}" for name, digest in inputs.items()},
    }
    path.write_text(json.dumps(record), encoding="utf-8")
