"""What ``osad audit record`` and ``adopt`` do, also at the start and the end of every run."""

from osad.audit import adopt as adopting
from osad.audit import ledger
from osad.audit import record as recording
from osad.core.errors import CheckError
from osad.pipeline.rules import Rules


def record(rules: Rules) -> tuple[recording.Outcome, str]:
    """Write the ledger from what is on disk.

    Returns:
        what became of the outputs, and one line about it.

    Raises:
        CheckError: an output was edited; the others are recorded. Or the ledger is not as it was
            written, or Snakemake keeps its records in a way that is not known here; then it stays.
    """
    where = ledger.folder(rules.grid.results)
    previous = ledger.read(where)
    if problems := ledger.damage(where):
        raise CheckError(problems[0])
    outcome = recording.collect(rules, previous)
    changed = ledger.write(where, outcome.ledger, previous)
    recording.write_machine_facts(rules)
    if outcome.edited:
        more = f" (and {len(outcome.edited) - 1} more)" if len(outcome.edited) > 1 else ""
        raise CheckError(f"{outcome.edited[0]}{more}")
    new = "" if changed else ", nothing new"
    line = f"ledger: {len(outcome.ledger.entries)} outputs recorded{new}"
    if outcome.stale:
        line += f"; {len(outcome.stale)} are out of date, the first: {outcome.stale[0]}"
    if outcome.absent:
        line += f"; {len(outcome.absent)} are not made yet"
    return outcome, line


def adopt(rules: Rules) -> adopting.Adoption:
    """Restore Snakemake's records of outputs that are on disk and unknown to it.

    Results that the ledger does not know either will be made again.

    Raises:
        CheckError: the ledger is damaged, or Snakemake keeps its records in another format.
        DataError: the ledger cannot be read.
    """
    where = ledger.folder(rules.grid.results)
    unknown, problems = adopting.candidates(rules), ledger.damage(where)
    if not unknown and not problems:
        return adopting.Adoption()  # A large ledger takes long to read.
    known = ledger.read(where)
    if problems:
        raise CheckError(problems[0])
    return adopting.adopt(rules, known, unknown)


def record_line(rules: Rules) -> tuple[bool, str]:
    """Write the ledger; return whether every output has a line, and one about it; see `record`."""
    outcome, line = record(rules)
    return outcome.agrees, line


def adopt_lines(rules: Rules) -> list[str]:
    """Adopt and return what to say about it; see `adopt`."""
    adoption = adopt(rules)
    count = len(adoption.adopted)
    lines = [f"adopted {count} outputs that are what the ledger says"] if count else []
    if left := adoption.unknown:
        lines.append(f"{left[0]}: nothing says what it was made of ({len(left)} such files); a run "
                     "makes it again")  # fmt: skip
    return [*adoption.removed, *lines]
