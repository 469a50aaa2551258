"""Snakemake believes the records written for it, in files or a database, and none gets lost."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import types
from pathlib import Path

import pytest
from job_cases import project as project
from snakemake import persistence
from snakemake.persistence import MetadataRecord, PersistenceBase
from snakemake.persistence.db import DbPersistence
from snakemake.persistence.file import FilePersistence
from snakemake.settings.enums import PersistenceBackend
from snakemake.settings.types import WorkflowSettings

from osad.core.errors import CheckError
from osad.core.files import sha256_file
from osad.runtime import snakemake_records as records

BACKENDS = ["file", "db"]
TEMPLATE = "cat {input} | tee {output}; echo {params.margin} >> {output[0]}"
SNAKEFILE = f"""
configfile: "config.json"
rule all:
    input: "a", "b", "c"
rule kept:
    input: "raw"
    output: "a"
    params: code="c" * 64, margin=1
    shell: "{TEMPLATE}"
rule read:
    input: "raw", "more"
    output: "b", "b2"
    params: code="c" * 64, margin=1
    shell: "{TEMPLATE}"
rule parameter:
    input: "raw"
    output: "c"
    params: code="c" * 64, margin=config["margin"]
    shell: "{TEMPLATE}"
"""


def snakemake(*options):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--scheduler", "greedy"]
    command += ["--max-checksum-file-size", "1GB", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(params=BACKENDS)
def backend(request):
    """A project whose run has just been started with one of the backends."""
    records.check_backend(told(request.param))
    return request.param


def told(backend, url=None):
    """Return what Snakemake tells of its options."""
    return WorkflowSettings(
        persistence_backend=PersistenceBackend[backend.upper()], persistence_backend_db_url=url
    )


def write(output="out", **changes):
    values = {"rule": "one", "template": "t", "command": "c", "inputs": {}, "params": {}}
    Path(output).touch()
    records.write(output, **(values | changes))


def own(backend):
    """Return Snakemake's own reader and writer."""
    cls = {"file": FilePersistence, "db": DbPersistence}[backend]
    return cls(path=Path(".snakemake").resolve())


# --- the installed Snakemake is the known one ---


def test_what_is_used_of_snakemake_has_not_changed():
    assert records.FORMAT == persistence.RECORD_FORMAT_VERSION
    assert {member.name for member in PersistenceBackend} == set(records.PLACES)
    # If this fails, `osad audit` must look for the records where they are by default.
    assert WorkflowSettings().persistence_backend is PersistenceBackend.FILE
    assert set(records.USED) <= PersistenceBase.__abstractmethods__ | set(vars(PersistenceBase))
    # If this fails, read what the new fields mean and whether they make Snakemake rerun jobs.
    assert set(MetadataRecord.model_fields) == {
        "rule", "input", "log", "shellcmd", "params", "code", "record_format_version",
        "conda_env", "container_img_url", "software_stack_hash", "job_hash", "starttime",
        "endtime", "incomplete", "external_jobid", "input_checksums",
    }  # fmt: skip


def test_a_lock_is_removed_unless_a_job_of_a_cluster_may_still_run(backend):
    with records._store() as store:
        store._write_locks("output", ["a", "b"])
        store._mark_incomplete("a", None)
        store._mark_incomplete("b", "4711")
    for outputs, left in ((["a", "b"], 2), (["a"], 0), ([], 0)):
        records.unlock(outputs)
        with records._store() as store:
            assert len(list(store._read_locks())) == left


@pytest.mark.parametrize("backend", BACKENDS)
def test_snakemake_believes_the_records_and_misses_no_edit(backend):
    Path("Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    Path("config.json").write_text('{"margin": 0.1}', encoding="utf-8")
    Path("raw").write_text("raw\n", encoding="utf-8")
    Path("more").write_text("more\n", encoding="utf-8")
    options = ("--persistence-backend", backend)
    snakemake(*options)
    # What it has written is read.
    records.check_backend()
    assert records.PLACES[backend.upper()].exists()
    before = {output: records.read(output) for output in ("a", "b", "b2", "c")}
    assert {output: record["rule"] for output, record in before.items()} == {
        "a": "kept", "b": "read", "b2": "read", "c": "parameter"
    }  # fmt: skip
    assert before["b2"]["shellcmd"] == "cat raw more | tee b b2; echo 1 >> b"
    assert before["c"]["params"] == records.serialised({"code": "c" * 64, "margin": 0.1})
    raw = {"raw": sha256_file("raw")}
    assert records.input_digests(before["b2"]) == {**raw, "more": sha256_file("more")}
    # In a clone the same is written.
    shutil.rmtree(".snakemake")
    records._open.cache_clear()
    records.check_backend(told(backend))
    assert records.unknown(before) == [*before]
    for output, record in before.items():
        records.write(
            output,
            rule=record["rule"],
            template=TEMPLATE,
            command=record["shellcmd"],
            inputs=records.input_digests(record),
            params={"code": "c" * 64, "margin": 0.1 if output == "c" else 1},
        )
        after = records.read(output)
        for name in ("job_hash", "starttime", "endtime"):  # Of the process and the time.
            del record[name], after[name]
        assert after == record
    # Snakemake sees what is edited, and nothing else.
    Path("config.json").write_text('{"margin": 0.2}', encoding="utf-8")
    Path("more").write_text("edited\n", encoding="utf-8")
    os.utime("raw")
    output = snakemake("--dry-run", *options)
    assert set(re.findall(r"^rule (\w+):", output, re.M)) == {"all", "read", "parameter"}
    assert "Params have changed" in output
    assert "Updated input files: more" in output
    assert "missing provenance" not in output


# --- both backends ---


def test_a_record_is_written_and_read(backend):
    long = "results/" + "/".join(["name-of-more-than-255-characters"] * 20) + "/s0.csv"
    Path(long).parent.mkdir(parents=True)
    for output in ("out", long):
        assert records.unknown([output])
        assert records.read(output) is None
        write(output, inputs={"b": "1" * 64, "a": "2" * 64}, params={"x": 1, "y": "text"})
        assert not records.unknown([output])
        record = records.read(output)
        assert record["input"] == ["a", "b"]
        assert record["params"] == ["'text'", "1"]
        assert records.input_digests(record) == {"b": "1" * 64, "a": "2" * 64}
        assert own(backend)._read_record(output).params == record["params"]
        write(output, params={"x": 2})
        assert records.read(output)["params"] == ["2"]
    records.check_backend(outputs=["other", "out"])


def test_what_a_run_writes_meanwhile_is_seen(backend):
    """A start looks at all outputs, the end of the run at all again: nothing is remembered."""
    assert records.read("out") is None
    run = own(backend)
    run._mark_incomplete("out", None)
    assert not records.unknown(["out"])
    assert records.read("out") is None
    write()
    run._unmark_incomplete("out")
    assert records.read("out")["rule"] == "one"
    # Interrupted while it is made again.
    run._mark_incomplete("out", None)
    assert not records.unknown(["out"])
    run._delete_record("out")
    assert records.read("out") is None


def test_a_record_in_another_format_is_none(backend):
    own(backend)._write_record("out", MetadataRecord(rule="one", record_format_version=5))
    assert not records.unknown(["out"])
    assert records.read("out") is None


def test_a_ledger_is_not_written_from_no_records(backend):
    records.check_backend(outputs=[])
    with pytest.raises(CheckError, match=r"out: Snakemake has no record of it.*osad audit adopt"):
        records.check_backend(outputs=["out", "other"])
    write("other")
    records.check_backend(outputs=["out", "other"])


def test_a_database_of_a_folder_that_has_moved_has_no_records(project, monkeypatch):
    (project / "old").mkdir()
    monkeypatch.chdir(project / "old")
    records.check_backend(told("db"))
    write()
    (project / "old").rename(project / "new")
    monkeypatch.chdir(project / "new")
    assert records.unknown(["out"])
    with pytest.raises(CheckError, match="no record"):
        records.check_backend(outputs=["out"])


# --- what cannot be used is refused ---


def test_records_in_two_places_are_refused():
    write()
    records.check_backend()
    records.check_backend(told("file"))
    with pytest.raises(CheckError, match=r"in \.snakemake/metadata and .*db; keep to one"):
        records.check_backend(told("db"))
    assert not records.DATABASE.exists()
    own("db")
    for settings in (None, told("file"), told("db")):
        with pytest.raises(CheckError, match="keep to one"):
            records.check_backend(settings)
    shutil.rmtree(records.FOLDER)
    records.check_backend()
    records.check_backend(told("db"))
    with pytest.raises(CheckError, match="keep to one"):
        records.check_backend(told("file"))


def test_a_database_elsewhere_and_another_backend_are_refused():
    with pytest.raises(CheckError, match="backend db: only 'file'"):
        records.check_backend(told("db", "postgresql://host/records"))
    other = types.SimpleNamespace(name="LMDB")
    settings = types.SimpleNamespace(persistence_backend=other, persistence_backend_db_url=None)
    with pytest.raises(CheckError, match="backend lmdb: only 'file'"):
        records.check_backend(settings)
    assert not Path(".snakemake").exists()


@pytest.mark.parametrize("name", ["RECORD_FORMAT_VERSION", "PersistenceBase", *records.USED])
def test_another_snakemake_is_refused(monkeypatch, name):
    monkeypatch.delattr(PersistenceBase if name in records.USED else persistence, name)
    with pytest.raises(CheckError, match=r"known here is format 6.*requirements/workflow\.lock"):
        records.check_backend()


def test_another_format_is_refused(monkeypatch):
    monkeypatch.setattr(persistence, "RECORD_FORMAT_VERSION", 7)
    with pytest.raises(CheckError, match="records in format 7, known here is format 6"):
        records.check_format()


def test_a_damaged_database_is_refused():
    records.check_backend(told("db"))
    write()
    records._open.cache_clear()
    records.DATABASE.write_bytes(b"no database" * 1000)
    for use in (records.unknown, records.read, write):
        with pytest.raises(CheckError, match=r"^\.snakemake/metadata\.db: .*not a database.*adopt"):
            use("out")


def test_a_table_that_is_another_is_refused():
    records.check_backend(told("db"))
    write()
    with sqlite3.connect(records.DATABASE) as database:
        database.execute("ALTER TABLE snakemake_metadata RENAME COLUMN params TO parameters")
    database.close()
    with pytest.raises(CheckError, match=r"no such column.*osad audit adopt`$"):
        records.read("out")


def test_files_that_cannot_be_read_are_refused(monkeypatch):
    write()
    monkeypatch.setattr(FilePersistence, "_read_record", denied)
    for use in (records.unknown, records.read):
        with pytest.raises(CheckError, match=r"^\.snakemake/metadata: .*denied"):
            use("out")


def denied(self, key):
    raise PermissionError(13, "denied", key)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"rule": [1]}', "\x80"])
def test_a_file_that_is_not_whole_is_no_record(content):
    write()
    (file,) = records.FOLDER.iterdir()
    file.write_text(content, encoding="latin-1")
    assert records.read("out") is None
    assert records.unknown(["out"])
    write()
    assert records.read("out")["rule"] == "one"
