"""Jobs that tests start, with and without a fork server."""
# mypy: allow-untyped-defs, allow-untyped-calls

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import osad
from osad.runtime import snakemake_records
from osad.runtime.control import start_server

JOB = [sys.executable, "-m", "osad.runtime.job"]
QUICK = ["doctor", "--quick", "--output"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux offers this")


@pytest.fixture(scope="module", autouse=True)
def _allowed():
    """Let the server start on every system and ignore one that the caller may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSAD_FORK_SERVER", "1")
        patch.delenv("OSAD_SERVER", raising=False)
        yield


@pytest.fixture(scope="module")
def bare_server(_allowed):
    """A server that preloads nothing, so that it starts at once."""
    server = start_server(())
    assert server is not None
    yield server
    server.stop()


@pytest.fixture(params=["plain", "server"])
def address(request, bare_server):
    """Both ways to run a job: None for a plain process, or the server's address."""
    return bare_server.address if request.param == "server" else None


def job_environment(address=None, **extra):
    environment = {**os.environ, **extra}
    environment.pop("OSAD_SERVER", None)
    return environment if address is None else environment | {"OSAD_SERVER": address}


def run_job(*arguments, address=None, cwd=None, **extra):
    return subprocess.run(
        [*JOB, *map(str, arguments)], env=job_environment(address, **extra), cwd=cwd,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


class Waiting:
    """A job that has started and waits: the client's process and the job's process id."""

    def __init__(self, folder, *arguments, address=None):
        self.client = subprocess.Popen(
            [*JOB, *QUICK, str(folder / "out.json"), "--sleep", "60", *map(str, arguments)],
            env=job_environment(address), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
            # Under `&` or nohup the tests inherit that Control-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert self.client.stdout is not None
        self.line = self.client.stdout.readline()
        assert self.line.startswith("osad doctor: process "), self.line
        self.job = int(self.line.split()[3])

    def finish(self):
        """Return the exit status and what was said after the first line."""
        output, _ = self.client.communicate(timeout=30)
        return self.client.returncode, output


def running(process):
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return sys.platform != "linux"


def ends(process, seconds=10.0):
    deadline = time.monotonic() + seconds
    while running(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(process)


def copy_of_package(folder):
    """Copy the package below a folder and return the copy's ``__init__.py``."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(osad.__file__).parent, folder / "osad", ignore=ignored)
    return folder / "osad/__init__.py"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty project; a process never changes its project else.

    Of the files of tests that import it.
    """
    monkeypatch.chdir(tmp_path)
    snakemake_records._open.cache_clear()
    yield tmp_path
    snakemake_records._open.cache_clear()
