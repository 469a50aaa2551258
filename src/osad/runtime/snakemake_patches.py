"""All that is patched of Snakemake: thirteen private functions for speed or memory, one for words.

A patch is applied only to the version that it was written for, and only if the function is there
with the same parameters. Else Snakemake stays as it is, which costs time and changes no result.
"""

import functools
import importlib
import inspect
import os
import sys
import threading
from typing import Any

from osad.core.errors import OsadError

KNOWN = "9.27"
"""The version of Snakemake that the patches were written for."""
SMALLEST = 1_000_000
"""Bytes from which remembering a digest pays; smaller files are hashed each time."""


class _Unknown(Exception):
    """Snakemake is not as a patch expects it; the message names the function."""


@functools.cache  # Once a process.
def apply() -> None:
    """Apply every patch that fits the installed Snakemake; print a line on each that does not."""
    from snakemake import __version__

    for patch in (
        _remember_checksums, _plan_single_looks, _remember_signatures, _look_up_flags,
        _keep_plain_names, _share_guards, _look_up_what_is_asked, _tell_plans_briefly,
        _plan_without_conda, _plan_without_granting, _look_up_folders, _compare_names_as_texts,
        _look_for_pipes_by_rule, _tell_briefly,
    ):  # fmt: skip
        try:
            patch()
        except _Unknown as function:
            print(
                f"osad: Snakemake {__version__}: {function} is not patched; no result changes",
                file=sys.stderr,
            )


def _remember_checksums() -> None:
    """Make Snakemake hash a large file once a run.

    Saves 0.2 s of each job whose inputs are feature packs of hundreds of megabytes, more than all
    else that Snakemake does: after each job it hashes all inputs of the job again.

    Digests are remembered by name, size, time and inode. Every way in which a job or a person
    replaces a file changes one of these. A file that is edited in place with its time set back
    would be noticed by the ledger, which hashes anew.
    """
    cls, original = _find("snakemake.io", "_IOFile.checksum", "self threshold force algorithm")
    _check("_IOFile.checksum", hasattr(cls, "file") and hasattr(cls, "is_storage"))
    known: dict[tuple[Any, ...], Any] = {}

    async def checksum(
        self: Any, threshold: Any = None, force: bool = False, algorithm: Any = None
    ) -> Any:
        try:
            stat = os.stat(self.file)
        except OSError:
            return await original(self, threshold, force, algorithm)
        if stat.st_size < SMALLEST or self.is_storage:
            return await original(self, threshold, force, algorithm)
        identity = (str(self.file), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        key = (*identity, threshold, force, algorithm)
        if key not in known:
            known[key] = await original(self, threshold, force, algorithm)
        return known[key]

    cls.checksum = checksum


def _plan_single_looks() -> None:
    """Make Snakemake's scheduler leave out a look at the ready jobs that is planned already.

    Saves 30 of 44 s of Snakemake's processor time in a run of 1,800 short jobs: since it may start
    only so many jobs a second, each look plans another one a second later. Every job that ends is
    a look too, so that their number grows with the jobs done.
    """
    name = "JobScheduler._schedule_reevalutation"  # Snakemake's spelling.
    cls, _ = _find("snakemake.scheduling.job_scheduler", name, "self delay")
    _check(name, "_open_jobs" in cls.__init__.__code__.co_names)

    def plan_look(scheduler: Any, delay: float) -> None:
        planned: set[float] = vars(scheduler).setdefault("planned_looks", set())
        if delay in planned:
            return
        planned.add(delay)

        def look() -> None:
            planned.discard(delay)
            scheduler._open_jobs.release()

        timer = threading.Timer(delay, look)
        timer.daemon = True  # The end of a run does not wait for a look.
        timer.start()

    cls._schedule_reevalutation = plan_look


def _remember_signatures() -> None:
    """Make Snakemake look up the parameters of a rule's function once a run.

    Saves 7 of the 75 s in which the papers' grid is planned: the signature of every input,
    parameter and resource function is inspected anew for each job. Rules never change theirs.
    """
    common, original = _find("snakemake.common", "get_function_params", "func")
    rules, same = _find("snakemake.rules", "get_function_params", "func")
    _check("get_function_params", same is original)
    common.get_function_params = rules.get_function_params = functools.cache(original)


def _look_up_flags() -> None:
    """Make Snakemake look up the marks of a file (temporary, protected, ...) without detours.

    Saves a tenth of planning: it does so some 300 times a job, each time by way of an abstract
    class and two properties.
    """
    module, original = _find("snakemake.io", "is_flagged", "value flag")
    file, marked = (getattr(module, kind, None) for kind in ("_IOFile", "AnnotatedString"))
    _check("is_flagged", hasattr(file, "flags") and hasattr(marked, "flags"))

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


def _keep_plain_names() -> None:
    """Make Snakemake give a file a copy of another's marks only if there are any.

    Saves a fifth of the memory of a plan: else each name, of which a job has some 20, is held twice
    with an empty list of marks.
    """
    name = "_IOFile.clone_flags"
    cls, original = _find("snakemake.io", name, "self other skip_storage_object")
    marked: Any = getattr(importlib.import_module("snakemake.io"), "AnnotatedString", None)
    _check(name, isinstance(vars(cls).get("flags"), property) and hasattr(marked, "flags"))

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


def _share_guards() -> None:
    """Make Snakemake's lists of names share what guards their methods: a kilobyte or two a job."""
    module, original = _find("snakemake.iocontainers", "AttributeGuard", "name")
    made = functools.cache(original)
    kind = {"__new__": lambda _, name: made(name)}
    module.AttributeGuard = type("AttributeGuard", (original,), kind)


def _look_up_what_is_asked() -> None:
    """Make Snakemake look up what a message or a command names, and nothing else.

    Saves a quarter of planning, with the next: it copies all of its own globals, and evaluates the
    parameters and resources of a job, for every text.
    """
    name = "Job.format_wildcards"
    cls, original = _find("snakemake.jobs", name, "self string variables")
    utils = importlib.import_module("snakemake.utils")
    _check(name, hasattr(utils, "SequenceFormatter") and hasattr(utils, "QuotedFormatter"))
    formatter = utils.SequenceFormatter(separator=" ", element_formatter=utils.QuotedFormatter())
    known = {"wildcards": "_format_wildcards"}
    known |= {key: key for key in ("input", "output", "params", "threads", "resources", "log")}

    class Values(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            return getattr(self["job"], known[key])

    def format_wildcards(self: Any, string: str, **variables: Any) -> str:
        try:
            return str(formatter.vformat(string, (), Values(variables, job=self)))
        except Exception:  # Which Snakemake tells in its own way.
            return str(original(self, string, **variables))

    cls.format_wildcards = format_wildcards


def _tell_plans_briefly() -> None:
    """Make a dry run gather of a job what it shows of it: its message, and why it runs.

    It would gather inputs, outputs, resources, and thrice the command too.
    """
    cls, original = _find("snakemake.jobs", "Job.log_info", "self indent printshellcmd")
    module = importlib.import_module("snakemake.jobs")

    def log_info(self: Any, indent: bool = False, printshellcmd: bool = True) -> None:
        dag, settings = self.dag, self.dag.workflow.output_settings
        asked = settings.printshellcmds or settings.log_handler_settings
        if asked or not settings.dryrun or not self.rule.message:
            original(self, indent, printshellcmd)
            return
        told = {
            "event": module.LogEvent.JOB_INFO, "jobid": dag.jobid(self), "rule_msg": self.message,
            "rule_name": self.rule.name, "reason": dag.reason(self), "indent": indent,
        }  # fmt: skip
        module.logger.info(f" Rule: {self.rule.name}, Jobid: {told['jobid']}", extra=told)

    cls.log_info = log_info


def _plan_without_conda() -> None:
    """Make a dry run leave out the environments of conda where conda is not used.

    Saves a tenth of planning: for them it evaluates the parameters of each job that is to run.
    """
    cls, original = _find("snakemake.dag", "DAG.update_conda_envs", "self")
    conda = importlib.import_module("snakemake.settings.types").DeploymentMethod.CONDA

    def update_conda_envs(self: Any) -> None:
        workflow = self.workflow
        if not workflow.dryrun or conda in workflow.deployment_settings.deployment_method:
            original(self)

    cls.update_conda_envs = update_conda_envs


def _plan_without_granting() -> None:
    """Make a dry run give back no resources, since it has granted none.

    Saves a fourteenth of planning: it evaluates the resources of each job that it would run.
    """
    cls, original = _find(
        "snakemake.scheduling.job_scheduler", "JobScheduler._free_resources", "self job"
    )

    def free_resources(self: Any, job: Any) -> None:
        if not self.dryrun:
            original(self, job)

    cls._free_resources = free_resources


def _look_up_folders() -> None:
    """Make Snakemake look for outputs within other jobs' outputs by looking up their folders.

    Saves a fifteenth of planning: it sorts all outputs as objects of paths and compares neighbours.
    """
    cls, original = _find("snakemake.dag", "DAG.check_directory_outputs", "self")

    def check_directory_outputs(self: Any) -> None:
        outputs = {os.path.abspath(path) for job in self.jobs for path in job.output}
        folders = {os.path.dirname(path) for path in outputs}
        while folders:
            if not outputs.isdisjoint(folders):
                original(self)  # Which says what is wrong, if anything is.
                return
            folders = {os.path.dirname(path) for path in folders if os.path.dirname(path) != path}

    cls.check_directory_outputs = check_directory_outputs


def _compare_names_as_texts() -> None:
    """Make Snakemake compare and hash names of files as the texts that they are.

    Saves a twentieth of planning: a name is a text, and compares another one that is equal to it.
    """
    cls, _ = _find("snakemake.io", "_IOFile.__eq__", "self other")
    _find("snakemake.io", "_IOFile.__hash__", "self")
    _check("_IOFile.__eq__", issubclass(cls, str))
    cls.__eq__, cls.__hash__ = str.__eq__, str.__hash__


def _look_for_pipes_by_rule() -> None:
    """Make Snakemake ask whether an input comes by a pipe only where a rule makes one.

    Saves a fifth of a run of one job among 10,000 made ones: for each input of ``all``, it goes
    through the jobs that all inputs come from, which grows with the square of the grid.
    """
    name = "Job.is_pipe_or_service_input"
    cls, original = _find("snakemake.jobs", name, "self path")

    def is_pipe_or_service_input(self: Any, path: Any) -> bool:
        workflow = self.rule.workflow
        if not hasattr(workflow, "has_pipes"):
            outputs = (output for rule in workflow.rules for output in rule.output)
            workflow.has_pipes = any({"pipe", "service"} & {*output.flags} for output in outputs)
        return workflow.has_pipes and bool(original(self, path))

    cls.is_pipe_or_service_input = is_pipe_or_service_input


def _tell_briefly() -> None:
    """Make Snakemake say in one line what is refused here, or that a disk is full.

    It would add the lines of its own functions, and of the Snakefile, that led there.
    """
    name = "format_exception_to_string"
    module, original = _find("snakemake.exceptions", name, "ex linemaps")
    _, origin = _find("snakemake.exceptions", "get_exception_origin", "ex linemaps")
    refusal: Any = getattr(module, "WorkflowError", None)
    _check(name, isinstance(refusal, type))

    def told(ex: Exception, linemaps: Any = None) -> str:
        if isinstance(ex, refusal) and isinstance(ex.__cause__, OsadError):
            return f"osad: {ex.__cause__}"
        if not isinstance(ex, OSError) or (linemaps and origin(ex, linemaps) is not None):
            return str(original(ex, linemaps))
        if f"{os.sep}locks{os.sep}" in str(ex.filename):  # Each removes the folder at its end.
            return "osad: another snakemake has just ended here; run the same command again"
        where = f"{ex.filename}: " if ex.filename else ""
        return f"osad: {where}{ex.strerror or ex}; see to it and run the same command again"

    module.format_exception_to_string = told


def _find(module: str, name: str, parameters: str) -> tuple[Any, Any]:
    """Return a function of Snakemake after what holds it, a class or a module.

    Args:
        module: where it is.
        name: its name, with that of the class.
        parameters: what it must take, in this order.

    Raises:
        _Unknown: there is none, it takes something else, or Snakemake is another version.
    """
    from snakemake import __version__

    *path, last = name.split(".")
    try:
        holder = functools.reduce(getattr, path, importlib.import_module(module))
        function = vars(holder)[last]  # Not what a class has from another.
        taken = list(inspect.signature(function).parameters)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError):
        raise _Unknown(name) from None
    _check(name, taken == parameters.split() and __version__.startswith(f"{KNOWN}."))
    return holder, function


def _check(name: str, as_expected: bool) -> None:
    if not as_expected:
        raise _Unknown(name)
