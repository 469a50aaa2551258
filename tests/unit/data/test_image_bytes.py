"""Any bytes: an image or a mask is decoded, or refused with a message that names the file."""

import re
import warnings

import numpy as np
import pytest
from data_cases import encoded
from fuzz_cases import quick
from hypothesis import given
from hypothesis import strategies as st
from image_cases import chunk, raw_png, tiff
from PIL import Image

from osad.core.errors import DataError
from osad.data.images import decode
from osad.data.marks import marks
from osad.data.remarks import Remarks

pytestmark = pytest.mark.fuzz
NAME = "some/file.png"
FAST = quick(150)
PICTURE = np.random.default_rng(5).integers(0, 256, (9, 14, 3), dtype=np.uint8)
EXIF = Image.Exif()
EXIF[0x0112] = 6
WHOLE = [
    encoded(PICTURE),
    encoded(PICTURE, exif=EXIF, icc_profile=b"profile"),
    encoded(Image.fromarray(PICTURE).quantize(7)),
    encoded(Image.fromarray(PICTURE).quantize(7), "BMP"),
    encoded(PICTURE[..., 0].astype(np.uint16) * 200, "TIFF"),
    encoded(PICTURE, "BMP"),
    encoded(PICTURE, "JPEG", exif=EXIF),
    encoded(PICTURE, "JPEG", progressive=True),
    encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG"),
    encoded(PICTURE, "WEBP", lossless=True),
    encoded(PICTURE, "WEBP", exif=EXIF),
    *(encoded(PICTURE, "TIFF", compression=kind)
      for kind in (None, "tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate")),
    encoded(PICTURE[..., 0] > 99, "TIFF", compression="group4"),
    encoded(PICTURE, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))]),
]  # fmt: skip


def tried(content: bytes) -> list[Image.Image | np.ndarray]:
    """Decode bytes as image and as mask, as a run does; return what there is of both."""
    made: list[Image.Image | np.ndarray] = []
    for function in (decode, marks):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Those of libraries; a run goes on, too.
            try:
                made.append(function(content, NAME))
            except DataError as error:
                message = str(error)
                # The file, the fault and the remedy, on one line.
                assert re.fullmatch(f"{NAME}: .+; .+", message)
                assert len(message) < 400
                continue
            if isinstance(made[-1], Image.Image):
                assert made[-1].mode == "RGB"
                remarks = Remarks()
                remarks.add(NAME, content, made[-1])
                assert len(remarks.kinds) == 1
    return made


@FAST
@given(st.sampled_from(WHOLE), st.data())
def test_flipped_and_cut_bytes(content, data):
    damaged = bytearray(content)
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    tried(bytes(damaged)[: data.draw(places)] if data.draw(st.booleans()) else bytes(damaged))


@FAST
@given(st.sampled_from([b"", *(whole[:30] for whole in WHOLE)]), st.binary(max_size=200))
def test_any_bytes_after_the_start_of_an_image(start, rest):
    tried(start + rest)


SHORTS = st.lists(st.sampled_from([0, 1, 2, 3, 5, 8, 16, 300, 65535]), min_size=1, max_size=5)
TAGS = st.sampled_from([254, 258, 259, 262, 266, 274, 277, 278, 284, 317, 320, 322, 338, 339, 530])


@FAST
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    st.sampled_from([1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 24, 32]),
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 9, 32803]),
    st.sampled_from("<>"),
    st.integers(1, 5),
    st.dictionaries(TAGS, SHORTS.map(tuple), max_size=3),
)
def test_any_header_of_tiff(size, bits, photometric, order, samples, tags):
    values = np.arange(size[0] * size[1] * samples).reshape(size[0], -1) % 2**bits
    fields = {f"t{tag}": numbers for tag, numbers in tags.items()}
    tried(tiff(values, bits, photometric=photometric, order=order, samples=samples, **fields))


@FAST
@given(
    st.integers(0, 20),
    st.sampled_from([0, 1, 2, 4, 7, 8, 16, 32]),
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, 9]),
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(["PLTE", "tRNS", "gAMA", "iCCP", "sBIT", "eXIf", "acTL", "pHYs", "IHDR"]),
        st.binary(max_size=24),
        max_size=3,
    ),
)
def test_any_header_of_png(width, bits, colour, row, chunks):
    tried(raw_png([row] * 2, width, bits, colour, **chunks))
    tried(raw_png([row] * 2, width, bits, colour) + chunk(b"tEXt", row))


@FAST
@given(
    st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (12, 1), (16, 1), (1, 0), (8, 0), (16, 0)]),
    st.integers(1, 7),
    st.data(),
)
def test_every_number_of_a_grey_tiff_is_where_its_depth_puts_it(kind, width, data):
    bits, photometric = kind
    white = 2**bits - 1
    row = data.draw(st.lists(st.integers(0, white), min_size=width, max_size=width))
    bright = [white - number if photometric == 0 else number for number in row]
    image, mask = tried(tiff(np.array([row] * 3), bits, photometric=photometric))
    grey = np.asarray(image)[..., 0]
    assert grey.tolist() == [[(510 * number + white) // (2 * white) for number in bright]] * 3
    assert np.asarray(mask).tolist() == [[number > 0 for number in bright]] * 3
