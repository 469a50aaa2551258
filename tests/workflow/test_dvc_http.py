"""`dvc pull` over HTTP from a server that breaks off: whole files or none, and the rest later."""

from __future__ import annotations

import functools
import hashlib
import http.server
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import stored
from projects import Project

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]
CHANCE = random.Random(3)


class Breaking(http.server.SimpleHTTPRequestHandler):
    """Gives the files of a folder; while it is faulty each breaks off anywhere."""

    faulty = True

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        outputfile.write(content[: CHANCE.randrange(len(content))] if self.faulty else content)
        self.close_connection = True


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(Breaking, directory=str(tmp_path / "store"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_breaks_off_is_no_file_and_the_next_pull_gets_it(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, clone = Project(tmp_path / "project"), Project(tmp_path / "clone")
    files = {f"data/{number}.bin": random.Random(number).randbytes(200_000) for number in range(4)}
    for name, content in files.items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_bytes(content)
    for words in (
        "git init --quiet", "dvc init --quiet", "dvc add --quiet data",
        f"dvc remote add --default store {tmp_path}/store", "dvc push --quiet",
        f"dvc remote modify store url {address}",
    ):  # fmt: skip
        project.run(*words.split()).check()
    project.commit("Data")
    project.run("git", "clone", "--quiet", str(project.root), str(clone.root)).check()

    broken = clone.run("dvc", "pull")
    assert broken.code != 0
    assert "ERROR" in broken.output
    assert "Traceback" not in broken.output
    # Nothing that came in part has the name of a file.
    cache = stored(clone.root / ".dvc/cache")
    assert all(digest == name for name, digest in cache.items())
    there = {f"data/{path.name}": path.read_bytes() for path in clone.root.glob("data/*.bin")}
    assert there.items() <= files.items()

    monkeypatch.setattr(Breaking, "faulty", False)
    again = [clone.run("dvc", "pull").code for _ in range(2)]  # The first may say what is missing.
    assert again[-1] == 0
    for name, content in files.items():
        assert hashlib.sha256((clone.root / name).read_bytes()).digest() == (
            hashlib.sha256(content).digest()
        )
