"""What a rule is: from it follow Snakemake's rule, the command of a job, and the job's record.

A rule's command follows from its names: ``--NAME value`` for each input, parameter and output, in
this order, except for those that are ``silent`` because the step finds them by itself.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osad.pipeline.fingerprint import code_fingerprint

RECEIPTS = ".osad/runs"
"""Where jobs leave their receipts (see `osad.runtime.harness.write_record`)."""
FAILURES = ".osad/failures"
"""Where jobs that failed leave the reason."""

Wildcards = Any
"""An object with the wildcards of a job as attributes."""
Paths = str | list[str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: of the rule in Snakemake.
        step: module of `osad.pipeline.steps` that it runs.
        outputs: paths by name, with wildcards.
        each: the wildcards of each of its jobs.
        inputs: functions of the wildcards that return paths, by name.
        params: functions of the wildcards that return values, by name; ``options`` are given to
            the step as they are.
        roots: function of the wildcards that returns the modules whose closure is the code.
        environment: digest of the packages that its outputs depend on; None if they do not.
        source: the folder that holds the package.
        results: the folder of results.
        silent: names that are not on the command line.
        threads: processes that a job may start.
        gpus: function of the wildcards that returns how many GPUs a job uses unless the profile
            says it; None for rules that can use none.
        mem_mb: memory that a job needs, MB.
        runtime: time that a job may take, minutes.
    """

    name: str
    step: str
    outputs: Mapping[str, Paths]
    each: tuple[Mapping[str, str], ...]
    inputs: Mapping[str, Callable[[Wildcards], Paths]]
    params: Mapping[str, Callable[[Wildcards], Any]]
    roots: Callable[[Wildcards], tuple[str, ...]]
    environment: str | None
    source: Path
    results: str
    silent: frozenset[str] = field(default_factory=frozenset)
    threads: int = 1
    gpus: Callable[[Wildcards], int] | None = None
    mem_mb: int = 1000
    runtime: int = 30

    @property
    def snakemake_params(self) -> dict[str, Callable[[Wildcards], str] | str]:
        """What Snakemake compares: the parameters as texts, the code and the environment."""

        def text_of(value: Callable[[Wildcards], Any]) -> Callable[[Wildcards], str]:
            return lambda wildcards: as_text(value(wildcards))

        params: dict[str, Callable[[Wildcards], str] | str] = {
            **{name: text_of(value) for name, value in self.params.items()}, "code": self.code
        }  # fmt: skip
        return params if self.environment is None else params | {"environment": self.environment}

    def code(self, wildcards: Wildcards) -> str:
        """Return the fingerprint of a job's code."""
        return code_fingerprint(self.roots(wildcards), self.source)

    @property
    def resources(self) -> dict[str, int | Callable[[Wildcards], int]]:
        """What a job needs, for Snakemake; without ``gpu`` where it can use none."""
        needs: dict[str, int | Callable[[Wildcards], int]]
        needs = {"mem_mb": self.mem_mb, "runtime": self.runtime}
        return needs if self.gpus is None else needs | {"gpu": self.gpus}

    @property
    def log(self) -> str:
        """Path of a job's log, with wildcards."""
        facets = f"/{self._facets}" if self._facets else ""
        return f"{self.results}/logs/{self.name}{facets}.log"

    @property
    def message(self) -> str:
        """What Snakemake says when it starts a job, with wildcards."""
        return f"{self.name} {self._facets.replace('{', '{wildcards.')}".rstrip()

    @property
    def _first(self) -> str:
        """The path of its first output, with wildcards."""
        return as_list(next(iter(self.outputs.values())))[0]

    @property
    def receipt(self) -> str:
        """Path of a job's receipt, with wildcards.

        Snakemake has it for an output as all that a job leaves must travel with it; but no job
        reads it, it has no line in the ledger, and its bytes differ from run to run.
        """
        return f"{RECEIPTS}/{self._first}.json"

    @property
    def _facets(self) -> str:
        """What tells the rule's jobs apart: its first output from the first wildcard on."""
        path = self._first
        facets = path[path.index("{") :] if "{" in path else ""
        return re.sub(r"(/SOURCE)?\.\w+$", "", facets)

    def options(self) -> Iterator[tuple[str, str]]:
        """Yield kind (``input``, ``params`` or ``output``) and name of what a step is told."""
        for kind, names in (
            ("input", self.inputs), ("params", self.params), ("output", self.outputs),
        ):  # fmt: skip
            yield from ((kind, name) for name in names if name not in self.silent)

    @property
    def files(self) -> list[str]:
        """Paths of all outputs of all jobs."""
        return [path for wildcards in self.each for path in self.made(wildcards)]

    def made(self, wildcards: Mapping[str, str]) -> list[str]:
        """Return the paths of a job's outputs."""
        paths = [path for paths in self.outputs.values() for path in as_list(paths)]
        return [path.format(**wildcards) for path in paths]

    @property
    def command(self) -> str:
        """The shell command, with Snakemake's placeholders."""
        words = [f"python -m osad.runtime.job {self.step}"]
        words += [
            "{params.options}" if name == "options" else f"--{name} {{{kind}.{name}:q}}"
            for kind, name in self.options()
        ]
        words += ["--threads {threads}"] if self.threads > 1 else []
        words += ["--gpu {resources.gpu}"] if self.gpus is not None else []
        name, paths = next(iter(self.outputs.items()))
        first = f"{{output.{name}{'' if isinstance(paths, str) else '[0]'}:q}}"
        words += ["--log {log:q}", f"--failure {FAILURES}/{first}.json"]
        return " ".join([*words, "--record {output.record:q}"])


def as_text(value: object) -> str:
    """Return a parameter as Snakemake and the command line have it: a text, or compact JSON.

    Equal values give equal texts: keys are sorted, and there are no blanks.
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def as_list(paths: Paths) -> list[str]:
    """Return one path or several as a list."""
    return [paths] if isinstance(paths, str) else paths


def constant(value: Any) -> Callable[[Wildcards], Any]:
    """Return a function that gives a value whatever the wildcards."""
    return lambda _wildcards: value
