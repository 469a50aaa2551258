"""A trained cell in Python: ``from osad import load``."""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osad.core import errors
from osad.core.errors import ConfigError, DataError
from osad.core.files import read_csv, read_json
from osad.predict.check import Tools
from osad.predict.cli import job, prepare
from osad.predict.step import COLUMNS
from osad.runtime.server import processors


@dataclass(frozen=True)
class Model:
    """A trained cell that scores images; `load` makes it.

    Attributes:
        tools: what images are scored with, ``tools.notes`` what could not be checked of it.
        root: the project's folder.
    """

    tools: Tools
    root: Path

    def score(
        self, images: Iterable[str | Path | NDArray[np.uint8]], *, gpu: int = 0, cores: int = 0
    ) -> NDArray[np.float64]:
        """Score images as ``osad predict`` does, to the last bit, in a process of its own.

        Each call starts that process, which takes seconds; so give many images at once.

        Args:
            images: n paths, or arrays (h, w) of grey values or (h, w, 3) of RGB, uint8.
            gpu: 1 to compute on a GPU.
            cores: processes, all by default; scores do not change.

        Returns:
            (n,) scores in the order of the images; higher is more anomalous.

        Raises:
            DataError: an image is missing or cannot be read.
            ConfigError: an array is no image, or the features of the run are not those of now.
            CheckError: a file has changed since the model was loaded.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            paths = [_file(image, folder / f"{n}.png") for n, image in enumerate(images)]
            if not paths:
                return np.empty(0)
            output, failure = folder / "scored", folder / "failure.json"
            options = argparse.Namespace(
                output=output, gpu=gpu, cores=cores or processors(), threshold=None, labelled=None
            )
            words = [*job(self.tools, dict.fromkeys(paths), options), "--failure", str(failure)]
            done = subprocess.run(words, cwd=self.root, stdout=subprocess.DEVNULL, check=False)
            if done.returncode:
                told = read_json(failure)
                raise getattr(errors, told["error"], errors.TrainingError)(told["reason"])
            rows = read_csv(output / "scores.csv", COLUMNS)
        scores = {_absolute(self.root / row["path"]): float(row["score"]) for row in rows}
        return np.array([scores[path] for path in paths])


def load(
    cell: str, *, configfiles: str | Path | Sequence[str | Path] = (), strict: bool = False
) -> Model:
    """Load a trained cell of the project in the current folder.

    Everything is checked as ``osad predict`` does; what could not be is said on standard error.

    Args:
        cell: id of one run, such as ``elpv/all/normal-m0/patchcore/s0``.
        configfiles: that or those of its grid, as for Snakemake.
        strict: refuse where something cannot be checked.

    Raises:
        ConfigError: there is no such cell or method.
        DataError: the checkpoint or the weights are missing.
        CheckError: a file differs from the ledger.
    """
    named = [configfiles] if isinstance(configfiles, str | Path) else configfiles
    files = [Path(file) for file in named]
    options = argparse.Namespace(
        cell=cell, configfile=files, strict=strict, threshold=None, labelled=None
    )
    return Model(prepare(options), Path.cwd())


def _file(image: str | Path | NDArray[np.uint8], target: Path) -> Path:
    """Return the absolute path of an image, of an array that of a file of its pixels."""
    if isinstance(image, np.ndarray):
        shape = image.shape
        if (
            image.dtype != np.uint8
            or not image.size
            or shape[2:] not in ((), (3,))
            or len(shape) < 2
        ):
            raise ConfigError(
                f"image {target.stem}: is {image.dtype} of shape {shape}, expected uint8 of "
                "(h, w) or (h, w, 3)"
            )
        Image.fromarray(image).save(target, compress_level=1)
    else:
        target = _absolute(image)
        if not target.is_file():
            raise DataError(f"{image}: is no file; correct the path")
    return target


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are.
