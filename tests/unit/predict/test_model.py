"""A trained cell in Python: the scores of the command, for paths and arrays."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predict_cases import CELL, checkpoint, put, run_step
from project_cases import SHARED, MadeUp

import osad
from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_csv
from osad.predict.check import Tools, find_tools, parse_cell
from osad.predict.model import Model


@pytest.fixture
def model(project) -> Model:
    checkpoint()
    cell, features = Cell.parse(CELL), ("--pack pixels",)
    return Model(Tools(cell, cell, {}, Path("c.safetensors"), (), features, None, None), Path.cwd())


def test_paths_and_arrays_have_the_scores_of_the_command(model, tmp_path, monkeypatch):
    colour = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    put("in/a.png", Image.fromarray(colour)), put("in/b.jpg", Image.new("L", (4, 4), 200))
    run_step("in")
    first, second = (float(row["score"]) for row in read_csv("out/scores.csv", ["score"]))
    assert first != second
    monkeypatch.chdir(tmp_path.parent)
    path = model.root / "in/b.jpg"
    scores = model.score([path, colour, str(path), np.full((4, 4), 255, np.uint8)])
    assert (scores.dtype, scores.tolist()) == (np.float64, [second, first, second, 1.5])
    assert model.score([]).shape == (0,)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 0), "u1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(model, image):
    with pytest.raises(ConfigError, match=r"image 1: is (uint8|float64) of shape \("):
        model.score([np.zeros((4, 4), np.uint8), image])


def test_what_the_job_refuses_is_raised(model, capfd):
    with pytest.raises(DataError, match=r"nowhere\.png: is no file"):
        model.score(["nowhere.png"])
    Path("bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png: cannot be decoded"):
        model.score(["bad.png"])
    checkpoint(CELL.replace("s0", "s1"))
    with pytest.raises(CheckError, match=r"c\.safetensors: its cell is"):
        model.score([put("a.png")])


def test_a_cell_is_loaded_as_the_command_does(tmp_path, monkeypatch, capsys):
    made = MadeUp(tmp_path / "made-up")
    made.enter(monkeypatch)
    found = osad.load(SHARED, strict=True)
    assert found == Model(find_tools(made.rules, parse_cell(SHARED, made.rules.grid)), made.root)
    Path(f"results/maps/{SHARED}.safetensors").unlink()
    assert len(osad.load(SHARED).tools.notes) == 1
    assert "note: the run's maps are not there" in capsys.readouterr().err
    with pytest.raises(CheckError, match="--strict: the run's maps"):
        osad.load(SHARED, strict=True)
    assert osad.load(SHARED, configfiles="params.yaml").tools.cell == found.tools.cell
    with pytest.raises(ConfigError, match=r"^other\.yaml: cannot be read"):
        osad.load(SHARED, configfiles=Path("other.yaml"))
    with pytest.raises(ConfigError, match="is a mean over runs"):
        osad.load(SHARED.removesuffix("/s0"))


def test_the_package_is_light_until_something_is_loaded():
    code = "import osad, sys; print(sorted({'numpy', 'torch', 'PIL'} & {*sys.modules}))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    with pytest.raises(AttributeError, match="module 'osad' has no attribute 'lod'"):
        osad.lod  # noqa: B018
