"""Writing the ledger from what is on disk.

An output gets a line only if everything that is known of it agrees: its bytes are those that its
job wrote, Snakemake's record has the parameters and code of now, and its inputs are still what
they were. So the ledger never vouches for an output that was edited, or that a change of
parameters, code or inputs has left behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osad.audit import ledger, records
from osad.audit.ledger import RULE_KEY, Entry, Ledger
from osad.audit.state import Code, Digests, all_params, as_values
from osad.core.errors import OsadError
from osad.core.files import read_json, write_json
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.workflow import Workflow

OPTIONS = re.compile(r" --(?:threads|gpu|failure|record) \S+| 2>&1 \| tee -i \S+")
"""Parts of a command that do not reach the bytes of its outputs."""
MACHINE = ".osad/machine.json"


@dataclass
class Outcome:
    """What became of the outputs of a grid.

    Attributes:
        ledger: the lines.
        edited: messages on outputs whose bytes are not what their job wrote.
        stale: messages on outputs that a change has left behind.
        absent: outputs that are neither on disk nor in the ledger.
    """

    ledger: Ledger = field(default_factory=Ledger)
    edited: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def collect(workflow: Workflow, previous: Ledger) -> Outcome:
    """Make the lines of all outputs of a grid.

    Args:
        workflow: the pipeline.
        previous: the ledger as it is; its lines of outputs that are not on disk are kept while
            nothing that they depend on has changed.
    """
    lock = workflow.environment()
    digests, code, outcome = Digests(), Code(workflow), Outcome()
    doubtful: set[str] = set()
    for job in jobs(workflow):
        modules = code.of(job)
        expected = all_params(job.params, modules, lock if job.environment else None)
        for output in job.outputs:
            if not Path(output).is_file():
                _keep(outcome, previous, job, output, modules, digests, lock)
                continue
            try:
                _check_inputs(job, output, doubtful)
                entry, template = _entry(job, output, modules, expected, digests, lock)
            except _Problem as problem:
                doubtful.add(output)
                (outcome.edited if problem.edited else outcome.stale).append(str(problem))
                continue
            outcome.ledger.entries[output] = entry
            outcome.ledger.templates[entry.code[RULE_KEY]] = template
    return outcome


class _Problem(Exception):
    """Why an output on disk gets no line."""

    def __init__(self, message: str, *, edited: bool = False) -> None:
        super().__init__(message)
        self.edited = edited


def _check_inputs(job: Job, output: str, doubtful: set[str]) -> None:
    """Check that no input is itself without a line.

    Raises:
        _Problem: one is.
    """
    for path in job.inputs:
        if path in doubtful:
            raise _Problem(f"{output}: was made from {path}, which is out of date; run snakemake")


def _entry(
    job: Job,
    output: str,
    modules: Mapping[str, str],
    expected: Mapping[str, Any],
    digests: Digests,
    lock: str,
) -> tuple[Entry, str]:
    """Return the line of an output on disk and its rule's shell command.

    Raises:
        _Problem: something that is known of it does not agree.
    """
    sha256 = digests.get(output)
    assert sha256 is not None
    run = _run(job)
    written = run.get("outputs", {}).get(output)
    if written is None:
        raise _Problem(f"{output}: no job has left a record of it; delete it and run snakemake")
    if written != sha256:
        raise _Problem(
            f"{output}: its bytes are not what its job wrote (sha256 {sha256[:12]}..., written "
            f"{written[:12]}...); delete it and run snakemake",
            edited=True,
        )
    record = records.read(output)
    if record is None:
        raise _Problem(f"{output}: Snakemake has no record of it; delete it and run snakemake")
    if record["params"] != records.serialised(expected):
        raise _Problem(f"{output}: made with other parameters or code; run snakemake")
    if record["rule"] != job.rule or record["input"] != sorted(job.inputs):
        raise _Problem(f"{output}: made by another rule or from other files; run snakemake")
    before = records.input_digests(record)
    for path in job.inputs:
        now = digests.get(path)
        if now is not None and before.get(path, now) != now:
            raise _Problem(f"{output}: {path} has changed since; run snakemake")
    template = record["code"]
    entry = Entry(
        path=output,
        sha256=sha256,
        size=Path(output).stat().st_size,
        rule=job.rule,
        command=OPTIONS.sub("", record["shellcmd"]),
        params=as_values(job.params),
        inputs={path: before.get(path) or digests.get(path) or "" for path in sorted(job.inputs)},
        code={**modules, RULE_KEY: ledger.digest_text(template)},
        env={"lock": lock, **run["environment"]} if job.environment else {},
    )
    return entry, template


def _run(job: Job) -> dict[str, Any]:
    """Return the record that a job left, empty if there is none."""
    try:
        value = read_json(job.run)
    except OsadError:
        return {}
    return value if isinstance(value, dict) else {}


def _keep(
    outcome: Outcome,
    previous: Ledger,
    job: Job,
    output: str,
    modules: Mapping[str, str],
    digests: Digests,
    lock: str,
) -> None:
    """Keep the line of an output that is not on disk while all that it depends on is the same."""
    entry = previous.entries.get(output)
    if entry is None:
        outcome.absent.append(output)
        return
    known = outcome.ledger.entries
    inputs = {
        path: known[path].sha256 if path in known else digests.get(path) for path in job.inputs
    }
    same = (
        entry.params == as_values(job.params)
        and entry.modules() == modules
        and entry.env.get("lock", lock) == lock
        and entry.inputs == inputs
    )
    if same:
        outcome.ledger.entries[output] = entry
        digest = entry.code[RULE_KEY]
        outcome.ledger.templates[digest] = previous.templates[digest]
    else:
        outcome.absent.append(output)


def write_machine_facts(workflow: Workflow) -> None:
    """Write what the machine was and how long each job took; this file is not compared."""
    lines = []
    for job in jobs(workflow):
        run = _run(job)
        if run:
            lines.append({"outputs": sorted(run["outputs"]), **run["machine"]})
    write_json(MACHINE, lines)
