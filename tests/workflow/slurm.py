"""A real Slurm on loopback, of one node and one GPU that is none: scheduling is real."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SEARCH = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
FOUND = {name: shutil.which(name, path=SEARCH) for name in (*DAEMONS, "sbatch", "srun")}
MISSING = [name for name, path in FOUND.items() if path is None]
PACKAGES = "slurmctld slurmd slurm-client munge"
NODE = "node"
USER = getpass.getuser()
SETTINGS = r"""
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=2
KillWait=2
InactiveLimit=0
GresTypes=gpu
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={daemon} CPUs=8 \
  RealMemory=16000 Gres=gpu:1
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def ask(*command: str, environment: Mapping[str, str], folder: Path) -> str:
    """Return what a command says."""
    done = subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=30
    )
    return done.stdout


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster with its files in a folder; yield the variables by which commands find it.

    Jobs and daemons have gone when it ends.
    """
    (folder / "spool").mkdir()
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    ports = free_ports(2)
    host = socket.gethostname().partition(".")[0]
    text = SETTINGS.format(
        host=host, node=NODE, folder=folder, user=USER,
        controller=ports[0], daemon=ports[1],
    )  # fmt: skip
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(f"NodeName={NODE} Name=gpu File=/dev/null\n")
    # The plug-in takes Slurm's variables from job steps, and a real cluster has /etc/slurm.
    (folder / "bin").mkdir()
    step = folder / "bin/srun"
    step.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {FOUND["srun"]} "$@"\n')
    step.chmod(0o755)
    found = {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": os.pathsep.join([str(folder / "bin"), SEARCH]),
    }
    commands = {
        "munged": ["--foreground", "--force", f"--key-file={key}"]
        + [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        + [f"--socket={folder}/munge.socket"],
        "slurmctld": ["-D", "-c"],
        "slurmd": ["-D", "-c", "-N", NODE],
    }
    environment = os.environ | found
    told = functools.partial(ask, environment=environment, folder=folder)

    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, options in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [str(FOUND[name]), *options], env=environment, stdout=log, stderr=log
                    )
                )
            if name == "munged":
                wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        wait(lambda: told("sinfo", "-h", "-o", "%T").strip() == "idle", "slurmd", folder)
        yield found
    finally:
        if len(started) == len(commands):
            told("scancel", "--user", USER)
            with contextlib.suppress(AssertionError):
                wait(lambda: not told("squeue", "-h").strip(), "scancel", folder)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait(done: Callable[[], bool], what: str, folder: Path, seconds: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not done():
        logs = "".join(path.read_text() for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"{what} does not start\n{logs}"
        time.sleep(0.1)
