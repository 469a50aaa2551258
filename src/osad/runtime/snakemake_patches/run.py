"""Patches of how Snakemake plans and runs jobs, and of what it says."""

import importlib
import os
import threading
from typing import Any

from osad.core.errors import OsadError
from osad.runtime.snakemake_patches.inside import check, find

SMALLEST = 1_000_000
"""Bytes from which remembering a digest pays; smaller files are hashed each time."""


def remember_checksums() -> None:
    """Make Snakemake hash a large file once a run.

    Saves 0.2 s of each job whose inputs are feature packs of hundreds of megabytes, more than all
    else that Snakemake does: after each job it hashes all inputs of the job again.

    Digests are remembered by name, size, time and inode. Every way in which a job or a person
    replaces a file changes one of these. A file that is edited in place with its time set back
    would be noticed by the ledger, which hashes anew.
    """
    cls, original = find("snakemake.io", "_IOFile.checksum", "self threshold force algorithm")
    check("_IOFile.checksum", hasattr(cls, "file") and hasattr(cls, "is_storage"))
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


def plan_single_looks() -> None:
    """Make Snakemake's scheduler leave out a look at the ready jobs that is planned already.

    Saves 30 of 44 s of Snakemake's processor time in a run of 1,800 short jobs: since it may start
    only so many jobs a second, each look plans another one a second later. Every job that ends is
    a look too, so that their number grows with the jobs done.
    """
    name = "JobScheduler._schedule_reevalutation"  # Snakemake's spelling.
    cls, _ = find("snakemake.scheduling.job_scheduler", name, "self delay")
    check(name, "_open_jobs" in cls.__init__.__code__.co_names)

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


def look_up_what_is_asked() -> None:
    """Make Snakemake look up what a message or a command names, and nothing else.

    Saves a quarter of planning, with the next: it copies all of its own globals, and evaluates the
    parameters and resources of a job, for every text.
    """
    name = "Job.format_wildcards"
    cls, original = find("snakemake.jobs", name, "self string variables")
    utils = importlib.import_module("snakemake.utils")
    check(name, hasattr(utils, "SequenceFormatter") and hasattr(utils, "QuotedFormatter"))
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


def tell_plans_briefly() -> None:
    """Make a dry run gather of a job what it shows of it: its message, and why it runs.

    It would gather inputs, outputs, resources, and thrice the command too.
    """
    cls, original = find("snakemake.jobs", "Job.log_info", "self indent printshellcmd")
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


def plan_without_conda() -> None:
    """Make a dry run leave out the environments of conda where conda is not used.

    Saves a tenth of planning: for them it evaluates the parameters of each job that is to run.
    """
    cls, original = find("snakemake.dag", "DAG.update_conda_envs", "self")
    conda = importlib.import_module("snakemake.settings.types").DeploymentMethod.CONDA

    def update_conda_envs(self: Any) -> None:
        workflow = self.workflow
        if not workflow.dryrun or conda in workflow.deployment_settings.deployment_method:
            original(self)

    cls.update_conda_envs = update_conda_envs


def plan_without_granting() -> None:
    """Make a dry run give back no resources, since it has granted none.

    Saves a fourteenth of planning: it evaluates the resources of each job that it would run.
    """
    cls, original = find(
        "snakemake.scheduling.job_scheduler", "JobScheduler._free_resources", "self job"
    )

    def free_resources(self: Any, job: Any) -> None:
        if not self.dryrun:
            original(self, job)

    cls._free_resources = free_resources


def tell_briefly() -> None:
    """Make Snakemake say in one line what is refused here, or that a disk is full.

    It would add the lines of its own functions, and of the Snakefile, that led there.
    """
    name = "format_exception_to_string"
    module, original = find("snakemake.exceptions", name, "ex linemaps")
    _, origin = find("snakemake.exceptions", "get_exception_origin", "ex linemaps")
    refusal: Any = getattr(module, "WorkflowError", None)
    check(name, isinstance(refusal, type))

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
