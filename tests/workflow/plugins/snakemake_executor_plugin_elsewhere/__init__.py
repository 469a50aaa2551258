"""An executor whose jobs share no file system, as that of Kubernetes.

Each job is a process in an empty folder below ELSEWHERE and gets nothing of its parent's but the
variables named here. What a pod has of its image is the interpreter with its packages; the sources
come from the storage, as Snakemake deploys them.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Runs jobs elsewhere."""

    def run_job(self, job: JobExecutorInterface) -> None:
        """Start a job."""
        folder = Path(tempfile.mkdtemp(dir=os.environ["ELSEWHERE"]))
        kept = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        search = [str(folder / "src"), os.environ["ELSEWHERE_PYTHONPATH"]]
        process = subprocess.Popen(
            ["/bin/sh", "-c", self.format_job_exec(job)],
            cwd=folder,
            env={
                **kept,
                **self.envvars(),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(search),
                "HOME": str(folder),
                "OMP_NUM_THREADS": "1",
            },
        )
        self.report_job_submission(SubmittedJobInfo(job, aux={"process": process}))

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Report the jobs that have ended, give the others."""
        for job in active_jobs:
            status = job.aux["process"].poll()
            if status is None:
                yield job
            elif status:
                self.report_job_error(job)
            else:
                self.report_job_success(job)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """End the jobs."""
        for job in active_jobs:
            job.aux["process"].terminate()
