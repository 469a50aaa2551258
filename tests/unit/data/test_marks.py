"""Masks are labels: what marks a pixel at every depth, and which masks are refused."""

import io
from typing import Any

import numpy as np
import pytest
from data_cases import encoded
from image_cases import raw_png, tiff
from PIL import Image

from osad.core.errors import DataError
from osad.data.marks import check_traces, marks, mask_numbers


def square(value: int = 255, kind: Any = np.uint8) -> np.ndarray:
    values = np.zeros((64, 48), kind)
    values[9:30, 11:20] = value
    return values


MARKED = square() > 0
CYAN = Image.fromarray(square(1)).convert("P")
CYAN.putpalette([0, 0, 0, 0, 255, 255])
BLACK = CYAN.copy()
BLACK.putpalette([0, 0, 0, 0, 0, 0])
GREY = Image.new("L", (2, 2))
SEEN = np.dstack([square(0)] * 2 + [np.full_like(square(), 9), square(1)])


@pytest.mark.parametrize(
    "content",
    [
        *(encoded(square(value)) for value in (1, 7, 128, 255)),
        *(encoded(square(value, np.uint16)) for value in (1, 7, 128, 300, 65535)),
        *(encoded(square(value, np.uint16), "TIFF") for value in (1, 65535)),
        encoded(square(70_000, np.int32), "TIFF"),
        encoded(square(1, np.float32) * np.float32(0.25), "TIFF"),
        tiff(square(1), 12),
        tiff(65535 - square(1, np.uint16), 16, photometric=0),
        tiff(255 - square(1), 8, photometric=0),
        tiff(1 - square(1), 1, photometric=0),
        encoded(MARKED),
        encoded(MARKED, "BMP"),
        encoded(np.dstack([square(0), square(0), square(3)])),
        encoded(np.dstack([square(1)] * 3), "WEBP", lossless=True),
        encoded(CYAN),
        encoded(BLACK),
        encoded(CYAN, "TIFF"),
        encoded(CYAN, transparency=0),
        encoded(SEEN),
        encoded(square(), "TIFF", compression="tiff_lzw"),
    ],
)
def test_every_number_but_0_marks_whatever_the_file_is(content):
    found = marks(content, "m")
    assert found.dtype == bool
    assert np.array_equal(found, MARKED)


def test_a_jpeg_of_whole_blocks_is_a_mask():
    blocks = np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((8, 8), np.uint8))
    for kind, options in (("JPEG", {}), ("TIFF", {"compression": "jpeg"})):
        assert np.array_equal(marks(encoded(blocks, kind, quality=100, **options), "m"), blocks > 0)


TRACES = "m: [0-9]+ pixels of the mask are neither 0 nor 255"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(square(), "JPEG", quality=60), TRACES),
        (encoded(square(1), "JPEG", quality=100), TRACES),
        (encoded(square(), "TIFF", compression="jpeg"), TRACES),
        (encoded(square(), "WEBP", quality=60), TRACES),
        (raw_png([b"\0\7" * 3], 1, 16, 2), "16-bit colours"),
        (raw_png([b"\0\7\xff\xff"], 1, 16, 4), "16-bit colours"),
        (encoded(square(1, np.float32) * np.float32("nan"), "TIFF"), "not finite"),
        (raw_png([bytes([0, 1])], 2, 8, 3, PLTE=b"\xff" * 3 + bytes(3)), "colour 0 of the mask's"),
        (encoded(GREY, "TIFF", save_all=True, append_images=[GREY]), "holds 2 images"),
        (b"no image", "m: cannot be decoded"),
    ],
)  # fmt: skip
def test_masks_that_leave_open_what_they_mark_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        marks(content, "m")


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_traces_are_known_in_a_copy_without_losses(quality):
    copy = np.asarray(Image.open(io.BytesIO(encoded(square(), "JPEG", quality=quality))))
    with pytest.raises(DataError, match=TRACES):
        check_traces(copy, "m")
    soft = np.asarray(Image.fromarray(square()).resize((300, 400)))
    assert np.count_nonzero((soft > 0) & (soft < 255)) > 100
    check_traces(soft, "m")
    check_traces(np.arange(200, dtype=np.uint8), "m")


def test_a_mask_is_turned_only_where_it_lies_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(square(), exif=exif)
    assert np.array_equal(mask_numbers(content, "m"), np.rot90(square(), -1))
    assert np.array_equal(mask_numbers(content, "m", upright=False), square())
