"""What a prediction is made with, and what is refused before anything is computed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from osad import cli
from osad.audit import ledger
from osad.audit.ledger import Entry, Ledger
from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import sha256_file, write_tensors
from osad.data.splits import SplitRow, write_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.pipeline import config
from osad.pipeline.fingerprint import code_digests
from osad.pipeline.workflow import Workflow
from osad.predict import step
from osad.predict.check import find_tools, parse_cell

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def project(here) -> Workflow:
    """A project with a checkpoint, a split and maps of one run, and their ledger."""
    for name in ("params.yaml", "workflow/schemas/params.schema.yaml", "requirements/numeric.lock"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes((ROOT / name).read_bytes())
    Path("src").symlink_to(ROOT / "src")
    workflow = Workflow(config.load(Path()), Path().resolve())
    cell = Cell.parse(RUN)
    hyper = workflow.params.hyper["patchcore"]
    write_tensors(
        workflow.artefact("checkpoints", cell),
        {"bank": torch.zeros(2, 2)},
        {"format": 1, "cell": RUN, "hyper": hyper, "device": "cpu"},
    )
    Path(workflow.weights).parent.mkdir(parents=True)
    Path(workflow.weights).write_bytes(b"weights")
    write_split(
        Path(workflow.split(cell)),
        [SplitRow("x.png", "1" * 64, "test", 0, "good")],
    )
    maps = AnomalyMaps(RUN, ("x.png",), ("1" * 64,), 32, np.ones((1, 2, 2), np.float32))
    anomaly_maps.write(Path(workflow.maps(cell)[0]), maps)
    write_ledger(workflow)
    return workflow


RUN = "elpv/all/normal-m0/patchcore/s0"


def paths(workflow: Workflow) -> list[str]:
    cell = Cell.parse(RUN)
    checkpoint, maps = workflow.artefact("checkpoints", cell), workflow.maps(cell)[0]
    return [checkpoint, workflow.weights, workflow.split(cell), maps]


def write_ledger(workflow: Workflow, *, without: str = "") -> None:
    entries = {
        path: Entry(path, sha256_file(path), 1, "r", "c", code={"rule": "0"})
        for path in paths(workflow)
        if path != without
    }
    ledger.write(Path("provenance"), Ledger(entries, {"0": "command"}))


def test_a_run_that_agrees_with_the_ledger(project):
    tools = find_tools(project, parse_cell(RUN, project))
    assert tools.verified
    assert tools.notes == ()
    assert [str(path) for path in tools.files()] == paths(project)
    arguments = tools.arguments()
    assert arguments[:4] == ["--cell", RUN, "--trained", RUN]
    assert json.loads(arguments[5]) == project.params.hyper["patchcore"] | {"strides": [32]}
    assert arguments[arguments.index("--verified") + 1] == "yes"


@pytest.mark.parametrize("number", range(4))
def test_a_file_that_differs_from_the_ledger_is_refused(project, number):
    path = Path(paths(project)[number])
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CheckError, match=f"^{path}: differs from the ledger"):
        find_tools(project, Cell.parse(RUN))


@pytest.mark.parametrize("number", range(4))
def test_what_the_ledger_does_not_know_is_said(project, number):
    path = paths(project)[number]
    write_ledger(project, without=path)
    tools = find_tools(project, Cell.parse(RUN))
    assert tools.notes == (f"provenance has no line for {path}, so it cannot be checked",)
    assert not tools.verified


def test_a_damaged_ledger_is_refused(project):
    path = Path("provenance/elpv.jsonl")
    path.write_text(path.read_text().replace('"size":1', '"size":2', 1))
    with pytest.raises(CheckError, match=r"elpv\.jsonl"):
        find_tools(project, Cell.parse(RUN))


def test_without_split_and_maps_it_is_said(project):
    for path in paths(project)[2:]:
        Path(path).unlink()
    tools = find_tools(project, Cell.parse(RUN))
    assert (tools.split, tools.maps) == (None, None)
    assert len(tools.notes) == 1
    assert "split is not there" in tools.notes[0]


@pytest.mark.parametrize(
    ("number", "message"),
    [(0, "is not trained here; run snakemake results/checkpoints/"), (1, "weights/.* is missing")],
)
def test_missing_files_are_named(project, number, message):
    Path(paths(project)[number]).unlink()
    with pytest.raises(DataError, match=message.replace("weights/.* is", "weights/.*: is")):
        find_tools(project, Cell.parse(RUN))


def test_a_cell_that_shares_a_run_uses_its_checkpoint_and_split(project):
    shared = "elpv/all/general-m10/patchcore/s0"
    target = Path(project.artefact("checkpoints", Cell.parse(shared)))
    target.parent.mkdir(parents=True)
    target.write_bytes(Path(paths(project)[0]).read_bytes())
    tools = find_tools(project, Cell.parse(shared))
    assert tools.arguments()[:4] == ["--cell", shared, "--trained", RUN]
    assert tools.split == Path(paths(project)[2])
    assert not tools.verified


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("elpv/all/normal-m0/patchcore", "is a mean over runs.*choose one run.*patchcore/s0"),
        ("elpv/all/normal-m0/true_labels/s0", "true_labels scores an image by its label"),
        ("elpv/all/normal-m0/patchcor/s0", "'patchcor' is unknown; did you mean 'patchcore'"),
        ("elpv/patchcore", "expected DATASET/CATEGORY"),
        ("../../etc/passwd/s0", "expected DATASET/CATEGORY"),
    ],
)
def test_cells_that_cannot_predict_are_refused(project, cell, message):
    with pytest.raises(ConfigError, match=message):
        parse_cell(cell, project)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elpv/all/normal-m0/patchcore"], "is a mean over runs"),
        (["elpv/all/normal-m0/devnet/s0"], "is not trained here"),
        ([RUN, "--cores", "0"], "--cores must be 1 or more"),
        ([RUN, "--configfile", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_the_command_refuses_with_one_line(project, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("the job must not start"))
    cell, *options = arguments
    assert cli.main(["predict", cell, "in", "--output", "out", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("osad predict: ")


def test_the_command_becomes_the_job(project, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda path, words: started.append((path, words)))
    cli.main(["predict", RUN, "in", "b.png", "--output", "out", "--gpu", "1", "--cores", "3"])
    ((program, words),) = started
    assert program == words[0] == sys.executable
    assert words[1:4] == ["-m", "osad.runtime.job", "predict"]
    options = step.parse(words[4:])
    assert (options.cell, options.gpu, options.cores) == (RUN, 1, 3)
    assert options.images == [Path("in"), Path("b.png")]
    assert options.features == project.feature_options("plain")
    assert (options.verified, str(options.split)) == ("yes", paths(project)[2])


def test_features_of_other_strides_or_weights_are_refused(project):
    path = Path(project.pack("elpv", "all", "plain"))
    path.parent.mkdir(parents=True)
    digest = sha256_file(project.weights)
    write_tensors(path, {}, {"strides": [16, 32], "weights_sha256": digest})
    assert find_tools(project, Cell.parse(RUN)).verified
    write_tensors(path, {}, {"strides": [32], "weights_sha256": digest})
    with pytest.raises(CheckError, match=r"have strides \[32\], now it is \[16, 32\]"):
        find_tools(project, Cell.parse(RUN))
    write_tensors(path, {}, {"strides": [16, 32], "weights_sha256": "0"})
    with pytest.raises(CheckError, match="have weights_sha256 0, now it is"):
        find_tools(project, Cell.parse(RUN))


def test_code_and_versions_that_changed_since_the_run_are_said(project):
    scores = Path(project.artefact("scores", Cell.parse(RUN)))
    scores.parent.mkdir(parents=True)
    scores.write_text("x")
    code = code_digests(project.method_roots("score", "patchcore"), project.root / "src")
    for changed, lock, wanted in (
        ({}, project.environment(), []),
        ({"osad.methods.patchcore": "0" * 64}, project.environment(), ["osad.methods.patchcore;"]),
        ({"osad.gone": "0" * 64}, "0" * 64, ["osad.gone; 1 modules", "lock file has changed"]),
    ):
        entries = dict(ledger.read(Path("provenance")).entries)
        entries[str(scores)] = Entry(
            str(scores), sha256_file(scores), 1, "r", "c",
            code={"rule": "0"} | code | changed, env={"lock": lock},
        )  # fmt: skip
        ledger.write(Path("provenance"), Ledger(entries, {"0": "command"}))
        tools = find_tools(project, Cell.parse(RUN))
        assert tools.verified
        assert len(tools.notes) == len(wanted)
        for note, fragment in zip(tools.notes, wanted, strict=True):
            assert fragment in note
