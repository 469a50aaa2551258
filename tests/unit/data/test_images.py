"""Images: conversion to RGB, damaged and changed files, every kind as features."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import SAME, build, encoded, every_kind, grey, png, put, sha256
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


TWO = Image.new("L", (2, 2))


def test_grey_palette_one_bit_cmyk_and_previews():
    assert pixels(png(7, (1, 1))) == [[[7, 7, 7]]]
    assert pixels(png(1, (1, 1), "1")) == [[[255, 255, 255]]]
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixels(encoded(image)) == [[[10, 20, 30]]]
    content = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=95)
    assert pixels(content)[0][0] == [255, 255, 255]
    photograph = Image.new("RGB", (16, 8), (255, 255, 255))
    content = encoded(photograph, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    assert decode(content, "x").size == (16, 8)


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
        (encoded(TWO, "TIFF", save_all=True, append_images=[TWO]), "holds 2 images"),
        (encoded(TWO, "GIF"), "cannot be decoded"),
    ],
)
def test_unsupported_kinds_are_refused(content, message):
    with pytest.raises(DataError, match=f"x: {message}"):
        decode(content, "x")


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
    message = (
        f"data/raw/x/a.png: its content has changed .sha256 {sha256(png(2))[:12]}..., the manifest "
        f"says {digest[:12]}.*dvc checkout"
    )
    with pytest.raises(DataError, match=message):
        open_verified(path, digest)
    path.unlink()
    with pytest.raises(DataError, match=r"data/raw/x/a\.png: cannot be read"):
        open_verified(path, digest)


LITE = get_backbone("tf_efficientnet_lite0")
SETTINGS = {"layout": "folder", "raw_path": "my", "defect_classes": ["dent"]}


def features(pack: str, *options: str) -> Pack:
    arguments = ["--pack", pack, "--manifest", "data/manifests/mine-all.csv", "--threads", "2"]
    features_main([*arguments, *options, "--output", f"{pack}.safetensors"])
    return Pack.open(f"{pack}.safetensors")


def test_every_kind_of_image_becomes_features(project):
    """Those of a user's own folder, beside one anomaly and one normal test image."""
    means = every_kind("my/train/good")
    put(
        Path("my/test"),
        {"dent/a.png": encoded(grey()[:, ::-1]), "good/a.png": encoded(grey()[::-1])},
    )
    names = [Path(record.path).name for record in build("mine", SETTINGS)][2:]
    assert sorted(names) == sorted(means)
    LITE.obtain(Path("w.pth"))
    pixels = features("pixels").tensor("intensity")[2:]
    network = ["--backbone", LITE.name, "--weights", "w.pth", "--image-size", "64"]
    plain = features("plain", *network, "--strides", "32").tensor("s32")[2:]
    row = {name: number for number, name in enumerate(names)}
    for name in SAME:
        assert torch.equal(pixels[row[name]], pixels[row["grey.png"]]), name
        assert torch.equal(plain[row[name]], plain[row["grey.png"]]), name
    assert pixels[:, 0].tolist() == pytest.approx([means[name] for name in names], abs=1e-6)
    for name in ("bit.png", "print.jpg", "dot.png", "large.png", "strip.bmp"):
        assert pixels[row[name], 1].item() == pytest.approx(0.0, abs=1e-6), name
    # One colour is one colour at any size.
    assert torch.equal(plain[row["dot.png"]], plain[row["large.png"]])
    assert not torch.equal(plain[row["dot.png"]], plain[row["strip.bmp"]])
