"""Files of anomaly maps, the step that writes them, and PatchCore's maps."""

from __future__ import annotations

import json
from pathlib import Path

import learn_cases
import numpy as np
import pytest
import torch
from learn_cases import Packs

from osad.core.arrays import write_arrays
from osad.core.errors import CheckError, ConfigError, DataError, TrainingError
from osad.core.files import read_csv, read_metadata, sha256_file, write_tensors
from osad.data.splits import SplitRow, write_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps, at_image_size
from osad.features.packs import PackInfo, write_pack
from osad.learn.images import Scores
from osad.methods import registry
from osad.pipeline.steps import score
from osad.pipeline.steps._cell import FORMAT

one_thread = learn_cases.one_thread

CELL = "made/all/normal-m0/patchcore/s0"
PATHS = ("data/a.png", "data/b c.png", "data/ä.png")
DIGESTS = ("1" * 64, "2" * 64, "3" * 64)
IMAGES = list(zip(PATHS, DIGESTS, strict=True))


def made(**changes: object) -> AnomalyMaps:
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    fields = {"cell": CELL, "paths": PATHS, "sha256": DIGESTS, "image_size": 64, "maps": maps}
    return AnomalyMaps(**{**fields, **changes})  # type: ignore[arg-type]


def test_maps_come_back_as_they_were(tmp_path):
    # Values that float16 could not hold or tell apart.
    maps = made().maps
    maps[0, 0, :4] = 1e30, -7e4, 300.0, 300.01
    anomaly_maps.write(tmp_path / "m.safetensors", made(maps=maps))
    found = anomaly_maps.read(tmp_path / "m.safetensors")
    assert found.maps.dtype == np.float32
    assert np.array_equal(found.maps, maps)
    assert (found.cell, found.paths, found.sha256, found.image_size) == (CELL, PATHS, DIGESTS, 64)
    anomaly_maps.check(found, IMAGES, cell=CELL, where=tmp_path)


def test_equal_maps_give_equal_bytes(tmp_path):
    maps = made().maps
    strided = np.asfortranarray(maps)
    anomaly_maps.write(tmp_path / "a", made(maps=maps))
    anomaly_maps.write(tmp_path / "b", made(maps=strided))
    assert sha256_file(tmp_path / "a") == sha256_file(tmp_path / "b")
    assert set(read_metadata(tmp_path / "a")) == anomaly_maps.KEYS


def spoilt(value: float) -> np.ndarray:
    maps = made().maps
    maps[1, 2, 3] = value
    return maps


WRONG = [
    ({"maps": spoilt(np.nan)}, "data/b c.png: its anomaly map is not finite"),
    ({"maps": spoilt(-np.inf)}, "data/b c.png: its anomaly map is not finite"),
    ({"maps": made().maps.astype(np.float16)}, "float16, expected"),
    ({"maps": made().maps[:2]}, r"\(2, 4, 5\) float32, expected \(3, h, w\)"),
    ({"maps": made().maps[:, 0]}, r"\(3, 5\) float32"),
    ({"image_size": 4}, "4 x 5 do not fit an image of 4 pixels"),
    ({"paths": ("a", "a", "b")}, "not unique"),
    ({"sha256": DIGESTS[:2]}, "not as many"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_maps_are_neither_written_nor_read(tmp_path, changes, message):
    wrong = made(**changes)
    with pytest.raises(TrainingError, match=f"{CELL}: .*{message}"):
        anomaly_maps.write(tmp_path / "m", wrong)
    assert not (tmp_path / "m").exists()
    metadata = {key: getattr(wrong, key) for key in anomaly_maps.KEYS - {"format"}}
    write_arrays(tmp_path / "m", {"maps": wrong.maps}, {"format": 1, **metadata})
    with pytest.raises(DataError, match=message):
        anomaly_maps.read(tmp_path / "m")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(DataError, match="cannot be read"):
        anomaly_maps.read(path)
    anomaly_maps.write(path, made())
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    with pytest.raises(DataError, match="damaged"):
        anomaly_maps.read(path)
    path.write_bytes(content.replace(b'\\"format\\": 1', b'\\"format\\": 2'))
    with pytest.raises(DataError, match="anomaly maps of format 1"):
        anomaly_maps.read(path)


@pytest.mark.parametrize(
    ("images", "cell", "message"),
    [
        (IMAGES, CELL.replace("s0", "s1"), f"is of cell {CELL}"),
        (IMAGES[:2], CELL, "has 3 maps for 2 test images"),
        ([*IMAGES, ("d", "4" * 64)], CELL, "has 3 maps for 4 test images"),
        ([IMAGES[1], IMAGES[0], IMAGES[2]], CELL, "has the map of data/a.png"),
        ([(PATHS[0], "9" * 64), *IMAGES[1:]], CELL, "where that of data/a.png .99999"),
    ],
)
def test_maps_of_other_images_are_refused(images, cell, message):
    with pytest.raises(CheckError, match=message):
        anomaly_maps.check(made(), images, cell=cell, where=Path("m.safetensors"))


def test_selecting_the_maps_of_some_images(tmp_path):
    anomaly_maps.write(tmp_path / "a", made())
    other = CELL.replace("normal-m0", "general-m10")
    anomaly_maps.select(tmp_path / "a", tmp_path / "b", cell=other, images=[IMAGES[2], IMAGES[0]])
    found = anomaly_maps.read(tmp_path / "b")
    assert (found.cell, found.image_size) == (other, 64)
    assert list(zip(found.paths, found.sha256, strict=True)) == [IMAGES[2], IMAGES[0]]
    assert np.array_equal(found.maps, made().maps[[2, 0]])
    for image in (("data/none.png", DIGESTS[0]), (PATHS[0], DIGESTS[1])):
        with pytest.raises(CheckError, match=f"no map of {image[0]}"):
            anomaly_maps.select(tmp_path / "a", tmp_path / "c", cell=other, images=[image])


def test_at_image_size():
    maps = np.array([[[0.0, 1.0]]], np.float32)
    assert at_image_size(maps, 4)[0, 2].tolist() == [0, 0.25, 0.75, 1]
    assert np.ptp(at_image_size(maps, 4, sigma=2.0)) < 1


# PatchCore


def patchcore(**values: object):
    spec = registry.get("patchcore")
    assert spec.maps
    small = {"candidates": 300, "coreset": 30, "projection": 8}
    return spec.build(spec.resolve({"strides": [16], **small, **values}))


def test_patchcore_s_maps_are_the_distances_of_its_patches():
    packs = Packs("maps", 30, 6)
    method = patchcore(neighbourhood=1)
    state = method.fit(packs.training(range(20), (), "key"))
    images = packs.images([*range(20, 36)])
    scores = method.score(state, images)
    features = images.maps[16].take().double()
    bank = state["bank"].double()
    assert scores.maps.shape == (16, 8, 8)
    assert scores.maps.dtype == torch.float32
    for image, y, x in [(0, 0, 0), (3, 2, 7), (15, 7, 1)]:
        wanted = (bank - features[image, :, y, x]).norm(dim=1).min()
        assert scores.maps[image, y, x].item() == pytest.approx(wanted.item(), rel=1e-4)
    # The score is the largest distance times a weight that is less than 1.
    assert bool((scores.total < scores.maps.flatten(1).amax(1)).all())
    # The upper left quarter of an anomaly is shifted (see learn_cases).
    found = scores.maps[10:]
    assert found[:, :4, :4].mean() > 1.5 * found[:, 4:, 4:].mean()


def test_patchcore_s_maps_are_as_fine_as_its_first_stride():
    packs = Packs("maps", 30, 6)
    method = patchcore(strides=[32, 16])
    state = method.fit(packs.training(range(20), (), "key"))
    assert method.score(state, packs.images([21, 33])).maps.shape == (2, 4, 4)


# The step


def project(folder: Path) -> list[str]:
    """Write what the score step of a PatchCore cell reads; return its options."""
    packs = Packs("step", 30, 6)
    paths = tuple(f"data/raw/made/{number:03d}.png" for number in range(36))
    digests = tuple(f"{number:064x}" for number in range(36))
    info = PackInfo("plain", paths, digests, device="cpu", backbone="made", weights_sha256="0" * 64,
                    image_size=128, strides=(16,), channels=(12,))  # fmt: skip
    write_pack(folder / "plain.safetensors", {"s16": packs.tensors["s16"]}, info)
    rows = [
        SplitRow(path, digest, "test" if number >= 20 else "train_normal", int(number >= 30),
                 "bent" if number >= 30 else "good")
        for number, (path, digest) in enumerate(zip(paths, digests, strict=True))
    ]  # fmt: skip
    write_split(folder / "split.csv", rows)
    spec = registry.get("patchcore")
    hyper = spec.resolve({"strides": [16], "candidates": 300, "coreset": 30, "projection": 8})
    state = spec.build(hyper).fit(packs.training(range(20), (), "key"))
    metadata = {"format": FORMAT, "cell": CELL, "hyper": hyper}
    write_tensors(folder / "c.safetensors", state, metadata)
    files = {"split": "split.csv", "packs": "plain.safetensors", "checkpoint": "c.safetensors",
             "output": "scores.csv"}  # fmt: skip
    options = [text for key, file in files.items() for text in (f"--{key}", str(folder / file))]
    return ["--cell", CELL, "--hyper", json.dumps(hyper), *options]


def test_step_writes_maps_on_request(tmp_path):
    options = project(tmp_path)
    assert score.main(options) == [tmp_path / "scores.csv"]
    assert score.main([*options, "--maps"]) == [tmp_path / "scores.csv"]
    before = (tmp_path / "scores.csv").read_bytes()
    path = tmp_path / "maps/m.safetensors"
    assert score.main([*options, "--maps", str(path)]) == [tmp_path / "scores.csv", path]
    assert (tmp_path / "scores.csv").read_bytes() == before
    maps = anomaly_maps.read(path)
    rows = read_csv(tmp_path / "scores.csv", score.COLUMNS)
    images = [(row["path"], row["sha256"]) for row in rows]
    anomaly_maps.check(maps, images, cell=CELL, where=path)
    assert maps.maps.shape == (16, 8, 8)
    assert maps.image_size == 128
    # Maps and scores are in the same order: a score is close to, and below, its map's maximum.
    ratio = np.array([float(row["score"]) for row in rows]) / maps.maps.max(axis=(1, 2))
    assert (ratio < 1).all()
    assert (ratio > 0.5).all()


def test_step_refuses_maps_that_are_not_there(tmp_path, monkeypatch):
    options = project(tmp_path)
    path = str(tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="gives one file of anomaly maps, got 2 paths"):
        score.main([*options, "--maps", path, path])
    method = type(patchcore())
    original = method.score

    def returning(maps):
        def changed(self, state, images):
            return Scores(original(self, state, images).total, maps=maps)

        monkeypatch.setattr(method, "score", changed)

    for maps, message in [
        (None, "declares maps but returned none"),
        (torch.zeros(15, 8, 8), r"maps are \(15, 8, 8\)"),
        (torch.zeros(16, 8, 8, dtype=torch.float64), "float64, expected"),
        (torch.full((16, 8, 8), torch.inf), r"020\.png: its anomaly map is not finite"),
    ]:
        returning(maps)
        with pytest.raises(TrainingError, match=message):
            score.main([*options, "--maps", path])
        assert not Path(path).exists()
        assert not (tmp_path / "scores.csv").exists()


def test_a_method_without_maps_writes_none(tmp_path):
    cell = CELL.replace("patchcore", "constant")
    options = ["--cell", cell, "--hyper", "{}", "--split", "x", "--checkpoint", "x"]
    project(tmp_path)
    options += ["--split", str(tmp_path / "split.csv"), "--output", str(tmp_path / "s.csv")]
    with pytest.raises(ConfigError, match="constant gives no anomaly maps, got 1 paths"):
        score.main([*options, "--maps", str(tmp_path / "m.safetensors")])
