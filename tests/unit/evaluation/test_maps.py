"""Files of anomaly maps, and PatchCore's maps."""

from pathlib import Path

import learn_cases
import numpy as np
import pytest
import torch
from learn_cases import Packs

from osad.core.arrays import write_arrays
from osad.core.errors import CheckError, DataError, TrainingError
from osad.core.files import read_metadata
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps

one_thread = learn_cases.one_thread

CELL = "made/all/normal-m0/patchcore/s0"
PATHS = ("data/a.png", "data/b c.png", "data/ä.png")
DIGESTS = ("1" * 64, "2" * 64, "3" * 64)
IMAGES = list(zip(PATHS, DIGESTS, strict=True))


DRAWN = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)


def pack(**changes: object) -> AnomalyMaps:
    fields = {"cell": CELL, "paths": PATHS, "sha256": DIGESTS, "image_size": 64, "maps": DRAWN}
    return AnomalyMaps(**{**fields, **changes})  # type: ignore[arg-type]


def spoilt(*values: float) -> np.ndarray:
    maps = DRAWN.copy()
    maps[1, 2, : len(values)] = values
    return maps


def test_maps_come_back_as_they_were_and_equal_maps_give_equal_bytes(tmp_path):
    maps = spoilt(1e30, -7e4, 300.0, 300.01)  # float16 could not hold or tell these apart.
    one, other = tmp_path / "a", tmp_path / "b"
    anomaly_maps.write(one, pack(maps=maps), cell=CELL)
    back = anomaly_maps.read(one)
    assert back.maps.dtype == np.float32
    assert np.array_equal(back.maps, maps)
    assert (back.cell, back.paths, back.sha256, back.image_size) == (CELL, PATHS, DIGESTS, 64)
    anomaly_maps.check(back, IMAGES, cell=CELL, where=one)
    anomaly_maps.write(other, pack(maps=np.asfortranarray(maps)), cell=CELL)
    assert one.read_bytes() == other.read_bytes()
    assert set(read_metadata(one)) == set(anomaly_maps.KINDS)


def test_a_method_without_maps_has_a_file_without_images(tmp_path):
    anomaly_maps.write(tmp_path / "m", None, cell=CELL)
    back = anomaly_maps.read(tmp_path / "m")
    assert (back.cell, len(back), back.maps.size) == (CELL, 0, 0)
    anomaly_maps.check(back, IMAGES, cell=CELL, where=tmp_path)
    with pytest.raises(CheckError, match=f"is of cell {CELL}"):
        anomaly_maps.check(back, IMAGES, cell="other", where=tmp_path)


def test_the_maps_of_some_images():
    some = pack().select([PATHS[2], PATHS[0]])
    assert list(zip(some.paths, some.sha256, strict=True)) == [IMAGES[2], IMAGES[0]]
    assert (some.cell, some.image_size, anomaly_maps.problem(some)) == (CELL, 64, None)
    assert np.array_equal(some.maps, DRAWN[[2, 0]])


WRONG = [
    ({"maps": spoilt(np.nan)}, "data/b c.png: its anomaly map is not finite"),
    ({"maps": spoilt(-np.inf)}, "data/b c.png: its anomaly map is not finite"),
    ({"maps": DRAWN.astype(np.float16)}, "float16, expected"),
    ({"maps": DRAWN[:2]}, r"\(2, 4, 5\) float32, expected \(3, h, w\)"),
    ({"maps": DRAWN[:, 0]}, r"\(3, 5\) float32"),
    ({"paths": (), "sha256": ()}, r"\(3, 4, 5\) float32, expected \(0, h, w\)"),
    ({"image_size": 4}, "4 x 5 do not fit an image of 4 pixels"),
    ({"paths": ("a", "a", "b")}, "not unique"),
    ({"sha256": DIGESTS[:2]}, "not as many"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_maps_are_neither_written_nor_read(tmp_path, changes, message):
    wrong = pack(**changes)
    with pytest.raises(TrainingError, match=f"{CELL}: .*{message}"):
        anomaly_maps.write(tmp_path / "m", wrong, cell=CELL)
    assert not (tmp_path / "m").exists()
    metadata = {key: getattr(wrong, key) for key in anomaly_maps.KINDS.keys() - {"format"}}
    write_arrays(tmp_path / "m", {"maps": wrong.maps}, {"format": 1, **metadata})
    with pytest.raises(DataError, match=message):
        anomaly_maps.read(tmp_path / "m")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(DataError, match="cannot be read"):
        anomaly_maps.read(path)
    anomaly_maps.write(path, pack(), cell=CELL)
    content = path.read_bytes()
    other = content.replace(b'\\"format\\": 1', b'\\"format\\": 2')
    for wrong, message in ((content[:-4], "damaged"), (other, "anomaly maps of format 1")):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=message):
            anomaly_maps.read(path)


@pytest.mark.parametrize(("images", "cell", "message"), [
    (IMAGES, CELL.replace("s0", "s1"), f"is of cell {CELL}"),
    (IMAGES[:2], CELL, "has 3 maps for 2 test images"),
    ([*IMAGES, ("d", "4" * 64)], CELL, "has 3 maps for 4 test images"),
    ([IMAGES[1], IMAGES[0], IMAGES[2]], CELL, "has the map of data/a.png"),
    ([(PATHS[0], "9" * 64), *IMAGES[1:]], CELL, "where that of data/a.png .99999"),
])  # fmt: skip
def test_maps_of_other_images_are_refused(images, cell, message):
    with pytest.raises(CheckError, match=message):
        anomaly_maps.check(pack(), images, cell=cell, where=Path("m.safetensors"))


# PatchCore

SMALL = {"candidates": 300, "coreset": 30, "projection": 8}


def test_patchcore_s_maps_are_the_distances_of_its_patches():
    packs = Packs("maps", 30, 6)
    method = learn_cases.build("patchcore", strides=[16], neighbourhood=1, **SMALL)
    state = method.fit(packs.training(range(20), (), "key"))
    images = packs.images([*range(20, 36)])
    scores = method.score(state, images)
    features, bank = images.maps[16].take().double(), state["bank"].double()
    assert scores.maps.shape == (16, 8, 8)
    assert scores.maps.dtype == torch.float32
    for image, y, x in [(0, 0, 0), (3, 2, 7), (15, 7, 1)]:
        nearest = (bank - features[image, :, y, x]).norm(dim=1).min()
        assert scores.maps[image, y, x].item() == pytest.approx(nearest.item(), rel=1e-4)
    # The score is the largest distance times a weight that is less than 1.
    assert bool((scores.total < scores.maps.flatten(1).amax(1)).all())
    # The upper left quarter of an anomaly is shifted (see learn_cases).
    anomalous = scores.maps[10:]
    assert anomalous[:, :4, :4].mean() > 1.5 * anomalous[:, 4:, 4:].mean()
    # Maps are as fine as the first stride.
    method = learn_cases.build("patchcore", strides=[32, 16], **SMALL)
    state = method.fit(packs.training(range(20), (), "key"))
    assert method.score(state, packs.images([21, 33])).maps.shape == (2, 4, 4)
