"""Views of images: resized, rotated, and with synthetic defects."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from data_cases import noise as picture
from PIL import Image

from osad.core.seeds import numpy_generator
from osad.features import defects, operations, views
from osad.features.kinds import KINDS
from osad.features.tiles import Frame


def flat(value: int, size: int = 16) -> Image.Image:
    """Return a grey image."""
    return Image.new("RGB", (size, size), (value, value, value))


def changed(one: Image.Image, two: Image.Image) -> np.ndarray:
    """Return where two images differ, (h, w) bool."""
    return (np.asarray(one) != np.asarray(two)).any(axis=2)


def box(where: np.ndarray) -> tuple[int, int, int, int]:
    """Return the first row, the first column, the height and the width of what is marked."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


class Numbers:
    """Stands in for a generator: gives prescribed numbers in turn."""

    def __init__(self, *numbers: float, order: tuple[int, ...] = ()) -> None:
        self.numbers, self.order = list(numbers), order

    def permutation(self, count: int) -> tuple[int, ...]:
        assert count == len(self.order)
        return self.order

    def uniform(self, low: float, high: float, size: int | None = None) -> object:
        drawn = [self.numbers.pop(0) for _ in range(size or 1)]
        assert all(low <= number <= high for number in drawn)
        return np.array(drawn) if size else drawn[0]

    def integers(self, low: int, high: int, size: int = 0, *, endpoint: bool = False) -> object:
        drawn = self.uniform(low, high if endpoint else high - 1, size or None)
        return np.array(drawn, dtype=int) if size else drawn


Fixed: Any = Numbers


def test_resize_ignores_the_aspect_ratio_and_averages():
    image = Image.new("RGB", (10, 40), (7, 8, 9))
    for interpolation in ("bicubic", "bilinear"):
        result = Frame(16).fit(image, interpolation)
        assert result.size == (16, 16)
        assert result.getextrema() == ((7, 7), (8, 8), (9, 9))
    values = np.zeros((4, 4, 3), dtype=np.uint8)
    values[::2] = 200
    result = Frame(1).fit(Image.fromarray(values), "bilinear")
    assert result.getpixel((0, 0)) == (100, 100, 100)


def test_rotate_turns_fills_corners_with_black_and_keeps_values():
    values = np.zeros((3, 3, 3), dtype=np.uint8)
    values[0, 1] = 255  # top
    turned = np.asarray(views.rotate(Image.fromarray(values), 90.0))
    assert turned[1, 0].tolist() == [255, 255, 255]  # left: counter-clockwise
    assert int(turned.sum()) == 3 * 255
    turned = np.asarray(views.rotate(flat(9, 40), 45.0))
    assert turned[0, 0].tolist() == [0, 0, 0]
    assert turned[20, 20].tolist() == [9, 9, 9]
    assert set(np.unique(turned)) == {0, 9}  # nearest: no new values


def test_jitter_by_hand():
    # Of a flat grey image contrast and saturation change nothing; brightness scales it.
    rng = Fixed(1.1, 0.9, 1.05, 0.0, order=(0, 1, 2, 3))
    assert operations.color_jitter(flat(100, 2), rng).getpixel((0, 0)) == (110, 110, 110)
    # Contrast first: around the mean of 50, 0 -> 5 and 100 -> 95, then halved brightness.
    two = Image.fromarray(np.array([[[0] * 3, [100] * 3]], dtype=np.uint8))
    rng = Fixed(0.5, 0.9, 1.0, 0.0, order=(1, 0, 2, 3))
    result = np.asarray(operations.color_jitter(two, rng, strength=0.5))[0, :, 0].tolist()
    assert result == [2, 47]
    values = [
        np.asarray(operations.color_jitter(flat(200, 1), numpy_generator(i)))[0, 0, 0]
        for i in range(200)
    ]
    assert 179 <= min(values) < 185
    assert 215 < max(values) <= 220


@pytest.mark.parametrize(
    ("colour", "turn", "expected"),
    [
        ((255, 0, 0), 0.0, (255, 0, 0)),
        ((255, 0, 0), 1 / 3, (0, 255, 0)),
        ((80, 80, 80), 0.4, (80, 80, 80)),
    ],
)
def test_turn_hue_by_hand(colour, turn, expected):
    image = Image.new("RGB", (1, 1), colour)
    assert operations.turn_hue(image, turn).getpixel((0, 0)) == expected


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [
        ("gamma", (1.0, 2.0, 0.5), (100, 39, 160)),  # 255 (100/255)^e
        ("brightness", (1.2, 10), (130, 130, 130)), ("invert", (), (155, 155, 155)),
        ("solarise", (64,), (155, 155, 155)), ("solarise", (128,), (100, 100, 100)),
        ("posterise", (1,), (0, 0, 0)), ("posterise", (3,), (96, 96, 96)),
        ("hue", (0.2, 1.5), (100, 100, 100)),  # grey has no hue
        ("sharpness", (3.0,), (100, 100, 100)), ("contrast", (), (100, 100, 100)),
        ("equalise", (), (100, 100, 100)), ("turn", (45.0,), (100, 100, 100)),  # at the centre
    ],
)  # fmt: skip
def test_operations_by_hand(name, numbers, expected):
    result = operations._TEXTURES[name](flat(100), Fixed(*numbers))
    assert result.size == (16, 16)
    assert result.getpixel((8, 8)) == expected


def test_texture_applies_three_different_operations(monkeypatch):
    called: list[int] = []

    def operation(number: int):
        def apply(image, rng):
            called.append(number)
            return image

        return apply

    monkeypatch.setattr(operations, "_TEXTURES", {n: operation(n) for n in range(10)})
    image = picture(3)
    seen = set()
    for number in range(40):
        called.clear()
        shuffled = operations.texture(image, numpy_generator("texture", number))
        assert len(set(called)) == len(called) == 3
        seen |= set(called)
        assert sorted(shuffled.tobytes()) == sorted(image.tobytes())  # tiles moved, no more
        assert shuffled.tobytes() != image.tobytes()
    assert seen == set(range(10))


def test_cutmix_changes_one_rectangle_of_the_right_area():
    image = picture(0, 100)
    shares = []
    for number in range(100):
        where = changed(image, defects.cutmix(image, numpy_generator("cutmix", number)))
        top, left, height, width = box(where)
        shares.append(height * width / 10_000)
        assert where[top : top + height, left : left + width].mean() > 0.9
        assert 0.25 < width / height < 4
    assert 0.015 < min(shares) < 0.04
    assert 0.12 < max(shares) < 0.16


def test_scar_is_small_and_inside():
    image = picture(1, 128)
    for number in range(50):
        where = changed(image, defects.cutpaste_scar(image, numpy_generator("scar", number)))
        # At 128 pixels at most 8 x 13 or so; its rotated box has no more area than a square.
        assert 1 <= where.sum() <= 9 * 14
        assert max(box(where)[2:]) <= 16


def test_cutmix_patch_comes_from_the_other_image(monkeypatch):
    monkeypatch.setattr(defects, "color_jitter", lambda image, rng: image)
    down, across = np.mgrid[0:100, 0:100]
    other = np.stack([across, down, np.full((100, 100), 250)], axis=2).astype(np.uint8)
    places = set()
    for number in range(30):
        rng = numpy_generator("foreign", number)
        result = np.asarray(defects.cutmix(flat(0, 100), rng, Image.fromarray(other)))
        pasted = result[:, :, 2] == 250
        row, column, height, width = box(pasted)
        assert pasted.sum() == height * width  # one rectangle ...
        assert not result[~pasted].any()  # ... and nothing changed outside
        assert 0.015 < pasted.mean() < 0.16
        patch = result[row : row + height, column : column + width]
        left, top = int(patch[0, 0, 0]), int(patch[0, 0, 1])
        np.testing.assert_array_equal(patch, other[top : top + height, left : left + width])
        places.add((left == column) and (top == row))
    assert places == {False}  # source and target corner are independent


def test_perlin_noise_by_hand():
    """It is zero at lattice points and smooth."""
    noise = defects.perlin_noise(32, (4, 2), numpy_generator("noise"))
    np.testing.assert_allclose(noise[::8, ::16], 0.0, atol=1e-12)
    assert 0.1 < np.abs(noise).max() <= 1.0
    assert np.abs(np.diff(noise, axis=0)).max() < 0.5

    class Right:
        def uniform(self, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
            return np.zeros(size)  # all gradients point to the right

    right: Any = Right()
    noise = defects.perlin_noise(4, (1, 1), right)
    # With x the offset: x (1 - fade) + (x - 1) fade = x - fade(x); fade(1/2) = 1/2.
    fade = [0.0, 0.103515625, 0.5, 0.896484375]
    np.testing.assert_allclose(noise[1], [0.0, 0.25 - fade[1], 0.0, 0.75 - fade[3]], atol=1e-12)


def test_perlin_blend_changes_blobs_of_the_right_area():
    image = picture(2, 64)
    shares = []
    for number in range(40):
        result = defects.perlin_blend(image, numpy_generator("blend", number))
        shares.append(changed(image, result).mean())
    assert 0.015 < min(shares) < 0.05
    assert 0.1 < max(shares) <= 0.15 + 1 / 64**2


def test_masks_are_blobs_of_many_sizes(monkeypatch):
    """The last one is by hand."""
    masks = [defects.draem_mask(64, numpy_generator("mask", number)) for number in range(60)]
    shares = [mask.mean() for mask in masks]
    assert min(shares) >= 0.002
    assert 0.1 < max(shares) < 0.6
    half = np.full((8, 8), 0.353)  # times the root of 2: 0.4992, not above one half
    half[:, :4] = 0.354  # 0.5006
    cells = []

    def made(size: int, lattice: tuple[int, int], rng: object) -> np.ndarray:
        cells.append(lattice)
        return np.zeros((8, 8)) if len(cells) == 1 else half

    monkeypatch.setattr(defects, "perlin_noise", made)
    # The first draw covers nothing, so there is a second; its left half, turned by 90 degrees
    # counter-clockwise, is the lower half.
    mask = defects.draem_mask(8, Fixed(0, 5, 10.0, 1, 3, 90.0))
    assert cells == [(1, 32), (2, 8)]
    assert mask[4:].all()
    assert not mask[:4].any()


def test_blend_by_hand_and_the_rest_unchanged(monkeypatch):
    for number in range(10):
        seed, image = ("blend", number), picture(number)
        mask = defects.draem_mask(64, numpy_generator(*seed))
        result = defects.draem_blend(image, numpy_generator(*seed), picture(-1))
        assert not changed(image, result)[~mask].any()
        assert changed(image, result)[mask].mean() > 0.8
    mask = np.zeros((16, 16), dtype=bool)
    mask[2:5, 7:9] = True
    monkeypatch.setattr(defects, "draem_mask", lambda size, rng: mask)
    monkeypatch.setattr(defects, "texture", lambda image, rng: image)
    blended = np.asarray(defects.draem_blend(flat(100), Fixed(0.25), flat(200)))
    assert (blended[mask] == 175).all()  # 0.25 * 100 + 0.75 * 200
    assert (blended[~mask] == 100).all()


def test_partner_is_another_image_drawn_by_path_and_view():
    paths = [f"{number}.png" for number in range(6)]
    drawn = [
        [views.partner(paths, row, pack="cutmix", view=view) for row in range(6)]
        for view in range(200)
    ]
    for row in range(6):
        counts = Counter(view[row] for view in drawn)
        assert set(counts) == set(range(6)) - {row}
        assert min(counts.values()) > 20  # 40 expected
    assert drawn[0] == [views.partner(paths, r, pack="cutmix", view=0) for r in range(6)]
    assert drawn[0] != [views.partner(paths, r, pack="draem", view=0) for r in range(6)]


def test_views_of_packs():
    image = picture(3)
    rotated = views.make_views(image, "a.png", KINDS["rotated"], views=3)
    assert [changed(image, view).any() for view in rotated] == [False, True, True]
    assert changed(rotated[1], rotated[2]).any()
    pseudo = views.make_views(image, "a.png", KINDS["pseudo"], views=3)
    assert 0 < changed(image, pseudo[0]).mean() < 0.2  # not rotated
    assert all(changed(image, view).mean() > 0.5 for view in pseudo[1:])
    scar, blobs = views.make_views(image, "a.png", KINDS["holdout"], views=2)
    assert 0 < changed(image, scar).mean() < 0.02 < changed(image, blobs).mean()
    assert views.make_views(image, "a.png", KINDS["plain"], views=1) == [image]
    values = np.array([[[0] * 3, [255] * 3], [[255] * 3, [255] * 3]], dtype=np.uint8)
    mean, std = views.pixel_statistics(Image.fromarray(values))
    assert mean == 0.75
    assert std == pytest.approx(3**0.5 / 4, rel=1e-15)


@pytest.mark.parametrize("pack", [name for name, kind in KINDS.items() if kind.defects])
def test_views_depend_on_path_number_and_second_image_only(pack):
    image, kind, others = picture(4), KINDS[pack], [picture(5), picture(6)]

    def make(others=others, path="a.png", rotation=0.0, count=2):
        sources = others[:count] if kind.second_image else ()
        made = views.make_views(image, path, kind, views=count, rotation=rotation, sources=sources)
        return [view.tobytes() for view in made]

    assert make() == make()
    assert make()[:1] == make(count=1)
    assert all(one != two for one, two in zip(make(), make(path="b.png"), strict=True))
    assert (make()[0] != make(others[::-1])[0]) == kind.second_image
    turned = make(rotation=180.0)
    assert turned[0] == make()[0]  # view 0 is not rotated
    assert (turned[1] != make()[1]) == kind.rotated
