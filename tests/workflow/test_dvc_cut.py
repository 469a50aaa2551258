"""Transfers after one that was killed while DVC made the list of what it is to send or get."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest
from faults import stored
from projects import ROOT, Outcome, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.long]
CUT = """
import os, signal, sys
from dvc.cli import main
from dvc_data.index.index import DataIndex

def commit(self, whole=DataIndex.commit):
    whole(self)
    if sys._getframe(1).f_code.co_name == "collect":
        os.kill(os.getpid(), signal.SIGKILL)

DataIndex.commit = commit
main(sys.argv[1:])
"""
"""DVC, killed as soon as it has noted the first of its outputs."""

CONFIG = """
[core]
    no_scm = true
    remote = store
['remote "store"']
    url = ../../store
"""


def osad(project: Project, *words: str) -> Outcome:
    command = (sys.executable, "-m", "osad.cli", "audit", *words)
    return project.run(*command, PYTHONPATH=str(ROOT / "src"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three outputs in DVC, and a remote without any."""
    project = Project(tmp_path / "project")
    for name in ("a", "b", "c"):
        (project.root / name).mkdir(parents=True)
        (project.root / name / "file").write_text(f"of {name}")
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc/config").write_text(CONFIG)
    project.run("dvc", "add", "--quiet", "a", "b", "c").check()
    return project


def test_after_a_killed_transfer_all_is_sent_and_all_is_got(project: Project) -> None:
    osad(project, "push").check()
    (project.root / "c/file").write_text("another")
    project.run("dvc", "add", "--quiet", "c").check()
    assert project.run(sys.executable, "-c", CUT, "push").code == -signal.SIGKILL
    # What DVC makes of it; the day it does better, nothing else is needed.
    assert project.run("dvc", "push").check().output == "Everything is up to date.\n"
    assert "2 files pushed" in osad(project, "push").check().output
    store = stored(project.root.parent / "store")
    assert len(store) == 8
    assert store == stored(project.root / ".dvc/cache")

    shutil.rmtree(project.root / ".dvc/cache")
    for name in ("a", "b", "c"):
        shutil.rmtree(project.root / name)
    assert project.run(sys.executable, "-c", CUT, "pull").code == -signal.SIGKILL
    osad(project, "pull").check()
    assert [(project.root / name / "file").read_text() for name in ("a", "b", "c")] == [
        "of a", "of b", "another",
    ]  # fmt: skip


def test_what_a_killed_pull_was_writing_is_no_file_of_yours(project: Project) -> None:
    osad(project, "push").check()
    folder = project.root / "a"
    name = "from dvc_objects.fs.utils import tmp_fname; print(tmp_fname(), end='')"
    (folder / "file").rename(folder / project.run(sys.executable, "-c", name).check().output)
    osad(project, "pull").check()
    assert [path.name for path in folder.iterdir()] == ["file"]
    (folder / ".mine.tmp").write_text("not of DVC")
    (folder / "file").unlink()
    osad(project, "pull").refused("unsaved files", ".mine.tmp")
    assert (folder / ".mine.tmp").exists()


def test_what_was_not_made_here_is_told_and_no_failure(project: Project) -> None:
    shutil.rmtree(project.root / ".dvc/cache")
    for name in ("a", "b"):
        shutil.rmtree(project.root / name)
    # What is here and has never been sent is missed.
    osad(project, "push").refused("osad audit: the remote may lack outputs")
    project.run("dvc", "add", "--quiet", "c").check()
    output = osad(project, "push").check().output
    assert "all that was made here is in the remote; not made here, and not in the " in output
    assert output.endswith("are a, b\n")
    # A file of what was made here is lost, the list that names it is not.
    shutil.rmtree(project.root.parent / "store")
    shutil.rmtree(project.root / "c")
    cached = (project.root / ".dvc/cache").glob("files/md5/??/*")
    next(path for path in cached if path.read_bytes() == b"of c").unlink()
    osad(project, "push").refused("osad audit: c: is not in the remote (1 such files)")


def test_what_is_neither_here_nor_in_the_remote_is_told(project: Project) -> None:
    shutil.rmtree(project.root / ".dvc/cache")
    outcome = osad(project, "push")
    assert outcome.code == 1
    outcome.refused("osad audit: the remote may lack outputs (dvc status --cloud: Some of the ")
    outcome = osad(project, "push", "--remote", "other")
    assert outcome.code == 1
    outcome.refused("'other' doesn't exist", "osad audit: dvc push --remote other: failed")
