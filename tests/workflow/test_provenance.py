"""Which code and which interpreter make a number, and that it travels from every grid."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from projects import ROOT, SMALL, Project, params

from osad.core.files import sha256_file

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
OWN = ["--configfile", "own.yaml"]


@pytest.fixture
def own(fresh: Project) -> Project:
    """A project with a grid of its own folder of results."""
    content = params(**SMALL, methods=["constant"]) | {"results": "results/own"}
    (fresh.root / "own.yaml").write_text(json.dumps(content))
    return fresh


def test_code_of_another_checkout_is_refused_before_the_first_job(fresh: Project) -> None:
    outcome = fresh.run("snakemake", "--cores", "1", PYTHONPATH=str(ROOT / "src"))
    outcome.refused(f"{ROOT}/src/osad: this package runs, not that of {fresh.root}/src")
    assert not (fresh.root / "data/raw").exists()
    assert not (fresh.root / ".osad").exists()


def test_a_place_that_cannot_be_written_is_told_before_the_first_job(fresh: Project) -> None:
    (fresh.root / "results/tables/summary.csv").mkdir(parents=True)
    fresh.snakemake().refused("results/tables/summary.csv: is a folder, and a file must be written")
    assert not (fresh.root / "data/raw").exists()


def test_a_grid_of_ones_own_runs_without_activation_and_travels(
    own: Project, tmp_path: Path
) -> None:
    """Jobs are run by the interpreter of Snakemake, though another one is first on the path."""
    programs = Path(sys.executable).parent
    command = [str(programs / "snakemake"), "--cores", "2", *OWN]
    own.run(*command, PATH="/usr/bin:/bin", OSAD_FORK_SERVER="0").check()
    cell = "tiny/all/normal-m0/constant/s0"
    (receipt,) = (own.root / ".osad/runs").rglob(f"{cell}.safetensors.json")
    ran = json.loads(receipt.read_text())["code"]
    assert ran["osad.methods.controls"] == sha256_file(own.root / "src/osad/methods/controls.py")
    own.run("git", "init", "--quiet").check()
    own.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store")).check()
    own.run("osad", "audit", "save", *OWN).check()
    own.commit("A run")
    own.run("dvc", "push").check()
    own.run("git", "clone", "--quiet", ".", str(tmp_path / "clone")).check()
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull", "data/raw", "data/weights", "results/own.dvc").check()
    shutil.copytree(own.root / "photos", clone.root / "photos", dirs_exist_ok=True)
    assert clone.dry_run(*OWN) == ({}, set())
    clone.run("osad", "audit", "verify", "--all", "--strict", *OWN).check()


def test_what_dvc_says_is_shown_where_it_fails(own: Project) -> None:
    own.snakemake(*OWN).check()
    outcome = own.run("osad", "audit", "save", *OWN, GIT_DIR=os.devnull)  # It is in no repository.
    outcome.refused("osad audit: dvc commit --force fetch: ERROR: ", "is not a git repository")
