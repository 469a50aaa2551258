"""A small project, and the steps from its images to scores and predictions, on the GPUs granted."""

import json
from pathlib import Path

from data_cases import noise

from osad.backbones import get_backbone
from osad.core.files import sha256_file
from osad.data.manifest import Record, write_manifest
from osad.data.splits import SplitRow, write_split
from osad.methods import registry
from osad.pipeline.steps import features, run
from osad.predict import step as predict

LITE = get_backbone("tf_efficientnet_lite0")
CELL = "made/all/general-m10/devnet/s0"
HYPER = registry.get("devnet").resolve({"epochs": 1, "iterations": 2})
NETWORK = f"--backbone {LITE.name} --weights w.pth --image-size 64 --strides 16,32"
PACKS = ("pixels", "pooled", "plain", "rotated")


def make_project() -> None:
    """Make 16 images here, their manifest and split, and a network's weights."""
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


def make_all(gpu: int) -> None:
    """Run the steps; files are in a folder named like the number of GPUs."""
    at = f"--gpu {gpu}"
    for pack in PACKS:
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
