"""Writing the ledger from what is on disk.

An output gets a line only if everything that is known of it agrees: its bytes are those that its
job wrote, Snakemake's record has the parameters and code of now, and its inputs are still what
they were. So the ledger never vouches for an output that was edited, or that a change of
parameters, code or inputs has left behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osad.audit import ledger
from osad.audit.ledger import Digests, Entry, Ledger
from osad.core.errors import OsadError
from osad.core.files import read_json, sha256_file, write_json
from osad.pipeline.fingerprint import module_digests, module_file, syntax_digest_of
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rule import as_text
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records as records

MACHINE = ".osad/machine.json"
RECEIPT = {"arguments": list, "code": dict, "environment": dict, "machine": dict, "outputs": dict}
"""What a receipt holds, and of which types."""


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

    @property
    def agrees(self) -> bool:
        """Whether every output has a line."""
        return not (self.edited or self.stale or self.absent)

    def add(self, entry: Entry, job: Job) -> None:
        """Add the line of a job's output, with what it names by digests."""
        self.ledger.entries[entry.path] = entry
        self.ledger.commands[entry.command] = job.rule.command
        if entry.code not in self.ledger.closures:
            self.ledger.closures[entry.code] = list(job.modules)
            for name in job.modules:
                self.ledger.modules[name] = module_digests(name, job.rule.source)


def collect(rules: Rules, previous: Ledger) -> Outcome:
    """Make the lines of all outputs of a grid.

    Lines of the previous ledger whose outputs are not on disk, or unknown to Snakemake (from git,
    where another grid was made), are kept while nothing that they depend on has changed.

    Raises:
        CheckError: Snakemake keeps its records in a way that is not known here.
    """
    records.check_backend(outputs=[path for path in previous.entries if Path(path).is_file()])
    digests, outcome = Digests(), Outcome()
    doubtful: set[str] = set()
    for job in jobs(rules):
        receipt = read_receipt(job) or _vouched(job, previous, digests)
        for output in job.outputs:
            try:
                if Path(output).is_file():
                    try:
                        entry = _entry(job, output, receipt, digests, doubtful)
                    except _Unknown as problem:
                        entry = _kept(job, output, previous, outcome, digests, problem)
                    _check_code(job, receipt, entry, previous)
                else:
                    absent = _Problem(output, "absent")
                    entry = _kept(job, output, previous, outcome, digests, absent)
            except _Problem as problem:
                doubtful.add(output)
                getattr(outcome, problem.kind).append(str(problem))
            else:
                outcome.add(entry, job)
    return outcome


class _Problem(Exception):
    """Why an output gets no line; ``kind`` is the attribute of `Outcome` that says so."""

    def __init__(self, message: str, kind: str = "stale") -> None:
        super().__init__(message)
        self.kind = kind


class _Unknown(_Problem):
    """Snakemake has no record of an output."""


def recorded_params(params: Mapping[str, Any], code: str, lock: str | None) -> dict[str, str]:
    """Return every parameter as Snakemake records it, with code and environment."""
    texts = {name: as_text(value) for name, value in params.items()} | {"code": code}
    return texts if lock is None else texts | {"environment": lock}


def _entry(
    job: Job, output: str, receipt: Mapping[str, Any], digests: Digests, doubtful: set[str]
) -> Entry:
    """Return the line of an output on disk, if all that is known of it and its inputs agrees."""
    for path in job.inputs:
        if path in doubtful:
            raise _Problem(f"{output}: was made from {path}, which is out of date; run snakemake")
    sha256 = digests[output] or ""
    written = receipt.get("outputs", {}).get(output)
    if written is None:
        raise _Problem(f"{output}: no job has left a record of it; delete it and run snakemake")
    if written != sha256:
        raise _Problem(
            f"{output}: its bytes are not what its job wrote (sha256 {sha256[:12]}..., written "
            f"{written!s:.12}...); delete it and run snakemake",
            "edited",
        )
    record = records.read(output)
    if record is None:
        raise _Unknown(f"{output}: Snakemake has no record of it; delete it and run snakemake")
    lock = job.rule.environment
    if record["params"] != records.serialised(recorded_params(job.params, job.code, lock)):
        raise _Problem(f"{output}: made with other parameters or code; run snakemake")
    arguments = job.arguments()
    if receipt.get("arguments", [])[: len(arguments)] != arguments:
        raise _Problem(f"{output}: its job was told other parameters; delete it, run snakemake")
    if record["rule"] != job.rule.name or record["input"] != sorted(job.inputs):
        raise _Problem(f"{output}: made by another rule or from other files; run snakemake")
    if record["code"] != job.rule.command:
        raise _Problem(f"{output}: made by another command; run snakemake")
    before = records.input_digests(record)
    for path in job.inputs:
        if digests[path] not in (None, before.get(path, digests[path])):
            raise _Problem(f"{output}: {path} has changed since; run snakemake")
    return Entry(
        path=output,
        sha256=sha256,
        size=Path(output).stat().st_size,
        rule=job.rule.name,
        command=ledger.digest_text(job.rule.command),
        code=job.code,
        params=job.params,
        inputs={path: before.get(path) or digests[path] or "" for path in sorted(job.inputs)},
        env={} if lock is None else {**receipt["environment"], "lock": lock},
    )


def _check_code(job: Job, receipt: Mapping[str, Any], entry: Entry, previous: Ledger) -> None:
    """Check that a job ran the code that its line names, unless an earlier line vouches for it.

    Sources may have been edited, or another package have come first, after Snakemake had read them.
    """
    before = previous.entries.get(entry.path)
    if before is not None and (before.sha256, before.code) == (entry.sha256, entry.code):
        return
    for name in job.modules:
        ran, now = receipt["code"].get(name), module_digests(name, job.rule.source)
        if ran in (None, now.file):
            continue
        file = module_file(name, job.rule.source)
        known = file is not None and sha256_file(file) == ran
        if file is None or not known or syntax_digest_of(file, job.rule.source) != now.syntax:
            raise _Problem(f"{entry.path}: its job ran another {name}; delete it and run snakemake")


def read_receipt(job: Job) -> dict[str, Any]:
    """Return the receipt that a job left, empty if there is none that is whole."""
    try:
        value = read_json(job.receipt)
    except OsadError:
        return {}
    if not isinstance(value, dict):
        return {}
    value = {"code": {}, **value}  # Receipts that `osad audit adopt` writes name no modules.
    whole = all(isinstance(value.get(key), kind) for key, kind in RECEIPT.items())
    texts = (*value["environment"].values(), *value["outputs"].values()) if whole else ()
    return value if whole and all(map(_is_text, texts)) else {}


def _vouched(job: Job, previous: Ledger, digests: Digests) -> dict[str, Any]:
    """Return a receipt that is not there as a whole, by the lines that were made of it, if any.

    A line says nothing of other bytes, such as those of a table that shows what has failed.
    """
    known = [previous.entries[path] for path in job.outputs if path in previous.entries]
    lines = [line for line in known if digests[line.path] == line.sha256]
    if not lines or any(others(job, line) for line in lines):
        return {}
    return {"code": {}, **receipt_of(job, lines)}


def receipt_of(job: Job, lines: Sequence[Entry]) -> dict[str, Any]:
    """Return the receipt that a job left, as far as the lines of its outputs tell it."""
    return {
        "step": job.rule.step,
        "arguments": job.arguments() if lines[0].params == job.params else [],
        "outputs": {line.path: line.sha256 for line in lines},
        "environment": {name: value for name, value in lines[0].env.items() if name != "lock"},
        "machine": {},
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _kept(
    job: Job, output: str, previous: Ledger, outcome: Outcome, digests: Digests, problem: _Problem
) -> Entry:
    """Return the line of an output if all that it says is the same today; else it is a problem."""
    entry = previous.entries.get(output)
    known = outcome.ledger.entries
    inputs = {path: known[path].sha256 if path in known else digests[path] for path in job.inputs}
    same = entry is not None and digests[output] in (None, entry.sha256)
    if entry is None or not same or others(job, entry) or entry.inputs != inputs:
        raise problem
    return entry


def others(job: Job, entry: Entry) -> list[str]:
    """Return what of a line is not what the job's line would say today, but for inputs."""
    lock = job.rule.environment
    now = {
        "rule": job.rule.name,
        "params": job.params,
        "code": job.code,
        "command": ledger.digest_text(job.rule.command),
        "env": {**entry.env, "lock": lock} if lock else {},
    }
    return [name for name, value in now.items() if getattr(entry, name) != value]


def write_machine_facts(rules: Rules) -> None:
    """Write what the machine was and how long each job took; this file is not compared."""
    receipts = (read_receipt(job) for job in jobs(rules))
    facts = [{**r["machine"], "outputs": sorted(r["outputs"])} for r in receipts if r]
    write_json(MACHINE, facts)
