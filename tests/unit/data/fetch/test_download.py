"""Downloads from a local server that breaks off, stalls, fails, and changes its file."""

from __future__ import annotations

import errno
import hashlib
import http.server
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from osad.core.errors import CheckError, DataError
from osad.data.fetch import download as module
from osad.data.fetch.download import Patience, Unreachable, download

CONTENT = bytes(range(256)) * 4_000  # 1,024,000 bytes; many chunks of 65,536.
OTHER = CONTENT[::-1]
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, connect=5, read=0.4, pause=0.01)


@dataclass
class Script:
    """What the server does; it notes what was asked.

    Attributes:
        content: the file.
        etag: its version, empty for none.
        faults: one for each request, then none: ``cut N``, ``stall N``, ``status N``, ``change``.
        ranges: whether parts of the file are given.
        length: whether the length is told.
        asked: the Range header of each request.
    """

    content: bytes = CONTENT
    etag: str = '"v1"'
    kind: str = "application/zip"
    faults: list[str] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    location: str = ""
    asked: list[str] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        script: Script = self.server.script
        wanted = self.headers.get("Range", "")
        script.asked.append(wanted)
        fault, _, number = (script.faults.pop(0) if script.faults else "").partition(" ")
        if fault == "change":
            script.content, script.etag = OTHER, '"v2"'
        if fault == "status" or script.location:
            self.send_response(int(number or 302))
            self.send_header("Location", script.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, total = 0, len(script.content)
        condition = self.headers.get("If-Range", script.etag)
        if wanted and script.ranges and condition == script.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= total:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", script.kind)
        if script.etag:
            self.send_header("ETag", script.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if script.length:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        body = script.content[start:]
        self.wfile.write(body[: int(number)] if fault in ("cut", "stall") else body)
        if fault == "stall":
            self.wfile.flush()
            self.server.over.wait(5)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """The client has gone; that is part of some tests."""


@pytest.fixture
def server():
    """A server on a free port of this machine; ``server.script`` says what it does."""
    found = Server(("127.0.0.1", 0), Handler)
    found.script, found.over = Script(), threading.Event()
    found.url = f"http://127.0.0.1:{found.server_port}/x.zip"
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.over.set()
    found.shutdown()
    thread.join()
    found.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_right_and_leaves_nothing_else(server, tmp_path):
    target = tmp_path / "deep/x.zip"
    download(server.url, target, digest=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["x.zip"]
    assert server.script.asked == [""]


@pytest.mark.parametrize("digest", [SHA256, "", "md5:" + hashlib.md5(CONTENT).hexdigest()])
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_after_a_break_only_the_rest_is_asked_for(server, tmp_path, fault, digest, capsys):
    server.script.faults = [f"{fault} 393216", "cut 100"]
    download(server.url, tmp_path / "x.zip", digest=digest, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.script.asked == ["", "bytes=393216-", "bytes=393316-"]
    assert names(tmp_path) == ["x.zip"]
    assert "broke off after 393216" in capsys.readouterr().err


def test_without_ranges_the_whole_file_is_read_again(server, tmp_path):
    server.script = Script(ranges=False, faults=["cut 300000"])
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_without_version_and_digest_nothing_is_resumed(server, tmp_path):
    server.script = Script(etag="", faults=["cut 300000"])
    download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.script.asked == ["", ""]


def test_errors_of_the_server_are_waited_for(server, tmp_path):
    server.script.faults = ["status 500", "status 503"]
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("faults", "message", "requests"),
    [
        (["status 500"] * 3, "HTTP status 500", 3),
        (["status 404"], r"is not given \(HTTP status 404\)", 1),
        (["status 403"], "HTTP status 403", 1),
        (["stall 0"] * 3, "broke off after 0 bytes", 3),
        (["cut 0"] * 3, "broke off after 0 of 1024000 bytes|broke off after 0 bytes", 3),
    ],
)
def test_a_server_that_does_not_give_the_file(server, tmp_path, faults, message, requests):
    server.script.faults = faults
    with pytest.raises(Unreachable, match=message):
        download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert len(server.script.asked) == requests
    assert not (tmp_path / "x.zip").exists()


def test_progress_renews_the_patience(server, tmp_path):
    server.script.faults = ["cut 100000"] * 7
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert len(server.script.asked) == 8


def test_a_later_call_goes_on(server, tmp_path):
    server.script.faults = ["cut 100000", "status 404"]
    with pytest.raises(Unreachable):
        download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert names(tmp_path) == [".x.zip.part", ".x.zip.part.json"]
    download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert server.script.asked[-1] == "bytes=100000-"
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_a_file_that_changes_in_between_is_never_mixed(server, tmp_path):
    server.script.faults = ["cut 393216", "change"]
    download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == OTHER


def test_a_server_that_ignores_the_condition_is_found_out(server, tmp_path):
    """It answers with the rest of another version; its ETag shows that."""
    server.script.faults = ["cut 393216"]
    original = Handler.do_GET

    def careless(handler):
        if handler.headers.get("Range"):
            handler.server.script.content, handler.server.script.etag = OTHER, '"v2"'
            del handler.headers["If-Range"]
        original(handler)

    server.RequestHandlerClass = type("Careless", (Handler,), {"do_GET": careless})
    download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == OTHER


def test_a_foreign_part_is_thrown_away_when_the_digest_shows_it(server, tmp_path):
    """The version is as noted, but the bytes of the part are not."""
    server.script.faults = ["cut 1000", "status 404"]
    with pytest.raises(Unreachable):
        download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    (tmp_path / ".x.zip.part").write_bytes(b"\0" * 1000)
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.script.asked[-2:] == ["bytes=1000-", ""]


def test_a_complete_part_needs_no_request(server, tmp_path):
    server.script.faults = ["cut 1000", "status 404"]
    with pytest.raises(Unreachable):
        download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    (tmp_path / ".x.zip.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert len(server.script.asked) == 2
    assert names(tmp_path) == ["x.zip"]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    server.script.faults = ["cut 1000", "status 404"]
    with pytest.raises(Unreachable):
        download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    (tmp_path / ".x.zip.part").write_bytes(CONTENT + b"more")
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_a_wrong_digest_is_an_error_and_keeps_nothing(server, tmp_path):
    with pytest.raises(CheckError, match="has not the digest sha256:00"):
        download(server.url, tmp_path / "x.zip", digest="sha256:" + "0" * 64)
    assert names(tmp_path) == []
    assert server.script.asked == [""]


def test_a_wrong_size_is_an_error(server, tmp_path):
    with pytest.raises(CheckError, match="file of 1024000 bytes, expected 7"):
        download(server.url, tmp_path / "x.zip", size=7)
    assert names(tmp_path) == []


def test_a_web_page_is_not_the_file(server, tmp_path):
    server.script.kind = "text/html; charset=utf-8"
    with pytest.raises(Unreachable, match="a web page instead of the file"):
        download(server.url, tmp_path / "x.zip")


def test_a_file_of_unknown_end_needs_a_digest(server, tmp_path):
    server.script.length = False
    with pytest.raises(Unreachable, match="does not say how long the file is"):
        download(server.url, tmp_path / "x.zip")
    download(server.url, tmp_path / "x.zip", digest=SHA256)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_only_http(server, tmp_path):
    with pytest.raises(DataError, match="only addresses of http and https"):
        download("file:///etc/hostname", tmp_path / "x.zip")
    server.script.location = "file:///etc/hostname"
    with pytest.raises(DataError, match="leads to an address that is not http or https"):
        download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert names(tmp_path) == []


def test_no_network(tmp_path):
    with pytest.raises(Unreachable, match=r"cannot be downloaded \(no connection\)"):
        download("http://127.0.0.1:9/x.zip", tmp_path / "x.zip", patience=QUICK)


def test_a_full_disk_keeps_the_part_and_says_so(server, tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module._Transfer, "_report", full)
        with pytest.raises(DataError, match=r"x\.zip: the disk is full; free space"):
            download(server.url, tmp_path / "x.zip", digest=SHA256)
    assert not (tmp_path / "x.zip").exists()
    assert (tmp_path / ".x.zip.part").stat().st_size > 0
    download(server.url, tmp_path / "x.zip", digest=SHA256)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.script.asked[-1].startswith("bytes=")


def test_a_stopped_download_ends_soon(server, tmp_path):
    stop = threading.Event()
    stop.set()
    server.script.faults = ["status 500"]
    start = time.monotonic()
    with pytest.raises(module.Stopped):
        download(server.url, tmp_path / "x.zip", stop=stop)
    assert time.monotonic() - start < 5
