"""Patches of how Snakemake makes its graph: names of files, rules and jobs."""

import functools
import importlib
import os
import sys
from typing import Any

from osad.runtime.snakemake_patches.inside import check, find


def remember_signatures() -> None:
    """Make Snakemake look up the parameters of a rule's function once a run.

    Saves 7 of the 75 s in which the papers' grid is planned: the signature of every input,
    parameter and resource function is inspected anew for each job. Rules never change theirs.
    """
    common, original = find("snakemake.common", "get_function_params", "func")
    rules, same = find("snakemake.rules", "get_function_params", "func")
    check("get_function_params", same is original)
    common.get_function_params = rules.get_function_params = functools.cache(original)


def look_up_flags() -> None:
    """Make Snakemake look up the marks of a file (temporary, protected, ...) without detours.

    Saves a tenth of planning: it does so some 300 times a job, each time by way of an abstract
    class and two properties.
    """
    module, original = find("snakemake.io", "is_flagged", "value flag")
    file, marked = (getattr(module, kind, None) for kind in ("_IOFile", "AnnotatedString"))
    check("is_flagged", hasattr(file, "flags") and hasattr(marked, "flags"))

    def is_flagged(value: Any, flag: str) -> bool:
        kind = type(value)
        if kind is file:
            value = value._file
            kind = type(value)
        if kind is marked:
            return bool(value._flags.get(flag))
        return False if kind is str else bool(original(value, flag))

    for other in [*sys.modules.values()]:
        if getattr(other, "__dict__", {}).get("is_flagged") is original:
            vars(other)["is_flagged"] = is_flagged


def keep_plain_names() -> None:
    """Make Snakemake give a file a copy of another's marks only if there are any.

    Saves a fifth of the memory of a plan: else each name, of which a job has some 20, is held twice
    with an empty list of marks.
    """
    name = "_IOFile.clone_flags"
    cls, original = find("snakemake.io", name, "self other skip_storage_object")
    marked: Any = getattr(importlib.import_module("snakemake.io"), "AnnotatedString", None)
    check(name, isinstance(vars(cls).get("flags"), property) and hasattr(marked, "flags"))

    class Marks(dict[str, Any]):
        """Those of a plain name: none, until one is set."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __setitem__(self, key: str, value: Any) -> None:
            if type(self.file._file) is str:
                self.file._file = marked(self.file._file)
            self.file._file.flags[key] = value

    def clone_flags(self: Any, other: Any, skip_storage_object: bool = False) -> None:
        copied = skip_storage_object or getattr(other._file, "flags", None)
        if copied or type(self._file) is not str:
            original(self, other, skip_storage_object)

    def flags(self: Any) -> Any:
        if type(self._file) is str:
            return Marks(self)
        return getattr(self._file, "flags", {})

    cls.clone_flags, cls.flags = clone_flags, property(flags)


def share_guards() -> None:
    """Make Snakemake's lists of names share what guards their methods: a kilobyte or two a job."""
    module, original = find("snakemake.iocontainers", "AttributeGuard", "name")
    made = functools.cache(original)
    kind = {"__new__": lambda _, name: made(name)}
    module.AttributeGuard = type("AttributeGuard", (original,), kind)


def look_up_folders() -> None:
    """Make Snakemake look for outputs within other jobs' outputs by looking up their folders.

    Saves a fifteenth of planning: it sorts all outputs as objects of paths and compares neighbours.
    """
    cls, original = find("snakemake.dag", "DAG.check_directory_outputs", "self")

    def check_directory_outputs(self: Any) -> None:
        outputs = {os.path.abspath(path) for job in self.jobs for path in job.output}
        folders = {os.path.dirname(path) for path in outputs}
        while folders:
            if not outputs.isdisjoint(folders):
                original(self)  # Which says what is wrong, if anything is.
                return
            folders = {os.path.dirname(path) for path in folders if os.path.dirname(path) != path}

    cls.check_directory_outputs = check_directory_outputs


def compare_names_as_texts() -> None:
    """Make Snakemake compare and hash names of files as the texts that they are.

    Saves a twentieth of planning: a name is a text, and compares another one that is equal to it.
    """
    cls, _ = find("snakemake.io", "_IOFile.__eq__", "self other")
    find("snakemake.io", "_IOFile.__hash__", "self")
    check("_IOFile.__eq__", issubclass(cls, str))
    cls.__eq__, cls.__hash__ = str.__eq__, str.__hash__


def look_for_pipes_by_rule() -> None:
    """Make Snakemake ask whether an input comes by a pipe only where a rule makes one.

    Saves a fifth of a run of one job among 10,000 made ones: for each input of ``all``, it goes
    through the jobs that all inputs come from, which grows with the square of the grid.
    """
    name = "Job.is_pipe_or_service_input"
    cls, original = find("snakemake.jobs", name, "self path")

    def is_pipe_or_service_input(self: Any, path: Any) -> bool:
        workflow = self.rule.workflow
        if not hasattr(workflow, "has_pipes"):
            outputs = (output for rule in workflow.rules for output in rule.output)
            workflow.has_pipes = any({"pipe", "service"} & {*output.flags} for output in outputs)
        return workflow.has_pipes and bool(original(self, path))

    cls.is_pipe_or_service_input = is_pipe_or_service_input


def remember_producers() -> None:
    """Make Snakemake look up the rules that may make a file once a file.

    Saves a twentieth of planning: it does so for each job that reads the file, and for ``all``.
    """
    name = "OutputIndex.match_producers"
    cls, original = find("snakemake.output_index", name, "self targetfile")

    def match_producers(self: Any, targetfile: str) -> Any:
        known = vars(self).setdefault("producers", {})
        if targetfile not in known:
            known[targetfile] = original(self, targetfile)
        return known[targetfile]

    cls.match_producers = match_producers


def pass_known_jobs() -> None:
    """Make Snakemake pass over a job that its graph has, for another file of it or another reader.

    It would compare the job with its inputs and its like, to find that nothing is to be added.
    """
    taken = "self jobs file visited known_producers progress create_inventory"
    cls, original = find("snakemake.dag", "DAG.update", taken)

    async def update(
        self: Any, jobs: Any, file: Any = None, visited: Any = None, *more: Any, **others: Any
    ) -> Any:
        if len(jobs) == 1 and jobs[0] in self._dependencies and jobs[0] not in (visited or ()):
            return jobs[0]
        return await original(self, jobs, file, visited, *more, **others)

    cls.update = update


def keep_concrete_names() -> None:
    """Make Snakemake keep a name without wildcards or marks where it would fill wildcards in."""
    name = "_IOFile.apply_wildcards"
    cls, original = find("snakemake.io", name, "self wildcards")

    def apply_wildcards(self: Any, wildcards: Any) -> Any:
        if type(self._file) is str and "{" not in self._file:
            return self
        return original(self, wildcards)

    cls.apply_wildcards = apply_wildcards


def modify_no_inputs() -> None:
    """Make Snakemake leave names of inputs alone where nothing modifies them.

    It would make each anew, to find that it has neither a prefix to replace nor a storage.
    """
    cls, original = find("snakemake.rules", "Rule.expand_input", "self wildcards groupid")
    modifier, made = find(
        "snakemake.path_modifier", "PathModifier.__init__",
        "self replace_prefix prefix workflow inner_modifier",
    )  # fmt: skip
    known = {"prefix", "inner_modifier"} <= {*made.__code__.co_names}
    check("Rule.expand_input", known and hasattr(modifier, "modifies_prefixes"))

    def expand_input(self: Any, wildcards: Any, groupid: Any = None) -> Any:
        kept, storage = self.input_modifier, self.workflow.storage_settings
        own = kept and (kept.modifies_prefixes or kept.prefix or kept.inner_modifier)
        if not own and not storage.default_storage_provider:
            self.input_modifier = None
        try:
            return original(self, wildcards, groupid)
        finally:
            self.input_modifier = kept

    cls.expand_input = expand_input


def check_names_once() -> None:
    """Make Snakemake check a name of a file (for blanks, double slashes, ...) once a name.

    It does so for each job that reads the file.
    """
    cls, original = find("snakemake.io", "_IOFile.check", "self")
    checked: set[str] = set()

    def check_name(self: Any) -> None:
        if self not in checked:
            original(self)
            checked.add(self)

    cls.check = check_name


def remember_folders() -> None:
    """Make Snakemake take the folder of a name apart once a name, to see whether it knows it."""
    name = "_IOFile.get_inventory_parent"
    cls, original = find("snakemake.io", name, "self")
    known = functools.cache(original)

    def get_inventory_parent(self: Any) -> Any:
        return (original if self.is_storage else known)(self)

    cls.get_inventory_parent = get_inventory_parent
