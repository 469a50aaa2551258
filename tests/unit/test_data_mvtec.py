"""MVTec AD's family: original layouts in archives, fetched, listed and counted."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mvtec_cases import CLASSES, decoded, encode, image, mask, originals_of, write_archive
from PIL import Image

from osad.data import mvtec_3d, mvtec_layout, mvtec_loco, registry, visa
from osad.data.images import decode
from osad.data.manifest import read_manifest
from osad.data.masks import full_mask
from osad.data.mvtec_layout import Item, one_mask
from osad.data.registry import Counts
from osad.data.source import read_source
from osad.errors import CheckError, DataError
from osad.files import read_json, sha256_bytes
from osad.steps.fetch import main as fetch_main
from osad.steps.manifest import main as manifest_main
from osad.steps.masks import pack

DATASETS = Path(__file__).resolve().parents[3] / "shared" / "datasets"
ALL = sorted(CLASSES)
TWO = {
    "mvtec": ("carpet", "zipper"),
    "mpdd": ("bracket_black", "tubes"),
    "mvtec_loco": ("breakfast_box", "splicing_connectors"),
    "mvtec_3d": ("bagel", "cable_gland"),
    "visa": ("candle", "pipe_fryum"),
}


def small(dataset: str, digest: str) -> registry.DatasetSpec:
    """Return the data set with the digest and the counts of its small copy."""
    spec = registry.get(dataset)
    [archive] = spec.archives
    archive = replace(archive, digest=f"sha256:{digest}", size=None, url="")
    counts = Counts(3, 2, dict.fromkeys(CLASSES[dataset], 2))
    return replace(
        spec,
        fetch=partial(spec.fetch, archives=(archive,)),
        archives=(archive,),
        expected=dict.fromkeys(spec.categories, counts),
    )


def fetched(root: Path, dataset: str) -> dict[str, bytes]:
    """Put the small archive where a user would, fetch it, and return the originals."""
    files = originals_of(dataset)
    [archive] = registry.get(dataset).archives
    digest = write_archive(root / "data/downloads" / dataset / archive.file, files)
    before = registry._registered[dataset]
    registry._registered[dataset] = small(dataset, digest)
    here = Path.cwd()
    os.chdir(root)
    try:
        fetch_main(["--dataset", dataset, "--output", f"data/raw/{dataset}/SOURCE.json"])
    finally:
        os.chdir(here)
        registry._registered[dataset] = before
    return files


@pytest.fixture(scope="module", params=ALL)
def fetch_of(request, tmp_path_factory):
    """A project with the small copy of one data set, fetched: root, data set, originals."""
    root = tmp_path_factory.mktemp(request.param)
    return root, request.param, fetched(root, request.param)


@pytest.fixture
def project(fetch_of, monkeypatch):
    """The same as current directory, with the counts of the small copy."""
    root, dataset, files = fetch_of
    monkeypatch.chdir(root)
    monkeypatch.setitem(registry._registered, dataset, small(dataset, "0" * 64))
    return dataset, files


def manifest(dataset: str, category: str) -> Path:
    path = Path(f"data/manifests/{dataset}/{category}.csv")
    source = f"data/raw/{dataset}/SOURCE.json"
    options = ["--dataset", dataset, "--category", category, "--source", source]
    manifest_main([*options, "--output", str(path)])
    return path


# --- from the archive to the manifest ----------------------------------------------------------


def test_an_archive_becomes_manifests(project):
    dataset, files = project
    originals = {sha256_bytes(content) for content in files.values()}
    for category in TWO[dataset]:
        records = read_manifest(manifest(dataset, category))
        expected = {("train", 0, "good"): 3, ("test", 0, "good"): 2}
        expected |= {("test", 1, name): 2 for name in CLASSES[dataset]}
        assert Counter((r.split, r.label, r.class_name) for r in records) == expected
        for record in records:
            start = f"data/raw/{dataset}/{category}/"
            assert record.path.startswith(f"{start}{record.split}/{record.class_name}/")
            assert record.sha256 == sha256_bytes(Path(record.path).read_bytes())
            assert record.sha256 in originals  # Copied byte for byte.
            assert bool(record.mask) == bool(record.label)
            if record.mask:
                name = f"{record.class_name}/{Path(record.path).stem}_mask.png"
                assert record.mask == f"{start}ground_truth/{name}"
                assert full_mask(Path(record.mask).read_bytes(), record.mask).any()


def test_nothing_else_is_copied(project):
    dataset, _ = project
    source = read_source(Path(f"data/raw/{dataset}/SOURCE.json"))
    raw = Path(f"data/raw/{dataset}")
    on_disk = {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()}
    assert on_disk == {*source.files, "SOURCE.json"}
    n_anomalous = 2 * len(CLASSES[dataset])
    assert len(source.files) == len(registry.get(dataset).categories) * (5 + 2 * n_anomalous)
    assert source.source == registry.get(dataset).archives[0].file


def test_the_archive_stays_and_what_was_unpacked_goes(project):
    dataset, _ = project
    left = {path.name for path in Path(f"data/downloads/{dataset}").iterdir()}
    assert registry.get(dataset).archives[0].file in left
    assert not {"MPDD", *registry.get(dataset).categories} & left


def test_masks_can_be_packed(project):
    dataset, _ = project
    category = TWO[dataset][0]
    source = read_source(Path(f"data/raw/{dataset}/SOURCE.json"))
    packed = pack(read_manifest(manifest(dataset, category)), source, 12)
    assert len(packed.paths) == 2 * len(CLASSES[dataset])
    assert packed.unmasked == ()


def test_a_wrong_count_stops(project, monkeypatch):
    dataset, _ = project
    category = TWO[dataset][1]
    true = registry.get(dataset).expected[category]
    for counts, message in [
        (replace(true, train_normal=4), "expected 4 normal training images, found 3"),
        (replace(true, anomalies=9), rf"expected 9 anomalous images, found {true.n_anomalies}"),
    ]:
        spec = replace(registry.get(dataset), expected={category: counts})
        monkeypatch.setitem(registry._registered, dataset, spec)
        Path(f"data/manifests/{dataset}/{category}.csv").unlink(missing_ok=True)
        with pytest.raises(CheckError, match=f"{dataset}/{category}: {message}"):
            manifest(dataset, category)
        assert not Path(f"data/manifests/{dataset}/{category}.csv").exists()


def test_a_changed_image_is_found(project):
    dataset, _ = project
    category = TWO[dataset][0]
    [image_path] = Path(f"data/raw/{dataset}/{category}/test/good").glob("0*00.*")
    content = image_path.read_bytes()
    image_path.write_bytes(content + b"x")
    try:
        with pytest.raises(CheckError, match="content has changed"):
            manifest(dataset, category)
    finally:
        image_path.write_bytes(content)


def test_a_folder_that_a_user_has_gives_the_same_bytes(project, tmp_path, monkeypatch):
    dataset, files = project
    wanted = Path(f"data/raw/{dataset}/SOURCE.json").read_bytes()
    for name, content in files.items():
        (tmp_path / "my/copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my/copy" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for number, raw_path in enumerate(("my/copy", "my")):
        settings = json.dumps({"raw_path": raw_path})
        output = f"raw-{number}/SOURCE.json"
        fetch_main(["--dataset", dataset, "--settings", settings, "--output", output])
        assert Path(output).read_bytes() == wanted


def test_a_person_is_told_what_to_get(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        r"get MPDD\.zip from https://github\.com/stepanje/MPDD \(needs a download by hand.*\) and "
        "put it into data/downloads/mpdd"
    )
    with pytest.raises(DataError, match=message):
        fetch_main(["--dataset", "mpdd", "--output", "data/raw/mpdd/SOURCE.json"])


def test_another_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive(Path("data/downloads/visa/VisA_20220922.tar"), {"a.txt": b"not VisA"})
    with pytest.raises(CheckError, match=r"VisA_20220922\.tar: its sha256 is .* expected 2eb8690c"):
        fetch_main(["--dataset", "visa", "--output", "data/raw/visa/SOURCE.json"])
    assert not Path("data/raw/visa").exists()


def test_a_set_that_lacks_a_category_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in originals_of("mpdd").items():
        if "/tubes/" not in name:
            Path("my", name).parent.mkdir(parents=True, exist_ok=True)
            Path("my", name).write_bytes(content)
    settings = json.dumps({"raw_path": "my"})
    options = ["--dataset", "mpdd", "--settings", settings]
    with pytest.raises(DataError, match=r"my/MPDD: the folder of the category 'tubes' is missing"):
        fetch_main([*options, "--output", "data/raw/mpdd/SOURCE.json"])
    assert not Path("data/raw/mpdd").exists()


# --- what is published about them ---------------------------------------------------------------

TOTALS = {
    "mvtec": (3629, 467, 1258),
    "mpdd": (888, 176, 282),
    "mvtec_loco": (1778, 575, 993),
    "mvtec_3d": (2656, 249, 948),
    "visa": (8659, 962, 1200),
}


@pytest.mark.parametrize("dataset", ALL)
def test_counts_add_up_to_the_printed_totals(dataset):
    spec = registry.get(dataset)
    assert tuple(spec.expected) == spec.categories
    counts = list(spec.expected.values())
    found = (
        sum(count.train_normal for count in counts),
        sum(count.test_normal for count in counts),
        sum(count.n_anomalies for count in counts),
    )
    assert found == TOTALS[dataset]


def test_mvtec_has_the_counts_of_the_papers_tables():
    expected = registry.get("mvtec").expected
    printed = {
        "carpet": (280, 28, 89, 5), "grid": (264, 21, 57, 5), "leather": (245, 32, 92, 5),
        "tile": (230, 33, 84, 5), "wood": (247, 19, 60, 5), "bottle": (209, 20, 63, 3),
        "capsule": (219, 23, 109, 5), "pill": (267, 26, 141, 7), "transistor": (213, 60, 40, 4),
        "zipper": (240, 32, 119, 7), "cable": (224, 58, 92, 8), "hazelnut": (391, 40, 70, 4),
        "metal_nut": (220, 22, 93, 4), "screw": (320, 41, 119, 5), "toothbrush": (60, 12, 30, 1),
    }  # fmt: skip
    found = {
        name: (count.train_normal, count.test_normal, count.n_anomalies, len(count.anomalies))
        for name, count in expected.items()
    }
    assert found == printed
    assert sum(classes for *_, classes in found.values()) == 73


def test_only_two_categories_of_mvtec_have_a_hard_setting():
    spec = registry.get("mvtec")
    hard = {name: spec.known_classes(name) for name in spec.categories if spec.known_classes(name)}
    assert set(hard) == {"carpet", "metal_nut"}
    for name, classes in hard.items():
        assert set(classes) == set(spec.expected[name].anomalies)
        assert all(spec.expected[name].anomalies[known] >= 10 for known in classes)
    for dataset in set(ALL) - {"mvtec"}:
        spec = registry.get(dataset)
        assert spec.protocols == ("normal",)
        assert all(spec.single_class(category) for category in spec.categories)


def test_mvtec_screw_as_it_is():
    folder = DATASETS / "mvtec_screw"
    if not folder.is_dir():
        pytest.skip("the images of MVTec AD's screw are not beside the repository")
    items = mvtec_layout.plan_category(mvtec_layout.folder.list_files(folder))
    found = Counter(item.target.rsplit("/", 1)[0] for item in items)
    counts = registry.get("mvtec").expected["screw"]
    assert found.pop("train/good") == 94  # Of 320: the others are not in the sample.
    assert found.pop("test/good") == counts.test_normal
    assert found == {f"test/{name}": number for name, number in counts.anomalies.items()}
    some = [item for item in items if item.masks][::20]
    masks = mvtec_layout.read_masks(folder, some)
    assert masks == {item.masks[0]: (folder / item.masks[0]).read_bytes() for item in some}


# --- masks ---------------------------------------------------------------------------------------

SIZE = (6, 4)


def grid(*pixels: tuple[int, int]) -> list[list[int]]:
    return [[255 * ((row, column) in pixels) for column in range(6)] for row in range(4)]


def merged(*masks: bytes, over: bytes | None = None) -> bytes:
    """Return the one mask of an image of 6 x 4 pixels; the masks are named m0, m1."""
    named = [(f"m{number}", content) for number, content in enumerate(masks)]
    return one_mask(named, image=over or image(1), name="i")


def test_several_masks_become_one():
    masks = [mask((0, 0, 231), (1, 1, 231)), mask((1, 1, 5), (3, 5, 5))]
    assert decoded(merged(*masks)) == grid((0, 0), (1, 1), (3, 5))
    assert merged(*masks[::-1]) == merged(*masks)


def test_a_mask_of_numbers_becomes_one_of_0_and_255():
    assert decoded(merged(mask((2, 3, 1)))) == grid((2, 3))


def test_a_plain_mask_is_kept():
    grey = mask((2, 3, 255))
    assert merged(grey) == grey
    one_bit = encode(np.asarray(grid((0, 5))) > 0, "PNG")
    assert merged(one_bit) == one_bit
    assert Image.open(io.BytesIO(one_bit)).mode == "1"


def test_of_a_palette_the_numbers_count():
    picture = Image.new("P", SIZE)
    picture.putpalette([0, 0, 0, 0, 0, 0, 255, 0, 0])  # Number 1 is black, too.
    picture.putpixel((4, 0), 1)
    picture.putpixel((5, 0), 2)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    assert decoded(merged(stream.getvalue())) == grid((0, 4), (0, 5))


def test_of_colours_the_strongest_counts():
    values = np.zeros((4, 6, 3), dtype=np.uint8)
    values[1, 2, 2] = 9
    assert decoded(merged(encode(values, "PNG"))) == grid((1, 2))
    opaque = np.dstack([np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 255, np.uint8)])
    assert merged(encode(opaque, "PNG")) == b""


def test_of_16_bits_small_numbers_count():
    values = np.zeros((4, 6), dtype=np.uint16)
    values[3, 0] = 1
    assert decoded(merged(encode(values, "PNG"))) == grid((3, 0))


@pytest.mark.parametrize(
    ("orientation", "where", "size"),
    [(3, (3, 4), (4, 6)), (6, (1, 3), (6, 4)), (8, (4, 0), (6, 4))],
)
def test_a_mask_is_turned_with_its_image(orientation, where, size):
    # 6 x 4 pixels, (row 0, column 1) marked. 3: half a turn. 6: a quarter clockwise. 8: the other.
    values = np.zeros((4, 6, 3), dtype=np.uint8)
    values[0, 1] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG", exif=exif)
    upright = np.asarray(decode(stream.getvalue(), "i"))[:, :, 0] == 255
    found = np.asarray(decoded(merged(mask((0, 1, 255)), over=stream.getvalue())))
    assert found.shape == upright.shape == size
    assert np.argwhere(found).tolist() == [list(where)]
    assert (found == 255).tolist() == upright.tolist()


def test_wrong_masks_are_named():
    with pytest.raises(DataError, match="m0: the mask has 6 x 4 pixels and its image 4 x 6"):
        merged(mask(), over=encode(np.zeros((6, 4, 3), dtype=np.uint8), "PNG"))
    with pytest.raises(DataError, match="m0: the mask is of format JPEG, not PNG"):
        merged(image(1, "JPEG"))
    with pytest.raises(DataError, match="m0: cannot be decoded"):
        merged(mask()[:40])
    with pytest.raises(DataError, match="i: cannot be decoded"):
        merged(mask(), over=image(1)[:40])


def test_an_image_whose_mask_is_empty_has_none(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(image(1))
    (tmp_path / "m.png").write_bytes(mask())
    assert mvtec_layout.read_masks(tmp_path, [Item("a.png", "c/test/cut/a.png", ("m.png",))]) == {}
    assert "1 masks mark no pixel" in capsys.readouterr().err


# --- layouts -------------------------------------------------------------------------------------


def test_where_a_mask_goes():
    assert Item("x", "candle/test/anomaly/000.JPG").mask_target == (
        "candle/ground_truth/anomaly/000_mask.png"
    )
    assert Item("x", "test/cut/000.png", ("m",)).below("carpet") == Item(
        "carpet/x", "carpet/test/cut/000.png", ("carpet/m",)
    )


def test_the_masks_of_loco_are_those_of_the_images_folder():
    paths = [
        "train/good/000.png",
        "validation/good/000.png",
        "test/good/000.png",
        "test/logical_anomalies/000.png",
        "ground_truth/logical_anomalies/000/001.png",
        "ground_truth/logical_anomalies/000/000.png",
        "ground_truth/logical_anomalies/000/._000.png",
        "ground_truth/structural_anomalies/000/000.png",
    ]
    assert mvtec_loco.plan_category(paths) == [
        Item("test/good/000.png", "test/good/000.png"),
        Item(
            "test/logical_anomalies/000.png",
            "test/logical_anomalies/000.png",
            (
                "ground_truth/logical_anomalies/000/000.png",
                "ground_truth/logical_anomalies/000/001.png",
            ),
        ),
        Item("train/good/000.png", "train/good/000.png"),
    ]
    with pytest.raises(DataError, match=r"logical_anomalies/000\.png: an anomalous image without"):
        mvtec_loco.plan_category(paths[:4])


def test_of_3d_only_colours_are_used():
    paths = [
        "train/good/rgb/000.png",
        "train/good/xyz/000.tiff",
        "validation/good/rgb/000.png",
        "test/good/rgb/000.png",
        "test/good/gt/000.png",
        "test/hole/rgb/007.png",
        "test/hole/xyz/007.tiff",
        "test/hole/gt/007.png",
        "calibration/camera_parameters.json",
    ]
    assert mvtec_3d.plan_category(paths) == [
        Item("test/good/rgb/000.png", "test/good/000.png"),
        Item("test/hole/rgb/007.png", "test/hole/007.png", ("test/hole/gt/007.png",)),
        Item("train/good/rgb/000.png", "train/good/000.png"),
    ]
    with pytest.raises(DataError, match=r"007\.png: an anomalous image without a mask"):
        mvtec_3d.plan_category([path for path in paths if "/hole/gt/" not in path])
    with pytest.raises(DataError, match="train/good: there are no images"):
        mvtec_3d.plan_category(paths[3:])


LINE = "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("candle,test", "lamp,test"), "line 3: object 'lamp' is not a category"),
        (LINE.replace(",test,", ",val,"), "line 3: split 'val' or label 'anomaly' is unknown"),
        (LINE.replace(",anomaly,", ",odd,"), "line 3: split 'test' or label 'odd' is unknown"),
        (LINE.replace(",test,", ",train,"), "line 3: an anomalous image is for training"),
        (LINE.replace("candle/Data/I", "../candle/I"), r"line 3: path '\.\./candle/I"),
        (LINE.replace("candle/Data/M", "/Data/M"), r"line 3: path '/Data/M.*is absolute"),
        ("candle,test,normal,,", "line 3: the image has no path"),
        ("candle,test", "line 3: wrong number of fields"),
        (LINE, "an image is listed twice"),
        ("candle,test,anomaly,candle/Data/Images/Anomaly/001.JPG,", "without a mask"),
        ("candle,test,normal,candle/Data/Images/Normal/1.JPG,m.png", "the mask of a normal image"),
    ],
)
def test_a_wrong_split_of_visa_is_refused(tmp_path, line, message):
    where = tmp_path / "split_csv/1cls.csv"
    where.parent.mkdir()
    where.write_text(f"object,split,label,image,mask\n{LINE}\n{line}\n")
    with pytest.raises(DataError, match=message):
        visa.plan(tmp_path, ["candle"])


def test_the_folder_of_the_categories_is_found(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "top" / name).mkdir(parents=True)
    (tmp_path / "__MACOSX/a").mkdir(parents=True)
    assert mvtec_layout.category_root(tmp_path, ["a", "b"]) == tmp_path / "top"
    assert mvtec_layout.category_root(tmp_path / "top", ["a", "b"]) == tmp_path / "top"
    with pytest.raises(DataError, match=r"top: the folder of the category 'c' is missing \(1 of 3"):
        mvtec_layout.category_root(tmp_path, ["a", "b", "c"])
    with pytest.raises(DataError, match="no folder in it holds c"):
        mvtec_layout.category_root(tmp_path, ["c", "a"])


def test_a_wrong_category_is_named(tmp_path):
    (tmp_path / "a/train/good").mkdir(parents=True)
    (tmp_path / "a/train/good/0.png").write_bytes(image(1))
    with pytest.raises(DataError, match=r"/a: test: there are no anomalous images"):
        mvtec_layout.plan_all(tmp_path, ["a"], of_category=mvtec_layout.plan_category)


def test_sources_say_nothing_of_the_machine(project):
    dataset, _ = project
    source = read_json(Path(f"data/raw/{dataset}/SOURCE.json"))
    assert set(source) == {"dataset", "source", "files"}
    assert str(Path.cwd()) not in json.dumps(source)
