"""A run whose jobs share no file system: what Snakemake is told then, and what comes back.

Jobs that compute are carried out anywhere and have their files from the storage that
``--default-storage-provider`` names (`osad.runtime.storage`). All others run here, where the
files of the project and the images are. At the end of a run all that jobs have left in the storage
is brought here, with Snakemake's records, so that the audit, the tables of a run that failed and
all that follows find what an ordinary run leaves.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from osad.core.files import parse_json, read_json, sha256_file, write_json
from osad.pipeline.jobs import Job
from osad.pipeline.rule import Paths, Rule, Wildcards, as_list
from osad.pipeline.rules import Rules
from osad.runtime import snakemake_records as records
from osad.runtime.snakemake_storage import Storage, local
from osad.runtime.storage import FAILURE, IMAGES, images_of

ANYWHERE = ("pixels", "pack", "masks", "run", "metrics")
"""Rules whose jobs need nothing but the package and what the storage has."""


class Exchange:
    """Files between this folder and a storage; without a storage it changes nothing."""

    def __init__(self, rules: Rules, storage: Storage) -> None:
        """Take the table of rules and the storage of this run."""
        self._rules, self._storage = rules, storage

    @cached_property
    def _made(self) -> set[str]:
        return {path for rule in self._rules for path in rule.files}

    @property
    def here(self) -> list[str]:
        """Names of the rules whose jobs run here because there is a storage."""
        used = self._storage.used
        return [rule.name for rule in self._rules if used and rule.name not in ANYWHERE]

    def inputs(self, rule: Rule) -> Mapping[str, Callable[[Wildcards], Any]]:
        """Return the inputs of a rule for Snakemake; no storage has the project's own files."""
        if not self._storage.used:
            return rule.inputs

        def told(function: Callable[[Wildcards], Paths]) -> Callable[[Wildcards], list[Any]]:
            return lambda wildcards: [
                path if path in self._made else local(path) for path in as_list(function(wildcards))
            ]

        inputs = {name: told(function) for name, function in rule.inputs.items()}
        if rule.name in ANYWHERE and "manifest" in rule.inputs:
            manifest = rule.inputs["manifest"]
            inputs["images"] = lambda wildcards: [images_of(str(manifest(wildcards)))]
        return inputs

    def outputs(self, rule: Rule) -> dict[str, Paths]:
        """Return the outputs of a rule for Snakemake."""
        outputs = {**rule.outputs, "record": rule.receipt}
        if self._storage.used and rule.name == "manifest":
            outputs["images"] = images_of(str(rule.outputs["output"]))
        return outputs

    def names(self, files: Iterable[str]) -> list[str]:
        """Return the names by which Snakemake may know files: theirs, and those in the storage."""
        known = [*files]
        return known + [self._storage.query(path) for path in known if self._storage.used]

    def distrust(self, jobs: Iterable[Job]) -> None:
        """Have Snakemake make again what is in the storage and has no record here.

        By its times alone it would take them for made by today's parameters and code.

        Raises:
            CheckError: Snakemake's records cannot be used.
        """
        if self._storage.used:
            queries = [self._storage.query(path) for job in jobs for path in left(job)]
            records.mark_unknown(queries)

    def collect(self, jobs: Iterable[Job]) -> None:
        """Bring what jobs have left: outputs, receipts and records, or why they failed.

        Raises:
            OsadError: a receipt is none.
        """
        for job in jobs if self._storage.used else ():
            if self._storage.bring(job.receipt):
                self._outputs(job)
            else:
                self._failure(job)

    def _outputs(self, job: Job) -> None:
        receipt = read_json(job.receipt)
        Path(job.failure).unlink(missing_ok=True)
        for path in job.outputs:
            written = receipt["outputs"].get(path)
            if not Path(path).is_file() or sha256_file(Path(path)) != written:
                self._storage.bring(path)
        for path in left(job):
            records.copy(
                self._storage.query(path), path, name=self._name, digests=receipt["inputs"]
            )

    def _name(self, query: str) -> str:
        """Return the path of an input by its name in the storage; none if only storages have it."""
        path = self._storage.path(query)
        return "" if path.startswith(IMAGES) else path

    def _failure(self, job: Job) -> None:
        """Write why a job failed, by the last line of its log, and delete what it made before."""
        log = job.rule.log.format(**job.wildcards)
        if not self._storage.bring(log):
            return
        said = Path(log).read_text(encoding="utf-8", errors="replace")
        _, found, reason = said.rpartition(FAILURE)
        if found:
            write_json(job.failure, parse_json(reason))
            for path in left(job):
                Path(path).unlink(missing_ok=True)


def left(job: Job) -> tuple[str, ...]:
    """Return the files that a job leaves for Snakemake."""
    return (*job.outputs, job.receipt)
