"""Feature packs: their kinds, their files, and their extraction."""

import multiprocessing
import os
import re
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_cases import noise
from PIL import Image

from osad.backbones import get_backbone
from osad.core.errors import CheckError, ConfigError, DataError, TrainingError
from osad.core.files import read_metadata, sha256_file, write_tensors
from osad.data.images import open_verified
from osad.data.manifest import Record, write_manifest
from osad.features import compute, views
from osad.features import extract as extraction
from osad.features.compute import compute_maps, load_views, normalise, pool
from osad.features.extract import extract
from osad.features.kinds import KINDS, PACKS, SYNTHETIC, TEST_PACKS
from osad.features.packs import Pack, PackInfo, level_name, write_pack
from osad.features.plan import Task, identities, plan_maps, plan_pixels, select_records
from osad.features.tiles import Frame
from osad.pipeline.steps.features import main, parse_strides, progress_line

LITE = get_backbone("tf_efficientnet_lite0")
CPU = torch.device("cpu")


def test_kinds():
    assert PACKS == (
        "pixels", "plain", "pooled", "rotated", "pseudo", "cutmix", "draem", "images",
    )  # fmt: skip
    assert TEST_PACKS == ("pixels", "plain", "pooled", "images")
    assert SYNTHETIC == ("pseudo", "cutmix", "draem", "holdout")
    numbers = {name: kind.views(4, rotation=180.0) for name, kind in KINDS.items()}
    assert numbers == {"pixels": 1, "plain": 1, "pooled": 1, "rotated": 4, "pseudo": 4,
                       "cutmix": 2, "draem": 2, "images": 1, "holdout": 2}  # fmt: skip
    assert KINDS["rotated"].views(4, rotation=0.0) == 1
    assert [KINDS[name].views(1, rotation=0.0) for name in ("draem", "holdout")] == [1, 2]
    levels = [2, 4, 8, 16, 32]
    strides = {name: kind.strides([16, 32], levels) for name, kind in KINDS.items() if kind.maps}
    assert strides["holdout"] == strides["plain"] == (16, 32)
    assert strides["pseudo"] == strides["draem"] == strides["images"] == (32,)
    assert "pooled" not in strides


def info_of(pack: str = "plain", **changes: Any) -> PackInfo:
    digests = ("1" * 64, "2" * 64)
    info = PackInfo(pack, ("a", "b"), digests, "cpu", "resnet18", "3" * 64, 40, (16, 32), (5, 6))
    return replace(info, **changes)


@pytest.mark.parametrize(
    ("pack", "changes", "shapes"),
    [
        ("plain", {}, {"s16": (2, 5, 3, 3), "s32": (2, 6, 2, 2)}),
        ("holdout", {"views": 2}, {"s16": (2, 2, 5, 3, 3), "s32": (2, 2, 6, 2, 2)}),
        ("rotated", {"strides": (32,), "channels": (6,), "views": 4}, {"s32": (2, 4, 6, 2, 2)}),
        ("pixels", {}, {"intensity": (2, 2)}),
        ("pooled", {}, {"pooled": (2, 2, 11)}),
        ("pooled", {"strides": (14,), "channels": (7,)}, {"pooled": (2, 2, 7)}),
        ("images", {"strides": (32,), "channels": (6,)}, {"images": (2, 40, 40, 3)}),
    ],
)
def test_shapes_of_packs(pack, changes, shapes):
    info = info_of(pack, **changes)
    assert info.shapes() == shapes
    dtype = torch.float16 if info.kind.maps else torch.float32
    dtype = torch.uint8 if pack == "images" else dtype
    arrays = extraction.shared_arrays(info)
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert {torch.from_numpy(array).dtype for array in arrays.values()} == {info.dtype()} == {dtype}


@pytest.mark.parametrize(
    ("levels", "strides"),
    [([2, 4, 8, 16, 32], (8, 16, 32)), ([14], (14,)), ([4], (4,)), ([2, 4], (4,))],
)
def test_pooled_strides_are_those_of_the_network_whatever_is_asked_for(levels, strides):
    for asked in ([16, 32], [4], []):
        assert KINDS["pooled"].strides(asked, levels) == strides


def tensors_of(info: PackInfo) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=rng).to(info.dtype())
        for name, shape in info.shapes().items()
    }


@pytest.fixture
def pack_file(tmp_path):
    path = tmp_path / "plain.safetensors"
    write_pack(path, tensors_of(info_of()), info_of())
    return path


def test_a_pack_is_read_as_it_was_written(pack_file):
    pack = Pack.open(pack_file)
    assert pack.info == info_of()
    for name, tensor in tensors_of(info_of()).items():
        assert torch.equal(pack.tensor(name), tensor)
    assert level_name(16) == "s16"
    pack_file.write_bytes(pack_file.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"plain\.safetensors: is damaged"):
        Pack.open(pack_file)
    with pytest.raises(DataError, match="cannot be read"):
        Pack.open(pack_file.with_name("none"))


def test_rows(pack_file):
    pack = Pack.open(pack_file)
    assert pack.rows(["b", "a"], ["2" * 64, "1" * 64]).tolist() == [1, 0]
    assert pack.rows([], []).shape == (0,)
    with pytest.raises(CheckError, match=r"plain\.safetensors: has no features of c; delete it"):
        pack.rows(["c"], ["1" * 64])
    with pytest.raises(CheckError, match=f"SHA-256 {'1' * 64}, the split names {'9' * 64}"):
        pack.rows(["b", "a"], ["2" * 64, "9" * 64])
    with pytest.raises(ConfigError, match="has no tensor 's8', only s16, s32; add the stride"):
        pack.tensor("s8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((change, r"p\.safetensors: holds tensors .* delete it") for change in (
            {"image_size": 64}, {"channels": [5, 7]}, {"paths": ["a"]}, {"sha256": ["a"]},
        )),
        *((change, "is not a feature pack of format 1") for change in (
            {"format": 99}, {"pack": "other"}, {"more": 1},
        )),
    ],
)  # fmt: skip
def test_a_pack_that_contradicts_itself_or_is_of_another_format(tmp_path, change, message):
    path = tmp_path / "p.safetensors"
    write_tensors(path, tensors_of(info_of()), asdict(info_of()) | change)
    with pytest.raises(DataError, match=message):
        Pack.open(path)


def test_values_that_are_not_finite_are_not_written(tmp_path):
    tensors = tensors_of(info_of())
    tensors["s16"][1, 0, 0, 0] = float("inf")
    with pytest.raises(CheckError, match="b: its s16 features of resnet18 are not finite"):
        write_pack(tmp_path / "p.safetensors", tensors, info_of())
    with pytest.raises(ValueError, match="do not fit"):
        write_pack(tmp_path / "p.safetensors", tensors, info_of(image_size=64))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / LITE.file
    LITE.obtain(path)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a project with 21 small images, every fourth anomalous, and return its records."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    records = []
    for number in range(21):
        path = f"images/{number:02}.png"
        noise(number, 32).save(path)
        label = int(number % 4 == 0)
        split = "test" if label or number % 4 == 1 else "train"
        name = "spot" if label else "good"
        records.append(Record(path, label, name, split, "", sha256_file(path)))
    write_manifest("m.csv", records)
    return records


def maps_of(records: list[Record], pack: str, weights: Path, **options: Any) -> Task:
    """Return a task on the CPU for images of 64 pixels."""
    defaults: dict[str, Any] = {
        "backbone": LITE,
        "image_size": 64,
        "strides": [32],
        "views": 3,
        "device": "cpu",
    }
    return plan_maps(records, pack, weights=weights, **defaults | options)


def silent(done: int, total: int) -> None:
    pass


def arguments(pack: str, weights: Path, output: str, *, threads: int = 1) -> list[str]:
    network = f"--backbone {LITE.name} --weights {weights} --image-size 64 --strides 16,32"
    options = "" if pack == "pixels" else f"{network} --views 3"
    text = f"--pack {pack} --manifest m.csv {options} --threads {threads} --gpu 0"
    return [*text.split(), "--output", output]


COUNTS = {"pixels": 21, "plain": 21, "pooled": 21, "rotated": 16} | dict.fromkeys(
    ("pseudo", "cutmix", "draem", "holdout"), 10
)


@pytest.mark.parametrize("pack", COUNTS)
def test_bytes_do_not_depend_on_the_number_of_processes(project, weights, pack):
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


def test_one_tile_is_no_tile(project, weights):
    main(arguments("plain", weights, "none.safetensors"))
    one = ["--resize", "squash", "--grid", "1", "--overlap", "32"]
    main([*arguments("plain", weights, "one.safetensors"), *one])
    assert Path("one.safetensors").read_bytes() == Path("none.safetensors").read_bytes()


def test_values_of_packs(project, weights):
    for pack in ("pixels", "plain", "rotated", "holdout"):
        main(arguments(pack, weights, f"{pack}.safetensors"))
    image = open_verified(Path(project[9].path), project[9].sha256)
    found = Pack.open("pixels.safetensors").tensor("intensity")[9]
    assert torch.equal(found, torch.tensor(views.pixel_statistics(image)))
    model = LITE.build(weights, strides=[16, 32])
    pixels = torch.from_numpy(np.array(Frame(64).fit(image, "bicubic")))[None]
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


def test_pool_by_hand():
    """Of two channels of two positions, and of one of a single position."""
    maps = [torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]]), torch.tensor([[[[7.0]]]])]
    assert pool(maps).tolist() == [[[2.0, 5.0, 7.0], [1.0, 0.0, 0.0]]]


def test_a_pooled_pack_is_what_numpy_makes_of_maps_that_are_not_rounded(project, weights):
    main(arguments("pooled", weights, "pooled.safetensors"))
    pack = Pack.open("pooled.safetensors")
    assert (pack.info.strides, pack.info.channels) == ((8, 16, 32), (40, 112, 320))
    model = LITE.build(weights, strides=[8, 16, 32])
    images = [open_verified(Path(record.path), record.sha256) for record in project]
    pixels = np.stack([np.asarray(Frame(64).fit(image, LITE.interpolation)) for image in images])
    batches = [*compute_maps(model, pixels, backbone=LITE, device=CPU)]
    maps = [torch.cat(level).numpy() for level in zip(*batches, strict=True)]
    assert [part.dtype for part in maps] == [np.float32] * 3
    moments = [np.stack([m.mean((2, 3)), m.std((2, 3))], axis=1) for m in maps]
    expected = np.concatenate(moments, axis=2)
    found = pack.tensor("pooled").numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    rounded = np.concatenate([m.astype(np.float16).mean((2, 3), np.float32) for m in maps], axis=1)
    errors = [np.abs(means - expected[:, 0]).max() for means in (found[:, 0], rounded)]
    assert errors[0] < errors[1] / 10


def test_a_network_of_one_level_is_pooled_there_and_threads_compute_the_same(project, weights):
    """The strides asked for are those of the first network, which this one need not have."""
    one = replace(LITE, levels={14: 8})
    info = maps_of(project, "pooled", weights, backbone=one, strides=[16, 32]).info
    assert (info.strides, info.channels, info.views) == ((14,), (8,), 1)
    with pytest.raises(ConfigError, match="has no stride 16; choose from 14"):
        maps_of(project, "plain", weights, backbone=one, strides=[16, 32])
    task = maps_of(project, "pooled", weights)
    expected = extract(task, workers=1, device=CPU, progress=silent)["pooled"]
    found = extract(task, workers=2, device=CPU, progress=silent, models={})["pooled"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_other_images_do_not_change_an_image_s_features(project, weights):
    # Batches have a fixed size, so the rows of the first chunk are computed alike.
    results = [
        extract(maps_of(part, "plain", weights), workers=1, device=CPU, progress=silent)["s32"]
        for part in (project, project[:3])
    ]
    assert torch.equal(results[0][:3], results[1])


def test_threads_beside_an_accelerator_compute_the_same(project, weights):
    task = maps_of(project, "rotated", weights, strides=[16, 32])
    expected = extract(task, workers=1, device=CPU, progress=silent)["s32"]
    seen: list[int] = []
    models: dict[tuple[str, tuple[int, ...]], torch.nn.Module] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = [
            extract(
                task, workers=2, device=CPU, progress=lambda done, _: seen.append(done), models=kept
            )["s32"]
            for kept in (models, models)
        ]
    finally:
        torch.set_num_threads(threads)
    assert [*models] == [(LITE.name, (32,))]  # It is built once.
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], expected, rtol=2e-3, atol=2e-3)
    assert seen == 2 * [5, 10, 15, 16]  # 5 images of 3 views fill a batch of 16.


def test_normalise_by_hand():
    pixels = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    result = normalise(pixels, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0))
    torch.testing.assert_close(result.flatten(), torch.tensor([-1.0, 0.0, 0.5]))
    assert result.shape == (1, 3, 1, 1)


def no_children() -> bool:
    return multiprocessing.active_children() == []


@pytest.mark.parametrize("pack", ["pixels", "plain"])
@pytest.mark.parametrize("threads", [1, 3])
def test_all_wrong_images_are_named(project, weights, pack, threads):
    Path(project[18].path).unlink()
    Path(project[10].path).write_bytes(b"changed")
    with pytest.raises(DataError) as caught:
        main(arguments(pack, weights, "out/p.safetensors", threads=threads))
    first, *faults = str(caught.value).split("\n")
    assert first == f"2 of {len(project)} images cannot be used"
    assert [fault.partition(";")[0].partition(" (")[0] for fault in faults] == [
        "images/10.png: its content has changed",
        "images/18.png: cannot be read",
    ]
    assert not Path("out").exists()
    assert no_children()


def test_a_damaged_image_or_unreadable_weights_surface_from_the_workers(project, weights, tmp_path):
    path = tmp_path / "resnet18.tv_in1k.safetensors"
    write_tensors(path, {"conv1.weight": torch.zeros(1)}, {})
    argv = arguments("plain", path, "p.safetensors", threads=2)
    argv[argv.index(LITE.name)] = "resnet18"
    with pytest.raises(DataError, match=r"tv_in1k\.safetensors: tensor conv1\.weight has shape"):
        main(argv)
    assert no_children()
    path = Path(project[3].path)
    path.write_bytes(path.read_bytes()[:-200])
    project[3] = Record(str(path), 0, "good", "train", "", sha256_file(path))
    write_manifest("m.csv", project)
    with pytest.raises(DataError, match=r"images/03\.png: cannot be decoded"):
        main(arguments("plain", weights, "p.safetensors", threads=2))
    assert no_children()


def test_a_killed_worker_is_one_message_and_other_errors_are_not_hidden(project, monkeypatch):
    def die(path: Path, sha256: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail(path: Path, sha256: str) -> None:
        raise ZeroDivisionError("a mistake in the code")

    for function, error, message in (
        (die, TrainingError, "a worker process was killed"),
        (fail, ZeroDivisionError, "a mistake in the code"),
    ):
        monkeypatch.setattr(compute, "open_verified", function)
        with pytest.raises(error, match=message):
            extract(plan_pixels(project), workers=2, device=CPU, progress=silent)
        assert no_children()


def test_progress(project, weights, capsys):
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
        ("--backbone", None, "pack plain: option --backbone is missing"),
    ],
)
def test_wrong_options(project, weights, option, value, message):
    argv = arguments("plain", weights, "p.safetensors")
    place = argv.index(option)
    argv[place : place + 2] = [option, value] if value else []
    with pytest.raises(ConfigError, match=message):
        main(argv)
    assert parse_strides("8") == (8,)


@pytest.mark.parametrize("pack", [name for name, kind in KINDS.items() if kind.second_image])
def test_loaded_views_are_those_of_image_and_partner(project, pack):
    paths, digests = identities(select_records(project, pack))
    info = PackInfo(pack, paths, digests, "cpu", LITE.name, "", 64, (32,), (320,), 2)
    loaded, contents = load_views(Task(info), range(2, 4))
    assert (loaded.shape, contents) == ((4, 64, 64, 3), [(64, 64)] * 2)
    images = {path: Frame(64).fit(Image.open(path), LITE.interpolation) for path in paths}
    for row in (2, 3):
        others = [views.partner(paths, row, pack=pack, view=view) for view in range(2)]
        image, sources = images[paths[row]], [images[paths[other]] for other in others]
        made = views.make_views(
            image, paths[row], KINDS[pack], views=2, rotation=0.0, sources=sources
        )
        for view in range(2):
            np.testing.assert_array_equal(loaded[2 * (row - 2) + view], np.asarray(made[view]))
    other = paths[views.partner(paths, 0, pack=pack, view=1)]
    noise(99, 32).save(other)
    with pytest.raises(DataError, match=rf"^{other}: its content has changed"):
        load_views(Task(info), range(1))


def test_which_images_are_in_which_pack(project, weights):
    training = [r for r in project if r.split == "train"]
    anomalies = [r for r in project if r.label == 1]
    assert {r.label for r in training} == {0}
    assert set(select_records(project, "rotated")) == {*training, *anomalies}
    assert all(select_records(project, pack) == training for pack in SYNTHETIC)
    with pytest.raises(DataError, match="pack pseudo: the manifest has no image for it"):
        select_records(anomalies, "pseudo")
    message = r"pack draem: a view needs two .*, there is only images/02"
    with pytest.raises(DataError, match=message):
        maps_of(training[:1], "draem", weights)
    with pytest.raises(ConfigError, match="has no stride 64"):
        maps_of(training, "draem", weights, strides=[64])
