"""Start and stop the fork server, for whoever runs many jobs (the Snakefile, a test)."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from osad.core.errors import ConfigError
from osad.runtime.environment import computing_environment

SWITCH = "OSAD_FORK_SERVER"
"""Environment variable: 0 disables the server, 1 allows it on systems other than Linux."""
MAXIMUM_ADDRESS = 100
"""Longest path of a socket, in bytes; macOS allows 103."""
STOP_SECONDS = 15.0


@dataclass
class Server:
    """A fork server that was started.

    Attributes:
        address: path of its socket, the value for OSAD_SERVER.
        process: its process.
        log: what it wrote; an unnamed file.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def stop(self) -> None:
        """End the server and its jobs; safe to call again."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self.log.closed:
            if self.process.returncode != 0:
                _warn(f"ended with status {self.process.returncode}", self.log)
            self.log.close()
        shutil.rmtree(os.path.dirname(self.address), ignore_errors=True)


def use_interpreter() -> None:
    """Have ``python`` in the commands of jobs be the interpreter of this process, activated or not.

    Raises:
        ConfigError: there is no ``python`` beside it.
    """
    folder = os.path.dirname(sys.executable)
    if shutil.which("python", path=folder) is None:
        raise ConfigError(
            f"{folder}: has no `python`, which jobs are run with; `make setup`, then "
            "`source .venv/bin/activate`"
        )
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])


def start_server(
    modules: Sequence[str] | None = None, *, timeout: float = 60.0, keep: Sequence[int] = ()
) -> Server | None:
    """Start a fork server that ends with this process.

    The server listens before it imports, so this returns at once and the first jobs wait in
    its queue. Set ``os.environ["OSAD_SERVER"]`` to the address for `osad.runtime.job` to use it.

    Args:
        modules: what the server imports beforehand; None for what training needs.
        timeout: how long the server may take to listen, in seconds.
        keep: file descriptors that the server and its jobs hold as long as they live.

    Returns:
        The server, or None if it is switched off (OSAD_FORK_SERVER=0, or a system where forking
        after imports is unsafe) or cannot start: jobs are then plain processes.
    """
    allowed = os.environ.get(SWITCH, "1" if sys.platform == "linux" else "0") != "0"
    address = _address() if allowed else None
    if address is None:
        return None
    command = [sys.executable, "-m", "osad.runtime.server"]
    command += ["--socket", address, "--owner", str(os.getpid())]
    if modules is not None:
        command += ["--preload", *modules]
    log = tempfile.TemporaryFile()  # noqa: SIM115 - the server's, as long as it lives.
    try:
        process = subprocess.Popen(
            command,
            env=computing_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=keep,
            # Control-C in the terminal must end the jobs first; the server ends with its owner.
            start_new_session=True,
        )
    except OSError as error:
        print(f"osad: no fork server ({error}); jobs start one by one", file=sys.stderr)
        log.close()
        shutil.rmtree(os.path.dirname(address), ignore_errors=True)
        return None
    server = Server(address, process, log)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(address):
            return server
        time.sleep(0.01)
    process.kill()
    server.stop()
    return None


def _address() -> str | None:
    """Return the path for a socket in a new private folder, short enough for a socket."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - a folder is made in it.
        with contextlib.suppress(OSError):
            folder = tempfile.mkdtemp(prefix=f"osad-{os.getuid()}-", dir=parent)  # mode 0700
            address = os.path.join(folder, "server")
            if len(os.fsencode(address)) < MAXIMUM_ADDRESS:
                return address
            os.rmdir(folder)
    return None


def _answers(address: str) -> bool:
    """Tell whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(address) == 0


def _warn(problem: str, log: IO[bytes]) -> None:
    """Print one line on what happened to the server, with the last line that it wrote."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    last = f" ({lines[-1]})" if lines else ""
    print(f"osad: the fork server {problem}{last}; jobs start one by one", file=sys.stderr)
