"""Views of images, feature packs and their extraction."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from osad.backbones import get_backbone
from osad.core.errors import CheckError, ConfigError, DataError, OsadError, TrainingError
from osad.core.files import read_metadata, sha256_file, write_tensors
from osad.core.seeds import numpy_generator
from osad.data.images import open_verified
from osad.data.manifest import Record, write_manifest
from osad.features import compute, views
from osad.features import extract as extraction
from osad.features.compute import normalise
from osad.features.extract import extract
from osad.features.packs import Pack, PackInfo, level_name, pack_strides, write_pack
from osad.features.plan import plan_maps, plan_pixels, select_records
from osad.pipeline.steps.features import main, parse_strides, progress_line

LITE = get_backbone("tf_efficientnet_lite0")
CPU = torch.device("cpu")


def picture(number: int, size: int = 32) -> Image.Image:
    """Return an image of noise."""
    values = numpy_generator("picture", number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def changed(one: Image.Image, two: Image.Image) -> np.ndarray:
    """Return where two images differ, (h, w) bool."""
    return (np.asarray(one) != np.asarray(two)).any(axis=2)


class Fixed:
    """Stands in for a generator: gives prescribed numbers."""

    def __init__(self, *, order: list[int], amounts: list[float], turn: float = 0.0) -> None:
        self.order, self.amounts, self.turn = order, amounts, turn

    def permutation(self, count: int) -> list[int]:
        assert count == len(self.order)
        return self.order

    def uniform(self, low: float, high: float, size: int | None = None) -> object:
        return self.turn if size is None else np.array(self.amounts)


# Views


def test_resize_ignores_the_aspect_ratio() -> None:
    image = Image.new("RGB", (10, 40), (7, 8, 9))
    for interpolation in ("bicubic", "bilinear"):
        result = views.resize(image, 16, interpolation)
        assert result.size == (16, 16)
        assert result.getextrema() == ((7, 7), (8, 8), (9, 9))


def test_resize_averages_when_it_shrinks() -> None:
    values = np.zeros((4, 4, 3), dtype=np.uint8)
    values[::2] = 200
    result = views.resize(Image.fromarray(values), 1, "bilinear")
    assert result.getpixel((0, 0)) == (100, 100, 100)


def test_rotate_by_quarter_turns() -> None:
    values = np.zeros((3, 3, 3), dtype=np.uint8)
    values[0, 1] = 255  # top
    turned = np.asarray(views.rotate(Image.fromarray(values), 90.0))
    assert turned[1, 0].tolist() == [255, 255, 255]  # left: counter-clockwise
    assert int(turned.sum()) == 3 * 255


def test_rotate_fills_corners_with_black_and_keeps_values() -> None:
    image = Image.new("RGB", (40, 40), (9, 9, 9))
    turned = np.asarray(views.rotate(image, 45.0))
    assert turned[0, 0].tolist() == [0, 0, 0]
    assert turned[20, 20].tolist() == [9, 9, 9]
    assert set(np.unique(turned)) == {0, 9}  # nearest: no new values


def test_jitter_by_hand() -> None:
    grey = Image.new("RGB", (2, 2), (100, 100, 100))
    # Of a flat grey image contrast and saturation change nothing; brightness scales it.
    rng = Fixed(order=[0, 1, 2, 3], amounts=[1.1, 0.9, 1.05])
    assert views.color_jitter(grey, rng).getpixel((0, 0)) == (110, 110, 110)
    # Contrast first: around the mean of 50, 0 -> 5 and 100 -> 95, then halved brightness.
    two = Image.fromarray(np.array([[[0] * 3, [100] * 3]], dtype=np.uint8))
    rng = Fixed(order=[1, 0, 2, 3], amounts=[0.5, 0.9, 1.0])
    result = np.asarray(views.color_jitter(two, rng))[0, :, 0].tolist()
    assert result == [2, 47]


def test_turn_hue_by_hand() -> None:
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    assert views.turn_hue(red, 0.0).getpixel((0, 0)) == (255, 0, 0)
    assert views.turn_hue(red, 1 / 3).getpixel((0, 0)) == (0, 255, 0)
    grey = Image.new("RGB", (1, 1), (80, 80, 80))
    assert views.turn_hue(grey, 0.4).getpixel((0, 0)) == (80, 80, 80)


def test_jitter_draws_within_its_strength() -> None:
    grey = Image.new("RGB", (1, 1), (200, 200, 200))
    values = [views.color_jitter(grey, numpy_generator(i)).getpixel((0, 0))[0] for i in range(200)]
    assert 179 <= min(values) < 185
    assert 215 < max(values) <= 220


def test_cutmix_changes_one_rectangle_of_the_right_area() -> None:
    image = picture(0, 100)
    shares = []
    for number in range(100):
        where = changed(image, views.cutmix(image, numpy_generator("cutmix", number)))
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        shares.append(height * width / 10_000)
        assert where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9
        assert 0.25 < width / height < 4
    assert 0.015 < min(shares) < 0.04
    assert 0.12 < max(shares) < 0.16


def test_cutmix_pastes_from_the_same_image() -> None:
    flat = Image.new("RGB", (64, 64), (100, 100, 100))
    for number in range(20):
        result = np.asarray(views.cutmix(flat, numpy_generator(number)))
        assert result.min() >= 89
        assert result.max() <= 111


def test_scar_is_small_and_inside() -> None:
    image = picture(1, 128)
    for number in range(50):
        where = changed(image, views.cutpaste_scar(image, numpy_generator("scar", number)))
        # At 128 pixels at most 8 x 13 or so; its rotated box has no more area than a square.
        assert 1 <= where.sum() <= 9 * 14
        assert max(np.ptp(np.flatnonzero(where.any(axis))) + 1 for axis in (0, 1)) <= 16


def test_perlin_noise_is_zero_at_lattice_points_and_smooth() -> None:
    noise = views.perlin_noise(32, (4, 2), numpy_generator("noise"))
    np.testing.assert_allclose(noise[::8, ::16], 0.0, atol=1e-12)
    assert 0.1 < np.abs(noise).max() <= 1.0
    assert np.abs(np.diff(noise, axis=0)).max() < 0.5


def test_perlin_noise_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    class Right:
        def uniform(self, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
            return np.zeros(size)  # all gradients point to the right

    noise = views.perlin_noise(4, (1, 1), Right())
    # With x the offset: x (1 - fade) + (x - 1) fade = x - fade(x); fade(1/2) = 1/2.
    fade = [0.0, 0.103515625, 0.5, 0.896484375]
    np.testing.assert_allclose(noise[1], [0.0, 0.25 - fade[1], 0.0, 0.75 - fade[3]], atol=1e-12)


def test_perlin_blend_changes_blobs_of_the_right_area() -> None:
    image = picture(2, 64)
    shares = []
    for number in range(40):
        result = views.perlin_blend(image, numpy_generator("blend", number))
        shares.append(changed(image, result).mean())
    assert 0.015 < min(shares) < 0.05
    assert 0.1 < max(shares) <= 0.15 + 1 / 64**2


def test_pixel_statistics_by_hand() -> None:
    values = np.array([[[0] * 3, [255] * 3], [[255] * 3, [255] * 3]], dtype=np.uint8)
    mean, std = views.pixel_statistics(Image.fromarray(values))
    assert mean == 0.75
    assert std == pytest.approx(3**0.5 / 4, rel=1e-15)


def test_views_of_packs() -> None:
    image = picture(3, 64)
    rotated = views.make_views(image, "a.png", pack="rotated", views=3)
    assert [changed(image, view).any() for view in rotated] == [False, True, True]
    assert changed(rotated[1], rotated[2]).any()
    pseudo = views.make_views(image, "a.png", pack="pseudo", views=3)
    assert 0 < changed(image, pseudo[0]).mean() < 0.2  # not rotated
    assert all(changed(image, view).mean() > 0.5 for view in pseudo[1:])
    assert len(views.make_views(image, "a.png", pack="holdout", views=2)) == 2
    assert views.make_views(image, "a.png", pack="plain", views=1) == [image]


def test_views_depend_on_path_and_number_only() -> None:
    image = picture(4)
    three = views.make_views(image, "a.png", pack="pseudo", views=3)
    two = views.make_views(image, "a.png", pack="pseudo", views=2)
    other = views.make_views(image, "b.png", pack="pseudo", views=2)
    assert [v.tobytes() for v in three[:2]] == [v.tobytes() for v in two]
    assert all(one.tobytes() != two.tobytes() for one, two in zip(two, other, strict=True))


# Packs


def info_of(pack: str = "plain", **changes: object) -> PackInfo:
    values = {
        "pack": pack,
        "paths": ("a", "b"),
        "sha256": ("1" * 64, "2" * 64),
        "device": "cpu",
        "backbone": "resnet18",
        "weights_sha256": "3" * 64,
        "image_size": 40,
        "strides": (16, 32),
        "channels": (5, 6),
        "views": 1,
    }
    return PackInfo(**values | changes)


def test_shapes_of_packs() -> None:
    assert info_of().shapes() == {"s16": (2, 5, 3, 3), "s32": (2, 6, 2, 2)}
    assert info_of("holdout", views=2).shapes() == {"s16": (2, 2, 5, 3, 3), "s32": (2, 2, 6, 2, 2)}
    deep = info_of("rotated", strides=(32,), channels=(6,), views=4)
    assert deep.shapes() == {"s32": (2, 4, 6, 2, 2)}
    assert info_of("pixels").shapes() == {"intensity": (2, 2)}
    assert pack_strides("holdout", [16, 32]) == (16, 32)
    assert pack_strides("pseudo", [16, 32]) == (32,)


def tensors_of(info: PackInfo) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=rng).to(info.dtype())
        for name, shape in info.shapes().items()
    }


@pytest.fixture
def pack_file(tmp_path: Path) -> Path:
    path = tmp_path / "plain.safetensors"
    write_pack(path, tensors_of(info_of()), info_of())
    return path


def test_a_pack_is_read_as_it_was_written(pack_file: Path) -> None:
    pack = Pack.open(pack_file)
    assert pack.info == info_of()
    for name, tensor in tensors_of(info_of()).items():
        assert torch.equal(pack.tensor(name), tensor)
    assert level_name(16) == "s16"


def test_rows(pack_file: Path) -> None:
    pack = Pack.open(pack_file)
    assert pack.rows(["b", "a"], ["2" * 64, "1" * 64]).tolist() == [1, 0]
    assert pack.rows([], []).shape == (0,)
    with pytest.raises(CheckError, match=r"plain\.safetensors: has no features of c; delete it"):
        pack.rows(["c"], ["1" * 64])
    with pytest.raises(CheckError, match=f"SHA-256 {'1' * 64}, the split names {'9' * 64}"):
        pack.rows(["b", "a"], ["2" * 64, "9" * 64])


def test_unknown_tensor(pack_file: Path) -> None:
    with pytest.raises(ConfigError, match="has no tensor 's8', only s16, s32; add the stride"):
        Pack.open(pack_file).tensor("s8")


@pytest.mark.parametrize(
    "change", [{"image_size": 64}, {"channels": [5, 7]}, {"paths": ["a"]}, {"sha256": ["a"]}]
)
def test_a_pack_that_contradicts_itself(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "p.safetensors"
    write_tensors(path, tensors_of(info_of()), info_of().to_json() | change)
    with pytest.raises(DataError, match=r"p\.safetensors: holds tensors .* delete it"):
        Pack.open(path)


@pytest.mark.parametrize("change", [{"format": 99}, {"pack": "other"}, {"more": 1}])
def test_a_pack_of_another_format(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "p.safetensors"
    write_tensors(path, tensors_of(info_of()), info_of().to_json() | change)
    with pytest.raises(DataError, match="is not a feature pack of format 1"):
        Pack.open(path)


def test_a_truncated_pack(pack_file: Path) -> None:
    pack_file.write_bytes(pack_file.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"plain\.safetensors: is damaged"):
        Pack.open(pack_file)
    with pytest.raises(DataError, match="cannot be read"):
        Pack.open(pack_file.with_name("none"))


def test_values_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    tensors = tensors_of(info_of())
    tensors["s16"][1, 0, 0, 0] = float("inf")
    with pytest.raises(CheckError, match="b: its s16 features of resnet18 are not finite"):
        write_pack(tmp_path / "p.safetensors", tensors, info_of())
    with pytest.raises(ValueError, match="do not fit"):
        write_pack(tmp_path / "p.safetensors", tensors, info_of(image_size=64))
    assert list(tmp_path.iterdir()) == []


# Extraction


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / LITE.file
    LITE.obtain(path)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Make a project with 21 small images, every fourth anomalous, and return its records."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    records = []
    for number in range(21):
        path = f"images/{number:02}.png"
        picture(number).save(path)
        label = int(number % 4 == 0)
        split = "test" if label or number % 4 == 1 else "train"
        name = "spot" if label else "good"
        records.append(Record(path, label, name, split, "", sha256_file(path)))
    write_manifest("m.csv", records)
    return records


def arguments(pack: str, weights: Path, output: str, *, threads: int = 1) -> list[str]:
    network = f"--backbone {LITE.name} --weights {weights} --image-size 64 --strides 16,32"
    options = "" if pack == "pixels" else f"{network} --views 3"
    text = f"--pack {pack} --manifest m.csv {options} --threads {threads} --gpu 0"
    return [*text.split(), "--output", output]


COUNTS = {"pixels": 21, "plain": 21, "rotated": 16} | dict.fromkeys(
    ("pseudo", "cutmix", "draem", "holdout"), 10
)


@pytest.mark.parametrize("pack", COUNTS)
def test_bytes_do_not_depend_on_the_number_of_processes(
    project: list[Record], weights: Path, pack: str
) -> None:
    digests = set()
    for threads in (1, 2, 3):
        main(arguments(pack, weights, f"out/{threads}.safetensors", threads=threads))
        digests.add(sha256_file(f"out/{threads}.safetensors"))
    assert len(digests) == 1
    assert sorted(p.name for p in Path("out").iterdir()) == [f"{n}.safetensors" for n in (1, 2, 3)]
    pack_read = Pack.open("out/1.safetensors")
    chosen = select_records(project, pack)
    assert pack_read.info.paths == tuple(r.path for r in chosen)
    assert pack_read.info.sha256 == tuple(r.sha256 for r in chosen)
    assert len(chosen) == COUNTS[pack]
    assert str(Path.cwd()) not in str(read_metadata("out/1.safetensors"))


def test_which_images_are_in_which_pack(project: list[Record]) -> None:
    training = [r for r in project if r.split == "train"]
    assert {r.label for r in training} == {0}
    anomalies = [r for r in project if r.label == 1]
    assert set(select_records(project, "rotated")) == {*training, *anomalies}
    for pack in ("pseudo", "cutmix", "draem", "holdout"):
        assert select_records(project, pack) == training
    with pytest.raises(DataError, match="pack pseudo: the manifest has no image for it"):
        select_records(anomalies, "pseudo")


def test_values_of_packs(project: list[Record], weights: Path) -> None:
    main(arguments("pixels", weights, "pixels.safetensors"))
    main(arguments("plain", weights, "plain.safetensors"))
    main(arguments("rotated", weights, "rotated.safetensors"))
    main(arguments("holdout", weights, "holdout.safetensors"))
    image = open_verified(Path(project[9].path), project[9].sha256)

    found = Pack.open("pixels.safetensors").tensor("intensity")[9]
    assert torch.equal(found, torch.tensor(views.pixel_statistics(image)))

    model = LITE.build(weights, strides=[16, 32])
    pixels = torch.from_numpy(np.array(views.resize(image, 64, "bicubic")))[None]
    with torch.inference_mode():
        expected = model(normalise(pixels, LITE.mean, LITE.std))
    plain = Pack.open("plain.safetensors")
    for name, maps in zip(("s16", "s32"), expected, strict=True):
        torch.testing.assert_close(plain.tensor(name)[9].float(), maps[0], rtol=1e-3, atol=1e-3)
        assert float(maps.abs().max()) > 0.5

    # View 0 of the rotated pack is the plain view, of the training normals and the anomalies.
    rotated = Pack.open("rotated.safetensors")
    rows = plain.rows(rotated.info.paths, rotated.info.sha256)
    first, plain_rows = rotated.tensor("s32")[:, 0].float(), plain.tensor("s32")[rows].float()
    torch.testing.assert_close(first, plain_rows, rtol=2e-3, atol=2e-3)
    assert float((rotated.tensor("s32")[:, 1].float() - plain_rows).abs().max()) > 0.1
    assert rotated.info.views == 3
    assert list(rotated.info.shapes()) == ["s32"]

    holdout = Pack.open("holdout.safetensors")
    assert holdout.tensor("s16").shape == (10, 2, 112, 4, 4)
    assert not torch.equal(holdout.tensor("s32")[:, 0], holdout.tensor("s32")[:, 1])


def test_other_images_do_not_change_an_image_s_features(
    project: list[Record], weights: Path
) -> None:
    # Batches have a fixed size, so the rows of the first chunk are computed alike.
    options = {"backbone": LITE, "weights": weights, "image_size": 64, "strides": [32]}
    results = [
        extract(
            plan_maps(part, "plain", **options, views=1, device="cpu"),
            workers=1,
            device=CPU,
            progress=lambda done, total: None,
        )["s32"]
        for part in (project, project[:3])
    ]
    assert torch.equal(results[0][:3], results[1])


def test_threads_beside_an_accelerator_compute_the_same(
    project: list[Record], weights: Path
) -> None:
    task = plan_maps(
        project,
        "rotated",
        backbone=LITE,
        weights=weights,
        image_size=64,
        strides=[16, 32],
        views=3,
        device="cpu",
    )
    expected = extract(task, workers=1, device=CPU, progress=lambda done, total: None)["s32"]
    arrays = extraction.shared_arrays(task.info)
    seen: list[int] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extraction._run_threads(
            task, arrays, workers=2, device=CPU, progress=lambda done, total: seen.append(done)
        )
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(torch.from_numpy(arrays["s32"]), expected, rtol=2e-3, atol=2e-3)
    assert seen == [5, 10, 15, 16]  # 5 images of 3 views fill a batch of 16.


def test_normalise_by_hand() -> None:
    pixels = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    result = normalise(pixels, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0))
    torch.testing.assert_close(result.flatten(), torch.tensor([-1.0, 0.0, 0.5]))
    assert result.shape == (1, 3, 1, 1)


def no_children() -> bool:
    return multiprocessing.active_children() == []


@pytest.mark.parametrize("pack", ["pixels", "plain"])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_wrong_image_is_named(
    project: list[Record], weights: Path, pack: str, threads: int
) -> None:
    Path(project[18].path).unlink()
    Path(project[10].path).write_bytes(b"changed")
    with pytest.raises(DataError, match=r"^images/10\.png: its content has changed"):
        main(arguments(pack, weights, "out/p.safetensors", threads=threads))
    assert not Path("out").exists()
    assert no_children()


def test_a_damaged_image_of_the_right_digest(project: list[Record], weights: Path) -> None:
    path = Path(project[3].path)
    path.write_bytes(path.read_bytes()[:-200])
    project[3] = Record(str(path), 0, "good", "train", "", sha256_file(path))
    write_manifest("m.csv", project)
    with pytest.raises(DataError, match=r"images/03\.png: cannot be decoded"):
        main(arguments("plain", weights, "p.safetensors", threads=2))
    assert no_children()


def test_wrong_weights(project: list[Record], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"wrong")
    with pytest.raises(CheckError, match=r"wrong\.pth: SHA-256 is"):
        main(arguments("plain", wrong, "p.safetensors"))
    with pytest.raises(DataError, match="weights file is missing"):
        main(arguments("plain", tmp_path / "none.pth", "p.safetensors"))


def test_unreadable_weights_surface_from_the_workers(project: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "resnet18.tv_in1k.safetensors"
    write_tensors(path, {"conv1.weight": torch.zeros(1)}, {})
    argv = arguments("plain", path, "p.safetensors", threads=2)
    argv[argv.index(LITE.name)] = "resnet18"
    with pytest.raises(DataError, match=r"tv_in1k\.safetensors: tensor conv1\.weight has shape"):
        main(argv)
    assert no_children()


def test_a_killed_worker_is_one_message(
    project: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path, sha256: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(compute, "open_verified", die)
    with pytest.raises(TrainingError, match="a worker process was killed"):
        extract(plan_pixels(project), workers=2, device=CPU, progress=lambda done, total: None)
    assert no_children()


def test_unexpected_errors_are_not_hidden(
    project: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, sha256: str) -> None:
        raise ZeroDivisionError("a mistake in the code")

    monkeypatch.setattr(compute, "open_verified", fail)
    with pytest.raises(ZeroDivisionError, match="a mistake in the code"):
        extract(plan_pixels(project), workers=2, device=CPU, progress=lambda done, total: None)


def test_progress(project: list[Record], weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments("pixels", weights, "p.safetensors", threads=2))
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"features pixels 21/21 images, \d+ images/s, 0 s left", line)
    assert progress_line("plain", 0, 5, seconds=0.0).endswith("0 images/s, inf s left")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--strides", "16,x", "--strides '16,x': expected integers"),
        ("--strides", "16,64", "tf_efficientnet_lite0 has no stride 64"),
        ("--image-size", "16", "--image-size 16: must be 32 or more"),
        ("--views", "0", "--views 0: must be 1 or more"),
        ("--threads", "0", "--threads 0: must be 1 or more"),
        ("--backbone", "vgg", r"features\.backbone: 'vgg' is unknown"),
    ],
)
def test_wrong_options(
    project: list[Record], weights: Path, option: str, value: str, message: str
) -> None:
    argv = arguments("plain", weights, "p.safetensors")
    argv[argv.index(option) + 1] = value
    with pytest.raises(ConfigError, match=message):
        main(argv)


def test_missing_options(project: list[Record]) -> None:
    with pytest.raises(ConfigError, match="pack plain: option --backbone is missing"):
        main("--pack plain --manifest m.csv --output p".split())
    assert parse_strides("8") == (8,)


def test_imports_are_light() -> None:
    code = (
        "import sys, osad.features.packs, osad.features.extract, osad.pipeline.steps.features, "
        "osad.pipeline.steps.weights\n"
        "print([m for m in ('torch', 'timm', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_errors_keep_their_kind_across_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(DataError("a.png: is damaged; replace it")))
    assert isinstance(error, OsadError)
    assert str(error) == "a.png: is damaged; replace it"
