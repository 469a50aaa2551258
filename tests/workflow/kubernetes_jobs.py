"""Snakemake with the plug-in for Kubernetes, without Kubernetes: what it would submit is written.

The client's calls are replaced, and so is the scheduler, since no job ends: every job that is not
for the head node is handed to the plug-in at once, and the manifests go to the file MANIFESTS.
"""

import json
import os
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_kubernetes as plugin
from snakemake import cli
from snakemake.scheduling.job_scheduler import JobScheduler

kubernetes = plugin.kubernetes
made: dict[str, list[Any]] = {"jobs": [], "secrets": []}


def keep(kind: str) -> Any:
    return lambda _api, _namespace, body: made[kind].append(
        kubernetes.client.ApiClient().sanitize_for_serialization(body)
    )


def submit_all(scheduler: Any) -> None:
    for job in scheduler.workflow.dag.jobs:
        if not job.is_local:
            scheduler._executor.run_job(job)
    Path(os.environ["MANIFESTS"]).write_text(json.dumps(made))
    os._exit(0)


kubernetes.config.load_kube_config = lambda: None
kubernetes.client.BatchV1Api.create_namespaced_job = keep("jobs")
kubernetes.client.CoreV1Api.create_namespaced_secret = keep("secrets")
plugin.common_settings.implies_no_shared_fs = False  # The store is another test's.
plugin.Executor.report_job_submission = lambda *_: None
JobScheduler.schedule = submit_all

if __name__ == "__main__":
    cli.main()
