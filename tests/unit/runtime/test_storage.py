"""A job that has its files from a storage sees those of an ordinary run, and leaves them there."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from osad.core.files import read_json, sha256_bytes, write_csv, write_json, write_text
from osad.data.manifest import COLUMNS
from osad.runtime import job, storage

FOLDER = ".snakemake/storage/s3/bucket/one/"
SPLIT, SCORES = "results/splits/mine/s0.csv", "results/scores/mine/s0.csv"
LOG, RECEIPT = "results/logs/run/s0.log", f".osad/runs/{SCORES}.json"
FAILURE = f".osad/failures/{SCORES}.json"
MANIFEST, IMAGES = "data/manifests/mine.csv", ".osad/images/mine.tar"
ARGUMENTS = [
    "run", "--split", FOLDER + SPLIT, "--hyper", "{}", "--output", FOLDER + SCORES,
    "--log", FOLDER + LOG, "--failure", f".osad/failures/{FOLDER}{SCORES}.json",
    "--record", FOLDER + RECEIPT,
]  # fmt: skip


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and the job's input where Snakemake puts it."""
    monkeypatch.chdir(tmp_path)
    write_text(FOLDER + SPLIT, "path\n")


def step(code: int) -> Callable[[list[str]], int]:
    """Return a job that reads its input, writes a log and what a job leaves."""

    def run(arguments: list[str]) -> int:
        assert arguments == [
            "run", "--split", SPLIT, "--hyper", "{}", "--output", SCORES, "--log", LOG,
            "--failure", FAILURE, "--record", RECEIPT,
        ]  # fmt: skip
        write_text(LOG, "started\n")
        if code:
            write_json(FAILURE, {"step": "run", "reason": "loss is nan", "error": "TrainingError"})
        else:
            write_text(SCORES, Path(SPLIT).read_text() + "a.png\n")
            write_json(RECEIPT, {"outputs": {SCORES: "0" * 64}})
        return code

    return run


def test_only_paths_in_a_storage_are_those_of_a_storage() -> None:
    assert job.storage_folder(ARGUMENTS) == FOLDER
    assert job.storage_folder(["run", "--record", RECEIPT]) == ""
    assert job.storage_folder(["run", "--output", "x"]) == ""


def test_outputs_receipt_and_log_go_where_snakemake_looks_for_them() -> None:
    write_text(SPLIT, "of an earlier run")
    assert storage.run(FOLDER, ARGUMENTS, step(0)) == 0
    assert Path(FOLDER, SCORES).read_text() == "path\na.png\n"
    assert Path(FOLDER, LOG).read_text() == "started\n"
    assert read_json(Path(FOLDER, RECEIPT)) == {
        "outputs": {SCORES: "0" * 64}, "inputs": {SPLIT: sha256_bytes(b"path\n")}
    }  # fmt: skip


def test_the_log_of_a_failed_job_says_why() -> None:
    assert storage.run(FOLDER, ARGUMENTS, step(1)) == 1
    first, last = Path(FOLDER, LOG).read_text().splitlines()
    assert first == "started"
    assert json.loads(last.removeprefix(storage.FAILURE))["reason"] == "loss is nan"
    assert not Path(FOLDER, RECEIPT).exists()
    assert not Path(FOLDER, SCORES).exists()


def test_what_is_being_written_is_no_input() -> None:
    for name in ("s1.csv.4aF0b9c2", ".s1.csv.77.part"):
        write_text(f"{FOLDER}results/splits/mine/{name}", "half")
    assert [*storage.files(FOLDER)] == [SPLIT]


def test_the_images_of_a_manifest_travel_with_it() -> None:
    """To a job that has none; those that are here stay as they are."""
    rows = [dict.fromkeys(COLUMNS, "") | {"path": f"data/raw/mine/{n}.png"} for n in range(3)]
    rows[2]["mask"] = "data/raw/mine/2_mask.png"
    paths = [*(row["path"] for row in rows), rows[2]["mask"]]
    for path in paths:
        write_text(path, path)

    def manifest(arguments: list[str]) -> int:
        write_csv(MANIFEST, COLUMNS, rows)
        write_json(f".osad/runs/{MANIFEST}.json", {"outputs": {MANIFEST: "0" * 64}})
        return 0

    record = f"{FOLDER}.osad/runs/{MANIFEST}.json"
    options = ["--output", FOLDER + MANIFEST, "--log", "l", "--failure", "f", "--record", record]
    assert storage.images_of(MANIFEST) == IMAGES
    assert storage.run(FOLDER, ["manifest", *options], manifest) == 0
    with tarfile.open(FOLDER + IMAGES) as tar:
        assert tar.getnames() == paths
    Path(paths[0]).unlink()
    write_text(paths[1], "here")
    storage.unpack(Path(FOLDER, IMAGES))
    assert [Path(path).read_text() for path in paths[:2]] == [paths[0], "here"]


def test_an_archive_that_leads_out_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(FOLDER, IMAGES).parent.mkdir(parents=True)
    with tarfile.open(FOLDER + IMAGES, "w") as tar:
        tar.add(FOLDER + SPLIT, "../outside.png")
    assert storage.run(FOLDER, ARGUMENTS, step(0)) == 1
    assert "'../outside.png' would be extracted to" in capsys.readouterr().err
    assert not (tmp_path.parent / "outside.png").exists()


def test_files_are_copied_where_they_cannot_have_two_names(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("other file system")

    storage.place(FOLDER + SPLIT, "linked")
    assert Path("linked").samefile(FOLDER + SPLIT)
    monkeypatch.setattr(os, "link", refuse)
    storage.place(FOLDER + SPLIT, "copied")
    assert Path("copied").read_text() == "path\n"
    assert not Path("copied").samefile(FOLDER + SPLIT)
