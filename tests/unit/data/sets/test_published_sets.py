"""Data sets as their authors publish them: archive, fetch, manifest, counts, crops."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osad.core.errors import CheckError, ConfigError, DataError
from osad.data import registry
from osad.data.layouts import crops
from osad.data.manifest import read_manifest, three_to_one
from osad.data.sets import headct, mastcam, optical
from osad.data.source import read_source
from osad.pipeline.steps.fetch import main as fetch_main
from osad.pipeline.steps.manifest import main as manifest_main

SAMPLES = Path(os.environ.get("OSAD_REAL_DATA", Path(__file__).parents[5] / "shared/datasets"))


def needs(name: str) -> Path:
    if not (SAMPLES / name).is_dir():
        pytest.skip(f"the sample {name} is not beside the repository")
    return SAMPLES / name


def image(value: int, size: tuple[int, int] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    values = np.full((size[1], size[0]), value % 256, np.uint8)
    values[0, 0] = value // 256
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


@pytest.fixture
def smaller(monkeypatch):
    """Give a data set other expected counts for one test."""

    def change(name: str, counts: registry.Counts) -> None:
        spec = replace(registry.get(name), expected={"all": counts})
        monkeypatch.setitem(registry._registered, name, spec)

    return change


def build(dataset: str, settings: dict | None = None) -> Counter:
    """Run fetch and manifest; return the number of images by split and class."""
    text = json.dumps(settings or {})
    source, manifest = f"data/raw/{dataset}/SOURCE.json", f"data/manifests/{dataset}.csv"
    common = ["--dataset", dataset, "--settings", text]
    fetch_main([*common, "--output", source])
    manifest_main([*common, "--category", "all", "--source", source, "--output", manifest])
    return Counter((r.split, r.class_name) for r in rows(dataset))


def rows(dataset: str) -> list:
    return read_manifest(f"data/manifests/{dataset}.csv")


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


# --- cutting and encoding --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (256, 256), (300, 300, 3), (2, 70_000)])
def test_png_files_hold_the_pixels_and_are_the_same_everywhere(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = crops.encode_png(values)
    decoded = Image.open(io.BytesIO(content))
    assert decoded.format == "PNG"
    assert decoded.mode == ("RGB" if len(shape) == 3 else "L")
    assert (np.asarray(decoded) == values).all()


def test_a_png_file_by_hand():
    assert crops.encode_png(np.array([[7, 9]], np.uint8)).hex() == (
        "89504e470d0a1a0a"
        "0000000d49484452" + "00000002" + "00000001" + "0800000000" + "d1492056"
        "0000000e49444154" + "7801" + "01" + "0300fcff" + "000709" + "001a0011" + "b4523fac"
        "0000000049454e44ae426082"
    )


def test_squares_of_strips():
    assert crops.columns(4096, 256) == [(x, x + 256, x) for x in range(0, 4096, 256)]
    assert crops.columns(3796, 256)[-1] == (3584, 3796, 3540)
    assert len(crops.columns(3796, 256)) == 15
    assert crops.columns(256, 256) == [(0, 256, 0)]


# --- SDD -------------------------------------------------------------------------------------


def sdd_sample() -> dict:
    return {"raw_path": str(needs("sdd-raw")), "sample": True}


def test_sdd_pieces(project):
    """Masks counted by hand: all marked pixels of three images lie in their middle thirds."""
    assert build("sdd", sdd_sample()) == {
        ("train", "good"): 31,
        ("test", "good"): 11,
        ("test", "defect"): 3,
    }
    names = {"kos21_Part5_1": 3712, "kos38_Part0_1": 6275, "kos38_Part1_1": 3006}
    anomalies = [r for r in rows("sdd") if r.label == 1]
    assert [r.path for r in anomalies] == [f"data/raw/sdd/test/defect/{n}.png" for n in names]
    for record, (name, marked) in zip(anomalies, names.items(), strict=True):
        assert record.mask == f"data/raw/sdd/ground_truth/defect/{name}_mask.png"
        mask = pixels(record.mask)
        assert (mask == 255).sum() == marked
        assert set(np.unique(mask)) == {0, 255}
        assert mask.shape == pixels(record.path).shape
    whole = pixels(needs("sdd-raw") / "kos21/Part5.jpg")  # 1259 rows: 419, 420, 420
    piece = pixels("data/raw/sdd/test/defect/kos21_Part5_1.png")
    assert piece.shape == (420, 500)
    assert (piece == whole[419:839]).all()


def test_sdd_without_leaks_between_pieces(project):
    """12 of 15 images have no defect: 9 are trained on, 3 tested with 6 pieces of the others."""
    settings = sdd_sample() | {"split": "image_disjoint"}
    assert build("sdd", settings) == {
        ("train", "good"): 27,
        ("test", "good"): 15,
        ("test", "defect"): 3,
    }
    parts: dict[str, set[str]] = {"train": set(), "test": set()}
    for record in rows("sdd"):
        parts[record.split].add(Path(record.path).stem.rsplit("_", 1)[0])
    assert not parts["train"] & parts["test"]
    spec = registry.get("sdd", {"split": "image_disjoint"})
    counts = spec.expected["all"]
    assert (counts.train_normal, counts.test_normal, counts.anomalous) == (780, 363, 54)
    assert "image_disjoint" in spec.notes[0]
    with pytest.raises(ConfigError, match="must be pieces or image_disjoint, not 'x'"):
        registry.get("sdd", {"split": "x"})


def sdd_files() -> dict[str, bytes]:
    """Four images of 9 x 4 pixels; Part3 has a mark in its last third."""
    files = {}
    for part in range(4):
        stream = io.BytesIO()
        Image.fromarray(np.arange(36, dtype=np.uint8).reshape(9, 4) + 40 * part).save(stream, "PNG")
        files[f"kos01/Part{part}.jpg"] = stream.getvalue()
        marks = np.zeros((9, 4), np.uint8)
        marks[8, 0] = part == 3
        stream = io.BytesIO()
        Image.fromarray(marks).save(stream, "BMP")
        files[f"kos01/Part{part}_label.bmp"] = stream.getvalue()
    return files


def test_sdd_stray_copies_are_left_out(project, capsys):
    files = sdd_files()
    files |= {name.replace("kos01", "kos01/kos08"): data for name, data in sdd_files().items()}
    files["kos01/Part7.jpg"] = files["kos01/Part2.jpg"]
    files["kos01/Part7_label.bmp"] = files["kos01/Part2_label.bmp"]
    files["readme.txt"] = b""
    path = zipped(project / "my.zip", files)
    assert sum(build("sdd", {"raw_path": str(path), "sample": True}).values()) == 12
    told = capsys.readouterr().err
    assert "kos01/kos08: a folder inside an item is left out" in told
    assert "kos01/Part7.jpg: repeats Part2.jpg" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kos01/Part1_label.bmp": None}, r"Part1_label\.bmp: cannot be read"),
        ({"kos01/Part1_label.bmp": image(0, (4, 8))}, "has 4 x 8 pixels and its image 4 x 9"),
        ({"kos01/Part1.jpg": b"no image"}, r"Part1\.jpg: cannot be decoded"),
    ],
)
def test_sdd_with_faults(project, change, message):
    files = {name: data for name, data in (sdd_files() | change).items() if data is not None}
    path = zipped(project / "my.zip", files)
    with pytest.raises(DataError, match=message):
        build("sdd", {"raw_path": str(path)})
    assert not Path("data/raw/sdd/SOURCE.json").exists()


# --- AITEX -----------------------------------------------------------------------------------


def test_aitex_crops(project, capsys):
    """Masks counted by hand, column by column; see the marked pixels of each crop."""
    sample = needs("aitex-raw")
    found = build("aitex", {"raw_path": str(sample), "sample": True})
    marked = {
        "broken_end/0001_002_00_13": 1395,
        "broken_pick/0018_010_03_04": 546,
        "broken_pick/0018_010_03_05": 812,
        "broken_pick/0018_010_03_06": 393,
        "broken_yarn/0010_006_02_12": 2306,
        "crease/0066_023_01_08": 578,
        "crease/0066_023_01_09": 5,
        "cut_selvage/0060_022_06_03": 326,
        "fuzzyball/0022_019_02_10": 32,
        "knots/0094_027_05_01": 265,
        "nep/0049_030_03_10": 61,
        "warp_ball/0078_025_03_04": 20,
        "weft_curling/0019_016_03_08": 237,
        "weft_curling/0019_016_03_09": 199,
    }
    assert (found[("train", "good")], found[("test", "good")]) == (84, 28)  # 7 strips of 16
    anomalies = [r for r in rows("aitex") if r.label == 1]
    assert [r.path for r in anomalies] == [f"data/raw/aitex/test/{name}.png" for name in marked]
    assert [int((pixels(r.mask) > 0).sum()) for r in anomalies] == list(marked.values())
    assert {pixels(r.path).shape for r in rows("aitex")} == {(256, 256)}
    strip = pixels(sample / "Defect_images/0018_010_03.png")
    assert (pixels(anomalies[1].path) == strip[:, 1024:1280]).all()
    told = capsys.readouterr().err
    assert "0044_019_04.png: has no mask" in told
    assert "0100_025_08.png: has no mask" in told
    assert "0106_010_03_mask.png: marks nothing" in told


def aitex_files(mark: int) -> dict[str, bytes]:
    """Two normal strips of 8 x 4, and one of 10 x 4 pixels with a mark in column ``mark``."""
    strip = np.arange(40, dtype=np.uint8).reshape(4, 10)
    marks = np.zeros((4, 10), np.uint8)
    marks[0, mark] = 1
    files = {}
    for name, values in (
        ("Defect_images/0001_036_00", strip),
        ("Mask_images/0001_036_00_mask", marks),
    ):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, "PNG")
        folder, _, file = name.partition("/")
        files[f"AITEX/{folder}/{folder}/{file}.png"] = stream.getvalue()  # wrapped twice
    for number in range(2):
        files[f"AITEX/NODefect_images/f{number}/0001_000_0{number}.png"] = image(number, (8, 4))
    return files


def test_aitex_last_column_of_a_narrow_strip(project):
    """Columns 8 and 9 are the strip's last; their crop is moved left to 6..9."""
    zipped(project / "data/downloads/aitex/archive.zip", aitex_files(9))
    assert build("aitex", {"sample": True})[("test", "weft_crack")] == 1
    (crop,) = [r for r in rows("aitex") if r.label == 1]
    assert crop.path == "data/raw/aitex/test/weft_crack/0001_036_00_02.png"
    assert pixels(crop.path)[0].tolist() == [6, 7, 8, 9]
    assert pixels(crop.mask)[0].tolist() == [0, 0, 0, 255]


def test_aitex_a_mark_in_the_overlap_counts_once(project):
    zipped(project / "data/downloads/aitex/archive.zip", aitex_files(7))
    build("aitex", {"sample": True})
    assert [Path(r.path).stem for r in rows("aitex") if r.label == 1] == ["0001_036_00_01"]


def test_aitex_with_faults(project):
    files = aitex_files(9)
    files["AITEX/Defect_images/Defect_images/0002_099_00.png"] = image(3, (8, 4))
    zipped(project / "data/downloads/aitex/archive.zip", files)
    with pytest.raises(DataError, match=r"0002_099_00\.png: its second field is not the code"):
        build("aitex")


# --- BrainMRI --------------------------------------------------------------------------------


def test_brainmri_has_the_published_counts(project):
    sample = needs("brainmri-raw")
    assert build("brainmri", {"raw_path": str(sample)}) == {
        ("train", "good"): 73,
        ("test", "good"): 25,
        ("test", "tumor"): 155,
    }
    copy = Path("data/raw/brainmri/test/tumor/Y1.jpg")
    assert copy.read_bytes() == (sample / "yes/Y1.jpg").read_bytes()
    digests = Counter(r.sha256 for r in rows("brainmri"))
    assert sum(count > 1 for count in digests.values()) == 22
    assert sum(digests.values()) - len(digests) == 25


def test_brainmri_archive_that_holds_everything_twice(project, smaller):
    smaller("brainmri", registry.Counts(3, 1, {"tumor": 2}))
    files = {
        f"no/{name}": image(n) for n, name in enumerate(["1 no.JPG", "2.jpeg", "N3.PNG", "4.jpg"])
    }
    files |= {"yes/Y1.jpg": image(7), "yes/Y2.JPG": image(8), "yes/Thumbs.db": b"x"}
    files |= {f"brain_tumor_dataset/{name}": data for name, data in files.items()}
    zipped(project / "data/downloads/brainmri/archive.zip", files)
    assert build("brainmri") == {("train", "good"): 3, ("test", "good"): 1, ("test", "tumor"): 2}
    smaller("brainmri", registry.Counts(3, 1, {"tumor": 3}))
    with pytest.raises(CheckError, match="expected 3 images of class 'tumor', found 2"):
        build("brainmri")


# --- HeadCT ----------------------------------------------------------------------------------


def headct_files() -> dict[str, bytes]:
    labels = "id, hemorrhage\n0,1\n1,1\n2,0\n3,0\n4,0\n5,0\n"
    files = {f"head_ct/head_ct/{n:03d}.png": image(n) for n in range(6)}
    return files | {"labels.csv": labels.encode()}


def test_headct_archive(project, smaller, capsys):
    smaller("headct", registry.Counts(3, 1, {"hemorrhage": 2}))
    archive = zipped(project / "data/downloads/headct/archive.zip", headct_files())
    assert build("headct") == {
        ("train", "good"): 3,
        ("test", "good"): 1,
        ("test", "hemorrhage"): 2,
    }
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"sha256:{digest} is kept" in capsys.readouterr().err
    source = read_source(Path("data/raw/headct/SOURCE.json"))
    assert source.files["test/hemorrhage/001.png"] == hashlib.sha256(image(1)).hexdigest()
    before = Path("data/raw/headct/SOURCE.json").read_bytes()
    build("headct", {"raw_path": str(archive)})
    assert Path("data/raw/headct/SOURCE.json").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: is not the header"),
        ("id,label\n", "line 1: is not the header"),
        ("id, hemorrhage\n0,2\n", "line 2: .* is not an id and 0 or 1"),
        ("id, hemorrhage\n0,1\n../x,1\n", "line 3"),
        ("id, hemorrhage\n0,1\n0,0\n", "line 3: id 0 is repeated"),
    ],
)
def test_headct_labels_with_faults(text, message):
    with pytest.raises(DataError, match=rf"labels\.csv, {message}"):
        headct.parse_labels(text, "labels.csv")


def test_headct_image_that_is_missing(project):
    files = headct_files()
    del files["head_ct/head_ct/004.png"]
    zipped(project / "data/downloads/headct/archive.zip", files)
    with pytest.raises(DataError, match=r"004\.png: cannot be read"):
        build("headct")


# --- Optical ---------------------------------------------------------------------------------


def optical_archives(folder: Path) -> None:
    """Per class and part two normal images and one with a defect; every second is wrapped."""
    for number in range(1, 11):
        files = {}
        for part in ("Train", "Test"):
            top = f"Class{number}/{part}" if number % 2 else part
            base = number * 20 + 5 * (part == "Test")
            for index in range(3):
                files[f"{top}/{index + 1:04d}.PNG"] = image(base + index)
            files[f"{top}/Label/0002_label.PNG"] = image(255 if number > 1 else 0)
            files[f"{top}/Label/Labels.txt"] = (
                b"1\r\n1\t0\t0001.PNG\t0\t0\r\n2\t1\t0002.PNG\t0\t0002_label.PNG\r\n"
                b"3\t0\t0003.PNG\t0\t0\r\n"
            )
        zipped(folder / f"Class{number}.zip", files)


def test_optical_archives(project, smaller, capsys):
    anomalies = {f"class{index}": 2 for index in range(10)}
    smaller("optical", registry.Counts(30, 10, anomalies))
    optical_archives(project / "data/downloads/optical")
    found = build("optical")
    assert found[("train", "good")] == 30
    assert {name: found[("test", name)] for name in anomalies} == anomalies
    by_path = {r.path: r for r in rows("optical")}
    path = "data/raw/optical/test/class9/class9_test_0002.PNG"
    assert Path(path).read_bytes() == image(206)
    assert by_path[path].mask == "data/raw/optical/ground_truth/class9/class9_test_0002_mask.png"
    assert by_path["data/raw/optical/test/class0/class0_train_0002.PNG"].mask == ""
    assert "Train/Label/0002_label.PNG: marks nothing, no mask is kept" in capsys.readouterr().err
    assert registry.get("optical").single_class("all")
    smaller("optical", replace(registry.get("optical").expected["all"], test_normal=11))
    with pytest.raises(CheckError, match="expected 11 normal test images, found 10"):
        build("optical")


def test_optical_published_counts():
    counts = registry.get("optical").expected["all"]
    assert (counts.train_normal, counts.test_normal, counts.anomalous) == (10500, 3500, 2100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n", "line 1: is not '1'"),
        ("1\n1\t2\t0001.PNG\t0\t0\n", "line 2"),
        ("1\n1\t0\t0001.PNG\t0\n", "line 2"),
        ("1\n1\t0\t../0001.PNG\t0\t0\n", "line 2"),
        ("1\n1\t1\t0001.PNG\t0\t/etc/x.PNG\n", "line 2"),
        ("1\n1\t0\t0001.PNG\t0\t0\n2\t1\t0001.PNG\t0\t0001_label.PNG\n", "line 3: .* is repeated"),
    ],
)
def test_optical_labels_with_faults(text, message):
    with pytest.raises(DataError, match=rf"Labels\.txt, {message}"):
        optical.parse_labels(text, "Labels.txt")


# --- Mastcam ---------------------------------------------------------------------------------


def array(value: int) -> bytes:
    values = np.zeros((64, 64, 6), np.uint8)
    values[:, :, 0], values[:, :, 2], values[:, :, 5] = value, 2, 99
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def test_mastcam_archives(project, smaller):
    smaller("mastcam", registry.Counts(3, 1, {"drt": 2}, total=4))
    folder = project / "data/downloads/mastcam"
    zipped(folder / "train_typical.zip", {f"train_typical/{n}.npy": array(n) for n in range(3)})
    zipped(folder / "test_typical.zip", {"9.npy": array(9)})
    novel = {"drt/a.npy": array(20), "drt/b.npy": array(21), "veins/a.npy": array(20)}
    novel |= {"broken-rock/c.npy": array(22)}
    novel |= {f"all/{name[-5:]}": data for name, data in novel.items()}
    zipped(folder / "test_novel.zip", {f"test_novel/{name}": data for name, data in novel.items()})
    assert build("mastcam") == {
        ("train", "good"): 3,
        ("test", "good"): 1,
        ("test", "broken-rock"): 1,
        ("test", "drt"): 2,
        ("test", "veins"): 1,
    }
    assert pixels("data/raw/mastcam/test/drt/b.png")[5, 7].tolist() == [21, 0, 2]
    text = read_source(Path("data/raw/mastcam/SOURCE.json")).source
    assert text.endswith("4 novel images in the folders of classes, 3 different")
    by_path = {r.path: r.sha256 for r in rows("mastcam")}
    assert (
        by_path["data/raw/mastcam/test/drt/a.png"] == by_path["data/raw/mastcam/test/veins/a.png"]
    )
    smaller("mastcam", registry.Counts(3, 1, {}, total=5))
    with pytest.raises(CheckError, match="expected 5 anomalous images, found 4"):
        build("mastcam")


def test_mastcam_arrays_with_faults():
    def saved(values: np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=True)
        return stream.getvalue()

    good = np.full((64, 64, 6), 254.9, np.float32)
    assert (mastcam.first_channels(saved(good), "x.npy") == 254).all()
    for values, message in [
        (np.full((64, 64, 6), 256.0), "values outside"),
        (np.full((64, 64, 6), np.nan), "values outside"),
        (np.full((64, 64, 6), -1, np.int16), "values outside"),
        (np.zeros((6, 64, 64), np.uint8), r"has the shape \(6, 64, 64\)"),
        (np.full((64, 64, 6), None, object), "cannot be loaded"),
    ]:
        with pytest.raises(DataError, match=rf"x\.npy: .*{message}"):
            mastcam.first_channels(saved(values), "x.npy")
    with pytest.raises(DataError, match="cannot be loaded"):
        mastcam.first_channels(array(1)[:-10], "x.npy")


# --- Hyper-Kvasir ----------------------------------------------------------------------------


def test_hyperkvasir_archive(project, smaller):
    classes = dict.fromkeys(registry.get("hyperkvasir").known_classes("all"), 1)
    smaller("hyperkvasir", registry.Counts(4, 2, classes))
    top = "labeled-images/upper-gi-tract"
    files = {
        f"{top}/anatomical-landmarks/{name}/{number}.jpg": image(10 * number + index)
        for index, name in enumerate(["pylorus", "retroflex-stomach", "z-line"])
        for number in range(2)
    }
    files |= {
        f"{top}/pathological-findings/{name}/0.jpg": image(100 + number)
        for number, name in enumerate(classes)
    }
    files["labeled-images/lower-gi-tract/anatomical-landmarks/cecum/0.jpg"] = image(200)
    zipped(project / "data/downloads/hyperkvasir/hyper-kvasir-labeled-images.zip", files)
    assert build("hyperkvasir") == {
        ("train", "good"): 4,
        ("test", "good"): 2,
        **{("test", name): 1 for name in classes},
    }
    names = {Path(r.path).name for r in rows("hyperkvasir") if r.label == 0}
    train, _ = three_to_one(names)
    assert {Path(r.path).name for r in rows("hyperkvasir") if r.split == "train"} == train
    assert "z-line_1.jpg" in names


# --- all -------------------------------------------------------------------------------------

PUBLISHED = {
    "sdd": (857, 286, 54),
    "aitex": (1692, 564, 183),
    "brainmri": (73, 25, 155),
    "headct": (75, 25, 100),
    "mastcam": (9302, 426, 451),
    "hyperkvasir": (2021, 674, 757),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_expected_counts_are_the_published_ones(name):
    spec = registry.get(name)
    counts = spec.expected["all"]
    assert (counts.train_normal, counts.test_normal, counts.anomalous) == PUBLISHED[name]
    part = registry.get(name, {"sample": True})
    assert part.expected is None
    assert f"{part.title}: only a part" in part.notes[-1]
    with pytest.raises(ConfigError, match="'sample' must be true or false"):
        registry.get(name, {"sample": "yes"})


def test_known_classes_of_the_papers():
    sizes = {name: len(registry.get(name).known_classes("all")) for name in PUBLISHED}
    assert sizes == {
        **{"aitex": 6, "mastcam": 9, "hyperkvasir": 4, "sdd": 1, "brainmri": 1, "headct": 1}
    }
    assert registry.get("sdd").single_class("all")


@pytest.mark.parametrize("name", ["aitex", "brainmri", "sdd"])
def test_a_part_is_not_taken_for_the_data_set(project, name):
    raw = needs(f"{name}-raw")
    if name == "brainmri":
        raw = project / "part"
        for number in range(5):
            (raw / "no").mkdir(parents=True, exist_ok=True)
            (raw / "no" / f"{number}.png").write_bytes(image(number))
        (raw / "yes").mkdir()
        (raw / "yes/0.png").write_bytes(image(9))
    with pytest.raises(CheckError, match=rf"{name}/all: expected [0-9]+ normal training images"):
        build(name, {"raw_path": str(raw)})
