"""Features, a run and a prediction on the pretended GPU (`fake_gpu`), from images to files."""

import json
from pathlib import Path

import pytest
import torch
from data_cases import noise
from fake_gpu import GPU, FakeGpu, needs_no_gpu

from osad.backbones import get_backbone
from osad.core.files import read_csv, read_metadata, read_tensors, sha256_file
from osad.data.manifest import Record, write_manifest
from osad.data.splits import SplitRow, write_split
from osad.evaluation import maps as anomaly_maps
from osad.features.packs import Pack
from osad.methods import registry
from osad.pipeline.steps import features, run
from osad.predict import step as predict
from osad.runtime import device

pytestmark = needs_no_gpu
LITE = get_backbone("tf_efficientnet_lite0")
CELL = "made/all/general-m10/devnet/s0"
SPEC = registry.get("devnet")
HYPER = SPEC.resolve({"epochs": 1, "iterations": 2})
NETWORK = f"--backbone {LITE.name} --weights w.pth --image-size 64 --strides 16,32"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with 16 images, their manifest and split, and a network's weights."""
    monkeypatch.chdir(tmp_path)
    LITE.obtain(Path("w.pth"))
    Path("images").mkdir()
    records, rows = [], []
    for number in range(16):
        path = f"images/{number:02}.png"
        noise(number, 32).save(path)
        label, digest = int(number % 4 == 0), sha256_file(path)
        name = "spot" if label else "good"
        role = "test" if number >= 10 else "train_anomaly" if label else "train_normal"
        split = "train" if role == "train_normal" else "test"
        records.append(Record(path, label, name, split, "", digest))
        rows.append(SplitRow(path, digest, role, label, name))
    write_manifest("m.csv", records)
    write_split(Path("split.csv"), rows)


@pytest.fixture
def on_gpu(monkeypatch):
    """Steps are granted the pretended GPU; returns what they compute there."""

    def select(gpu):
        return GPU if gpu else torch.device("cpu")

    for module in (device, run):
        monkeypatch.setattr(module, "select_device", select)
    yield FakeGpu()
    torch.use_deterministic_algorithms(False)


def make_all(gpu: int) -> None:
    """Run the steps; files are in a folder named like the number of GPUs."""
    at = f"--gpu {gpu}"
    for pack in ("pixels", "pooled", "plain", "rotated"):
        options = "" if pack == "pixels" else f"{NETWORK} --views 2"
        features.main(
            f"--pack {pack} --manifest m.csv {options} {at} --output {gpu}/{pack}".split()
        )
    files = f"--checkpoint {gpu}/checkpoint --scores {gpu}/scores --maps {gpu}/maps"
    packs = f"--packs {gpu}/plain {gpu}/rotated --split split.csv --cell {CELL}"
    run.main([*f"{packs} {files} {at} --hyper".split(), json.dumps(HYPER)])
    asked = [f"--pack plain {NETWORK} --views 2"]
    predict.main([
        *f"--cell {CELL} --trained {CELL} --checkpoint {gpu}/checkpoint".split(),
        *f"--cores 1 --output {gpu}/predicted {at} --images images".split(),
        "--hyper", json.dumps(HYPER), "--features", json.dumps(asked),
    ])  # fmt: skip


def test_files_are_those_of_the_processor_but_for_rounding(project, on_gpu):
    make_all(0)
    with on_gpu:
        make_all(1)
    assert {"convolution", "mm", "_fused_adam_", "topk"} <= on_gpu.used
    assert read_metadata(Path("1/checkpoint"))["device"] == GPU.type
    for pack in ("pixels", "pooled", "plain", "rotated"):
        made, expected = Pack.open(f"1/{pack}"), Pack.open(f"0/{pack}")
        assert made.info.device == ("cpu" if pack == "pixels" else GPU.type)
        for name in expected.info.shapes():
            torch.testing.assert_close(
                made.tensor(name), expected.tensor(name), rtol=2e-3, atol=2e-3
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
    made, expected = (anomaly_maps.read(Path(f"{folder}/maps")).maps for folder in (1, 0))
    assert made == pytest.approx(expected, rel=0.05, abs=0.05)
