"""What is special about data sets without categories: crops, labels, faulty originals."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_cases import (
    aitex,
    array,
    build,
    counted,
    headct,
    numbered,
    pixels,
    real,
    saved,
    sdd,
    small,
    write_archive,
    write_originals,
)
from PIL import Image

from osad.core.errors import ConfigError, DataError
from osad.data import registry
from osad.data.layouts.reading import encode_png
from osad.data.manifest import three_to_one
from osad.data.sets import mastcam, optical
from osad.data.sets.aitex import columns
from osad.data.sets.headct import parse_labels
from osad.data.source import read_source

SAMPLE = {"sample": True}


def built(monkeypatch: pytest.MonkeyPatch, dataset: str) -> dict:
    """Build the small copy of a data set; return the records by path inside the data set."""
    write_originals(dataset)
    small(monkeypatch, dataset)
    return {r.path.removeprefix(f"data/raw/{dataset}/"): r for r in build(dataset)}


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (256, 256), (300, 300, 3), (2, 70_000)])
def test_png_files_hold_the_pixels(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = Image.open(io.BytesIO(encode_png(values)))
    assert (decoded.format, decoded.mode) == ("PNG", "RGB" if len(shape) == 3 else "L")
    assert (np.asarray(decoded) == values).all()


def test_a_png_file_by_hand():
    assert encode_png(np.array([[7, 9]], np.uint8)).hex() == (
        "89504e470d0a1a0a"
        "0000000d49484452" + "00000002" + "00000001" + "0800000000" + "d1492056"
        "0000000e49444154" + "7801" + "01" + "0300fcff" + "000709" + "001a0011" + "b4523fac"
        "0000000049454e44ae426082"
    )


def test_sdd_pieces(project):
    """Masks counted by hand: all marked pixels of three images lie in their middle thirds."""
    sample = real("sdd-raw")
    records = build("sdd", {"raw_path": str(sample), **SAMPLE})
    assert counted(records) == {("train", "good"): 31, ("test", "good"): 11, ("test", "defect"): 3}
    marked = {"kos21_Part5_1": 3712, "kos38_Part0_1": 6275, "kos38_Part1_1": 3006}
    anomalies = [r for r in records if r.label == 1]
    assert {Path(r.path).stem: (pixels(r.mask) == 255).sum() for r in anomalies} == marked
    for record in anomalies:
        assert set(np.unique(pixels(record.mask))) == {0, 255}
        assert pixels(record.mask).shape == pixels(record.path).shape
    whole = pixels(sample / "kos21/Part5.jpg")  # 1259 rows: 419, 420, 420
    assert (pixels(anomalies[0].path) == whole[419:839]).all()


def test_sdd_without_leaks_between_pieces(project):
    """12 of 15 images have no defect: 9 are trained on, 3 tested with 6 pieces of the others."""
    split = {"split": "image_disjoint"}
    records = build("sdd", {"raw_path": str(real("sdd-raw")), **SAMPLE, **split})
    assert counted(records) == {("train", "good"): 27, ("test", "good"): 15, ("test", "defect"): 3}
    images = {(r.split, Path(r.path).stem.rsplit("_", 1)[0]) for r in records}
    assert len({name for _, name in images}) == len(images)
    spec = registry.get("sdd", split)
    counts = spec.expected["all"]
    assert (counts.train_normal, counts.test_normal, counts.anomalous) == (780, 363, 54)
    assert "image_disjoint" in spec.notes[0]
    with pytest.raises(ConfigError, match="must be pieces or image_disjoint, not 'x'"):
        registry.get("sdd", {"split": "x"})


def test_sdd_stray_copies_are_left_out(project, capsys):
    files = sdd() | {name.replace("kos01", "kos01/kos08"): data for name, data in sdd().items()}
    files["kos01/Part7.jpg"] = files["kos01/Part2.jpg"]
    files["kos01/Part7_label.bmp"] = files["kos01/Part2_label.bmp"]
    path = write_archive(project / "my.zip", files | {"readme.txt": b""})
    assert len(build("sdd", {"raw_path": str(path), **SAMPLE})) == 12
    lines = capsys.readouterr().err
    assert "kos01/kos08: a folder inside an item is left out" in lines
    assert "kos01/Part7.jpg: repeats Part2.jpg" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id, hemorrhage\n\u0663, 1\n", "line 2: .* is not an id"),
        (f"id, hemorrhage\n{'9' * 5000}, 1\n", "line 2: .* is not an id"),
        (f"id, hemorrhage\n{'x' * 200_000}, 1\n", "is no CSV file .field larger than"),
    ],
)
def test_labels_of_headct_are_plain_numbers(text, message):
    with pytest.raises(DataError, match=f"^labels.csv.*{message}"):
        parse_labels(text, "labels.csv")


TOPS = {"sdd": "kos01", "aitex": "AITEX", "headct": "head_ct/head_ct"}


@pytest.mark.parametrize(
    ("dataset", "name", "content", "message"),
    [
        ("sdd", "Part1_label.bmp", None, "cannot be read"),
        ("sdd", "Part1_label.bmp", numbered(0, (4, 8)), "the mask has 4 x 8 .* its image 4 x 9"),
        ("sdd", "Part1.jpg", b"no image", "cannot be decoded"),
        ("aitex", "Defect_images/Defect_images/0002_099_00.png", numbered(3, (8, 4)),
         "its second field is not the code"),
        ("aitex", "NODefect_images/f0/0001_000_00.png", numbered(3, (4, 8)), "is 4 x 8 pixels"),
        ("headct", "004.png", None, "cannot be read"),
    ],
)  # fmt: skip
def test_originals_with_faults(project, dataset, name, content, message):
    files = {"sdd": sdd, "aitex": aitex, "headct": headct}[dataset]()
    files[f"{TOPS[dataset]}/{name}"] = content
    files = {name: data for name, data in files.items() if data is not None}
    path = write_archive(project / "my.zip", files)
    with pytest.raises(DataError, match=f"{Path(name).name}: {message}"):
        build(dataset, {"raw_path": str(path)})
    assert not Path(f"data/raw/{dataset}/SOURCE.json").exists()


def test_aitex_crops(project, capsys):
    """Masks counted by hand, column by column; see the marked pixels of each crop."""
    sample = real("aitex-raw")
    records = build("aitex", {"raw_path": str(sample), **SAMPLE})
    marked = {
        "broken_end/0001_002_00_13": 1395, "broken_pick/0018_010_03_04": 546,
        "broken_pick/0018_010_03_05": 812, "broken_pick/0018_010_03_06": 393,
        "broken_yarn/0010_006_02_12": 2306, "crease/0066_023_01_08": 578,
        "crease/0066_023_01_09": 5, "cut_selvage/0060_022_06_03": 326,
        "fuzzyball/0022_019_02_10": 32, "knots/0094_027_05_01": 265, "nep/0049_030_03_10": 61,
        "warp_ball/0078_025_03_04": 20, "weft_curling/0019_016_03_08": 237,
        "weft_curling/0019_016_03_09": 199,
    }  # fmt: skip
    counts = counted(records)
    assert (counts[("train", "good")], counts[("test", "good")]) == (84, 28)  # 7 strips of 16
    anomalies = [r for r in records if r.label == 1]
    assert [r.path for r in anomalies] == [f"data/raw/aitex/test/{name}.png" for name in marked]
    assert [int((pixels(r.mask) > 0).sum()) for r in anomalies] == list(marked.values())
    assert {pixels(r.path).shape for r in records} == {(256, 256)}
    strip = pixels(sample / "Defect_images/0018_010_03.png")
    assert (pixels(anomalies[1].path) == strip[:, 1024:1280]).all()
    lines = capsys.readouterr().err
    assert "0044_019_04.png: has no mask" in lines
    assert "0100_025_08.png: has no mask" in lines
    assert "0106_010_03_mask.png: marks nothing" in lines


@pytest.mark.parametrize(("mark", "crop"), [(9, 2), (7, 1)])
def test_aitex_last_column_of_a_narrow_strip(project, mark, crop):
    """Columns 8 and 9 are the strip's last; their crop is moved left to 6..9.

    A mark in the overlap, at 7, counts for its own column alone.
    """
    assert columns(4096, 256) == [(x, x + 256, slice(x, x + 256)) for x in range(0, 4096, 256)]
    assert columns(3796, 256)[-1] == (3584, 3796, slice(3540, 3796))
    assert (len(columns(3796, 256)), columns(256, 256)) == (15, [(0, 256, slice(0, 256))])
    write_archive(project / "data/downloads/aitex/archive.zip", aitex(mark))
    (anomaly,) = [r for r in build("aitex", SAMPLE) if r.label == 1]
    assert anomaly.path == f"data/raw/aitex/test/weft_crack/0001_036_00_0{crop}.png"
    left = {2: 6, 1: 4}[crop]
    assert pixels(anomaly.path)[0].tolist() == list(range(left, left + 4))
    assert pixels(anomaly.mask)[0].tolist() == [0, 0, 0, 255]


def test_brainmri_as_it_is(project):
    sample = real("brainmri-raw")
    records = build("brainmri", {"raw_path": str(sample)})
    copy = Path("data/raw/brainmri/test/tumor/Y1.jpg")
    assert copy.read_bytes() == (sample / "yes/Y1.jpg").read_bytes()
    digests = Counter(r.sha256 for r in records)
    assert sum(count > 1 for count in digests.values()) == 22
    assert sum(digests.values()) - len(digests) == 25


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        *((parse_labels, text, message) for text, message in (
            ("", "line 1: is not the header"),
            ("id,label\n", "line 1: is not the header"),
            ("id, hemorrhage\n", ".*lists no images"),
            ("id, hemorrhage\n0,2\n", "line 2: .* is not an id and 0 or 1"),
            ("id, hemorrhage\n0,1\n../x,1\n", "line 3"),
            ("id, hemorrhage\n0,1\u20281,0\n", "line 2: .* is not an id and 0 or 1"),
            ("id, hemorrhage\n0,1\n0,0\n", "line 3: id 0 is repeated"),
        )),
        *((optical.parse_labels, text, message) for text, message in (
            ("2\n", "line 1: is not '1'"),
            ("1\n1\t2\t0001.PNG\t0\t0\n", "line 2"),
            ("1\n1\t0\t0001.PNG\t0\n", "line 2"),
            ("1\n1\t0\t../0001.PNG\t0\t0\n", "line 2"),
            ("1\n1\t1\t0001.PNG\t0\t/etc/x.PNG\n", "line 2"),
            ("1\n1\t0\t0001.PNG\t0\t0\n2\t1\t0001.PNG\t0\t0001_label.PNG\n", "line 3: .* repeated"),
        )),
    ],
)  # fmt: skip
def test_labels_with_faults(parse, text, message):
    with pytest.raises(DataError, match=rf"labels\.csv[,:] {message}"):
        parse(text, "labels.csv")


def test_hyperkvasir_names_and_division(project, monkeypatch):
    records = built(monkeypatch, "hyperkvasir")
    normal = {Path(path).name for path, record in records.items() if record.label == 0}
    train, _ = three_to_one(normal)
    assert {Path(path).name for path, r in records.items() if r.split == "train"} == train
    assert "z-line_1.jpg" in normal


def test_optical_names_and_masks(project, monkeypatch, capsys):
    records = built(monkeypatch, "optical")
    record = records["test/class9/class9_test_0002.PNG"]
    assert Path(record.path).read_bytes() == numbered(206)
    assert record.mask == "data/raw/optical/ground_truth/class9/class9_test_0002_mask.png"
    assert records["test/class0/class0_train_0002.PNG"].mask == ""
    assert "Train/Label/0002_label.PNG: marks nothing, no mask is kept" in capsys.readouterr().err


def test_mastcam_colours_and_repeats(project, monkeypatch):
    records = built(monkeypatch, "mastcam")
    assert pixels("data/raw/mastcam/test/drt/b.png")[5, 7].tolist() == [21, 0, 2]
    assert records["test/drt/a.png"].sha256 == records["test/veins/a.png"].sha256
    text = read_source(Path("data/raw/mastcam/SOURCE.json")).source
    assert text.endswith("4 novel images in the folders of classes, 3 different")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((64, 64, 6), 256.0), "values outside"),
        (np.full((64, 64, 6), np.nan), "values outside"),
        (np.full((64, 64, 6), -1, np.int16), "values outside"),
        (np.zeros((6, 64, 64), np.uint8), r"has the shape \(6, 64, 64\)"),
        (np.full((64, 64, 6), None, object), "cannot be loaded"),
        (array(1)[:-10], "cannot be loaded"),
        (b"PK\3\4 no archive", "cannot be loaded"),
        (np.full((64, 64, 6), 0.9, np.float32), r"values in \[0, 1\]"),
    ],
)
def test_mastcam_arrays_with_faults(values, message):
    content = values if isinstance(values, bytes) else saved(values)
    with pytest.raises(DataError, match=rf"x\.npy: .*{message}"):
        mastcam.first_channels(content, "x.npy")
    whole = saved(np.full((64, 64, 6), 254.9, np.float32))
    assert (mastcam.first_channels(whole, "x.npy") == 254).all()
