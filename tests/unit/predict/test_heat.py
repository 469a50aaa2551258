"""Heat maps: which colours where, of which size, under which name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osad.core.errors import ConfigError
from osad.features.tiles import Frame
from osad.predict import heat
from osad.predict.heat import Scale, levels, overlay, scale_of, shown_size
from osad.predict.images import Found
from osad.predict.output import claim, map_names


def test_scales_and_levels_by_hand():
    """A scale is made of scores that occur."""
    scores = np.arange(1, 2001, dtype=np.float32)[::-1].reshape(2, 40, 25)
    assert scale_of(scores, "s") == Scale(1800.0, 1998.0, "s")
    assert scale_of(np.ones((1, 1, 1), np.float32), "s") == Scale(1.0, 1.0, "s")
    scores = np.array([[-1, 0, 1, 2, 4, 5]], np.float32)
    assert levels(scores, Scale(0.0, 4.0, "")).tolist() == [[0, 0, 64, 128, 255, 255]]
    assert levels(scores, Scale(2.0, 2.0, "")).tolist() == [[0, 0, 0, 0, 255, 255]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 300), (300, 300)), ((1, 1), (224, 224)), ((3, 500), (3, 500)), ((1, 4000), (1, 512)),
        ((6000, 4000), (512, 341)), ((100, 50), (224, 112)),
    ],
)  # fmt: skip
def test_images_of_any_size_get_a_heat_map(size, expected):
    assert shown_size(*size) == expected
    scores = np.arange(49, dtype=np.float32).reshape(7, 7)
    drawn = overlay(Image.new("RGB", size), scores, frame=Frame(224), scale=Scale(0.0, 48.0, ""))
    assert (drawn.mode, drawn.size) == ("RGB", (expected[0], expected[1] + heat.BAR))


def test_the_map_of_a_padded_image_lies_over_the_image():
    scores = np.array([[0, 8], [8, 8]], np.float32)
    image, scale = Image.new("RGB", (400, 200), "white"), Scale(0.0, 8.0, "")
    drawn = np.asarray(overlay(image, scores, frame=Frame(64, "pad"), scale=scale))[:200]
    wide = np.asarray(overlay(image, scores[:1], frame=Frame(64), scale=scale))[:200]
    assert np.array_equal(drawn[:90], wide[:90])
    assert drawn[90, 20].tolist() == [255, 255, 255]


def test_low_scores_leave_the_image_and_high_ones_colour_it():
    image = Image.new("RGB", (224, 224), (100, 150, 200))
    scores = np.array([[0, 0], [0, 8]], np.float32)
    drawn = overlay(image, scores, frame=Frame(64), scale=Scale(0.0, 8.0, ""))
    assert drawn.getpixel((10, 10)) == (100, 150, 200)
    # plasma ends in (239, 248, 33); 191/255 of it and 64/255 of the image, rounded.
    assert heat.colours()[255].tolist() == [239, 248, 33]
    assert drawn.getpixel((220, 220)) == (204, 223, 75)
    left, right = np.asarray(drawn)[:112, :112], np.asarray(drawn)[120:224, 120:]
    assert (left != right.mean()).any()
    again = overlay(image, scores, frame=Frame(64), scale=Scale(0.0, 8.0, ""))
    assert drawn.tobytes() == again.tobytes()
    with pytest.raises(ConfigError, match="do not fit 32 pixels"):
        overlay(image, np.zeros((40, 7), np.float32), frame=Frame(32), scale=Scale(0.0, 1.0, ""))


def test_a_heat_map_has_its_scale_below_it():
    """Colours over white from the left number to the right one, or over all of a narrow image."""
    scale = Scale(-118.34, 833.9, "")
    pixels = np.asarray(heat.bar(224, scale)).astype(int)
    assert pixels.shape == (heat.BAR, 224, 3)
    coloured = np.flatnonzero((pixels != pixels[:, :, :1]).any((0, 2)))
    # Four digits, a point and a sign of 6 pixels each and twice the gap: 44 and 38 pixels.
    assert 44 <= coloured[0] <= 60
    assert coloured[-1] == 224 - 38 - 1
    black = (pixels == 0).all(2).any(0)
    assert black[:44].any()
    assert black[-38:].any()
    assert not black[44:-38].any()
    # plasma's (239, 248, 33) at 191/255 over white.
    assert pixels[0, coloured[-1]].tolist() == [243, 250, 89]
    other = np.asarray(heat.bar(224, Scale(-118.3, 834.0, ""))).astype(int)
    assert (other != pixels).any()
    narrow = np.asarray(heat.bar(60, scale)).astype(int)
    assert narrow[0, -1].tolist() == [243, 250, 89]
    assert not (narrow == 0).all(2).any()
    assert heat.bar(1, scale).size == (1, heat.BAR)


def test_names_of_heat_maps():
    images = [Found(path, "1") for path in ("../c.png", "a.png", "b/a.jpg", "b/a.png")]
    assert map_names(images) == ["c.png.png", "a.png.png", "b/a.jpg.png", "b/a.png.png"]
    with pytest.raises(ConfigError, match=r"c\.png and \.\./c\.png would have the same heat map"):
        map_names([*images, Found("c.png", "2")])


@pytest.mark.parametrize("paths", [["a", "a.png/b.png"], ["long/" + "x" * 252]])
def test_heat_maps_that_cannot_be_are_refused_before_anything_is_computed(project, paths):
    claim(Path("good"), [Found("in/a.png", "1")])
    assert [path.name for path in Path("good/in").iterdir()] == ["a.png.png"]
    with pytest.raises(ConfigError, match=r"its heat map maps/.* cannot be written .*; rename"):
        claim(Path("maps"), [Found(path, "1") for path in paths])
