"""Giving Snakemake its records back in a clone, for outputs that are what the ledger says.

A clone has the outputs (from ``dvc pull`` or git) but not ``.snakemake``. Without records Snakemake
would rerun everything or, worse, miss an edit. A record is restored only if the output and all
of its inputs have the digests of the ledger; an output that has not is moved to ``.osad/removed``,
so that Snakemake makes it again.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit.ledger import Entry, Ledger
from osad.audit.state import Digests
from osad.core.files import write_json
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rule import as_text
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records as records

REMOVED = Path(".osad/removed")


@dataclass
class Adoption:
    """What was done.

    Attributes:
        adopted: outputs whose records were restored.
        removed: messages on outputs that were moved away.
    """

    adopted: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def candidates(ledger: Ledger) -> list[str]:
    """Return the outputs of a ledger that are on disk and unknown to Snakemake, in its order."""
    return [
        path for path in ledger.entries if Path(path).is_file() and not records.is_recorded(path)
    ]


def adopt(rules: Rules, ledger: Ledger) -> Adoption:
    """Restore the records of all outputs that may have them.

    Raises:
        CheckError: the installed Snakemake keeps its records in another format.
    """
    adoption = Adoption()
    wanted = set(candidates(ledger))
    if not wanted:
        return adoption
    records.check_backend()
    digests = Digests()
    for job in jobs(rules):
        adopted = []
        for output in job.outputs:
            if output not in wanted:
                continue
            entry = ledger.entries[output]
            reason = _difference(entry, digests)
            if reason:
                digests.forget(output)
                adoption.removed.append(f"{output}: {reason}; moved to {_move(output)}")
            else:
                _restore(entry, ledger)
                adopted.append(entry)
        if adopted:
            _restore_receipt(job, adopted)
        adoption.adopted += [entry.path for entry in adopted]
    return adoption


def _difference(entry: Entry, digests: Digests) -> str:
    """Return what differs between an output or its inputs and their line; empty if nothing."""
    for path, stated in ((entry.path, entry.sha256), *entry.inputs.items()):
        found = digests.get(path)
        # An input that is missing will be made again, and compared by Snakemake.
        if found is not None and found != stated:
            what = "differs" if path == entry.path else f"its input {path} differs"
            return f"{what} from the ledger"
    return ""


def _move(output: str) -> Path:
    target = REMOVED / output
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(output, target)
    return target


def _restore(entry: Entry, ledger: Ledger) -> None:
    """Write Snakemake's record of an output, with what its line says."""
    params = {name: as_text(value) for name, value in entry.params.items()}
    params |= {"code": entry.code}
    if "lock" in entry.env:
        params["environment"] = entry.env["lock"]
    records.write(
        entry.path,
        rule=entry.rule,
        template=ledger.commands[entry.command],
        command=ledger.commands[entry.command],
        inputs=entry.inputs,
        params=params,
    )


def _restore_receipt(job: Job, entries: list[Entry]) -> None:
    """Write the receipt that the job left, for its outputs adopted now."""
    same = entries[0].params == job.params
    receipt = {
        "step": job.rule.step,
        "arguments": job.arguments() if same else [],
        "outputs": {entry.path: entry.sha256 for entry in entries},
        "environment": {k: value for k, value in entries[0].env.items() if k != "lock"},
        "machine": {},
    }
    write_json(job.receipt, receipt)
