"""Giving Snakemake its records back in a clone, for outputs that are what the ledger says.

A clone has the outputs (from ``dvc pull`` or git) but not ``.snakemake``. Without records Snakemake
would rerun everything or, worse, miss an edit. A record is restored only if the output and all
of its inputs have the digests of the ledger; an output that has not is moved to ``.osad/removed``,
so that Snakemake makes it again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from osad.audit.ledger import Digests, Entry, Ledger
from osad.audit.record import receipt_of, recorded_params
from osad.core.files import write_json
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records as records

REMOVED = Path(".osad/removed")


@dataclass
class Adoption:
    """What was done.

    Attributes:
        adopted: outputs whose records were restored.
        removed: messages on outputs that were moved away.
        unknown: results without a line, which the next run makes again.
    """

    adopted: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def candidates(rules: Rules) -> list[str]:
    """Return the outputs of a grid that are on disk and unknown to Snakemake.

    Raises:
        CheckError: Snakemake's records cannot be used.
    """
    outputs = (path for job in jobs(rules) for path in job.outputs)
    return records.unknown(filter(os.path.isfile, outputs))


def adopt(rules: Rules, ledger: Ledger, unknown: Sequence[str]) -> Adoption:
    """Restore the records of those `candidates` of the ledger that may have them.

    Of those without a line that are results, Snakemake would compare nothing.

    Raises:
        CheckError: the installed Snakemake keeps its records in another format.
    """
    adoption, wanted = Adoption(), ledger.entries.keys() & unknown
    records.check_backend()
    own = f"{rules.grid.results}/"
    adoption.unknown = [path for path in unknown if path not in wanted and path.startswith(own)]
    records.mark_incomplete(adoption.unknown)
    digests = Digests()
    for job in jobs(rules):
        adopted = []
        for output in job.outputs:
            if output not in wanted:
                continue
            entry = ledger.entries[output]
            reason = _difference(entry, digests)
            if reason:
                target = REMOVED / output
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(output).replace(target)
                digests[output] = None
                adoption.removed.append(f"{output}: {reason}; moved to {target}")
            else:
                _restore(entry, ledger)
                adopted.append(entry)
        if adopted:
            _restore_receipt(job, adopted, ledger)
        adoption.adopted += [entry.path for entry in adopted]
    return adoption


def _difference(entry: Entry, digests: Digests) -> str:
    """Return what differs between an output or its inputs and their line; empty if nothing."""
    for path, stated in ((entry.path, entry.sha256), *entry.inputs.items()):
        # An input that is missing will be made again, and compared by Snakemake.
        if digests[path] not in (None, stated):
            what = "differs" if path == entry.path else f"its input {path} differs"
            return f"{what} from the ledger"
    return ""


def _restore(entry: Entry, ledger: Ledger) -> None:
    """Write Snakemake's record of an output, with what its line says."""
    command = ledger.commands[entry.command]
    params = recorded_params(entry.params, entry.code, entry.env.get("lock"))
    records.write(
        entry.path, rule=entry.rule, template=command, command=command, inputs=entry.inputs,
        params=params,
    )  # fmt: skip


def _restore_receipt(job: Job, entries: list[Entry], ledger: Ledger) -> None:
    """Write the receipt that the job left, for its outputs adopted now, and its record.

    Snakemake compares nothing of a job one of whose outputs has no record.
    """
    write_json(job.receipt, receipt_of(job, entries))
    _restore(replace(entries[0], path=job.receipt), ledger)
