"""Features, a run and a prediction on the pretended GPU (`fake_gpu`), from images to files."""

from pathlib import Path

import pytest
import torch
from fake_gpu import GPU, FakeGpu, needs_no_gpu
from step_cases import PACKS, make_all, make_project

from osad.core.files import read_csv, read_metadata, read_tensors
from osad.evaluation import maps as anomaly_maps
from osad.features.packs import Pack
from osad.pipeline.steps import run
from osad.runtime import device

pytestmark = needs_no_gpu


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project()


@pytest.fixture
def on_gpu(monkeypatch):
    """Steps are granted the pretended GPU; returns what they compute there."""

    def select(gpu):
        return GPU if gpu else torch.device("cpu")

    for module in (device, run):
        monkeypatch.setattr(module, "select_device", select)
    yield FakeGpu()
    torch.use_deterministic_algorithms(False)


def test_files_are_those_of_the_processor_but_for_rounding(project, on_gpu):
    make_all(0)
    with on_gpu:
        make_all(1)
    assert {"convolution", "mm", "_fused_adam_", "topk"} <= on_gpu.used
    assert read_metadata(Path("1/checkpoint"))["device"] == GPU.type
    for pack in PACKS:
        pack_made, pack_expected = Pack.open(f"1/{pack}"), Pack.open(f"0/{pack}")
        assert pack_made.info.device == ("cpu" if pack == "pixels" else GPU.type)
        for name in pack_expected.info.shapes():
            torch.testing.assert_close(
                pack_made.tensor(name), pack_expected.tensor(name), rtol=2e-3, atol=2e-3
            )
    for name, tensor in read_tensors(Path("0/checkpoint")).items():
        torch.testing.assert_close(
            read_tensors(Path("1/checkpoint"))[name], tensor, rtol=0.02, atol=0.02
        )
    for name in ("scores", "predicted/scores.csv"):
        made, expected = (
            [float(row["score"]) for row in read_csv(f"{folder}/{name}", ["score"])]
            for folder in (1, 0)
        )
        assert made == pytest.approx(expected, rel=0.02, abs=0.02)
    maps, there = (anomaly_maps.read(Path(f"{folder}/maps")).maps for folder in (1, 0))
    assert maps == pytest.approx(there, rel=0.05, abs=0.05)
