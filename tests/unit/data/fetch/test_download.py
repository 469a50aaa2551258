"""Downloads from a local server that breaks off, stalls, fails, and changes its file."""

import errno
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from download_cases import Handler, Script, scripted
from fuzz_cases import tried

from osad.core.errors import CheckError, DataError
from osad.data.fetch import download as module
from osad.data.fetch.download import Patience, Unreachable, download

CONTENT = bytes(range(256)) * 4_000  # 1,024,000 bytes; many chunks of 65,536.
OTHER = CONTENT[::-1]
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
QUICK = Patience(attempts=3, connect=5, read=0.4, pause=0.01)


@pytest.fixture
def server():
    with scripted(Script(CONTENT)) as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_right_and_leaves_nothing_else(server, tmp_path):
    target = tmp_path / "deep/x.zip"
    download(server.url, target, digest=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["x.zip"]
    assert server.script.asked == [""]


@pytest.mark.parametrize("digest", [SHA256, "", f"md5:{MD5}"])
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_after_a_break_only_the_rest_is_asked_for(server, tmp_path, fault, digest, capsys):
    server.script.faults = [f"{fault} 393216", "cut 100"]
    download(server.url, tmp_path / "x.zip", digest=digest, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert server.script.asked == ["", "bytes=393216-", "bytes=393316-"]
    assert names(tmp_path) == ["x.zip"]
    assert "broke off after 393216" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "options", "asked"),
    [
        ({"ranges": False, "faults": ["cut 300000"]}, {"digest": SHA256}, 2),
        ({"etag": "", "faults": ["cut 300000"]}, {}, 2),  # Nothing shows the version.
        ({"faults": ["status 500", "status 503"]}, {"digest": SHA256}, 3),
        ({"faults": ["cut 100000"] * 7}, {"digest": SHA256}, 8),  # Progress renews the patience.
    ],
    ids=["no ranges", "no version", "errors of the server", "many breaks"],
)
def test_what_a_download_survives(server, tmp_path, script, options, asked):
    server.script = Script(CONTENT, **script)
    download(server.url, tmp_path / "x.zip", **options, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert len(server.script.asked) == asked
    assert server.script.etag or server.script.asked == ["", ""]


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


@pytest.mark.parametrize("careless", [False, True])
def test_a_file_that_changes_in_between_is_never_mixed(server, tmp_path, careless):
    """A careless server answers with the rest of another version; its ETag shows that."""
    server.script.faults = ["cut 393216", *([] if careless else ["change"])]

    def answer(handler):
        if handler.headers.get("Range"):
            handler.server.script.content, handler.server.script.etag = OTHER, '"v2"'
            del handler.headers["If-Range"]
        Handler.do_GET(handler)

    if careless:
        server.RequestHandlerClass = type("Careless", (Handler,), {"do_GET": answer})
    download(server.url, tmp_path / "x.zip", patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == OTHER


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (b"\0" * 1000, ["bytes=1000-", ""]),  # Foreign, as the digest shows.
        (CONTENT, []),  # Complete.
        (CONTENT + b"more", None),  # Longer than the file.
    ],
    ids=["foreign", "complete", "longer"],
)
def test_what_is_left_of_a_part(server, tmp_path, part, asked):
    """The version is as noted, but the bytes of the part are others."""
    server.script.faults = ["cut 1000", "status 404"]
    with pytest.raises(Unreachable):
        download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    (tmp_path / ".x.zip.part").write_bytes(part)
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    assert names(tmp_path) == ["x.zip"]
    assert asked is None or server.script.asked[2:] == asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digest": "sha256:" + "0" * 64}, "has not the digest sha256:00"),
        ({"size": 7}, "file of 1024000 bytes, expected 7"),
    ],
)
def test_another_file_is_an_error_and_keeps_nothing(server, tmp_path, options, message):
    with pytest.raises(CheckError, match=message):
        download(server.url, tmp_path / "x.zip", **options)
    assert names(tmp_path) == []
    assert server.script.asked == [""]


def test_a_web_page_is_refused_and_a_file_of_unknown_end_needs_a_digest(server, tmp_path):
    server.script.kind = "text/html; charset=utf-8"
    with pytest.raises(Unreachable, match="a web page instead of the file"):
        download(server.url, tmp_path / "x.zip")
    server.script = Script(CONTENT, length=False)
    with pytest.raises(Unreachable, match="does not say how long the file is"):
        download(server.url, tmp_path / "x.zip")
    download(server.url, tmp_path / "x.zip", digest=SHA256)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_lengths_and_notes_that_are_no_numbers_are_not_believed(server, tmp_path):
    (tmp_path / ".x.zip.part").write_bytes(b"part")
    (tmp_path / ".x.zip.part.json").write_text('{"url": 5, "etag": [], "length": "9"}')
    download(server.url, tmp_path / "x.zip", digest=SHA256, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == CONTENT
    answer: Any = type(
        "Answer", (), {"status_code": 200, "headers": {"Content-Length": "9" * 5000}}
    )
    assert module._version_of(answer, "x")["length"] is None


def test_only_http_with_a_connection(server, tmp_path):
    with pytest.raises(DataError, match="only addresses of http and https"):
        download("file:///etc/hostname", tmp_path / "x.zip")
    server.script.location = "file:///etc/hostname"
    with pytest.raises(DataError, match="leads to an address that is not http or https"):
        download(server.url, tmp_path / "x.zip", patience=QUICK)
    with pytest.raises(Unreachable, match=r"cannot be downloaded \(no connection\)"):
        download("http://127.0.0.1:9/x.zip", tmp_path / "x.zip", patience=QUICK)
    assert names(tmp_path) == []


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


@pytest.mark.fuzz
@pytest.mark.parametrize("honest", [True, False])
def test_whatever_a_server_does_no_part_is_taken_for_the_file(server, tmp_path, honest):
    """Honest servers break off; others lie about what they send, which only a digest shows."""
    content, target = CONTENT[:5000], tmp_path / "x.zip"
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    faults = ["cut", "status 500", "status 404", "change"]
    lies = [] if honest else ["short", "long", "shift", "range"]
    patience = Patience(attempts=2, connect=5, read=5, pause=0)

    def one(draw):
        words = draw.choices([*faults, *lies, ""], k=draw.randint(0, 6))
        listed = [word if " " in word else f"{word} {draw.randrange(6000)}" for word in words]
        options: dict[str, Any] = {"digest": digest} if not honest or draw.randrange(2) else {}
        about = {"ranges": draw.randrange(5) > 0, "length": draw.randrange(5) > 0 or not honest}
        server.script = Script(content, faults=listed, etag=draw.choice(['"v1"', ""]), **about)
        target.unlink(missing_ok=True)
        try:
            download(server.url, target, **options, patience=patience)
        finally:
            # Without a digest a file that its server changes is of one version.
            known = [content] if options else [content, content[::-1]]
            assert not target.exists() or target.read_bytes() in known
            left = names(tmp_path)
            assert left in ([], ["x.zip"], [".x.zip.part", ".x.zip.part.json"]), left
            server.script = Script(content)  # The same again.
            download(server.url, target, **options, patience=patience)
            assert target.read_bytes() in known
            assert names(tmp_path) == ["x.zip"]

    messages, accepted = tried(60, one)
    assert len(messages) > 10
    assert accepted > 10
    assert all(message.startswith(server.url) for message in messages)
