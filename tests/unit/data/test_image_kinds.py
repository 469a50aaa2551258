"""Every kind of image from a user's folder to features: fetched, listed, converted, read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from osad.backbones import get_backbone
from osad.core.errors import DataError
from osad.data.manifest import read_manifest
from osad.features.packs import Pack
from osad.pipeline.steps.features import main as features_main
from osad.pipeline.steps.fetch import main as fetch_main
from osad.pipeline.steps.manifest import main as manifest_main

LITE = get_backbone("tf_efficientnet_lite0")
SETTINGS = json.dumps({"layout": "folder", "raw_path": "my", "defect_classes": ["dent"]})
COMMON = ["--dataset", "mine", "--settings", SETTINGS]
SOURCE = "data/raw/mine/SOURCE.json"


def grey() -> np.ndarray:
    """Return a picture of 40 x 60 pixels."""
    values = np.random.default_rng(3).integers(0, 256, (5, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(values).resize((60, 40)))


def put(name: str, image: Image.Image, **options) -> None:
    Path("my/train/good").mkdir(parents=True, exist_ok=True)
    image.save(f"my/train/good/{name}", **options)


SAME = ["alpha.webp", "colour.bmp", "deep.png", "deep.tif", "grey.png", "palette.png", "turned.png"]
OTHER = ["bit.png", "dot.png", "large.png", "print.jpg", "strip.png"]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with one picture stored in several ways, other kinds, and one anomaly."""
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(grey())
    exif = Image.Exif()
    exif[0x0112] = 6
    put("grey.png", picture)
    put("colour.bmp", picture.convert("RGB"))
    put("alpha.webp", picture.convert("RGBA"), lossless=True)
    put("palette.png", picture.convert("P"))
    put("deep.png", Image.fromarray(grey().astype(np.uint16) * 257))
    put("deep.tif", Image.fromarray(grey().astype(np.uint16) * 257))
    put("turned.png", picture.transpose(Image.Transpose.ROTATE_90), exif=exif)
    put("print.jpg", picture.convert("CMYK"))
    put("bit.png", picture.convert("1"))
    put("dot.png", Image.new("L", (1, 1), 51))
    put("strip.png", Image.new("L", (3, 500), 102))
    put("large.png", Image.new("L", (9000, 6000), 51))
    Path("my/test/dent").mkdir(parents=True)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("my/test/dent/a.png")
    Path("my/test/good").mkdir(parents=True)
    picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save("my/test/good/a.png")
    return tmp_path


def features(pack: str, *options: str) -> Pack:
    arguments = ["--pack", pack, "--manifest", "m.csv", "--threads", "2"]
    features_main([*arguments, *options, "--output", f"{pack}.safetensors"])
    return Pack.open(f"{pack}.safetensors")


def test_every_kind_of_image_becomes_features(project):
    fetch_main([*COMMON, "--output", SOURCE])
    manifest_main([*COMMON, "--category", "all", "--source", SOURCE, "--output", "m.csv"])
    names = [Path(record.path).name for record in read_manifest("m.csv")][2:]
    assert sorted(names) == sorted([*SAME, *OTHER])
    LITE.obtain(Path("w.pth"))
    pixels = features("pixels").tensor("intensity")[2:]
    network = ["--backbone", LITE.name, "--weights", "w.pth", "--image-size", "64"]
    plain = features("plain", *network, "--strides", "32").tensor("s32")[2:]
    row = {name: number for number, name in enumerate(names)}
    for name in SAME:
        assert torch.equal(pixels[row[name]], pixels[row["grey.png"]]), name
        assert torch.equal(plain[row[name]], plain[row["grey.png"]]), name
    mean = grey().mean() / 255
    assert pixels[row["grey.png"]][0].item() == pytest.approx(mean, abs=1e-6)
    # Bit images are dithered and JPEG is lossy: about the same mean.
    for name in ("bit.png", "print.jpg"):
        assert pixels[row[name]][0].item() == pytest.approx(mean, abs=0.02), name
    for name, value in {"dot.png": 0.2, "large.png": 0.2, "strip.png": 0.4}.items():
        assert pixels[row[name]].tolist() == pytest.approx([value, 0.0], abs=1e-6), name
    # One colour is one colour at any size.
    assert torch.equal(plain[row["dot.png"]], plain[row["large.png"]])
    assert not torch.equal(plain[row["dot.png"]], plain[row["strip.png"]])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(np.zeros((2, 2), np.float32)), "pixels of kind 'F' are not supported"),
        (Image.fromarray(np.zeros((2, 2), np.int32)), "pixels of kind 'I' are not supported"),
        (Image.new("LAB", (2, 2)), "pixels of kind 'LAB' are not supported"),
        (Image.new("1", (9500, 9500)), "has 9500 x 9500 pixels, more than 89478485"),
    ],
    ids=["float", "32-bit", "Lab", "too large"],
)
def test_kinds_that_cannot_be_converted_stop_the_fetch(project, image, message):
    put("x.tif", image)
    with pytest.raises(DataError, match=rf"my/train/good/x\.tif: {message}"):
        fetch_main([*COMMON, "--output", SOURCE])
    assert not Path(SOURCE).exists()
