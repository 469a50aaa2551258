"""Projects that have run, made once, and copies of them that a test may change."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from photos import draw
from projects import PLAIN_METHODS, SMALL, Outcome, Project, new_project, params

collect_ignore = ["kubernetes_jobs.py"]  # A script for another environment than that of the tests.


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of images."""
    return draw(tmp_path_factory.mktemp("photos"))


def run_once(
    name: str,
    factory: pytest.TempPathFactory,
    photos: Path,
    grid: dict[str, Any],
    *,
    cores: int,
    server: bool,
) -> tuple[Project, Outcome]:
    """Run a grid once for all processes that run tests; return a copy of the project for this one.

    Each has a copy, since Snakemake locks the folder that it works in.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    told = shared / "outcome.json"
    with FileLock(f"{shared}.lock"):
        if not told.exists():
            shutil.rmtree(shared, ignore_errors=True)  # What a failed run of another has left.
            project = new_project(shared / "project", photos=photos)
            project.write_params(grid)
            outcome = project.snakemake(cores=cores, server=server).check()
            told.write_text(json.dumps(dataclasses.asdict(outcome)))
    values = json.loads(told.read_text())
    copied = Project(shared / "project").copy(factory.mktemp(name) / "project")
    return copied, Outcome(**values | {"left": tuple(values["left"])})


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory, photos: Path
) -> Iterator[tuple[Project, Outcome]]:
    """The whole grid, made with the fork server on 4 cores; not to be changed."""
    made = run_once("finished", tmp_path_factory, photos, params(), cores=4, server=True)
    yield made
    shutil.rmtree(made[0].root)


@pytest.fixture(scope="session")
def finished(finished_run: tuple[Project, Outcome]) -> Project:
    """The project of `finished_run`; not to be changed."""
    return finished_run[0]


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project, to be changed."""
    yield finished.copy(tmp_path / "project")
    shutil.rmtree(tmp_path / "project")


@pytest.fixture(scope="session")
def plain_run(
    tmp_path_factory: pytest.TempPathFactory, photos: Path
) -> Iterator[tuple[Project, Outcome]]:
    """One split of most methods, made with one plain process after the other; not to be changed."""
    grid = params(**SMALL, methods=PLAIN_METHODS)
    made = run_once("plain", tmp_path_factory, photos, grid, cores=1, server=False)
    yield made
    shutil.rmtree(made[0].root)


@pytest.fixture
def fresh(tmp_path: Path, photos: Path) -> Iterator[Project]:
    """A project in which nothing has run, with a grid of one split and a control."""
    project = new_project(tmp_path / "project", photos=photos)
    project.write_params(params(**SMALL, methods=["constant"]))
    yield project
    shutil.rmtree(tmp_path / "project")
