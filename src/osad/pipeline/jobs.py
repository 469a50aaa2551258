"""The jobs of a grid: the table of rules, enumerated.

Snakemake decides what to run; whoever must explain or check an output asks here, without running
Snakemake.
"""

import functools
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from osad.pipeline.fingerprint import closure
from osad.pipeline.rule import FAILURES, Rule, as_list, as_text
from osad.pipeline.rules import Rules

PHASES = {
    "data": ("fetch", "weights", "manifest"),
    "splits": ("split",),
    "features": ("pixels", "pack", "masks"),
    "runs": ("run",),
    "metrics_all": ("metrics",),
    "tables": ("cells", "comparison", "table"),
    "figures": ("figure",),
    "report_all": ("report_images", "report_cell", "report_assets", "report_page"),
}
"""The rules whose outputs a target of Snakemake stands for."""


@dataclass(frozen=True)
class Job:
    """One job of a rule.

    Attributes:
        rule: the rule.
        wildcards: their values by name.
    """

    rule: Rule
    wildcards: Mapping[str, str]

    @functools.cached_property
    def _values(self) -> SimpleNamespace:
        return SimpleNamespace(**self.wildcards)

    @functools.cached_property
    def outputs(self) -> tuple[str, ...]:
        """Paths that it writes."""
        return tuple(self.rule.made(self.wildcards))

    @functools.cached_property
    def inputs(self) -> tuple[str, ...]:
        """Paths that it reads, each once."""
        values = (function(self._values) for function in self.rule.inputs.values())
        return tuple(dict.fromkeys(path for paths in values for path in as_list(paths)))

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        """The rule's parameters by name, without those of code and environment."""
        values = {name: function(self._values) for name, function in self.rule.params.items()}
        return cast(dict[str, Any], json.loads(json.dumps(values)))  # As the ledger has them.

    @property
    def code(self) -> str:
        """Fingerprint of its code."""
        return self.rule.code(self._values)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that are its code."""
        return closure(self.rule.roots(self._values), self.rule.source)

    @property
    def receipt(self) -> str:
        """Path of the receipt that it leaves."""
        return self.rule.receipt.format(**self.wildcards)

    @property
    def failure(self) -> str:
        """Path of the record that it leaves when it fails."""
        return f"{FAILURES}/{self.outputs[0]}.json"

    def arguments(self) -> list[str]:
        """Return the step's name and its options, as the rule's command has them."""
        arguments = [self.rule.step]
        for kind, name in self.rule.options():
            if name == "options":
                arguments += shlex.split(self.params[name])
            elif kind == "params":
                arguments += [f"--{name}", as_text(self.params[name])]
            elif kind == "output":
                paths = as_list(self.rule.outputs[name])
                arguments += [f"--{name}", *(path.format(**self.wildcards) for path in paths)]
            else:
                arguments += [f"--{name}", *as_list(self.rule.inputs[name](self._values))]
        return arguments

    @property
    def command(self) -> str:
        """The command without what does not reach the bytes: threads, GPU, log, records."""
        return shlex.join(["python", "-m", "osad.runtime.job", *self.arguments()])


def jobs_of(rule: Rule) -> Iterator[Job]:
    """Yield the jobs of a rule."""
    return (Job(rule, wildcards) for wildcards in rule.each)


def jobs(rules: Rules) -> list[Job]:
    """Return all jobs of a grid; each after those whose outputs it reads."""
    return [job for rule in rules for job in jobs_of(rule)]


def makers(jobs: list[Job]) -> dict[str, Job]:
    """Return the job of each output."""
    return {output: job for job in jobs for output in job.outputs}
