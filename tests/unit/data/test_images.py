"""Images: conversion to RGB, damaged and changed files, every kind as features."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import SAME, build, encoded, every_kind, grey, png, put, sha256
from image_cases import raw_png, tiff
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
    half = Image.new("RGBA", (2, 1), (200, 100, 50, 0))
    half.putpixel((1, 0), (200, 100, 50, 255))
    assert pixels(encoded(half)) == [[[0, 0, 0], [200, 100, 50]]]
    assert pixels(encoded(Image.new("RGBA", (1, 1), (200, 100, 50, 255)))) == [[[200, 100, 50]]]
    assert pixels(encoded(Image.new("LA", (1, 1), (255, 51)))) == [[[51, 51, 51]]]
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, transparency=0)) == [[[0, 0, 0], [10, 20, 30]]]
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (1, 2, 4))
    assert pixels(encoded(image, transparency=(1, 2, 3))) == [[[0, 0, 0], [1, 2, 4]]]
    assert pixels(raw_png([b"\x40"], 2, 1, tRNS=b"\0\0")) == [[[0, 0, 0], [255, 255, 255]]]


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
    red = np.asarray(turned)[..., 0]
    assert red[2, 4] > 250
    assert red[13, 4] < 5


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


RAMP = np.tile(np.linspace(0, 1, 255), (3, 1))  # an odd width: rows of 12 bits end within a byte


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("bits", "photometric"), [*((n, p) for n in (1, 2, 4, 8, 16) for p in (0, 1)), (12, 1)]
)
def test_a_grey_tiff_runs_from_black_to_white_at_every_depth(bits, photometric, order):
    white = 2**bits - 1
    stored = (RAMP * white).round().astype(int)
    content = tiff(white - stored if photometric == 0 else stored, bits,
                   photometric=photometric, order=order)  # fmt: skip
    expected = np.floor(stored * 255 / white + 0.5)
    if order == ">" and (bits, photometric) in ((16, 0), (12, 1)):
        with pytest.raises(DataError, match=f"x: .*TIFF of {bits} bits .* big-endian"):
            decode(content, "x")
        return
    assert np.array_equal(np.asarray(decode(content, "x"))[:, :, 0], expected)


GREY = (RAMP * 100).astype(int)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(GREY, 12, photometric=0), "TIFF of 12 bits a sample, photometric 0"),
        (tiff(GREY, 10), "TIFF of 10 bits a sample"),
        (tiff(GREY, 24), "TIFF of 24 bits a sample"),
        (tiff(GREY, 16, t339=(3,)), "TIFF of 16 bits a sample, photometric 1, sample format 3"),
        (tiff(GREY, 8, t339=(2,)), "8-bit numbers with a sign"),
        (tiff(GREY, 16, t339=(2,)), "pixels of kind 'I' are not supported"),
        (tiff(np.tile(GREY, 2)[:, :500], 8, samples=2, t338=(0,)), "meaning is not stated"),
        (tiff(GREY[:, :252], 8, photometric=2, samples=4, t338=(0,)), "meaning is not stated"),
        (tiff(GREY[:, :252], 8, photometric=5, samples=4, t338=(0,)), "cannot be decoded"),
        (tiff(GREY[:, :252], 8, photometric=2, samples=4), "meaning is not stated"),
        (tiff(GREY[:, :252], 8, photometric=5, samples=4, t332=(2,)), "meaning is not stated"),
        (tiff(GREY, 8, t278=(1,)), "a part of its pixels is missing"),
        (tiff(GREY, 8, photometric=2, samples=3, t284=(2,)), "a part of its pixels is missing"),
        (tiff(GREY, 8, photometric=3, t320=(*range(256),) * 3), "palette has no 16-bit colours"),
        (tiff(GREY, 8, photometric=6, samples=3), "YCbCr without JPEG"),
        (raw_png([b"\x1b"], 4, 2, tRNS=b"\0\3"), "transparent colour at 2 bits"),
        (raw_png([b"\x1f"], 2, 4, tRNS=b"\0\x0f"), "transparent colour at 4 bits"),
        (raw_png([b"\xff\xff\1\2"], 2, 16, tRNS=b"\xff\xff"), "transparent colour at 16 bits"),
        (raw_png([b"\5\5" * 3], 1, 16, 2, tRNS=b"\5\6" * 3), "transparent colour at 16 bits"),
        (raw_png([b"\0\2"], 2, 8, 3, PLTE=bytes(6)), "a pixel has colour 2 of a palette of 2"),
        (encoded(Image.new("RGBA", (2, 2), (200, 100, 50, 0))), "is transparent everywhere"),
        (encoded(Image.new("LA", (2, 2), (200, 0)), "WEBP", lossless=True), "transparent every"),
    ],
)  # fmt: skip
def test_what_pillow_would_read_otherwise_is_refused(content, message):
    with pytest.raises(DataError, match=f"^x: .*{message}"):
        decode(content, "x")


def test_a_palette_of_few_bits_and_colours_is_read():
    assert pixels(raw_png([b"\x80"], 2, 1, 3, PLTE=bytes(range(6)))) == [[[3, 4, 5], [0, 1, 2]]]
    colours = (*([0] * 3 + [65535]), *([0] * 3 + [257]), *([0] * 3 + [32896]))
    stored = tiff(np.array([[3, 0]]), 2, photometric=3, t320=colours)
    assert pixels(stored) == [[[255, 1, 128], [0, 0, 0]]]
    few = Image.new("P", (3, 1), 1)
    few.putpalette([0, 0, 0, 10, 20, 30])
    assert pixels(encoded(few, "BMP")) == [[[10, 20, 30]] * 3]


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
