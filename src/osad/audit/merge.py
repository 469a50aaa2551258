"""Uniting what several machines made of one grid: their outputs and their ledgers.

Another machine is believed nothing but bytes: an output is taken only if a job of this grid makes
it, if its line says what the job's line would say here (parameters, code, command, versions of
packages, digests of inputs), and if it has the digest of that line. So the code that the united
ledger names is this folder's. Everything is checked before anything is copied. Images of data sets
are not taken: each machine fetches its own.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from osad.audit import actions, ledger
from osad.audit.ledger import Digests, Entry, Ledger
from osad.audit.record import Outcome, others
from osad.core.errors import CheckError, ConfigError, listed
from osad.core.files import replacing, sha256_file
from osad.pipeline.jobs import Job, jobs
from osad.pipeline.rules import Rules


@dataclass
class Merged:
    """What a merge brought, or why it brings nothing.

    Attributes:
        sources: by path of an output that was not here, the folder that it comes from.
        equal: how many outputs of others were here with equal bytes.
        stale: outputs here that a change has left behind; they have no line any more.
        lacking: outputs that another ledger has a line of, and nobody a file.
        problems: what contradicts, one sentence each.
        missing: runs of the grid that nobody has made.
        outcome: the united lines.
    """

    sources: dict[str, Path] = field(default_factory=dict)
    equal: int = 0
    stale: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    _digests: Digests = field(default_factory=Digests)
    _behind: set[str] = field(default_factory=set)

    def add(
        self, job: Job, path: str, here: Entry | None, others: Mapping[str, tuple[Path, Entry]]
    ) -> None:
        """Add an output; those that it is made of come before it.

        Args:
            job: makes it.
            path: of the output.
            here: its line here.
            others: folder and line of the others that have the file, by name.
        """
        entries, file = self.outcome.ledger.entries, self._digests[path]
        if here is not None and self._differs(job, here):
            self._behind.add(path)
            if file == here.sha256:  # Snakemake would make it again, so it gives way.
                self.stale.append(path)
                file = None
            here = None
        if here is not None and file == here.sha256:
            self.outcome.add(here, job)
        for name, (folder, entry) in others.items():
            if problem := self._differs(job, entry):
                self.problems.append(f"{name}: {path} {problem}")
            elif path in entries:
                self.equal += 1
            elif file not in (None, entry.sha256):
                self.problems.append(
                    f"{path}: is here with other bytes than in {name}, and no line here names "
                    "them; run snakemake, or delete it"
                )
            else:
                self.outcome.add(entry, job)
                self.sources[path] = folder
        if path not in entries and here is not None:
            self.outcome.add(here, job)  # Neither here nor there; perhaps in DVC's remote.

    def _differs(self, job: Job, entry: Entry) -> str:
        """Return why a line is not what this folder's job would have; empty if it is."""
        if other := others(job, entry):
            return f"was made with other {', '.join(other)}"
        if {*entry.inputs} != {*job.inputs}:
            return "was made from other files"
        united = self.outcome.ledger.entries
        for path, digest in entry.inputs.items():
            if path in self._behind and path not in united:
                return f"was made from {path}, which is out of date"
            now = united[path].sha256 if path in united else self._digests[path]
            if now not in (None, digest):
                return f"was made from another {path}"
        first = united.get(entry.path)
        if first is not None and first.sha256 != entry.sha256:
            return (
                f"has other bytes than here or elsewhere (sha256 {entry.sha256[:12]}... and "
                f"{first.sha256[:12]}...)"
            )
        return ""


def merge(rules: Rules, folders: Mapping[str, Path]) -> Merged:
    """Unite the outputs and ledgers of other copies of the project, by name, with what is here.

    Raises:
        CheckError: an output differs from its line, from the same output of another, or was made of
            something else than here; the message names files, and nothing is changed.
        ConfigError: a folder has no ledger, or is this one.
        DataError: a ledger is damaged.
    """
    root, where = rules.grid.root, ledger.folder(rules.grid.results)
    previous, merged = ledger.read(root / where), Merged()
    ledgers = {name: _read(root, name, folder, where) for name, folder in folders.items()}
    for job in jobs(rules):
        for path in job.outputs:
            lines = {n: one.entries[path] for n, one in ledgers.items() if path in one.entries}
            if job.rule.name == "fetch":
                lines = {}
            found = {
                name: (folders[name], entry)
                for name, entry in lines.items()
                if _is_there(name, folders[name], entry)
            }
            merged.add(job, path, previous.entries.get(path), found)
            if lines and path not in merged.outcome.ledger.entries:
                merged.lacking.append(path)
    if merged.problems:
        raise CheckError(f"{listed(merged.problems)}\nnothing is merged")
    for path, folder in merged.sources.items():
        with replacing(root / path) as part:
            shutil.copyfile(folder / path, part)
    ledger.write(root / where, merged.outcome.ledger, previous)
    actions.adopt(rules)
    scores = (rules.grid.artefact("scores", run) for run in rules.grid.runs)
    merged.missing = [path for path in scores if not (root / path).is_file()]
    merged.stale = [path for path in merged.stale if path not in merged.sources]
    return merged


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
