"""What ``osad audit record`` and ``adopt`` do, also at the start and the end of every run."""

from __future__ import annotations

from osad.audit import adopt as adopting
from osad.audit import ledger
from osad.audit import record as recording
from osad.core.errors import CheckError
from osad.pipeline.workflow import Workflow


def record(workflow: Workflow) -> tuple[recording.Outcome, bool]:
    """Write the ledger from what is on disk.

    Returns:
        what became of the outputs, and whether the ledger changed.

    Raises:
        CheckError: an output was edited; the others are recorded.
    """
    where = ledger.folder(workflow.params.results)
    outcome = recording.collect(workflow, ledger.read(where))
    changed = ledger.write(where, outcome.ledger)
    recording.write_machine_facts(workflow)
    if outcome.edited:
        more = f" (and {len(outcome.edited) - 1} more)" if len(outcome.edited) > 1 else ""
        raise CheckError(f"{outcome.edited[0]}{more}")
    return outcome, changed


def describe(outcome: recording.Outcome, *, changed: bool) -> str:
    """Return one line on what was recorded."""
    text = f"ledger: {len(outcome.ledger.entries)} outputs recorded"
    if not changed:
        text += ", nothing new"
    if outcome.stale:
        text += f"; {len(outcome.stale)} are out of date, the first: {outcome.stale[0]}"
    if outcome.absent:
        text += f"; {len(outcome.absent)} are not made yet"
    return text


def adopt(workflow: Workflow) -> adopting.Adoption:
    """Restore Snakemake's records of outputs that are on disk and unknown to it.

    Raises:
        CheckError: the ledger is damaged, or Snakemake keeps its records in another format.
        DataError: the ledger cannot be read.
    """
    where = ledger.folder(workflow.params.results)
    if not (where / ledger.SUMS).is_file():
        return adopting.Adoption()
    known = ledger.read(where)
    if adopting.candidates(known):
        problems = ledger.check_sums(where)
        if problems:
            raise CheckError(problems[0])
    return adopting.adopt(workflow, known)
