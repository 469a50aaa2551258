"""Images: conversion to RGB, damaged and changed files."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osad.core.errors import DataError
from osad.data.images import decode, open_verified


def png(value: int, size: tuple[int, int] = (6, 4), mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, value).save(stream, "PNG")
    return stream.getvalue()


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


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


def test_unsupported_kinds_are_refused():
    for image, message in [
        (Image.fromarray(np.zeros((2, 2), np.float32)), "pixels of kind 'F'"),
        (Image.fromarray(np.zeros((2, 2), np.int32)), "pixels of kind 'I'"),
        (Image.new("LAB", (2, 2)), "pixels of kind 'LAB'"),
    ]:
        with pytest.raises(DataError, match=f"x: {message} are not supported"):
            decode(encoded(image, "TIFF"), "x")
    pages = encoded(
        Image.new("L", (2, 2)), "TIFF", save_all=True, append_images=[Image.new("L", (2, 2))]
    )
    with pytest.raises(DataError, match="holds 2 images"):
        decode(pages, "x")
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(encoded(Image.new("L", (2, 2)), "GIF"), "x")


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
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9])
def test_truncated_images_are_refused(kind, part):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    assert decode(content, "x").size == (64, 64)
    with pytest.raises(DataError, match=r"^photo: cannot be decoded"):
        decode(content[: int(len(content) * part)], "photo")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_a_file_cut_anywhere_never_gives_other_pixels(kind):
    content = encoded(Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)), kind)
    whole = pixels(content)
    refused = 0
    for length in range(len(content)):
        try:
            assert pixels(content[:length]) == whole, length
        except DataError:
            refused += 1
    assert refused >= len(content) - 20, "only the closing bytes of a PNG may be missing"


def test_changed_and_missing_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("data/raw/x/a.png")
    path.parent.mkdir(parents=True)
    path.write_bytes(png(1))
    digest = hashlib.sha256(png(1)).hexdigest()
    image = open_verified(path, digest)
    path.write_bytes(png(2))
    assert image.getpixel((0, 0)) == (1, 1, 1), "the image does not depend on the file any more"
    found = hashlib.sha256(png(2)).hexdigest()
    with pytest.raises(
        DataError,
        match=f"data/raw/x/a.png: its content has changed .sha256 {found[:12]}..., the manifest "
        f"says {digest[:12]}.*dvc checkout",
    ):
        open_verified(path, digest)
    path.unlink()
    with pytest.raises(DataError, match=r"data/raw/x/a\.png: cannot be read"):
        open_verified(path, digest)
