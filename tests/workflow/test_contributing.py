"""Adding a method, a data set, a backbone and a metric: one file each, and the names in a grid."""

from __future__ import annotations

import json

import pytest
from projects import PARAMS, ROOT, SMALL, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

METHOD = (ROOT / "examples/nearest_mean.py").read_text(encoding="utf-8")
DATASET = '''
"""Bright squares on grey, drawn here."""

import io
from pathlib import Path

from PIL import Image

from osad.data.manifest import Record
from osad.data.registry import DatasetSpec
from osad.data.source import fill

NAMES = {f"{kind}/{n:02}.png": kind for kind in ("good", "spot") for n in range(16)}


def draw(name, kind):
    image = Image.new("RGB", (48, 48), (90 + int(name[-6:-4]),) * 3)
    if kind == "spot":
        image.paste((250, 250, 250), (20, 20, 28, 28))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def fetch(spec, raw_dir, settings):
    files = {name: lambda n=name, k=kind: draw(n, k) for name, kind in NAMES.items()}
    fill(raw_dir, spec.name, source="drawn", files=files)


def records(source, category):
    return [
        Record(f"{source.root}/{name}", int(kind != "good"), kind,
               "train" if kind == "good" and int(name[-6:-4]) < 12 else "test")
        for name, kind in NAMES.items()
    ]


SPEC = DatasetSpec(
    name="squares", title="Squares", homepage="", licence="CC0", licence_note="", citation="Me",
    fetch=fetch, records=records, defect_classes={"all": ("spot",)},
)
'''
BACKBONE = '''
"""A ResNet-18 of random weights."""

from osad.backbones.registry import Backbone, load_state


def fetch(backbone, local, target):
    import timm
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model(backbone.architecture).state_dict(), target)


BACKBONES = (
    Backbone(
        name="random_resnet", architecture="resnet18", file="random.pth", sha256="",
        licence="CC0-1.0", source="drawn", image_size=64, mean=(0.5,) * 3, std=(0.2,) * 3,
        interpolation="bilinear", levels={2: 64, 4: 64, 8: 128, 16: 256, 32: 512}, fetch=fetch,
        read=load_state,
    ),
)
'''
METRIC = '''

@metric
def tied(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Compute the share of images whose score another has too."""
    values, counts = np.unique(np.asarray(scores), return_counts=True)
    return float(counts[counts > 1].sum() / counts.sum())
'''


def test_one_of_each_is_added_as_one_file(fresh: Project) -> None:
    source = fresh.root / "src/osad"
    (source / "methods/nearest_mean.py").write_text(METHOD, encoding="utf-8")
    (source / "data/sets/squares.py").write_text(DATASET.lstrip(), encoding="utf-8")
    (source / "backbones/random_resnet.py").write_text(BACKBONE.lstrip(), encoding="utf-8")
    with (source / "evaluation/metrics.py").open("a", encoding="utf-8") as stream:
        stream.write(METRIC)
    grid = {**SMALL, "datasets": ["squares"], "methods": ["nearest_mean", "constant"]}
    features = PARAMS["features"] | {"backbone": "random_resnet", "strides": [32]}
    fresh.write_params(PARAMS | {"grid": grid, "datasets": {}, "methods": {}, "features": features})
    fresh.snakemake(cores=2).check()
    row = fresh.cell_rows()["squares/all/general-m10/nearest_mean/s0"]
    assert (row["status"], row["backbone"]) == ("ok", "random_resnet")
    assert float(row["auroc"]) == 1.0
    table = (fresh.root / "results/tables/general.md").read_text(encoding="utf-8")
    assert "| Nearest Mean |" in table
    assert "| Squares | ours |" in table
    rates = {(r["cell"], r["metric"]): r for r in fresh.rows("results/tables/rates.csv")}
    constant = "squares/all/general-m10/constant"
    assert rates[constant, "tied"] == {
        "cell": constant, "metric": "tied", "mean": "1.0", "std": "", "n": "1",
    }  # fmt: skip
    metrics = fresh.root / "results/metrics/squares/all/general-m10/constant/s0.json"
    assert json.loads(metrics.read_text(encoding="utf-8"))["tied"] == 1.0
    page = (fresh.root / "results/report/data.js").read_text(encoding="utf-8")
    assert "Nearest Mean" in page


def test_a_method_in_a_file_of_its_own_is_checked(fresh: Project) -> None:
    path = fresh.root / "nearest_mean.py"
    path.write_text(METHOD, encoding="utf-8")
    fresh.run("osad", "check-method", "nearest_mean.py").check()
    path.write_text(METHOD.replace("data.normal", "data.anomaly").lstrip(), encoding="utf-8")
    outcome = fresh.run("osad", "check-method", "nearest_mean.py")
    assert outcome.code == 1
    outcome.refused("nearest_mean")
