"""A server on this machine that breaks off, stalls, fails, and changes its file."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Script:
    """What the server does; it notes what was asked.

    Attributes:
        content: the file.
        etag: its version, empty for none.
        faults: one for each request, then none: ``cut N``, ``stall N``, ``status N``, ``change``;
            or a lie: ``short N`` and ``long N`` tell a length N bytes off, ``shift N`` gives
            bytes from N further on, ``range N`` says that it does.
        ranges: whether parts of the file are given.
        length: whether the length is told.
        location: where the first request is sent on.
        asked: the Range header of each request.
        paths: of the requests.
    """

    content: bytes
    etag: str = '"v1"'
    kind: str = "application/zip"
    faults: list[str] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    location: str = ""
    asked: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        script = self.server.script
        wanted = self.headers.get("Range", "")
        script.asked.append(wanted)
        script.paths.append(self.path)
        fault, _, number = (script.faults.pop(0) if script.faults else "").partition(" ")
        if fault == "change":
            script.content, script.etag = script.content[::-1], '"v2"'
        location, script.location = script.location, ""
        if fault == "status" or location:
            self.send_response(int(number or 302))
            self.send_header("Location", location)
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
            told = start + (int(number) if fault == "range" else 0)
            self.send_header("Content-Range", f"bytes {told}-{total - 1}/{total}")
        if script.length:
            off = {"short": -1, "long": 1}.get(fault, 0) * int(number or 0)
            self.send_header("Content-Length", str(max(0, total - start + off)))
        self.end_headers()
        body = script.content[start:]
        if fault == "shift":
            body = body[int(number) :] + body[: int(number)]
        self.wfile.write(body[: int(number)] if fault in ("cut", "stall") else body)
        if fault == "stall":
            self.wfile.flush()
            self.server.over.wait(5)


class Server(http.server.ThreadingHTTPServer):
    script: Script
    over: threading.Event
    url: str

    def handle_error(self, *_: object) -> None:
        """The client has gone; that is part of some tests."""


@contextmanager
def scripted(script: Script) -> Iterator[Server]:
    """Run a server on a free port of this machine; ``server.script`` says what it does."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.script, server.over = script, threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/x.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
