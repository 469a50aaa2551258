"""Masks: decoded, verified, resized, packed; also those of a real data set."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_cases import encoded, put, real, sha256
from PIL import Image

from osad.core.arrays import read_arrays, write_arrays
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_metadata, sha256_file, write_json
from osad.data.manifest import Record, read_manifest, write_manifest
from osad.data.masks import MaskPack, pack_bits, read_masks, write_masks
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.localisation import aupro, collect, pixel_auroc
from osad.evaluation.maps import AnomalyMaps
from osad.pipeline.steps import masks as step
from osad.pipeline.steps.masks import shrink


def square(value: int = 255, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    values = np.zeros(size, np.uint8)
    values[2:6, 4:12] = value
    return values


def test_shrinking_takes_the_middle_pixel_and_ignores_the_aspect():
    mask = np.zeros((6, 9), bool)
    mask[1, 4] = True  # Middle of the upper middle third.
    mask[3, 0] = True  # Beside the middle of the lower left one.
    assert shrink(mask, 3).tolist()[0] == [False, True, False]
    assert not shrink(mask, 3)[1:].any()
    same = np.random.default_rng(0).random((10, 10)) < 0.4
    assert np.array_equal(shrink(same, 10), same)
    assert np.array_equal(shrink(same, 30), same.repeat(3, 0).repeat(3, 1))
    padded = shrink(same[:5], 20, "pad")
    assert np.array_equal(padded[:10], same[:5].repeat(2, 0).repeat(2, 1))
    assert not padded[10:].any()


def made(n: int = 3, size: int = 13) -> tuple[MaskPack, list[np.ndarray]]:
    masks = list(np.random.default_rng(1).random((n, size, size)) < 0.3)
    names = tuple(f"a/{number}.png" for number in range(n))
    digests = tuple(f"{number:064x}" for number in range(n))
    bits = pack_bits(masks, size)
    return MaskPack(names, digests, digests[::-1], ("a/x.png",), size, bits), masks


@pytest.mark.parametrize("size", [1, 8, 13])
def test_packs_come_back_as_they_were(tmp_path, size):
    pack, masks = made(size=size)
    write_masks(tmp_path / "m", pack)
    found = read_masks(tmp_path / "m")
    assert found.bits.nbytes == 3 * size * -(-size // 8)
    for path, digest, mask in zip(pack.paths, pack.sha256, masks, strict=True):
        read = found.mask(path, digest, where=tmp_path)
        assert read.dtype == bool
        assert np.array_equal(read, mask)
    assert found.mask("a/x.png", "f" * 64, where=tmp_path) is None
    with pytest.raises(CheckError, match=r"does not know the anomalous image a/y\.png"):
        found.mask("a/y.png", "f" * 64, where=tmp_path)
    with pytest.raises(CheckError, match=r"the mask of a/1\.png is for an image with sha256 0000"):
        found.mask("a/1.png", "f" * 64, where=tmp_path)
    write_masks(tmp_path / "again", found)
    assert sha256_file(tmp_path / "again") == sha256_file(tmp_path / "m")
    write_masks(tmp_path / "empty", made(0, size)[0])
    assert read_masks(tmp_path / "empty").unmasked == ("a/x.png",)
    assert read_masks(tmp_path / "empty").bits.shape == (0, size, -(-size // 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "masks of format 1"),
        ({"image_size": 14}, r"its masks are not \(3, 14, 2\) uint8"),
        ({"image_size": 17}, r"its masks are not \(3, 17, 3\) uint8"),
        ({"paths": ["a", "b"]}, "its masks are not"),
        ({"mask_sha256": ["a", "b"]}, "not as many"),
        ({"unmasked": ["a/0.png"]}, "not unique"),
        ({"more": 1}, "masks of format 1"),
    ],
)
def test_packs_that_contradict_themselves_are_refused(tmp_path, changes, message):
    write_masks(tmp_path / "m", made()[0])
    metadata = read_metadata(tmp_path / "m") | changes
    write_arrays(tmp_path / "m", read_arrays(tmp_path / "m"), metadata)
    with pytest.raises(DataError, match=message):
        read_masks(tmp_path / "m")


RAW = Path("data/raw/made")
FILES = {
    f"{name}.png": encoded(square(9 + i, (40, 40))) for i, name in enumerate(["good", "a", "c"])
}
FILES |= {"b.png": encoded(square(12, (40, 30))), "b_mask.png": encoded(square(255, (40, 30)))}
FILES |= {"a_mask.png": encoded(square(1, (40, 40)))}


def lay_out(**changes: bytes) -> None:
    """Write a data set of one normal image and three anomalies, one of them without a mask."""
    files = FILES | {f"{name}.png": content for name, content in changes.items()}
    put(RAW, files)
    digests = {name: sha256(content) for name, content in files.items()}
    write_json(RAW / "SOURCE.json", {"dataset": "made", "source": "test", "files": digests})
    records = []
    for name in ("good", "a", "b", "c"):
        label, mask = int(name != "good"), f"{RAW}/{name}_mask.png" if name in "ab" else ""
        digest = digests[f"{name}.png"]
        class_name = "bent" if label else "good"
        records.append(Record(f"{RAW}/{name}.png", label, class_name, "test", mask, digest))
    write_manifest("m.csv", records)


def run(size: int = 20) -> MaskPack:
    options = f"--manifest m.csv --source {RAW}/SOURCE.json --size {size} --output out/masks"
    assert step.main(options.split()) == [Path("out/masks")]
    return read_masks(Path("out/masks"))


def test_step_packs_the_masks_of_a_manifest(project):
    lay_out()
    pack = run()
    assert pack.paths == (f"{RAW}/a.png", f"{RAW}/b.png")
    assert pack.unmasked == (f"{RAW}/c.png",)
    assert pack.sha256 == tuple(sha256(FILES[f"{name}.png"]) for name in "ab")
    assert pack.mask_sha256 == tuple(sha256(FILES[f"{name}_mask.png"]) for name in "ab")
    first = pack.mask(pack.paths[0], pack.sha256[0], where=project)
    # Rows 2 to 5 and columns 4 to 11 of 40, every second pixel.
    assert np.argwhere(first).tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4, 5)]
    before = sha256_file("out/masks")
    run()
    assert sha256_file("out/masks") == before


@pytest.mark.parametrize("name", ["a_mask.png", "b.png"])
def test_step_refuses_changed_files(project, name):
    lay_out()
    (RAW / name).write_bytes(encoded(square(77, (40, 40))))
    with pytest.raises(DataError, match=f"{name}: its content has changed"):
        run()
    (RAW / name).unlink()
    with pytest.raises(DataError, match=f"{name}: cannot be read"):
        run()
    assert not Path("out/masks").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(square(1, (30, 40))), "the mask has 40 x 30 pixels and its image 30 x 40"),
        (encoded(square(0, (40, 30))), "marks no pixel"),
        (encoded(square(255, (40, 30)), "JPEG"), "[0-9]+ pixels of the mask are neither 0"),
        (encoded(square(255, (40, 30)))[:60], "cannot be decoded"),
    ],
)
def test_a_mask_that_cannot_be_used_counts_as_absent_and_is_named(project, capsys, content, reason):
    lay_out(b_mask=content)
    pack = run()
    assert (pack.paths, pack.unmasked) == ((f"{RAW}/a.png",), (f"{RAW}/b.png", f"{RAW}/c.png"))
    assert pack.mask_sha256 == (sha256(FILES["a_mask.png"]),)
    assert pack.mask(f"{RAW}/b.png", sha256(FILES["b.png"]), where=project) is None
    note = capsys.readouterr().err
    assert "masks: 1 of 2 cannot be used" in note
    assert re.search(f"{RAW}/b_mask.png: {reason}", note)


@pytest.mark.parametrize("mask", [f"{RAW}/other.png", "elsewhere.png", "a_mask.png"])
def test_step_refuses_masks_without_a_recorded_digest(project, mask):
    lay_out()
    put(project, {"elsewhere.png": FILES["a_mask.png"]})
    records = read_manifest("m.csv")
    write_manifest("m.csv", [replace(r, mask=mask if r.mask else "") for r in records])
    with pytest.raises(DataError, match=f"{mask}: is not listed in data/raw/made/SOURCE"):
        run()


def test_step_tells_of_defects_that_vanish(project, capsys):
    thin = np.zeros((40, 40), np.uint8)
    thin[10] = 1
    lay_out(a_mask=encoded(thin))
    assert not run(4).bits[0].any()
    assert "masks: 1 of 2 have no pixel left at 4 x 4 pixels" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--size 0"):
        run(0)


def test_real_masks(project):
    """Two classes of MVTec AD's screw, whose files stay where they are."""
    folder, raw = real("mvtec_screw"), project / "data/raw/screw"
    raw.mkdir(parents=True)
    files: dict[str, str] = {}
    records = []
    for part in ("test", "ground_truth"):
        (raw / part).symlink_to(folder / part)
    for name in ("thread_top", "scratch_head"):
        for image in sorted((folder / "test" / name).iterdir())[:8]:
            path, mask = f"test/{name}/{image.name}", f"ground_truth/{name}/{image.stem}_mask.png"
            files |= {file: sha256_file(folder / file) for file in (path, mask)}
            places = [f"data/raw/screw/{file}" for file in (path, mask)]
            records.append(Record(places[0], 1, name, "test", places[1], files[path]))
    write_json(raw / "SOURCE.json", {"dataset": "screw", "source": "MVTec", "files": files})
    write_manifest("screw.csv", records)
    options = "--manifest screw.csv --source data/raw/screw/SOURCE.json --size 224 --output m"
    step.main(options.split())
    pack = read_masks(Path("m"))
    assert len(pack.paths) == len(records) == 16
    masks = []
    for record in sorted(records, key=lambda record: record.path):
        masks.append(pack.mask(record.path, record.sha256, where=project))
        full = np.asarray(Image.open(record.mask)) > 0
        # Nearest resizing keeps the area up to the pixels of the border.
        assert masks[-1].mean() == pytest.approx(full.mean(), rel=0.1)
        assert 0.0005 < masks[-1].mean() < 0.05
    # Maps that are the masks themselves, averaged over the positions of a feature map.
    coarse = np.stack(masks).reshape(16, 14, 16, 14, 16).mean(axis=(2, 4), dtype=np.float32)
    oracle = AnomalyMaps("c", pack.paths, pack.sha256, 224, coarse)
    assert anomaly_maps.problem(oracle) is None
    result = collect(coarse, masks, size=224)
    assert 0.97 < pixel_auroc(result) < 1
    assert 0.9 < aupro(result) < 1
    mirrored = collect(coarse[:, ::-1, ::-1].copy(), masks, size=224)
    assert aupro(mirrored) < 0.6
