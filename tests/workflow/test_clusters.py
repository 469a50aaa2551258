"""The profiles for clusters.

Slurm is a real one, of one node; the scheduler of profiles/generic is a script; for Kubernetes
there are only the manifests of the jobs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import slurm
import yaml
from projects import ROOT, SMALL, Outcome, Project, new_project, params

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.long]

PLUGINS = ROOT / "build/cluster"
SCHEDULER = Path(__file__).parent / "scheduler"
MADE_OF_RUNS = ("checkpoints", "scores", "maps", "metrics", "tables", "figures", "report")
NO_GPU = ("--set-resources", "run:gpu=0", "pack:gpu=0")
HEAD_RULES = {"fetch", "weights"}
RUNS = {f"tiny/all/normal-m0/{method}/s0" for method in ("mean_intensity", "random")}


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A grid of two runs that this machine made by itself; not to be changed."""
    project = new_project(tmp_path_factory.mktemp("local") / "project", photos=photos)
    project.write_params(params(**SMALL, methods=["mean_intensity", "random"]))
    project.snakemake(cores=2).check()
    yield project
    shutil.rmtree(project.root)


@pytest.fixture
def without_runs(local: Project, tmp_path: Path) -> Project:
    """A copy of the local project with splits and features, no runs and nothing made of them."""
    project = local.copy(tmp_path / "project")
    for name in MADE_OF_RUNS:
        shutil.rmtree(project.root / "results" / name)
        shutil.rmtree(project.root / ".osad/runs/results" / name, ignore_errors=True)
    return project


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """Variables with which commands find a real Slurm."""
    if slurm.MISSING:
        pytest.skip(f"needs {', '.join(slurm.MISSING)}: apt-get install {slurm.PACKAGES}")
    # Names of sockets may not be long.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm.running(Path(folder)) as variables,
    ):
        yield variables


def with_plugins(project: Project, *command: str, **variables: str) -> Outcome:
    """Run a command with the plug-ins, which are not installed here."""
    if not (PLUGINS / ".run").is_file():
        pytest.skip("needs the plug-ins: make build/cluster/.run")
    path = os.pathsep.join([variables.pop("PATH", ""), project.environment()["PATH"]])
    found = os.pathsep.join([str(project.root / "src"), str(PLUGINS)])
    return project.run(*command, **variables | {"PATH": path.lstrip(":"), "PYTHONPATH": found})


def disturbed(
    run: Callable[[], Outcome], begun: Callable[[], object], end: Callable[[], object]
) -> Outcome:
    """Run something and end a part of it as soon as that has begun."""
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(run)
        while not begun():
            assert not outcome.done(), outcome.result().output[-5000:]
            time.sleep(0.05)
        end()
        return outcome.result()


def runs(project: Project) -> set[str]:
    folder = project.root / "results/scores"
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.csv")}


def log_of(project: Project, run: str) -> Path:
    return project.root / f"results/logs/run/{run}.log"


def forget_logs(project: Project) -> None:
    shutil.rmtree(project.root / "results/logs/run", ignore_errors=True)


@pytest.mark.slurm
def test_jobs_of_slurm_give_the_bytes_of_one_machine(
    without_runs: Project, local: Project, cluster: dict[str, str]
) -> None:
    project, killed = without_runs, min(RUNS)
    forget_logs(project)

    def run(*resources: str) -> Outcome:
        return with_plugins(
            project, "snakemake", "runs", "--profile", "profiles/slurm", *resources,
            "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1",
            **cluster,
        )  # fmt: skip

    def ask(*command: str) -> str:
        return slurm.ask(*command, environment=os.environ | cluster, folder=project.root)

    def known() -> list[str]:
        return ask("scontrol", "-o", "show", "job").splitlines()

    def end() -> None:
        jobs = dict(line.split() for line in ask("squeue", "-h", "-o", "%k %A").splitlines())
        (name,) = (name for name in jobs if "mean_intensity" in name)
        ask("scancel", jobs[name])

    # One is killed as it begins; the other asks for the GPU, is granted it, and it does not work.
    other = ("--set-resources", "run:gpu=int(wildcards.method == 'random')")
    outcome = disturbed(
        lambda: run(*other, "--slurm-array-jobs", "none"), log_of(project, killed).exists, end
    )
    outcome.refused("CANCELLED", "gpu=1 was granted but", "nothing was computed")
    assert "using the CPU" not in outcome.output
    assert not runs(project)
    asked = [dict(re.findall(r"(\w+)=(\S*)", job)) for job in known()]
    assert sorted("gpu:1" in job.get("TresPerJob", "") for job in asked) == [False, True]
    assert {(job["TimeLimit"], job["MinMemoryNode"]) for job in asked} == {("04:00:00", "2000M")}

    outcome = run(*NO_GPU).check()
    assert not outcome.server_seen
    assert sum("ArrayTaskId=" in job for job in known()) == len(RUNS)
    assert runs(project) == RUNS
    project.snakemake(cores=2).check()
    assert project.outputs() == local.outputs()


@pytest.mark.slurm
def test_an_allocation_of_slurm_gives_the_bytes_of_one_machine(
    without_runs: Project, local: Project, cluster: dict[str, str]
) -> None:
    project, variables = without_runs, without_runs.environment() | cluster
    variables["PATH"] = os.pathsep.join([cluster["PATH"], project.environment()["PATH"]])

    def ask(*command: str) -> str:
        return slurm.ask(*command, environment=variables, folder=project.root)

    def begin(*options: str) -> str:
        needs = ("--parsable", "--cpus-per-task=2", "--mem=6000", "--output=allocation.log")
        return ask("sbatch", *needs, *options, "profiles/slurm-node/job.sh").strip()

    def wait(job: str, done: Callable[[], object] = lambda: False) -> str:
        """Wait until a job has ended, or something is done; return its state."""
        while (state := ask("squeue", "-h", "--states=all", "-j", job, "-o", "%T").strip()) in (
            "PENDING", "RUNNING", "COMPLETING", "CONFIGURING",
        ) and not done():  # fmt: skip
            time.sleep(0.1)
        return state

    def log() -> str:
        file = project.root / "allocation.log"
        return file.read_text() if file.exists() else ""

    # The GPU is granted and does not work; the run is killed while the other jobs go on.
    killed = begin("--gpus=1")
    wait(killed, lambda: "gpu=1 was granted but" in log())
    ask("scancel", killed)
    assert wait(killed) == "CANCELLED", log()
    assert "gpu=1 was granted but" in log()
    assert not runs(project)
    assert wait(begin()) == "COMPLETED", log()
    assert project.outputs() == local.outputs()
    assert not list(project.processes())


def test_jobs_of_any_scheduler_give_the_bytes_of_one_machine(
    without_runs: Project, local: Project, tmp_path: Path
) -> None:
    project, killed, home = without_runs, min(RUNS), tmp_path / "scheduler"
    home.mkdir()
    forget_logs(project)

    def run(**variables: str) -> Outcome:
        return with_plugins(
            project, "snakemake", "runs", "--profile", "profiles/generic", *NO_GPU,
            "--seconds-between-status-checks", "1", "--latency-wait", "1",
            PATH=str(SCHEDULER), SCHEDULER_HOME=str(home), **variables,
        )  # fmt: skip

    def told() -> str:
        return "".join(path.read_text() for path in home.glob("*.log"))

    # A node that has other sources.
    source = project.root / "src/osad/methods/mean_intensity.py"
    before = source.read_bytes()
    run(SCHEDULER_EDITS=str(source)).refused("Error in rule run")
    assert "this node differs from the head node that planned the job: src is" in told()
    assert "Traceback" not in told()
    assert not runs(project)
    assert log_of(project, killed).read_text() == ""
    forget_logs(project)
    source.write_bytes(before)

    def end() -> None:
        job = (home / "submitted").read_text().splitlines()
        (number,) = (n for n, line in enumerate(job, 1) if n > len(RUNS) and killed in line)
        subprocess.run(
            [SCHEDULER / "qdel", f"{number}.pbs"], env=os.environ | {"SCHEDULER_HOME": str(home)}
        )

    disturbed(run, log_of(project, killed).exists, end).refused("Error in rule run")
    assert runs(project) == RUNS - {killed}
    run().check()
    assert "select=1:ncpus=1:mem=2000mb -l walltime=14400" in (home / "submitted").read_text()
    written = {path for path in local.outputs() if path.split("/")[1] in MADE_OF_RUNS[:3]}
    assert written
    assert {path: project.outputs()[path] for path in written} == {
        path: local.outputs()[path] for path in written
    }


def test_jobs_of_kubernetes_are_what_its_interface_takes(fresh: Project, tmp_path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    profile = yaml.safe_load((ROOT / "profiles/kubernetes/config.yaml").read_text())
    # The plan alone: no store is asked.
    assert profile.pop("default-storage-provider") == "s3"
    assert profile.pop("shared-fs-usage") == "none"
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(profile))
    fresh.write_params(params(**SMALL, methods=["patchcore"]))
    told = tmp_path / "manifests.json"
    command = (sys.executable, str(Path(__file__).parent / "kubernetes_jobs.py"))
    options = ("--profile", str(tmp_path / "profile"), "--container-image", "registry/osad:1")
    with_plugins(fresh, *command, *options, MANIFESTS=str(told)).check()
    made = json.loads(told.read_text())
    rules, _ = fresh.dry_run()
    assert len(made["jobs"]) == sum(rules.values()) - sum(rules[name] for name in HEAD_RULES)
    asked: dict[str, set[tuple[str, ...]]] = {}
    for job in made["jobs"]:
        validate.validate(job | {"apiVersion": "batch/v1", "kind": "Job"}, "1.30", strict=True)
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        (rule,) = re.findall(r"--allowed-rules (\w+)", container["args"][1])
        needs = container["resources"]
        # A GPU is granted only where both are the same.
        gpus = [needs[kind].get("nvidia.com/gpu", "0") for kind in ("requests", "limits")]
        assert container["image"] == "registry/osad:1"
        assert bool(pod.get("tolerations")) == (gpus != ["0", "0"])
        assert [variable["name"] for variable in container["env"]] == ["OSAD_HEAD"]
        asked.setdefault(rule, set()).add((needs["limits"]["memory"], *gpus))
    assert not HEAD_RULES & asked.keys()
    assert asked["run"] == {("2000M", "1", "1")}
    assert asked["pack"] == {("4000M", "1", "1")}
    assert asked["metrics"] == asked["split"] == {("1000M", "0", "0")}
    assert [*made["secrets"][0]["data"]] == ["osad_head"]
