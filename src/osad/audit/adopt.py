"""Giving Snakemake its records back in a clone, for outputs that are what the ledger says.

A clone has the outputs (from ``dvc pull`` or git) but not ``.snakemake``. Without records Snakemake
would rerun everything or, worse, miss an edit. A record is restored only if the output and all
of its inputs have the digests of the ledger; an output that has not is moved to ``.osad/removed``,
so that Snakemake makes it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit import records
from osad.audit.ledger import RULE_KEY, Entry, Ledger
from osad.audit.state import Digests, all_params, as_rule
from osad.core.files import write_json
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.workflow import Workflow

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


def adopt(workflow: Workflow, ledger: Ledger) -> Adoption:
    """Restore the records of all outputs that may have them.

    Raises:
        CheckError: the installed Snakemake keeps its records in another format.
    """
    adoption = Adoption()
    wanted = set(candidates(ledger))
    if not wanted:
        return adoption
    records.check_format()
    digests = Digests()
    for job in jobs(workflow):
        present = [output for output in job.outputs if output in wanted]
        for output in present:
            reason = _difference(ledger.entries[output], digests)
            if reason:
                digests.forget(output)
                adoption.removed.append(f"{output}: {reason}; moved to {_move(output)}")
            else:
                _restore(ledger.entries[output], ledger)
                adoption.adopted.append(output)
        _restore_run(job, [ledger.entries[output] for output in adoption.adopted], present)
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
    params = all_params(as_rule(entry.params), entry.modules(), entry.env.get("lock"))
    records.write(
        entry.path,
        rule=entry.rule,
        template=ledger.templates[entry.code[RULE_KEY]],
        command=entry.command,
        inputs=entry.inputs,
        params=params,
    )


def _restore_run(job: Job, adopted: Iterable[Entry], present: list[str]) -> None:
    """Write the record that the job left, for its outputs adopted now."""
    mine = [entry for entry in adopted if entry.path in present]
    if mine:
        environment = {name: value for name, value in mine[0].env.items() if name != "lock"}
        record = {
            "step": mine[0].rule,
            "outputs": {entry.path: entry.sha256 for entry in mine},
            "environment": environment,
            "machine": {},
        }
        write_json(job.run, record)
