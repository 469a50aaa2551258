"""Projects that have run, made once, and copies of them that a test may change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from projects import IMAGES, PLAIN_METHODS, SMALL, Outcome, Project, new_project, params


def photo(number: int, kind: str) -> Image.Image:
    """Make an image of grey noise, different for each number, with a bright or dark defect."""
    generator = np.random.default_rng(number)
    noise = 128 + 12 * generator.standard_normal((48, 48, 3))
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    x, y = (int(value) for value in generator.integers(8, 28, 2))
    if kind == "scratch":
        ImageDraw.Draw(image).line((x, y, x + 14, y + 10), fill=(250, 250, 250), width=3)
    if kind == "dent":
        ImageDraw.Draw(image).ellipse((x, y, x + 12, y + 12), fill=(20, 20, 20))
    return image


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of images."""
    root = tmp_path_factory.mktemp("photos")
    number = 0
    for folder, count in IMAGES.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            number += 1
            photo(number, folder.split("/")[1]).save(root / folder / f"{index:03}.png")
    return root


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory, photos: Path
) -> Iterator[tuple[Project, Outcome]]:
    """The whole grid, made with the fork server on 4 cores; not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    project = new_project(root / "project", photos=photos)
    project.write_params(params())
    yield project, project.snakemake(cores=4).check()
    shutil.rmtree(root)


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
    root = tmp_path_factory.mktemp("plain")
    project = new_project(root / "project", photos=photos)
    project.write_params(params(**SMALL, methods=PLAIN_METHODS))
    yield project, project.snakemake(cores=1, server=False).check()
    shutil.rmtree(root)


@pytest.fixture
def fresh(tmp_path: Path, photos: Path) -> Iterator[Project]:
    """A project in which nothing has run, with a grid of one split and a control."""
    project = new_project(tmp_path / "project", photos=photos)
    project.write_params(params(**SMALL, methods=["constant"]))
    yield project
    shutil.rmtree(tmp_path / "project")
