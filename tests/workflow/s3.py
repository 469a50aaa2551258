"""A server on loopback that speaks S3, and what talks to it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import ROOT, Project

PACKAGES = ROOT / "build/s3"
SECRET = "-".join(("a", "secret", "that", "is", "in", "no", "file"))  # Not in this one, either.


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(log: Path) -> Iterator[dict[str, str]]:
    """Run the server; give the environment of a user who has an account there."""
    if importlib.util.find_spec("moto") is None or not (PACKAGES / "dvc_s3").is_dir():
        pytest.skip("needs moto and the packages of s3.lock in build/s3: make test-long")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stdout=stream, stderr=stream) as process,
    ):
        try:
            deadline = time.monotonic() + 30
            while b"Running on" not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.05)
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            process.terminate()


def search_path(project: Project, *further: Path) -> str:
    """Return where Python finds a project's package and the clients of S3."""
    return os.pathsep.join(map(str, (project.root / "src", PACKAGES, *further)))


def holding(folder: Path, secret: str = SECRET) -> list[Path]:
    """Return the files below a folder that hold a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]
