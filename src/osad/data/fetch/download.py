"""Downloading large files: resumed after a break, checked, and in place only when complete.

`pooch` checks the digest and puts the file in place; the transfer is done here, since pooch starts
anew after every break. What has arrived is kept beside the target as ``.{name}.part`` with a note
of which version of the file it belongs to.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from osad.core.errors import CheckError, DataError
from osad.core.files import read_json, write_json

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 16
"""Bytes that are waited for at once; fewer are lost when a transfer stalls."""

REPORT_SECONDS = 10.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the server may give the file later."""


class Unreachable(DataError):
    """The file could not be had from its address: no network, or the server does not give it."""


class Stopped(Unreachable):
    """The download was told to stop."""


@dataclass(frozen=True)
class Patience:
    """How long a download waits for a server.

    Attributes:
        attempts: tries without any progress before giving up.
        connect: seconds for a connection.
        read: seconds without a byte after which a transfer counts as stalled.
        pause: seconds before the second try, twice as long before each further one.
        longest: largest pause, seconds.
    """

    attempts: int = 5
    connect: float = 20.0
    read: float = 60.0
    pause: float = 1.0
    longest: float = 60.0

    def before(self, failures: int) -> float:
        """Return the pause after so many failures, seconds."""
        return float(min(self.longest, self.pause * 2 ** (failures - 1)))


def download(
    url: str,
    target: Path,
    *,
    digest: str = "",
    size: int | None = None,
    patience: Patience | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Download a file; a part that an earlier call left is continued.

    Proxies are those of the environment. Progress goes to standard error as lines.

    Args:
        url: an address of http or https.
        target: the file; appears complete and checked, or not at all.
        digest: ``sha256:HEX`` or ``md5:HEX``; empty when it is not known.
        size: bytes, None when not known.
        patience: how long to wait for the server.
        stop: ends the transfer soon after it is set; the part is kept.

    Raises:
        Unreachable: the server cannot be reached or does not give the file.
        CheckError: what it gave has another size or digest.
        DataError: the address is not usable or the file cannot be written.
    """
    import pooch

    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url}: only addresses of http and https are downloaded")
    transfer = _Transfer(
        url, target, digest, size, patience or Patience(), stop or threading.Event()
    )
    pooch.get_logger().setLevel(logging.WARNING)
    for last in (False, True):
        try:
            pooch.retrieve(
                url, digest or None, target.name, target.parent, downloader=transfer.to_file
            )
            return
        except ValueError as error:
            # The part of an interrupted download may have been of another version of the file.
            if last or not transfer.resumed:
                raise CheckError(
                    f"{url}: the file has not the digest {digest}; nothing was kept. Try again; "
                    "if that repeats, its authors have changed the file"
                ) from error
        except OSError as error:
            raise transfer.disk_error(error) from error


@dataclass
class _Transfer:
    """One file on its way.

    Attributes:
        url: its address.
        target: where it will be.
        digest: its digest, empty when not known.
        size: its bytes, None when not known.
        patience: how long to wait.
        stop: ends the transfer.
        resumed: whether the bytes came in more than one answer.
    """

    url: str
    target: Path
    digest: str
    size: int | None
    patience: Patience
    stop: threading.Event
    resumed: bool = False

    def __post_init__(self) -> None:
        self.part = self.target.with_name(f".{self.target.name}.part")
        self.note = self.target.with_name(f".{self.target.name}.part.json")
        self.reported = time.monotonic()

    def to_file(self, url: str, output: str, pooch: object) -> None:
        """Put the complete file at ``output`` (called by pooch, which then checks the digest)."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.resumed = False
        failures, most = 0, self._have()
        while True:
            try:
                self._attempt()
                break
            except _Again as problem:
                failures = 1 if self._have() > most else failures + 1
                most = max(most, self._have())
                if failures >= self.patience.attempts:
                    raise Unreachable(f"{self.url}: cannot be downloaded ({problem})") from problem
                pause = max(self.patience.before(failures), problem.wait)
                print(f"{self.target.name}: {problem}; trying again", file=sys.stderr, flush=True)
                if self.stop.wait(min(pause, self.patience.longest)):
                    raise Stopped(f"{self.url}: the download was stopped") from problem
        self.part.replace(output)
        self.note.unlink(missing_ok=True)

    def disk_error(self, error: OSError) -> DataError:
        """Return the message for an error of the disk."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DataError(
                f"{self.target}: the disk is full; free space and run the same command again, the "
                "download goes on where it stopped"
            )
        return DataError(
            f"{self.target}: cannot be written ({error.strerror or error}); check the rights of "
            f"{self.target.parent}"
        )

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _version(self) -> dict[str, Any]:
        """Return what is known of the version of the file that the part belongs to."""
        try:
            note = read_json(self.note)
        except DataError:
            return {}
        return note if isinstance(note, dict) and note.get("url") == self.url else {}

    def _attempt(self) -> None:
        """Ask for the file, or the rest of it, and write what comes.

        Raises:
            _Again: it broke off, and another try may succeed.
        """
        import requests

        version, have = self._version(), self._have()
        condition = version.get("etag") or version.get("modified") or ""
        if not condition and not self.digest:
            have = 0  # Nothing would show that the rest is of the same version.
        if have and have == version.get("length"):
            self.resumed = True
            return
        headers = {"Accept-Encoding": "identity"}
        if have and version:
            headers["Range"] = f"bytes={have}-"
            if condition:
                headers["If-Range"] = condition
        timeout = (self.patience.connect, self.patience.read)
        try:
            with requests.get(self.url, headers=headers, timeout=timeout, stream=True) as answer:
                self._receive(answer, version, have)
        except requests.exceptions.InvalidSchema as error:
            raise DataError(f"{self.url}: leads to an address that is not http or https") from error
        except requests.exceptions.Timeout as error:
            raise _Again("the server does not answer") from error
        except requests.RequestException as error:
            raise _Again(_reason(error)) from error

    def _receive(self, answer: requests.Response, version: dict[str, Any], have: int) -> None:
        """Write the body of an answer behind the part or, if it is the whole file, anew."""
        if urlsplit(self.url).scheme == "https" and urlsplit(answer.url).scheme != "https":
            raise Unreachable(f"{self.url}: leads to an address without encryption")
        if answer.status_code == 416:
            self._forget()
            raise _Again("the server has another version of the file")
        if answer.status_code in RETRIED:
            wait = answer.headers.get("Retry-After", "")
            raise _Again(
                f"HTTP status {answer.status_code}", wait=float(wait) if wait.isdecimal() else 0.0
            )
        if answer.status_code not in (200, 206):
            raise Unreachable(f"{self.url}: is not given (HTTP status {answer.status_code})")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise Unreachable(f"{self.url}: gives a web page instead of the file")
        found = _version_of(answer, self.url)
        if answer.status_code == 206:
            same = all(found[key] == version.get(key) for key in ("etag", "modified", "length"))
            if not same or _start(answer) != have:
                self._forget()
                raise _Again("the server has another version of the file")
        length = found["length"]
        if self.size is not None and length not in (None, self.size):
            self._forget()
            raise CheckError(
                f"{self.url}: the server has a file of {length} bytes, expected {self.size}; its "
                "authors have changed it"
            )
        if length is None and self.size is None and not self.digest:
            if answer.headers.get("Transfer-Encoding", "").lower() != "chunked":
                raise Unreachable(f"{self.url}: the server does not say how long the file is")
        if answer.status_code == 200:
            have = 0
            write_json(self.note, found)
        else:
            self.resumed = True
        self._write(answer, have, length or self.size)

    def _write(self, answer: requests.Response, have: int, length: int | None) -> None:
        from urllib3.exceptions import HTTPError

        with self.part.open("ab" if have else "wb") as output:
            try:
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    output.write(chunk)
                    have += len(chunk)
                    self._report(have, length)
                    if self.stop.is_set():
                        raise Stopped(f"{self.url}: the download was stopped")
            except HTTPError as error:
                raise _Again(f"broke off after {have} bytes") from error
        if length is not None and have < length:
            raise _Again(f"broke off after {have} of {length} bytes")
        if length is not None and have > length:
            self._forget()
            raise _Again(f"{have} bytes came instead of {length}")

    def _forget(self) -> None:
        """Throw the part away."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _report(self, have: int, length: int | None) -> None:
        from rich.filesize import decimal

        if time.monotonic() - self.reported >= REPORT_SECONDS:
            self.reported = time.monotonic()
            total = f" of {decimal(length)}" if length else ""
            text = f"{self.target.name}: {decimal(have)}{total}"
            print(text, file=sys.stderr, flush=True)


class _Again(Exception):
    """A try failed in a way that may pass; ``wait`` are the seconds the server asks for."""

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        """Keep the seconds."""
        super().__init__(reason)
        self.wait = wait


def _version_of(answer: requests.Response, url: str) -> dict[str, Any]:
    """Return what tells this version of the file from others; a weak ETag does not."""
    etag = answer.headers.get("ETag", "")
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = total if answer.status_code == 206 else answer.headers.get("Content-Length", "")
    return {
        "url": url,
        "etag": "" if etag.startswith("W/") else etag,
        "modified": answer.headers.get("Last-Modified", ""),
        "length": int(length) if length.isdecimal() else None,
    }


def _start(answer: requests.Response) -> int:
    """Return the first byte that a partial answer has, -1 if it does not say."""
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else -1


def _reason(error: Exception) -> str:
    """Return a short reason without the client's object names."""
    import requests

    reasons: dict[type[Exception], str] = {
        requests.exceptions.ProxyError: "the proxy does not answer",
        requests.exceptions.SSLError: "the certificate is not accepted",
        requests.exceptions.TooManyRedirects: "too many redirections",
        requests.ConnectionError: "no connection",
    }
    return next((text for kind, text in reasons.items() if isinstance(error, kind)), str(error))
