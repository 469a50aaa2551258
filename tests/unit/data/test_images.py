"""Images: conversion to RGB, damaged and changed files, every kind as features."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import build, encoded, png, put, sha256
from PIL import Image

from osad.backbones import get_backbone
from osad.core.errors import DataError
from osad.data.images import decode, open_verified
from osad.features.packs import Pack
from osad.pipeline.steps.features import main as features_main


def pixels(content: bytes) -> list:
    image = decode(content, "x")
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def test_grey_palette_and_one_bit():
    assert pixels(png(7, (1, 1))) == [[[7, 7, 7]]]
    assert pixels(png(1, (1, 1), "1")) == [[[255, 255, 255]]]
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixels(encoded(image)) == [[[10, 20, 30]]]


def test_transparency_is_composed_on_black():
    assert pixels(encoded(Image.new("RGBA", (1, 1), (200, 100, 50, 0)))) == [[[0, 0, 0]]]
    assert pixels(encoded(Image.new("RGBA", (1, 1), (200, 100, 50, 255)))) == [[[200, 100, 50]]]
    assert pixels(encoded(Image.new("LA", (1, 1), (255, 51)))) == [[[51, 51, 51]]]
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, transparency=0)) == [[[0, 0, 0], [10, 20, 30]]]
    keyed = encoded(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert pixels(keyed) == [[[0, 0, 0]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257(kind):
    values = np.array([[0, 128, 129, 257, 32896, 65535]], dtype=np.uint16)
    grey = [value[0] for value in pixels(encoded(Image.fromarray(values), kind))[0]]
    assert grey == [0, 0, 1, 1, 128, 255]


def test_cmyk():
    content = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=95)
    assert pixels(content)[0][0] == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_exif_orientation_is_applied(kind):
    image = Image.new("RGB", (16, 8), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored left side is the top
    turned = decode(encoded(image, kind, exif=exif), "x")
    assert turned.size == (8, 16)
    assert turned.getpixel((4, 2))[0] > 250
    assert turned.getpixel((4, 13))[0] < 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(np.zeros((2, 2), np.float32), "TIFF"), "pixels of kind 'F' are not supported"),
        (encoded(np.zeros((2, 2), np.int32), "TIFF"), "pixels of kind 'I' are not supported"),
        (encoded(Image.new("LAB", (2, 2)), "TIFF"), "pixels of kind 'LAB' are not supported"),
        (
            encoded(Image.new("L", (2, 2)), "TIFF", save_all=True,
                    append_images=[Image.new("L", (2, 2))]),
            "holds 2 images",
        ),
        (encoded(Image.new("L", (2, 2)), "GIF"), "cannot be decoded"),
    ],
)  # fmt: skip
def test_unsupported_kinds_are_refused(content, message):
    with pytest.raises(DataError, match=f"x: {message}"):
        decode(content, "x")


def test_photographs_with_a_preview_give_the_photograph():
    preview = Image.new("RGB", (4, 4), (0, 0, 0))
    photograph = Image.new("RGB", (16, 8), (255, 255, 255))
    content = encoded(photograph, "MPO", save_all=True, append_images=[preview])
    assert decode(content, "x").size == (16, 8)


def test_decompression_bombs_are_refused():
    content = bytearray(png(1))
    for side in (12_000, 200_000):  # over the limit, and over Pillow's own hard limit
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        with pytest.raises(DataError, match=r"^x: "):
            decode(bytes(content), "x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_a_file_cut_anywhere_never_gives_other_pixels(kind):
    content = encoded(Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)), kind)
    whole = pixels(content)
    refused = []
    for length in range(len(content)):
        try:
            assert pixels(content[:length]) == whole, length
        except DataError as error:
            refused.append(str(error))
    assert len(refused) >= len(content) - 20, "only the closing bytes of a PNG may be missing"
    assert all(message.startswith("x: cannot be decoded") for message in refused)


def test_changed_and_missing_images_are_refused(project):
    path = put(Path("data/raw/x"), {"a.png": png(1)}) / "a.png"
    digest = sha256(png(1))
    image = open_verified(path, digest)
    path.write_bytes(png(2))
    assert image.getpixel((0, 0)) == (1, 1, 1), "the image does not depend on the file any more"
    found = sha256(png(2))
    with pytest.raises(
        DataError,
        match=f"data/raw/x/a.png: its content has changed .sha256 {found[:12]}..., the manifest "
        f"says {digest[:12]}.*dvc checkout",
    ):
        open_verified(path, digest)
    path.unlink()
    with pytest.raises(DataError, match=r"data/raw/x/a\.png: cannot be read"):
        open_verified(path, digest)


# --- from a user's folder to features ----------------------------------------------------------

LITE = get_backbone("tf_efficientnet_lite0")
SETTINGS = {"layout": "folder", "raw_path": "my", "defect_classes": ["dent"]}


def grey() -> np.ndarray:
    """Return a picture of 40 x 60 pixels."""
    values = np.random.default_rng(3).integers(0, 256, (5, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(values).resize((60, 40)))


def store(name: str, image: Image.Image, **options) -> None:
    Path("my/train/good").mkdir(parents=True, exist_ok=True)
    image.save(f"my/train/good/{name}", **options)


SAME = ["alpha.webp", "colour.bmp", "deep.png", "deep.tif", "grey.png", "palette.png", "turned.png"]
OTHER = ["bit.png", "dot.png", "large.png", "print.jpg", "strip.png"]


@pytest.fixture
def pictures(project) -> None:
    """A project with one picture stored in several ways, other kinds, and one anomaly."""
    picture = Image.fromarray(grey())
    exif = Image.Exif()
    exif[0x0112] = 6
    store("grey.png", picture)
    store("colour.bmp", picture.convert("RGB"))
    store("alpha.webp", picture.convert("RGBA"), lossless=True)
    store("palette.png", picture.convert("P"))
    store("deep.png", Image.fromarray(grey().astype(np.uint16) * 257))
    store("deep.tif", Image.fromarray(grey().astype(np.uint16) * 257))
    store("turned.png", picture.transpose(Image.Transpose.ROTATE_90), exif=exif)
    store("print.jpg", picture.convert("CMYK"))
    store("bit.png", picture.convert("1"))
    store("dot.png", Image.new("L", (1, 1), 51))
    store("strip.png", Image.new("L", (3, 500), 102))
    store("large.png", Image.new("L", (3000, 2000), 51))
    Path("my/test/dent").mkdir(parents=True)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("my/test/dent/a.png")
    Path("my/test/good").mkdir(parents=True)
    picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save("my/test/good/a.png")


def features(pack: str, *options: str) -> Pack:
    arguments = ["--pack", pack, "--manifest", "data/manifests/mine-all.csv", "--threads", "2"]
    features_main([*arguments, *options, "--output", f"{pack}.safetensors"])
    return Pack.open(f"{pack}.safetensors")


def test_every_kind_of_image_becomes_features(pictures):
    names = [Path(record.path).name for record in build("mine", SETTINGS)][2:]
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
