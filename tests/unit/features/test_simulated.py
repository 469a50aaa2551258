"""Views whose defects take foreign texture from a second image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osad.backbones import get_backbone
from osad.core.errors import ConfigError, DataError
from osad.core.files import sha256_file
from osad.core.seeds import numpy_generator
from osad.data.manifest import Record
from osad.features import plan, simulated, views
from osad.features.compute import load_views
from osad.features.packs import PackInfo, pack_strides
from osad.features.plan import Task, number_of_views, plan_maps

LITE = get_backbone("tf_efficientnet_lite0")


def flat(value: int, size: int = 16) -> Image.Image:
    """Return a grey image."""
    return Image.new("RGB", (size, size), (value, value, value))


def noise(number: int, size: int = 64) -> Image.Image:
    """Return an image of noise."""
    values = numpy_generator("noise", number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


class Fixed:
    """Stands in for a generator: gives prescribed numbers in turn."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def uniform(self, low: float, high: float, size: int | None = None) -> object:
        drawn = [self.numbers.pop(0) for _ in range(size or 1)]
        assert all(low <= number <= high for number in drawn)
        return np.array(drawn) if size else drawn[0]

    def integers(self, low: int, high: int, size: int = 0, *, endpoint: bool = False) -> object:
        drawn = self.uniform(low, high if endpoint else high - 1, size or None)
        return np.array(drawn, dtype=int) if size else drawn


# The second image


def test_partner_is_another_image_drawn_by_path_and_view():
    paths = [f"{number}.png" for number in range(6)]
    drawn = [
        [simulated.partner(paths, row, pack="cutmix", view=view) for row in range(6)]
        for view in range(200)
    ]
    for row in range(6):
        counts = Counter(view[row] for view in drawn)
        assert set(counts) == set(range(6)) - {row}
        assert min(counts.values()) > 20  # 40 expected
    assert drawn[0] == [simulated.partner(paths, r, pack="cutmix", view=0) for r in range(6)]
    assert drawn[0] != [simulated.partner(paths, r, pack="draem", view=0) for r in range(6)]


# Generators


def test_cutmix_patch_comes_from_the_other_image(monkeypatch):
    monkeypatch.setattr(views, "color_jitter", lambda image, rng: image)
    down, across = np.mgrid[0:100, 0:100]
    other = np.stack([across, down, np.full((100, 100), 250)], axis=2).astype(np.uint8)
    places = set()
    for number in range(30):
        rng = numpy_generator("foreign", number)
        result = np.asarray(simulated.foreign_cutmix(flat(0, 100), Image.fromarray(other), rng))
        pasted = result[:, :, 2] == 250
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        assert pasted.sum() == len(rows) * len(columns)  # one rectangle ...
        assert not result[~pasted].any()  # ... and nothing changed outside
        assert 0.015 < pasted.mean() < 0.16
        patch = result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        left, top = int(patch[0, 0, 0]), int(patch[0, 0, 1])
        source = other[top : top + len(rows), left : left + len(columns)]
        np.testing.assert_array_equal(patch, source)
        places.add((left == columns[0]) and (top == rows[0]))
    assert places == {False}  # source and target corner are independent


def test_cutmix_of_one_image_is_as_before():
    image = noise(0)
    one = views.cutmix(image, numpy_generator(1))
    assert one.tobytes() == views.cutmix(image, numpy_generator(1), source=image).tobytes()


def test_mask_by_hand(monkeypatch):
    half = np.full((8, 8), 0.353)  # times the root of 2: 0.4992, not above one half
    half[:, :4] = 0.354  # 0.5006
    cells = []

    def made(size: int, lattice: tuple[int, int], rng: object) -> np.ndarray:
        cells.append(lattice)
        return np.zeros((8, 8)) if len(cells) == 1 else half

    monkeypatch.setattr(simulated, "perlin_noise", made)
    # The first draw covers nothing, so there is a second; its left half, turned by 90 degrees
    # counter-clockwise, is the lower half.
    mask = simulated.draem_mask(8, Fixed(0, 5, 10.0, 1, 3, 90.0))
    assert cells == [(1, 32), (2, 8)]
    assert mask[4:].all()
    assert not mask[:4].any()


def test_masks_are_blobs_of_many_sizes():
    masks = [simulated.draem_mask(64, numpy_generator("mask", number)) for number in range(60)]
    shares = [mask.mean() for mask in masks]
    assert min(shares) >= 0.002
    assert max(shares) > 0.1
    assert max(shares) < 0.6


def test_blend_by_hand(monkeypatch):
    mask = np.zeros((16, 16), dtype=bool)
    mask[2:5, 7:9] = True
    monkeypatch.setattr(simulated, "draem_mask", lambda size, rng: mask)
    monkeypatch.setattr(simulated, "texture", lambda image, rng: image)
    result = np.asarray(simulated.draem_blend(flat(100), flat(200), Fixed(0.25)))
    assert (result[mask] == 175).all()  # 0.25 * 100 + 0.75 * 200
    assert (result[~mask] == 100).all()


def test_blend_leaves_the_rest_unchanged():
    for number in range(10):
        seed = ("blend", number)
        image = noise(number)
        mask = simulated.draem_mask(64, numpy_generator(*seed))
        result = np.asarray(simulated.draem_blend(image, noise(-1), numpy_generator(*seed)))
        differs = (result != np.asarray(image)).any(axis=2)
        assert not differs[~mask].any()
        assert differs[mask].mean() > 0.8


OPERATIONS = {operation.__name__: operation for operation in simulated._OPERATIONS}


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [
        ("_gamma", (1.0, 2.0, 0.5), (100, 39, 160)),  # 255 (100/255)^e
        ("_brightness", (1.2, 10), (130, 130, 130)),
        ("_solarise", (64,), (155, 155, 155)),
        ("_solarise", (128,), (100, 100, 100)),
        ("_posterise", (1,), (0, 0, 0)),
        ("_posterise", (3,), (96, 96, 96)),
        ("_invert", (), (155, 155, 155)),
        ("_sharpness", (3.0,), (100, 100, 100)),
        ("_hue", (0.2, 1.5), (100, 100, 100)),  # grey has no hue
        ("_contrast", (), (100, 100, 100)),
        ("_equalise", (), (100, 100, 100)),
        ("_turn", (45.0,), (100, 100, 100)),  # at the centre
    ],
)
def test_operations_by_hand(name, numbers, expected):
    result = OPERATIONS[name](flat(100), Fixed(*numbers))
    assert result.size == (16, 16)
    assert result.getpixel((8, 8)) == expected


def test_texture_applies_three_different_operations(monkeypatch):
    called: list[int] = []

    def operation(number: int):
        return lambda image, rng: called.append(number) or image

    monkeypatch.setattr(simulated, "_OPERATIONS", tuple(map(operation, range(10))))
    image = noise(3)
    seen = set()
    for number in range(40):
        called.clear()
        shuffled = simulated.texture(image, numpy_generator("texture", number))
        assert len(set(called)) == len(called) == 3
        seen |= set(called)
        assert sorted(shuffled.tobytes()) == sorted(image.tobytes())  # tiles moved, no more
        assert shuffled.tobytes() != image.tobytes()
    assert seen == set(range(10))


@pytest.mark.parametrize("pack", simulated.SIMULATED)
def test_views_depend_on_path_number_and_second_image_only(pack):
    image, others = noise(4), [noise(5), noise(6)]

    def make(others=others, path="a.png", rotation=0.0):
        made = simulated.make_simulated_views(image, others, path, pack=pack, rotation=rotation)
        return [view.tobytes() for view in made]

    assert make() == make()
    assert make()[:1] == make(others[:1])
    assert all(one != two for one, two in zip(make(), make(path="b.png"), strict=True))
    assert make()[0] != make(others[::-1])[0]
    turned = make(rotation=180.0)
    assert turned[0] == make()[0]  # view 0 is not rotated
    assert turned[1] != make()[1]


# Packs


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Make a folder with 6 training images, and return their records."""
    monkeypatch.chdir(tmp_path)
    found = []
    for number in range(6):
        noise(number).save(f"{number}.png")
        digest = sha256_file(f"{number}.png")
        found.append(Record(f"{number}.png", 0, "good", "train", "", digest))
    return found


def task_of(records: list[Record], pack: str) -> Task:
    paths, digests = plan._identities(records)
    number = number_of_views(pack, views=4, rotation=0.0)
    return Task(PackInfo(pack, paths, digests, "cpu", LITE.name, "", 64, (32,), (320,), number))


@pytest.mark.parametrize("pack", simulated.SIMULATED)
def test_loaded_views_are_those_of_image_and_partner(records, pack):
    task = task_of(records, pack)
    assert task.info.views == 2
    loaded = load_views(task, range(2, 4))
    assert loaded.shape == (4, 64, 64, 3)
    for row in (2, 3):
        others = [simulated.partner(task.info.paths, row, pack=pack, view=v) for v in range(2)]
        made = simulated.make_simulated_views(
            noise(row), [noise(other) for other in others], f"{row}.png", pack=pack, rotation=0.0
        )
        for view in range(2):
            np.testing.assert_array_equal(loaded[2 * (row - 2) + view], np.asarray(made[view]))


@pytest.mark.parametrize("pack", simulated.SIMULATED)
def test_both_images_are_verified(records, pack):
    task = task_of(records, pack)
    other = simulated.partner(task.info.paths, 0, pack=pack, view=1)
    noise(99).save(f"{other}.png")
    with pytest.raises(DataError, match=rf"^{other}\.png: its content has changed"):
        load_views(task, range(1))


def test_numbers_of_views_and_strides():
    assert number_of_views("cutmix", views=4, rotation=0.0) == 2
    assert number_of_views("draem", views=1, rotation=0.0) == 1
    assert number_of_views("pseudo", views=4, rotation=0.0) == 4
    assert pack_strides("draem", [16, 32]) == (32,)


def test_one_image_alone_has_no_partner(records, tmp_path):
    with pytest.raises(DataError, match=r"pack draem: a view needs two .*, there is only 0\.png"):
        plan_maps(
            records[:1],
            "draem",
            backbone=LITE,
            weights=tmp_path / "none",
            image_size=64,
            strides=[32],
            views=2,
            device="cpu",
        )
    with pytest.raises(ConfigError, match="has no stride 64"):
        plan_maps(
            records,
            "draem",
            backbone=LITE,
            weights=tmp_path / "none",
            image_size=64,
            strides=[64],
            views=2,
            device="cpu",
        )
