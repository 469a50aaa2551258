"""Clones that pull their data from real servers: SSH, HTTP and S3; test_clone.py has a folder."""

from __future__ import annotations

import functools
import getpass
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import s3
from projects import Outcome, Project

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]
SSHD = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
KEYGEN = shutil.which("ssh-keygen")


@dataclass(frozen=True)
class Remote:
    """Where data is.

    Attributes:
        pull: address that it is pulled from.
        push: address that it is pushed to.
        settings: what a user says of it on one machine, in ``.dvc/config.local``.
        account: the user's environment.
    """

    pull: str
    push: str
    settings: str = ""
    account: dict[str, str] = field(default_factory=dict)

    def use(self, project: Project, url: str) -> None:
        text = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n"
        (project.root / ".dvc/config.local").write_text(text + self.settings, encoding="utf-8")

    def run(self, project: Project, *command: str) -> Outcome:
        return project.run(*command, PYTHONPATH=s3.search_path(project), **self.account).check()


@pytest.fixture
def s3_remote(tmp_path: Path) -> Iterator[Remote]:
    """A bucket of a server that speaks S3."""
    with s3.serving(tmp_path / "log") as account:
        script = "import boto3; boto3.client('s3').create_bucket(Bucket='bucket')"
        environment = os.environ | account | {"PYTHONPATH": str(s3.PACKAGES)}
        subprocess.run([sys.executable, "-c", script], check=True, env=environment)
        yield Remote("s3://bucket/store", "s3://bucket/store", account=account)


@pytest.fixture
def http_remote(tmp_path: Path) -> Iterator[Remote]:
    """A folder that an HTTP server gives to read; who fills it has it on a disk."""
    store = str(tmp_path / "store")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=store)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Remote(f"http://127.0.0.1:{server.server_port}", store)
        server.shutdown()
        thread.join()


@pytest.fixture
def ssh_remote(tmp_path: Path) -> Iterator[Remote]:
    """An SSH server with one key that may log in."""
    if SSHD is None or KEYGEN is None:
        pytest.skip("needs OpenSSH: apt-get install openssh-server")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            [KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    port = s3.free_port()
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
            # The tests' user name is not that of the account that the server logs in.
            url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path / 'store'}"
            yield Remote(url, url, f"    keyfile = {folder / 'user'}\n")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def saved(
    plain_run: tuple[Project, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A finished project, saved and committed."""
    project = plain_run[0].copy(tmp_path_factory.mktemp("saved") / "project")
    project.run("git", "init", "--quiet").check()
    project.run(sys.executable, "-m", "osad.cli", "audit", "save").check()
    project.commit("A run")
    yield project
    shutil.rmtree(project.root.parent)


@pytest.mark.parametrize("kind", ["ssh", "http", "s3"])
def test_pull_then_nothing_to_do_and_all_verified(
    kind: str, saved: Project, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    remote: Remote = request.getfixturevalue(f"{kind}_remote")
    remote.use(saved, remote.push)
    remote.run(saved, "dvc", "push")
    clone = Project(tmp_path / "clone")
    saved.run("git", "clone", "--quiet", str(saved.root), str(clone.root)).check()
    remote.use(clone, remote.pull)
    remote.run(clone, "dvc", "pull")
    assert "Nothing to be done" in remote.run(clone, "snakemake", "--dry-run").output
    assert "up to date" in remote.run(clone, "dvc", "status").output
    verify = (sys.executable, "-m", "osad.cli", "audit", "verify", "--all")
    assert remote.run(clone, *verify).output.startswith("verified everything in the ledger")
    assert clone.outputs() == saved.outputs()
    # What lets a user in stays in the user's environment.
    assert s3.holding(clone.root) == s3.holding(saved.root) == []
