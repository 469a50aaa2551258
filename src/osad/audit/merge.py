"""Uniting what several machines made of one grid: their outputs and their ledgers.

Another machine is believed nothing but bytes: an output is taken only if a job of this grid makes
it, if its line says what the job's line would say here (parameters, code, command, versions of
packages, digests of inputs), and if it has the digest of that line. So the code that the united
ledger names is this folder's. Everything is checked before anything is copied. Images of data sets
are not taken: each machine fetches its own.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from osad.audit import actions, ledger
from osad.audit.ledger import Digests, Entry, Ledger
from osad.audit.record import Outcome, others
from osad.core.errors import CheckError, ConfigError, listed
from osad.core.files import replacing, sha256_file
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rules import Rules


@dataclass(frozen=True)
class Merged:
    """What a merge brought.

    Attributes:
        new: paths of outputs that were not here.
        equal: how many outputs of others were here with equal bytes.
        missing: runs of the grid that nobody has made.
    """

    new: list[str]
    equal: int
    missing: list[str]


def merge(rules: Rules, folders: Mapping[str, Path]) -> Merged:
    """Unite the outputs and ledgers of other copies of the project, by name, with what is here.

    Raises:
        CheckError: an output differs from its line, from the same output of another, or was made of
            something else than here; the message names files, and nothing is changed.
        ConfigError: a folder has no ledger, or is this one.
        DataError: a ledger is damaged.
    """
    root, where = rules.grid.root, ledger.folder(rules.grid.results)
    previous = ledger.read(root / where)
    ledgers = {name: _read(root, name, folder, where) for name, folder in folders.items()}
    outcome, sources, equal, problems = Outcome(), dict[str, Path](), 0, list[str]()
    digests = Digests()
    for job in jobs(rules):
        for path in job.outputs:
            here = previous.entries.get(path)
            if here is not None and digests[path] == here.sha256:
                outcome.add(here, job)
            for name, known in ledgers.items():
                entry = known.entries.get(path)
                if entry is None or job.rule.name == "fetch":
                    continue
                if not _is_there(name, folders[name], entry):
                    continue
                first = outcome.ledger.entries.get(path)
                if problem := _problem(job, entry, outcome.ledger, first):
                    problems.append(f"{name}: {path} {problem}")
                elif first is None:
                    outcome.add(entry, job)
                    sources[path] = folders[name]
                else:
                    equal += 1
            if path not in outcome.ledger.entries and here is not None:
                outcome.add(here, job)  # Neither here nor there; perhaps in DVC's remote.
    if problems:
        raise CheckError(f"{listed(problems)}\nnothing is merged")
    for path, folder in sources.items():
        with replacing(root / path) as part:
            shutil.copyfile(folder / path, part)
    ledger.write(root / where, outcome.ledger, previous)
    actions.adopt(rules)
    scores = (rules.grid.artefact("scores", run) for run in rules.grid.runs)
    return Merged([*sources], equal, [path for path in scores if not (root / path).is_file()])


def _read(root: Path, name: str, other: Path, where: Path) -> Ledger:
    """Return the ledger of another project after a check."""
    if other.resolve() == root.resolve():
        raise ConfigError(f"{name}: is this folder; name the others")
    if not (other / where / ledger.SUMS).is_file():
        raise ConfigError(f"{name}: has no ledger in {where}; let snakemake come to its end there")
    if problems := ledger.check_sums(other / where):
        raise CheckError(f"{name}: {problems[0]}")
    return ledger.read(other / where)


def _is_there(name: str, folder: Path, entry: Entry) -> bool:
    """Tell whether another project has the file of a line, as the line says.

    Raises:
        CheckError: it differs.
    """
    file = folder / entry.path
    if not file.exists():
        return False
    if (found := sha256_file(file)) != entry.sha256:
        raise CheckError(
            f"{name}: {entry.path} differs from its ledger (sha256 {found[:12]}..., ledger "
            f"{entry.sha256[:12]}...); delete it there and run snakemake; nothing is merged"
        )
    return True


def _problem(job: Job, entry: Entry, united: Ledger, first: Entry | None) -> str:
    """Return why an output of another is not what this folder's job makes; empty if it is."""
    if other := others(job, entry):
        return f"was made with other {', '.join(other)}"
    if {*entry.inputs} != {*job.inputs}:
        return "was made from other files"
    for path, digest in entry.inputs.items():
        known = united.entries.get(path)
        if known is not None and known.sha256 != digest:
            return f"was made from another {path}"
    if first is not None and first.sha256 != entry.sha256:
        return (
            f"has other bytes than here or elsewhere (sha256 {entry.sha256[:12]}... and "
            f"{first.sha256[:12]}...)"
        )
    return ""
