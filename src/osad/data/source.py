"""The raw files of a data set and ``SOURCE.json``, which says that they are complete.

``SOURCE.json`` lists every raw file with its digest and is written last, so a data set whose fetch
was interrupted does not look complete. Fetching again repairs it.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from osad.core.errors import CheckError, DataError, listed
from osad.core.files import read_json, replacing, sha256_bytes, sha256_file, write_json
from osad.data.manifest import DIGEST_PATTERN, byte_order, path_problem

SOURCE_NAME = "SOURCE.json"
PART_PATTERN = re.compile(r"\..+\.[0-9]+\.part")


Files = dict[str, Callable[[], bytes]]
"""Functions that return the contents of raw files, by path."""


@dataclass(frozen=True)
class Source:
    """Content of a ``SOURCE.json``.

    Attributes:
        root: folder of the raw files, relative to the project's root, for example
            ``data/raw/elpv``.
        dataset: id of the data set.
        source: where the files come from, for example a package and its version.
        files: digest of each file by its path relative to ``root``.
    """

    root: str
    dataset: str
    source: str
    files: Mapping[str, str]

    def digest(self, path: str) -> str:
        """Return the digest of a file by its path relative to the project's root.

        Raises:
            DataError: it is not listed.
        """
        digest = self.files.get(path.removeprefix(f"{self.root}/"))
        if digest is None or not path.startswith(f"{self.root}/"):
            raise DataError(f"{path}: is not listed in {self.root}/{SOURCE_NAME}; fetch again")
        return digest


def read_source(path: Path) -> Source:
    """Read and check a ``SOURCE.json``.

    Raises:
        DataError: the file is missing or not valid.
    """
    content = read_json(path)
    remedy = "delete it and fetch the data set again"
    if not isinstance(content, dict) or set(content) != {"dataset", "source", "files"}:
        raise DataError(f"{path}: must have exactly the keys dataset, source and files; {remedy}")
    files = content["files"]
    if not isinstance(files, dict) or not files:
        raise DataError(f"{path}: lists no files; {remedy}")
    for name, digest in files.items():
        problem = path_problem(name)
        if problem:
            raise DataError(f"{path}: path {name!r} {problem}; {remedy}")
        if not isinstance(digest, str) or not DIGEST_PATTERN.fullmatch(digest):
            raise DataError(f"{path}: the digest of {name!r} is not a SHA-256; {remedy}")
    return Source(path.parent.as_posix(), str(content["dataset"]), str(content["source"]), files)


def read(path: Path, remedy: str = "check its rights, or get it again") -> bytes:
    """Return the content of a file.

    Raises:
        DataError: it cannot be read; the message ends with the remedy.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error


def content_digest(files: Mapping[str, str]) -> str:
    """Return one digest for a set of files: the SHA-256 of their ``digest  path`` lines, sorted."""
    lines = [f"{files[name]}  {name}\n" for name in sorted(files, key=byte_order)]
    return sha256_bytes("".join(lines).encode())


def fill(
    raw_dir: Path,
    dataset: str,
    *,
    source: str,
    files: Files,
    content_sha256: str | None = None,
    check: Callable[[], list[str]] = list,
) -> None:
    """Write the raw files of a data set and, last, its ``SOURCE.json``.

    Files that are there already with the right content are kept. A progress line goes to
    standard error about every second.

    Args:
        raw_dir: folder of the data set, ``data/raw/{dataset}``.
        dataset: id of the data set.
        source: where the files come from, kept in ``SOURCE.json``.
        files: the contents by path relative to ``raw_dir``.
        content_sha256: expected `content_digest` of all files, when it is known.
        check: returns what is wrong with the files together; called when all are read.

    Raises:
        DataError: a file cannot be read or written, or ``raw_dir`` holds files of something else.
        CheckError: the content is not the expected one.
    """
    (raw_dir / SOURCE_NAME).unlink(missing_ok=True)
    _clear_leftovers(raw_dir, files)
    digests: dict[str, str] = {}
    problems: list[str] = []
    last_report = time.monotonic()
    for name in sorted(files, key=byte_order):
        try:
            digests[name] = _store(raw_dir / name, files[name]())
        except DataError as error:
            problems.append(str(error))
        if time.monotonic() - last_report >= 1:
            last_report = time.monotonic()
            tell(dataset, f"{len(digests)} of {len(files)} files")
    problems += check()
    if problems:
        raise DataError(listed(problems))
    content = content_digest(digests)
    if content_sha256 not in (None, content):
        raise CheckError(
            f"{raw_dir}: the files from {source} have the content digest {content}, expected "
            f"{content_sha256}; install the source again and repeat the fetch"
        )
    write_json(raw_dir / SOURCE_NAME, {"dataset": dataset, "source": source, "files": digests})
    tell(dataset, f"{len(digests)} files in {raw_dir}")


def tell(dataset: str, text: str) -> None:
    """Tell the progress of a fetch, or a fault of the data, on standard error."""
    print(f"{dataset}: {text}", file=sys.stderr, flush=True)


def _store(target: Path, content: bytes) -> str:
    """Write a file unless it has this content already; return the content's digest."""
    digest = sha256_bytes(content)
    try:
        if target.is_file() and sha256_file(target) == digest:
            return digest
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror}); free the place and fetch again"
        ) from error
    return digest


def _clear_leftovers(raw_dir: Path, files: Mapping[str, object]) -> None:
    """Delete half-written files of an interrupted fetch and refuse files of anything else.

    Other files are never deleted: they could be a person's only copy.
    """
    strange: list[str] = []
    for folder, _, names in os.walk(raw_dir):
        for name in names:
            path = Path(folder, name)
            if PART_PATTERN.fullmatch(name):
                path.unlink()
            elif not name.startswith(".") and path.relative_to(raw_dir).as_posix() not in files:
                strange.append(f"{path}: is not a file of this data set")
    if strange:
        raise DataError(
            f"{listed(sorted(strange))}; move it away, or delete {raw_dir}, and fetch again"
        )
