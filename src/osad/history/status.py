"""What is stale and why: what Snakemake would make, with the causes in words."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from osad.audit import changes, ledger
from osad.audit.changes import CODE
from osad.audit.ledger import Digests, Entry, Ledger
from osad.audit.record import Outcome, collect, recorded_params
from osad.core.errors import listed
from osad.pipeline.failures import failures
from osad.pipeline.jobs import Job
from osad.pipeline.parts import asked, measured
from osad.pipeline.progress import duration, estimate, kind_of, span_of
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records as records

ABSENT = "not made yet"
BEHIND = "made from what is stale"
"""Causes of jobs without files, and of those that are stale for no other."""


@dataclass
class Status:
    """What is stale.

    Attributes:
        total: number of jobs of the grid, or of its part.
        stale: the jobs that Snakemake would run and their causes, in the pipeline's order.
        unvouched: messages on outputs that Snakemake takes for done and the ledger would not.
        seconds: how long the stale jobs take one after the other, as far as it is known.
        unknown: number of jobs by rule of which it is not.
    """

    total: int
    stale: list[tuple[Job, list[str]]] = field(default_factory=list)
    unvouched: list[str] = field(default_factory=list)
    seconds: float = 0.0
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def jobs(self) -> list[Job]:
        """The stale jobs."""
        return [job for job, _ in self.stale]

    def lines(self) -> Iterator[str]:
        """Yield the status in words."""
        if self.stale:
            yield f"{len(self.stale)} of {self.total} jobs are stale: {_by_rule(self.jobs)}"
            groups: dict[str, list[Job]] = defaultdict(list)
            for job, causes in self.stale:
                for cause in causes:
                    groups[cause].append(job)
            # What a person set comes before code, and what concerns many jobs before the rest.
            order = sorted(groups, key=lambda c: (c == BEHIND, c.startswith(CODE), -len(groups[c])))
            yield listed(
                [f"  {cause}: {_by_rule(groups[cause])}; {groups[cause][0].outputs[0]}"
                 for cause in order]
            )  # fmt: skip
            known = len(self.stale) - self.unknown.total()
            yield (
                f"{known} of them take about {duration(self.seconds)} one after the other"
                if known else "how long they take is not known"
            )  # fmt: skip
            if known and self.unknown:
                counts = ", ".join(f"{rule} {count}" for rule, count in self.unknown.items())
                yield f"how long the others take is not known: {counts}"
        if self.unvouched:
            yield "Snakemake would leave these, and no line of the ledger would vouch for them:"
            yield listed([f"  {message}" for message in self.unvouched])
        if not self.stale and not self.unvouched:
            yield f"everything is there: {self.total} jobs"


def _by_rule(found: Iterable[Job]) -> str:
    counts = Counter(job.rule.name for job in found)
    return ", ".join(f"{rule} {count}" for rule, count in counts.items())


def measure(rules: Rules) -> Status:
    """Compare the jobs of a grid, or of its part, with files and what was recorded of them.

    Which jobs are stale is what Snakemake decides: outputs that are missing or interrupted,
    recorded parameters, code, command and inputs, and contents of inputs that look newer.

    Raises:
        CheckError: Snakemake keeps its records in a way that is not known here.
        DataError: the ledger is damaged.
    """
    known = ledger.read(ledger.folder(rules.grid.results))
    grid_jobs, digests = asked(rules), Digests()
    status, failed = Status(len(grid_jobs)), failures(grid_jobs)
    remade: set[str] = set()
    for job in grid_jobs:
        causes = list(dict.fromkeys(_causes(job, known, digests)))
        if job.outputs[0] in failed and causes == [ABSENT]:
            causes = [f"failed: {failed[job.outputs[0]].reason}"]
        if not remade.isdisjoint(job.inputs):  # What tables are told of a grid follows from it.
            causes = [cause for cause in causes if not cause.startswith("grid.")] or [BEHIND]
        if causes:
            status.stale.append((job, causes))
            remade.update(job.outputs)
    outcome = collect(rules, known)
    kept = {path for job in grid_jobs for path in job.outputs} - remade
    messages = (*outcome.edited, *outcome.stale)
    status.unvouched = [text for text in messages if text.partition(": ")[0] in kept]
    times = _times(rules, grid_jobs)
    for kind, count in Counter(map(kind_of, status.jobs)).items():
        seconds = estimate([kind], times, parallel=1)
        if seconds is None:
            status.unknown[kind[0]] += count
        else:
            status.seconds += count * seconds
    return status


def _causes(job: Job, known: Ledger, digests: Digests) -> Iterator[str]:
    """Yield why Snakemake would run a job, apart from jobs before it."""
    if not all(map(os.path.exists, job.outputs)):
        yield ABSENT
        return
    found = {path: records.read(path) for path in job.outputs}
    for path, record in found.items():
        if records.is_interrupted(path):
            yield "interrupted"
        elif record is not None:
            yield from _differences(job, path, record, known)
    if os.path.exists(job.receipt) and records.read(job.receipt) is None:
        yield "Snakemake has no record of its receipt"
    oldest = min(os.lstat(path).st_mtime for path in job.outputs)
    for path in job.inputs:
        if not os.path.exists(path) or _newest(path) <= oldest:
            continue  # As for Snakemake, which hashes only what looks newer.
        before = {records.input_digests(record or {}).get(path) for record in found.values()}
        if before != {digests[path]}:
            yield f"{path} has changed"


def _newest(path: str) -> float:
    return max(os.lstat(path).st_mtime, os.stat(path).st_mtime)


def _differences(job: Job, path: str, record: Mapping[str, Any], known: Ledger) -> Iterator[str]:
    """Yield what differs between a job and the record of its output."""
    lock = job.rule.environment
    params, command = recorded_params(job.params, job.code, lock), job.rule.command
    now = (set(records.serialised(params)), sorted(job.inputs), command)
    before = (set(record["params"]), record["input"], record["code"])
    if now == before:
        return
    entry = known.entries.get(path)
    if entry is not None and before == (
        set(records.serialised(recorded_params(entry.params, entry.code, entry.env.get("lock")))),
        sorted(entry.inputs),
        known.commands[entry.command],
    ):  # The ledger has names for what the record has.
        env = {} if lock is None else entry.env | {"lock": lock}
        wanted = Outcome()
        wanted.add(
            Entry(path, "", 0, job.rule.name, ledger.digest_text(command), job.code, job.params,
                  dict.fromkeys(job.inputs, ""), env),
            job,
        )  # fmt: skip
        told = changes.between(known, wanted.ledger, path)
    else:
        names = [name for name, value in params.items() if repr(value) not in before[0]]
        told = [f"{name} (changed since the ledger was written)" for name in names]
    yield from told or [f"command, inputs or parameters of rule {job.rule.name}"]


def _times(rules: Rules, grid_jobs: Iterable[Job]) -> dict[tuple[str, str], list[float]]:
    """Return seconds of jobs by rule and method: of receipts, else of runs as measured."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for job in grid_jobs:
        span = span_of(job)
        if span:
            times[kind_of(job)].append(span[1] - span[0])
    for method, seconds in measured(rules.grid).items():
        times.setdefault(("run", method), [seconds])
    return times
