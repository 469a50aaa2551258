"""Downloading large files: resumed after a break, checked, and in place only when complete.

What has arrived is kept beside the target as ``.{name}.part`` with a note of which version of the
file it belongs to.
"""

from __future__ import annotations

import errno
import hashlib
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from osad.core.errors import CheckError, DataError
from osad.core.files import read_json, write_json
from osad.core.kinds import fits
from osad.data.source import tell

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 16
"""Bytes that are waited for at once; fewer are lost when a transfer stalls."""

REPORT_SECONDS = 10.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the server may give the file later."""


VERSION = {"url": str, "etag": str, "modified": str, "length": int | None}
"""What is noted of the version of a file."""
DIGITS = re.compile("[0-9]{1,18}")


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
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url}: only addresses of http and https are downloaded")
    patience, stop = patience or Patience(), stop or threading.Event()
    transfer = _Transfer(url, target, digest, size, patience, stop)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for last in (False, True):
            transfer.complete()
            if not digest or digest_of(transfer.part, digest) == digest.lower():
                transfer.part.replace(target)
                transfer.note.unlink(missing_ok=True)
                return
            transfer.forget()
            # The part of an interrupted download may have been of another version of the file.
            if last or not transfer.resumed:
                raise CheckError(
                    f"{url}: the file has not the digest {digest}; nothing was kept. Try again; "
                    "if that repeats, its authors have changed the file"
                )
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error}); check the rights of its folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = (
                "the disk is full; free space and run the same command again, the download goes on "
                "where it stopped"
            )
        raise DataError(f"{target}: {problem}") from error


def digest_of(path: Path, like: str = "") -> str:
    """Return the digest of a file as ``kind:HEX``, of the kind of another digest or SHA-256.

    Raises:
        DataError: the file cannot be read.
    """
    kind = like.partition(":")[0] or "sha256"
    try:
        with path.open("rb") as stream:
            return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


@dataclass
class _Transfer:
    """One file on its way (the fields are the arguments of `download`).

    Attributes:
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
        self.note = self.part.with_name(f"{self.part.name}.json")  # Which version that is.
        self.reported = time.monotonic()

    def complete(self) -> None:
        """Fetch what is missing of the part, with further tries as long as there is progress."""
        self.resumed = False
        failures, most = 0, self._have()
        while True:
            try:
                return self._attempt()
            except _Again as problem:
                failures = 1 if self._have() > most else failures + 1
                most = max(most, self._have())
                if failures >= self.patience.attempts:
                    raise Unreachable(f"{self.url}: cannot be downloaded ({problem})") from problem
                pause = max(self.patience.pause * 2 ** (failures - 1), problem.wait)
                tell(self.target.name, f"{problem}; trying again")
                if self.stop.wait(min(pause, self.patience.longest)):
                    raise Stopped(f"{self.url}: the download was stopped") from problem

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _version(self) -> dict[str, Any]:
        """Return what is known of the version of the file that the part belongs to."""
        try:
            note = read_json(self.note)
        except DataError:
            return {}
        return note if fits(note, VERSION) and note["url"] == self.url else {}

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
        except requests.RequestException as error:
            raise _Again(_reason(error)) from error

    def _receive(self, answer: requests.Response, earlier: dict[str, Any], have: int) -> None:
        """Write the body of an answer behind the part or, if it is the whole file, anew."""
        if urlsplit(self.url).scheme == "https" and urlsplit(answer.url).scheme != "https":
            raise Unreachable(f"{self.url}: leads to an address without encryption")
        status, version = answer.status_code, _version_of(answer, self.url)
        continued = (
            status == 206
            and all(version[key] == earlier.get(key) for key in ("etag", "modified", "length"))
            and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        )
        if status == 416 or (status == 206 and not continued):
            self.forget()
            raise _Again("the server has another version of the file")
        if status in RETRIED:
            problem, wait = _Again(f"HTTP status {status}"), answer.headers.get("Retry-After", "")
            problem.wait = float(wait) if DIGITS.fullmatch(wait) else 0.0
            raise problem
        if status not in (200, 206):
            raise Unreachable(f"{self.url}: is not given (HTTP status {status})")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise Unreachable(f"{self.url}: gives a web page instead of the file")
        length = version["length"]
        if self.size is not None and length not in (None, self.size):
            self.forget()
            raise CheckError(
                f"{self.url}: the server has a file of {length} bytes, expected {self.size}; its "
                "authors have changed it"
            )
        known = length is not None or self.size is not None or self.digest
        if not known and answer.headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise Unreachable(f"{self.url}: the server does not say how long the file is")
        self.resumed = self.resumed or continued
        if not continued:
            write_json(self.note, version)
        self._write(answer, have if continued else 0, length or self.size)

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
            self.forget()
            raise _Again(f"{have} bytes came instead of {length}")

    def forget(self) -> None:
        """Throw the part away."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _report(self, have: int, length: int | None) -> None:
        from rich.filesize import decimal

        if time.monotonic() - self.reported >= REPORT_SECONDS:
            self.reported = time.monotonic()
            total = f" of {decimal(length)}" if length else ""
            tell(self.target.name, f"{decimal(have)}{total}")


class _Again(Exception):
    """A try failed in a way that may pass."""

    wait = 0.0
    """Seconds that the server asks for."""


def _version_of(answer: requests.Response, url: str) -> dict[str, Any]:
    """Return what tells this version of the file from others; a weak ETag does not."""
    etag = answer.headers.get("ETag", "")
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = total if answer.status_code == 206 else answer.headers.get("Content-Length", "")
    return {
        "url": url,
        "etag": "" if etag.startswith("W/") else etag,
        "modified": answer.headers.get("Last-Modified", ""),
        "length": int(length) if DIGITS.fullmatch(length) else None,
    }


def _reason(error: Exception) -> str:
    """Return a short reason without the client's object names."""
    import requests

    reasons: dict[type[Exception], str] = {
        requests.exceptions.Timeout: "the server does not answer",
        requests.exceptions.ProxyError: "the proxy does not answer",
        requests.exceptions.SSLError: "the certificate is not accepted",
        requests.exceptions.TooManyRedirects: "too many redirections",
        requests.ConnectionError: "no connection",
    }
    return next((text for kind, text in reasons.items() if isinstance(error, kind)), str(error))
