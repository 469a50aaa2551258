"""Patches of how Snakemake makes its graph of jobs."""

import functools
import os
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
        for job in jobs if len(jobs) == 1 else ():
            # Where it reads its own output, or is on the way to itself, Snakemake says so.
            if job in self._dependencies and job not in (visited or ()) and file not in job.input:
                return job
        return await original(self, jobs, file, visited, *more, **others)

    cls.update = update


def keep_names_of_logs() -> None:
    """Make Snakemake keep the names of a job's log, and not make them again to see that it can."""
    cls, _ = find("snakemake.jobs", "Job.is_valid", "self")
    kept = [isinstance(vars(cls).get(name), property) for name in ("log", "benchmark")]
    check("Job.is_valid", all(kept))

    def is_valid(self: Any) -> None:
        _ = self.benchmark, self.log

    cls.is_valid = is_valid


def look_for_protected_outputs_in_turn() -> None:
    """Make Snakemake look without a task for each output whether it may be overwritten."""
    name = "Job.check_protected_output"
    cls, original = find("snakemake.jobs", name, "self")

    async def check_protected_output(self: Any) -> None:
        for file in self.output:
            if await file.protected():
                await original(self)  # Which says so.

    cls.check_protected_output = check_protected_output


def look_at_times_in_turn() -> None:
    """Make Snakemake look without a task for each output when a job's oldest one was made."""
    cls, original = find("snakemake.jobs", "Job.output_mintime", "self")

    async def output_mintime(self: Any) -> Any:
        if self.benchmark:
            return await original(self)
        times = [await file.mtime() for file in self.output if await file.exists()]
        return min((time.local_or_storage() for time in times), default=None)

    cls.output_mintime = property(output_mintime)
