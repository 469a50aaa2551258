"""A clone that pulls its data from a real SSH server."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import SMALL, Project, params

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SSHD = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
KEYGEN = shutil.which("ssh-keygen")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """An SSH server on loopback with one key that may log in; gives its port and that key."""
    if SSHD is None or KEYGEN is None:
        pytest.skip("needs OpenSSH: apt-get install openssh-server")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            [KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    port = free_port()
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PasswordAuthentication": "no",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start without it.
    log = folder / "log"
    with subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)]) as process:
        try:
            deadline = time.monotonic() + 20
            while "Server listening" not in (log.read_text() if log.exists() else ""):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "sshd does not start"
                time.sleep(0.05)
            yield port, folder / "user"
        finally:
            process.terminate()


def test_pull_over_ssh_then_nothing_to_do(
    server: tuple[int, Path], plain_run: tuple[Project, object], tmp_path: Path
) -> None:
    port, key = server
    project = plain_run[0].copy(tmp_path / "project")
    project.write_params(params(**SMALL, methods=["mean_intensity", "mahalanobis_lda"]))
    project.snakemake(cores=2).check()
    store = tmp_path / "store"
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{store}"

    def use_key(where: Project) -> None:
        where.run("dvc", "remote", "modify", "--local", "store", "keyfile", str(key)).check()

    project.run("git", "init", "--quiet").check()
    project.run("dvc", "remote", "add", "--default", "store", url).check()
    use_key(project)
    # The tests' user name is not that of the account that the server logs in.
    project.run(sys.executable, "-m", "osad.cli", "audit", "save").check()
    project.commit("A run")
    project.run("dvc", "push").check()
    assert any(store.rglob("*.dir"))

    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "--quiet", str(project.root), str(clone.root)).check()
    use_key(clone)
    clone.run("dvc", "pull").check()
    assert "Nothing to be done" in clone.run("snakemake", "--dry-run").check().output
    assert "up to date" in clone.run("dvc", "status").check().output
    assert clone.outputs() == project.outputs()
