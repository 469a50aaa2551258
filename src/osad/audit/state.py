"""What is on disk, hashed once, and the code that the jobs have now."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from osad.core.files import sha256_file
from osad.pipeline.fingerprint import code_digests, combined
from osad.pipeline.jobs import Job
from osad.pipeline.workflow import Workflow, compact_json

TEXTS = ("settings", "hyper", "grid")
"""Parameters that rules hold as JSON texts and the ledger as values."""


class Digests:
    """SHA-256 of files by path, each read once."""

    def __init__(self) -> None:
        """Start without any."""
        self._known: dict[str, str | None] = {}

    def get(self, path: str) -> str | None:
        """Return a file's digest, or None if there is no such file."""
        if path not in self._known:
            self._known[path] = sha256_file(path) if Path(path).is_file() else None
        return self._known[path]

    def forget(self, path: str) -> None:
        """Note that a file has been moved away."""
        self._known[path] = None


class Code:
    """The source closure of jobs, each computed once."""

    def __init__(self, workflow: Workflow) -> None:
        """Remember where the sources are."""
        self._source = workflow.root / "src"
        self._digests = functools.cache(self._compute)

    def _compute(self, roots: tuple[str, ...]) -> dict[str, str]:
        return code_digests(roots, self._source)

    def of(self, job: Job) -> dict[str, str]:
        """Return the digest of each module of a job's closure, by name."""
        return self._digests(job.modules)


def as_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule's parameters with JSON texts as the values they hold."""
    return {name: json.loads(value) if name in TEXTS else value for name, value in params.items()}


def as_rule(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the rule holds them: the inverse of `as_values`."""
    return {name: compact_json(value) if name in TEXTS else value for name, value in params.items()}


def all_params(
    params: Mapping[str, Any], modules: Mapping[str, str], lock: str | None
) -> dict[str, Any]:
    """Return every parameter of a rule, with the fingerprints of code and environment.

    Args:
        params: as the rule holds them.
        modules: digests of the code.
        lock: digest of the lock file; None for rules that do not depend on it.
    """
    environment = {} if lock is None else {"environment": lock}
    return {**params, "code": combined(modules), **environment}


def outputs(jobs: Iterable[Job]) -> dict[str, Job]:
    """Return the job of each output."""
    return {output: job for job in jobs for output in job.outputs}
