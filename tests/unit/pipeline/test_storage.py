"""What Snakemake is told where jobs share no file system, and what comes back from a storage."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from project_cases import rules_of, write_record

from osad.core.files import read_json, sha256_file, write_json, write_text
from osad.pipeline.jobs import Job, jobs, jobs_of
from osad.pipeline.storage import ANYWHERE, Exchange, left
from osad.runtime import snakemake_records as records
from osad.runtime.snakemake_storage import Storage
from osad.runtime.storage import FAILURE

RULES = rules_of(methods=("devnet",), seeds=(0,), shots=(1,), settings=("general",))
METRICS: Job = next(jobs_of(RULES.metrics))
INPUTS = {path: f"{number:064}" for number, path in enumerate(METRICS.inputs)}
(OUTPUT,) = METRICS.outputs
LOG = METRICS.rule.log.format(**METRICS.wildcards)


class Folder:
    """An object of a storage that is a folder."""

    def __init__(self, query: str) -> None:
        self.place, self.target = Path("bucket", query.removeprefix("s3://b/")), Path()

    def set_local_path(self, path: Path) -> None:
        self.target = path

    async def managed_exists(self) -> bool:
        return self.place.is_file()

    async def managed_retrieve(self) -> None:
        shutil.copyfile(self.place, self.target)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def exchange(*, used: bool = True) -> Exchange:
    workflow = SimpleNamespace(
        storage_registry=SimpleNamespace(
            default_storage_provider=SimpleNamespace(object=Folder) if used else None
        ),
        storage_settings=SimpleNamespace(default_storage_prefix="s3://b/one" if used else None),
        async_run=asyncio.run,
    )
    return Exchange(RULES, Storage(workflow))


def made_elsewhere() -> None:
    """Leave what a job leaves in the storage, and Snakemake's records of it."""
    write_text(f"bucket/one/{OUTPUT}", "made")
    outputs = {OUTPUT: sha256_file(Path("bucket/one", OUTPUT))}
    write_json(f"bucket/one/{METRICS.receipt}", {"outputs": outputs, "inputs": INPUTS})
    for path in left(METRICS):
        # Records are of what has a time; Snakemake asks the storage for it.
        write_text(f"s3://b/one/{path}", "")
        asked = {f"s3://b/one/{name}": "0" * 64 for name in (*INPUTS, ".osad/images/elpv.tar")}
        write_record(f"s3://b/one/{path}", METRICS, inputs=asked)


def test_without_a_storage_nothing_is_other() -> None:
    usual = exchange(used=False)
    assert usual.here == []
    assert usual.names([OUTPUT]) == [OUTPUT]
    for rule in RULES:
        assert usual.inputs(rule) is rule.inputs
        assert usual.outputs(rule) == {**rule.outputs, "record": rule.receipt}
    usual.distrust(jobs(RULES))
    usual.collect(jobs(RULES))
    assert [*Path().iterdir()] == []


def test_jobs_that_read_the_projects_own_files_run_here() -> None:
    told, made = exchange(), {path for rule in RULES for path in rule.files}
    assert {*told.here} | {*ANYWHERE} >= {rule.name for rule in RULES}
    assert {*told.here}.isdisjoint(ANYWHERE)
    for job in jobs(RULES):
        values: Any = SimpleNamespace(**job.wildcards)
        inputs = told.inputs(job.rule)
        given = {name: function(values) for name, function in inputs.items()}
        images = given.pop("images", [])
        flagged = {str(p) for paths in given.values() for p in paths if hasattr(p, "flags")}
        assert {str(path) for paths in given.values() for path in paths} == {*job.inputs}
        assert flagged == {*job.inputs} - made
        assert not flagged or job.rule.name in told.here
        reads = job.rule.name in ("pixels", "pack", "masks")
        assert images == ([".osad/images/elpv.tar"] if reads else [])
    assert told.outputs(RULES.manifest)["images"] == ".osad/images/{manifest}.tar"


def test_a_file_has_a_name_in_the_storage_too() -> None:
    assert exchange().names([OUTPUT]) == [OUTPUT, f"s3://b/one/{OUTPUT}"]


def test_what_was_made_elsewhere_is_here_as_if_it_had_been_made_here() -> None:
    made_elsewhere()
    write_text(METRICS.failure, "of an earlier run")
    exchange().collect([METRICS])
    assert Path(OUTPUT).read_text() == "made"
    assert not Path(METRICS.failure).exists()
    for path in left(METRICS):
        record = records.read(path)
        assert record is not None
        assert record["input"] == sorted(METRICS.inputs)
        assert records.input_digests(record) == INPUTS
        assert record["code"] == METRICS.rule.command


def test_what_is_here_with_the_bytes_of_the_receipt_is_not_fetched_again() -> None:
    made_elsewhere()
    exchange().collect([METRICS])
    Path("bucket/one", OUTPUT).unlink()
    exchange().collect([METRICS])
    assert Path(OUTPUT).read_text() == "made"
    made_elsewhere()
    write_text(OUTPUT, "edited")
    exchange().collect([METRICS])
    assert Path(OUTPUT).read_text() == "made"


def test_a_job_that_failed_elsewhere_leaves_its_reason_and_no_output() -> None:
    failure = '{"step": "metrics", "reason": "bad", "error": "DataError"}'
    write_text(f"bucket/one/{LOG}", f"line\n{FAILURE}{failure}\n")
    for path in left(METRICS):
        write_text(path, "of an earlier run")
    exchange().collect([METRICS])
    assert read_json(METRICS.failure)["reason"] == "bad"
    assert not any(Path(path).exists() for path in left(METRICS))


def test_a_job_that_did_not_run_leaves_all_as_it_is() -> None:
    write_text(f"bucket/one/{LOG}", "ended by a signal\n")
    write_text(OUTPUT, "of an earlier run")
    exchange().collect([METRICS])
    assert Path(OUTPUT).read_text() == "of an earlier run"
    assert not Path(METRICS.failure).exists()


def test_what_a_storage_has_without_a_record_is_made_again() -> None:
    made_elsewhere()
    other = jobs(RULES)[0]
    exchange().distrust([METRICS, other])
    assert not any(records.is_interrupted(f"s3://b/one/{path}") for path in left(METRICS))
    assert all(records.is_interrupted(f"s3://b/one/{path}") for path in left(other))
