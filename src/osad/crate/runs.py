"""The jobs behind a number as entities of the Provenance Run Crate profile.

Each line of the ledger is a ``CreateAction`` of the step's software, from its inputs and
parameters to its output; each rule is a ``HowToStep`` of the workflow. Who ran the jobs and when
is not said: the ledger does not hold it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osad import __version__
from osad.audit import graph
from osad.audit.ledger import Entry, Ledger
from osad.core.errors import CheckError
from osad.crate.bundle import Bundle, identifier
from osad.pipeline.fingerprint import Module, module_file
from osad.pipeline.grid import NUMERIC_LOCK
from osad.pipeline.lockfile import pins
from osad.pipeline.rules import Rules

FORMAL_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
COMPLETED = "http://schema.org/CompletedActionStatus"
SOFTWARE = {
    "python": ("Python", "https://www.python.org/"),
    "torch": ("PyTorch", "https://pytorch.org/"),
}
"""Name and address of the software whose versions the ledger holds."""
KINDS = ((bool, "Boolean"), (int, "Integer"), (float, "Float"), (str, "Text"))


@dataclass
class Runs:
    """Adds jobs to a crate.

    Attributes:
        bundle: the crate.
        rules: the table of rules.
        known: the ledger.
        main: id of the workflow's file.
        entries: lines of the jobs by path, in the pipeline's order.
        images: ids of the images by the path of the file that stands for them.
    """

    bundle: Bundle
    rules: Rules
    known: Ledger
    main: str
    entries: Mapping[str, Entry]
    images: Mapping[str, str]

    def add(self, ends: Sequence[str], inputs: Sequence[str], title: str) -> None:
        """Add all jobs and the run of the workflow."""
        commands = graph.commands(self.rules, self.known, self.entries.values())
        for entry in self.entries.values():
            self._tool(entry)
        controls = [self._job(entry, commands[entry.path]) for entry in self.entries.values()]
        run = self.bundle.entity(
            "#run",
            "CreateAction",
            name=f"Making of {title}",
            description="All jobs that the number depends on; they may be of several runs.",
            actionStatus=COMPLETED,
        )
        self.bundle.link(run, "instrument", self.main)
        self.bundle.link(self.bundle.root_id, "mentions", run)
        for file in inputs:
            self._parameter("workflow", self.main, file, file, "File")
            self.bundle.link(run, "object", file)
        for path in ends:
            rule, file = self.entries[path].rule, self._file(path)
            final = self._parameter("workflow", self.main, rule, file, "File", "output")
            self._connect(rule, "workflow", final, self.main)
            self.bundle.link(run, "result", file)
        self._engine(run, controls)

    def _engine(self, run: str, controls: Sequence[str]) -> None:
        """Add what Snakemake did: to run the jobs."""
        engine = self.bundle.entity(
            "#engine", "SoftwareApplication", name="Snakemake",
            description="In the version of requirements/workflow.lock",
            url={"@id": "https://snakemake.readthedocs.io"},
            softwareVersion=_locked(self.rules, "snakemake"),
        )  # fmt: skip
        organised = self.bundle.entity("#orchestration", "OrganizeAction", name="Run of Snakemake")
        self.bundle.link(organised, "instrument", engine)
        self.bundle.link(organised, "object", *controls)
        self.bundle.link(organised, "result", run)

    def _tool(self, entry: Entry) -> None:
        """Add the software of a job and its place in the workflow."""
        bundle, tool = self.bundle, identifier("tool", entry.rule)
        main = f"osad.pipeline.steps.{getattr(self.rules, entry.rule).step}"
        modules = self.known.modules_of([entry])
        files = {name: self._module(name, digests) for name, digests in modules.items()}
        address = {"@id": files[main]} if main in files else None
        bundle.entity(
            tool, "SoftwareApplication", name=main, softwareVersion=__version__, url=address
        )
        bundle.link(tool, "hasPart", *files.values())
        for key, (name, url) in SOFTWARE.items():
            version = entry.env.get(key)
            if version is not None:
                software = bundle.entity(
                    identifier("software", f"{key}-{version}"), "SoftwareApplication",
                    name=name, softwareVersion=version, url={"@id": url},
                )  # fmt: skip
                bundle.link(tool, "softwareRequirements", software)
        rules = list(dict.fromkeys(other.rule for other in self.entries.values()))
        position = str(rules.index(entry.rule) + 1)
        step = identifier("step", entry.rule)
        bundle.entity(step, "HowToStep", name=entry.rule, position=position)
        bundle.link(step, "workExample", tool)
        bundle.link(self.main, "hasPart", tool)
        bundle.link(self.main, "step", step)

    def _module(self, name: str, digests: Module) -> str:
        """Add a source file; return its id."""
        root = self.rules.grid.root
        path = module_file(name, root / "src")
        if path is None:
            missing = f"src/{name.replace('.', '/')}.py"
            raise CheckError(f"{missing}: is gone; the ledger names it as code; run snakemake")
        return self.bundle.file(path.relative_to(root).as_posix(), digests.file)

    def _job(self, entry: Entry, command: str) -> str:
        """Add a job; return the id of what Snakemake did for it."""
        bundle, rule, tool = self.bundle, entry.rule, identifier("tool", entry.rule)
        action = bundle.entity(
            identifier("run", entry.path), "CreateAction", name=f"{rule} {entry.path}",
            description=command, actionStatus=COMPLETED,
        )  # fmt: skip
        bundle.link(action, "instrument", tool)
        bundle.link(bundle.root_id, "mentions", action)
        for path, digest in entry.inputs.items():
            bundle.link(action, "object", self._input(entry, path, digest))
            if path in self.images:
                bundle.link(action, "object", self.images[path])
        if "lock" in entry.env:
            lock = bundle.file(NUMERIC_LOCK.as_posix())
            self._parameter(rule, tool, "lock", lock, "File")
            bundle.link(action, "object", lock)
        device = [("device", entry.env["device"])] if "device" in entry.env else []
        for name, value in (*leaves(entry.params), *device):
            bundle.link(action, "object", self._value(rule, tool, name, value))
        result = self._file(entry.path)
        self._parameter(rule, tool, rule, result, "File", "output")
        images = [self.images[entry.path]] if entry.path in self.images else []
        bundle.link(action, "result", result, *images)
        control = bundle.entity(
            identifier("control", entry.path), "ControlAction", name=f"Job {entry.path}"
        )
        bundle.link(control, "instrument", identifier("step", rule))
        bundle.link(control, "object", action)
        return control

    def _file(self, path: str) -> str:
        entry = self.entries[path]
        return self.bundle.file(path, entry.sha256, entry.size)

    def _input(self, entry: Entry, path: str, digest: str) -> str:
        """Add a file that a job read; return its id."""
        producer = self.entries.get(path)
        file = self.bundle.file(path, digest, producer.size if producer else None)
        name = producer.rule if producer else "source"
        rule = entry.rule
        slot = self._parameter(rule, identifier("tool", rule), name, file, "File")
        if producer:
            self._connect(producer.rule, rule, slot, identifier("step", rule))
        return file

    def _value(self, rule: str, tool: str, name: str, value: Any) -> str:
        """Add a parameter with its value; return the id of the value."""
        kind = next((kind for cls, kind in KINDS if isinstance(value, cls)), "")
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        entity = self.bundle.entity(
            identifier(f"value/{rule}", f"{name}={text}"),
            "PropertyValue",
            name=name,
            value=value if kind else text,
        )
        self._parameter(rule, tool, name, entity, kind or "Text")
        return entity

    def _parameter(
        self, rule: str, tool: str, name: str, value: str, kind: str, slot: str = "input"
    ) -> str:
        """Add a slot of a tool and what filled it; return the id of the slot."""
        bundle = self.bundle
        parameter = bundle.entity(
            identifier("output", rule) if slot == "output" else identifier(f"input/{rule}", name),
            "FormalParameter",
            name=name,
            additionalType=kind,
            conformsTo={"@id": FORMAL_PARAMETER},
        )
        bundle.link(tool, slot, parameter)
        bundle.link(parameter, "workExample", value)
        bundle.link(value, "exampleOfWork", parameter)
        return parameter

    def _connect(self, producer: str, consumer: str, slot: str, owner: str) -> None:
        """Say that a rule's output goes to a slot of a consumer; ``owner`` has the connection."""
        connection = self.bundle.entity(
            identifier("connection", f"{producer}/{consumer}"), "ParameterConnection"
        )
        self.bundle.link(connection, "sourceParameter", identifier("output", producer))
        self.bundle.link(connection, "targetParameter", slot)
        self.bundle.link(owner, "connection", connection)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted name, sorted.

    Example:
        >>> list(leaves({"hyper": {"epochs": 2, "lr": 0.1}, "cell": "a"}))
        [('cell', 'a'), ('hyper.epochs', 2), ('hyper.lr', 0.1)]
    """
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from leaves(value[key], f"{name}.{key}" if name else str(key))
    elif name:
        yield name, value


def _locked(rules: Rules, package: str) -> str | None:
    """Return the version of a package in the lock file of what runs the pipeline."""
    path = rules.grid.root / "requirements/workflow.lock"
    versions = {pin.name: pin.specifier for pin in (pins(path) if path.is_file() else ())}
    return str(versions[package]).removeprefix("==") if package in versions else None
