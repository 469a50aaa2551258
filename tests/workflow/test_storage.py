"""A run whose jobs share no file system: each in an empty folder, their files in an S3 storage."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3
from projects import SMALL, Outcome, new_project, params

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]
STORAGE = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://bucket/one"]
ELSEWHERE = ["--executor", "elsewhere", "--jobs", "3", "--local-cores", "2", *STORAGE]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[dict[str, str]]:
    with s3.serving(tmp_path / "log") as environment:
        yield environment


def test_it_leaves_what_an_ordinary_run_leaves(
    account: dict[str, str], photos: Path, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project", photos=photos)
    grid = params(**SMALL, methods=["mean_intensity", "true_labels"])
    project.write_params(grid | {"figures": []})
    usual = project.copy(tmp_path / "usual")
    project.run("git", "init", "--quiet").check()
    # What git knows is deployed with the sources; the images are not, and a clone has no results.
    project.run("git", "add", "src", "workflow", "Snakefile", "params.yaml", "requirements").check()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    account |= {
        "PYTHONPATH": s3.search_path(project, Path(__file__).parent / "plugins"),
        "ELSEWHERE": str(elsewhere),
        "ELSEWHERE_PYTHONPATH": str(s3.PACKAGES),
    }

    def run(*arguments: str) -> Outcome:
        return project.run("snakemake", *ELSEWHERE, *arguments, **account)

    # A job that fails elsewhere is told of here, and the page has the others.
    source = project.root / "src/osad/methods/controls.py"
    right = source.read_text(encoding="utf-8")
    source.write_text(right.replace("images.labels.float()", "images.labels / 0"), encoding="utf-8")
    cell = "tiny/all/general-m10/true_labels/s0"
    run().refused(f"osad: failed: {cell}: run: ")
    rows = project.cell_rows()
    assert {name: row["status"] for name, row in rows.items()} == {
        cell: "failed", "tiny/all/general-m10/mean_intensity/s0": "ok"
    }  # fmt: skip
    assert rows[cell]["reason"].startswith("run: ")

    source.write_text(right, encoding="utf-8")
    output = run().check().output
    assert f"run {cell}" in output
    assert "pixels tiny" not in output
    assert "Nothing to be done" in run("--dry-run").check().output
    ran = sorted(path.name for path in elsewhere.glob("*/results/logs/*"))
    assert ran == ["metrics", "metrics", "pixels", "run", "run", "run"]

    usual.snakemake(cores=2).check()
    assert project.outputs() == usual.outputs()
    assert project.dry_run() == ({}, set())
    verify = (sys.executable, "-m", "osad.cli", "audit", "verify", "--all")
    assert "verified everything in the ledger" in project.run(*verify).check().output
    assert s3.holding(tmp_path) == []

    # What is in the storage without a record here is not taken for made by today's code.
    shutil.rmtree(project.root / ".snakemake/metadata")
    assert "metrics" in run("--dry-run").check().output
