"""Snakemake's own records of outputs, from which it decides what is out of date.

They do not travel with a clone; the ledger holds what is needed to write them again. Snakemake's
own classes read and write them here, be they files in ``.snakemake/metadata`` or, with
``--persistence-backend db``, rows of ``.snakemake/metadata.db``. What a record holds and means is
Snakemake's and has no promise of stability, so it is checked first.

Verified bytes and ``snakemake --touch --forceall`` are no substitute. That records today's
parameters and code whatever an output was made with (after an edited parameter: "nothing to be
done"), also of outputs that are not there, and sets the times of all files, in DVC's cache too
where they are hard links. It takes 0.11 s a job on any number of cores, an hour for the papers'
grid; to write a record takes 0.3 ms, or 14 ms in the database, and is done before a dry run too.
"""

import contextlib
import functools
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from osad.core.errors import CheckError

FORMAT = 6
"""The version of the record format that this module knows."""
FOLDER = Path(".snakemake/metadata")
DATABASE = Path(".snakemake/metadata.db")
PLACES = {"FILE": FOLDER, "DB": DATABASE}
"""Where records are, by Snakemake's name of the backend."""
USED = (
    "_clear_cache", "_delete_locks", "_filter_incomplete_keys", "_get_external_jobids",
    "_mark_incomplete", "_read_locks", "_read_record", "_unmark_incomplete", "_write_record",
)  # fmt: skip
"""What is used of Snakemake's classes: part of what each of its backends must have."""


def check_format() -> None:
    """Check that the installed Snakemake keeps records as this module knows them.

    Raises:
        CheckError: it does not.
    """
    from snakemake import __version__, persistence

    found = getattr(persistence, "RECORD_FORMAT_VERSION", None)
    base = getattr(persistence, "PersistenceBase", None)
    if found == FORMAT and all(hasattr(base, name) for name in USED):
        return
    raise CheckError(
        f"Snakemake {__version__} keeps its records in format {found}, known here is format "
        f"{FORMAT} with {', '.join(USED)}; install requirements/workflow.lock"
    )


def check_backend(settings: Any = None, outputs: Iterable[str] = ()) -> None:
    """Check that Snakemake's records can be used, before they are; nothing is lost if not.

    Args:
        settings: in a run of Snakemake ``workflow.workflow_settings``, which say where it keeps
            records; elsewhere they are where there are some.
        outputs: files on disk that have a line in the ledger. If Snakemake knew none of them, a
            ledger written from its records would be empty.

    Raises:
        CheckError: they cannot be used.
    """
    check_format()
    places = {path for path in PLACES.values() if path.is_file() or any(path.glob("*"))}
    if settings is not None:
        name = settings.persistence_backend.name
        if name not in PLACES or settings.persistence_backend_db_url:
            raise CheckError(
                f"--persistence-backend {name.lower()}: only 'file', and 'db' without "
                "--persistence-backend-db-url, are known here; use one of them"
            )
        places.add(PLACES[name])
    if len(places) > 1:
        raise CheckError(
            f"Snakemake's records are in {FOLDER} and {DATABASE}; keep to one "
            "--persistence-backend and delete the other one's (the next run restores all that the "
            "ledger knows)"
        )
    if DATABASE in places:  # An empty one says where records are, until there are some.
        DATABASE.parent.mkdir(exist_ok=True)
        DATABASE.touch()
    expected = list(outputs)
    if expected and all(unknown([output]) for output in expected):  # One at a time: ends soon.
        raise CheckError(
            f"{expected[0]}: Snakemake has no record of it, nor of any other output of the ledger; "
            "run `osad audit adopt`, which restores them"
        )


def unknown(outputs: Iterable[str]) -> list[str]:
    """Return those outputs that Snakemake does not know, neither as complete nor as interrupted.

    Raises:
        CheckError: the files or the database cannot be used.
    """
    asked = list(outputs)
    with _store() as store:
        # In this order: a job that ends between has its record before it loses its mark.
        interrupted = store._filter_incomplete_keys(asked)
        return [path for path in asked if path not in interrupted and _read(store, path) is None]


def is_interrupted(output: str) -> bool:
    """Tell whether the job that writes an output was interrupted, or runs now."""
    with _store() as store:
        return bool(store._filter_incomplete_keys([output]))


def read(output: str) -> dict[str, Any] | None:
    """Return the record of a complete output, or None if there is none that is whole.

    Raises:
        CheckError: there may be one, but the file or database cannot be read.
    """
    with _store() as store:
        record = _read(store, output)
    complete = record and record["record_format_version"] == FORMAT and not record["incomplete"]
    return record if complete else None


def input_digests(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 that each input had when the job ended, by path."""
    checksums = record.get("input_checksums") or {}
    return {path: str(value).removeprefix("sha256:") for path, value in checksums.items()}


def serialised(values: Mapping[str, Any]) -> list[str]:
    """Return parameters as a record holds them."""
    return sorted(repr(value) for value in values.values())


def write(
    output: str,
    *,
    rule: str,
    template: str,
    command: str,
    inputs: Mapping[str, str],
    params: Mapping[str, Any],
) -> None:
    """Write the record of an output as if its job had just ended.

    Raises:
        CheckError: the file or database cannot be written.
    """
    from snakemake.persistence import MetadataRecord

    when = os.stat(output).st_mtime
    record = MetadataRecord(
        rule=rule,
        input=sorted(inputs),
        log=[],
        shellcmd=command,
        params=serialised(params),
        code=template,
        record_format_version=FORMAT,
        # That of jobs that run in the environment of Snakemake itself.
        software_stack_hash=hashlib.md5(usedforsecurity=False).hexdigest(),
        starttime=when,
        endtime=when,
        incomplete=False,
        input_checksums={name: f"sha256:{digest}" for name, digest in inputs.items()},
    )
    with _store() as store:
        store._write_record(output, record)


def mark_incomplete(outputs: Iterable[str]) -> None:
    """Have the next run make outputs again, whatever they will be then.

    Raises:
        CheckError: the files or the database cannot be used.
    """
    with _store() as store:
        for output in outputs:
            store._mark_incomplete(output, None)


def mark_unknown(outputs: Iterable[str]) -> None:
    """Have the next run make those outputs again that have no record.

    Raises:
        CheckError: the files or the database cannot be used.
    """
    mark_incomplete(unknown(outputs))


def copy(
    source: str, target: str, *, name: Callable[[str], str], digests: Mapping[str, str]
) -> None:
    """Give an output the record of what a storage has of it.

    Args:
        source: what the record is of.
        target: the output.
        name: gives an input's path by what it is called in the record, or nothing to leave it out.
        digests: SHA-256 of inputs by path, where the record itself has none.

    Raises:
        CheckError: the files or the database cannot be used.
    """
    from snakemake.persistence import MetadataRecord

    with _store() as store:
        record = _read(store, source)
        if record is not None:
            inputs = sorted(filter(None, map(name, record["input"])))
            sums = {path: f"sha256:{digests[path]}" for path in inputs if path in digests}
            sums |= {path: v for path, v in record["input_checksums"].items() if path in inputs}
            changed = record | {"input": inputs, "input_checksums": sums}
            store._write_record(target, MetadataRecord(**changed))
            store._unmark_incomplete(target)


def unlock(outputs: Iterable[str]) -> None:
    """Remove Snakemake's lock of this folder; for whoever knows that no run has it.

    It stays while one of the outputs was begun by a job of a cluster, which may still run.

    Raises:
        CheckError: the files or the database cannot be used.
    """
    with _store() as store:
        if any(store._read_locks()) and not store._get_external_jobids(outputs):
            store._delete_locks()


@contextlib.contextmanager
def _store() -> Iterator[Any]:
    """Give what reads and writes Snakemake's records, with nothing remembered from before.

    Raises:
        CheckError: the files or the database cannot be used.
    """
    from sqlalchemy.exc import SQLAlchemyError

    database = DATABASE.is_file()
    try:
        store = _open(DATABASE.parent.absolute(), database=database)
        store._clear_cache()
        yield store
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        where, reason = DATABASE if database else FOLDER, str(error).partition("\n")[0]
        raise CheckError(
            f"{where}: Snakemake's records cannot be used ({reason}); if no snakemake runs here, "
            "delete it and run `osad audit adopt`"
        ) from error


@functools.cache
def _open(folder: Path, *, database: bool) -> Any:
    from snakemake.persistence.db import DbPersistence
    from snakemake.persistence.file import FilePersistence

    return (DbPersistence if database else FilePersistence)(path=folder)


def _read(store: Any, output: str) -> dict[str, Any] | None:
    try:
        record = store._read_record(output)
    except ValueError:  # Not whole; Snakemake takes it for none too.
        return None
    return None if record is None else dict(record.items())
