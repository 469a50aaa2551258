"""Data sets: registry, ELPV, folders, sources, and counts."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import osad.data
from osad.core.errors import CheckError, ConfigError, DataError
from osad.data import registry
from osad.data.images import open_verified
from osad.data.layouts.folder import arrange
from osad.data.manifest import (
    COLUMNS,
    Record,
    read_manifest,
    three_to_one,
)
from osad.data.sets import elpv
from osad.data.source import content_digest, fill, read_source
from osad.pipeline.steps.fetch import main as fetch_main
from osad.pipeline.steps.manifest import main as manifest_main

DATASETS = Path(__file__).resolve().parents[4] / "shared" / "datasets"
HEADER = ",".join(COLUMNS) + "\n"
DIGEST = "0" * 64


def png(value: int, size: tuple[int, int] = (6, 4), mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, value).save(stream, "PNG")
    return stream.getvalue()


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def build(dataset: str, settings: dict | None = None, category: str = "all") -> Path:
    """Run fetch and manifest in the current directory; return the manifest's path."""
    text = json.dumps(settings or {})
    source = f"data/raw/{dataset}/SOURCE.json"
    manifest = f"data/manifests/{dataset}.csv"
    common = ["--dataset", dataset, "--settings", text]
    fetch_main([*common, "--output", source])
    manifest_main([*common, "--category", category, "--source", source, "--output", manifest])
    return Path(manifest)


# --- registry --------------------------------------------------------------------------------


def test_importing_the_registry_is_cheap():
    code = (
        "import sys; from osad.data.registry import get; get('elpv');"
        "get('mine', {'layout': 'folder', 'raw_path': 'x'}); import osad.data.splits;"
        "bad = {'torch', 'sklearn', 'pandas', 'timm'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_elpv_is_known():
    assert "elpv" in registry.names()
    spec = registry.get("elpv")
    assert spec.known_classes("all") == ("mono", "poly")
    assert not spec.single_class("all")
    with pytest.raises(ConfigError, match="no category 'carpet'"):
        spec.check_category("carpet")


def test_no_helper_is_listed_as_a_data_set():
    for name in registry.names():
        assert registry.get(name).name == name


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nothing", {}, "'nothing' is unknown; known are .*elpv"),
        ("manifest", {}, "unknown"),
        ("../elpv", {}, "unknown"),
        ("elpv", {"raw_path": "x"}, "unknown setting 'raw_path'"),
        ("elpv", {"layout": "folder", "raw_path": "x"}, "comes with the package"),
        ("mine", {"layout": "tree"}, "unknown layout 'tree'"),
        ("Mine", {"layout": "folder", "raw_path": "x"}, "choose a name"),
        ("mine", {"layout": "folder"}, "'raw_path' must be a text"),
        ("mine", {"layout": "folder", "raw_path": "x", "colour": 1}, "unknown setting 'colour'"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": "a"}, "must be a list"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": ["good"]}, "without good"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": ["a", "a"]}, "twice"),
    ],
)
def test_wrong_data_sets_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        registry.get(name, settings)


def test_a_data_set_is_added_as_one_file(tmp_path, monkeypatch):
    (tmp_path / "tiles.py").write_text(
        "from osad.data.registry import DatasetSpec, register\n"
        "register(DatasetSpec(name='tiles', title='Tiles', homepage='', licence='CC0',\n"
        "    licence_note='', citation='', fetch=lambda raw, settings: None,\n"
        "    records=lambda source, category: [], categories=('a', 'b'),\n"
        "    defect_classes={'a': ('crack', 'dirt'), 'b': ('crack',)}))\n"
    )
    monkeypatch.setattr(osad.data, "__path__", [*osad.data.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    assert "tiles" in registry.names()
    spec = registry.get("tiles")
    assert spec.categories == ("a", "b")
    assert [spec.single_class(category) for category in spec.categories] == [False, True]
    with pytest.raises(ConfigError, match="registered twice"):
        registry.register(spec)
    sys.modules.pop("osad.data.tiles")


# --- ELPV ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def elpv_project(tmp_path_factory):
    root = tmp_path_factory.mktemp("elpv")
    before = Path.cwd()
    os.chdir(root)
    try:
        build("elpv")
    finally:
        os.chdir(before)
    return root


def test_elpv_manifest_has_the_published_counts(elpv_project, monkeypatch):
    monkeypatch.chdir(elpv_project)
    records = read_manifest("data/manifests/elpv.csv")
    assert Counter((r.split, r.label, r.class_name) for r in records) == {
        ("train", 0, "good"): 1131,
        ("test", 0, "good"): 377,
        ("test", 1, "mono"): 313,
        ("test", 1, "poly"): 402,
    }
    assert len({r.sha256 for r in records}) == 2223
    first = records[0]
    assert first.path == "data/raw/elpv/images/cell0001.png"
    assert first.sha256 == hashlib.sha256(Path(first.path).read_bytes()).hexdigest()
    image = open_verified(Path(first.path), first.sha256)
    assert (image.mode, image.size) == ("RGB", (300, 300))


def test_elpv_copies_only_what_is_used(elpv_project):
    source = read_source(elpv_project / "data/raw/elpv/SOURCE.json")
    assert source.source == "elpv-dataset==1.0.0.post1"
    folder = elpv_project / "data/raw/elpv"
    on_disk = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert on_disk == {*source.files, "SOURCE.json"}
    assert len(source.files) == 2224


def test_elpv_fetch_repairs_and_gives_the_same_bytes(elpv_project, monkeypatch):
    monkeypatch.chdir(elpv_project)
    source = Path("data/raw/elpv/SOURCE.json")
    before = source.read_bytes()
    image = Path("data/raw/elpv/images/cell0002.png")
    content = image.read_bytes()
    image.write_bytes(content[:100])
    source.unlink()
    fetch_main(["--dataset", "elpv", "--output", str(source)])
    assert source.read_bytes() == before
    assert image.read_bytes() == content


def test_elpv_manifest_step_finds_a_changed_image(elpv_project, monkeypatch):
    monkeypatch.chdir(elpv_project)
    image = Path("data/raw/elpv/images/cell0003.png")
    content = image.read_bytes()
    image.write_bytes(content + b"x")
    arguments = "--dataset elpv --category all --source data/raw/elpv/SOURCE.json --output m.csv"
    try:
        with pytest.raises(CheckError, match=r"cell0003\.png: its content has changed"):
            manifest_main(arguments.split())
    finally:
        image.write_bytes(content)
    assert not Path("m.csv").exists()


def test_elpv_with_other_content_is_refused(project, monkeypatch):
    monkeypatch.setattr(elpv, "CONTENT_SHA256", DIGEST)
    with pytest.raises(CheckError, match="content digest"):
        fetch_main(["--dataset", "elpv", "--output", "data/raw/elpv/SOURCE.json"])
    assert not Path("data/raw/elpv/SOURCE.json").exists()


def test_elpv_without_its_package(project, monkeypatch):
    def missing(name):
        raise elpv.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(elpv.importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"pip install elpv-dataset==1\.0\.0\.post1"):
        elpv.fetch(Path("data/raw/elpv"), {})
    monkeypatch.setattr(elpv.importlib.metadata, "version", lambda name: "2.0")
    with pytest.raises(DataError, match=r"2\.0 is installed, expected 1\.0\.0\.post1"):
        elpv.fetch(Path("data/raw/elpv"), {})


def test_elpv_labels(monkeypatch):
    monkeypatch.setattr(elpv, "CELLS", 4)
    lines = [
        "images/cell0001.png  1.0                 mono",
        "images/cell0002.png  0.0                 poly",
        "images/cell0003.png  0.3333333333333333  mono",
        "images/cell0004.png  1.0                 poly",
    ]
    assert elpv.parse_labels("\n".join(lines), "labels.csv") == {
        "images/cell0001.png": "mono",
        "images/cell0002.png": "good",
        "images/cell0004.png": "poly",
    }
    with pytest.raises(CheckError, match="expected 4 lines, found 3"):
        elpv.parse_labels("\n".join(lines[:3]), "labels.csv")
    with pytest.raises(DataError, match=r"labels\.csv, line 4"):
        elpv.parse_labels("\n".join([*lines[:3], "../x.png 1.0 mono"]), "labels.csv")


def test_wrong_counts_are_named():
    records = [
        Record("a", 0, "good", "train"),
        Record("b", 0, "good", "test"),
        Record("c", 1, "mono", "test"),
    ]
    registry.check_counts(records, registry.Counts(1, 1, {"mono": 1}), where="x/all")
    for counts, message in [
        (registry.Counts(2, 1, {"mono": 1}), "expected 2 normal training images, found 1"),
        (registry.Counts(1, 3, {"mono": 1}), "expected 3 normal test images, found 1"),
        (registry.Counts(1, 1, {"mono": 1, "poly": 2}), "expected 2 images of class 'poly'"),
        (registry.Counts(1, 1, {}), "expected 0 images of class 'mono', found 1"),
    ]:
        with pytest.raises(CheckError, match=f"x/all: {message}"):
            registry.check_counts(records, counts, where="x/all")


@pytest.mark.parametrize("count", [2, 5, 98, 1508])
def test_three_to_one_is_the_permutation_of_scikit_learn(count):
    paths = [f"{number:04d}" for number in range(count)]
    order = np.random.RandomState(42).permutation(count)
    expected = {paths[index] for index in order[: math.ceil(count / 4)]}
    train, test = three_to_one(reversed(paths))
    assert test == expected
    assert train == set(paths) - expected


def test_one_normal_image_cannot_be_divided():
    with pytest.raises(DataError, match="at least 2"):
        three_to_one(["a"])


# --- raw files -------------------------------------------------------------------------------


def test_an_interrupted_fetch_does_not_look_complete(project):
    raw = project / "data/raw/x"
    files = {"b.png": lambda: b"two", "a.png": lambda: b"one"}
    fill(raw, "x", source="test", files=files)
    first = (raw / "SOURCE.json").read_bytes()
    assert read_source(raw / "SOURCE.json").files == {
        "a.png": hashlib.sha256(b"one").hexdigest(),
        "b.png": hashlib.sha256(b"two").hexdigest(),
    }

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(raw, "x", source="test", files=files | {"b.png": interrupted})
    assert not (raw / "SOURCE.json").exists()
    (raw / ".b.png.123.part").write_bytes(b"tw")
    fill(raw, "x", source="test", files=files)
    assert (raw / "SOURCE.json").read_bytes() == first
    assert sorted(path.name for path in raw.iterdir()) == ["SOURCE.json", "a.png", "b.png"]


def test_unchanged_files_are_not_written_again(project):
    raw = project / "data/raw/x"
    fill(raw, "x", source="test", files={"a.png": lambda: b"one"})
    before = (raw / "a.png").stat()
    fill(raw, "x", source="test", files={"a.png": lambda: b"one"})
    after = (raw / "a.png").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_files_of_something_else_are_kept_and_refused(project):
    raw = project / "data/raw/x"
    put(raw, {"holiday.png": b"mine"})
    with pytest.raises(DataError, match=r"holiday\.png: is not a file of this data set"):
        fill(raw, "x", source="test", files={"a.png": lambda: b"one"})
    assert (raw / "holiday.png").read_bytes() == b"mine"


def test_content_digest_by_hand():
    files = {"b": "1" * 64, "a": "2" * 64}
    text = "2" * 64 + "  a\n" + "1" * 64 + "  b\n"
    assert content_digest(files) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"dataset": "x", "source": "s"},
        {"dataset": "x", "source": "s", "files": {}},
        {"dataset": "x", "source": "s", "files": {"../a": DIGEST}},
        {"dataset": "x", "source": "s", "files": {"/a": DIGEST}},
        {"dataset": "x", "source": "s", "files": {"a": "12"}},
        {"dataset": "x", "source": "s", "files": {"a": 12}},
    ],
)
def test_hostile_sources_are_refused(tmp_path, content):
    path = tmp_path / "SOURCE.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"SOURCE\.json"):
        read_source(path)


def test_settings_must_be_an_object(project):
    for text in ("[1]", "{", "1"):
        with pytest.raises(ConfigError, match="--settings"):
            fetch_main(["--dataset", "elpv", "--settings", text, "--output", "SOURCE.json"])
    with pytest.raises(ConfigError, match=r"must be SOURCE\.json"):
        fetch_main(["--dataset", "elpv", "--output", "x.json"])


# --- folder layout ---------------------------------------------------------------------------

OWN = {"layout": "folder", "raw_path": "my/images", "defect_classes": ["scratch"]}


def own_files() -> dict[str, bytes]:
    return {
        "train/good/a.png": png(1),
        "train/good/b 1.PNG": png(2),
        "train/good/c.png": png(3),
        "train/good/d.png": png(4),
        "test/good/a.png": png(5),
        "test/scratch/a.png": png(6),
        "test/Broken pick/a.png": png(7),
        "ground_truth/scratch/a_mask.png": png(255),
        "notes.txt": b"hello",
        "test/good/._a.png": b"not an image",
    }


def test_own_images(project, capsys):
    put(project / "my/images", own_files())
    manifest = build("mine", OWN)
    raw = "data/raw/mine"
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in own_files().items()}
    rows = [
        ("test/Broken pick/a.png", "1,broken_pick,test,"),
        ("test/good/a.png", "0,good,test,"),
        ("test/scratch/a.png", f"1,scratch,test,{raw}/ground_truth/scratch/a_mask.png"),
        ("train/good/a.png", "0,good,train,"),
        ("train/good/b 1.PNG", "0,good,train,"),
        ("train/good/c.png", "0,good,train,"),
        ("train/good/d.png", "0,good,train,"),
    ]
    expected = HEADER + "".join(f"{raw}/{name},{digests[name]},{rest}\n" for name, rest in rows)
    assert manifest.read_text() == expected
    assert "2 files are no images" in capsys.readouterr().err
    assert not Path(raw, "notes.txt").exists()
    (project / "my/images/test/good/a.png").write_bytes(png(77))
    assert Path(raw, "test/good/a.png").read_bytes() == png(5), "copies, not links"


def test_own_images_without_test_good(project):
    files = {name: data for name, data in own_files().items() if not name.startswith("test/good")}
    put(project / "my/images", files)
    records = read_manifest(build("mine", OWN))
    _, test = three_to_one(r.path for r in records if r.label == 0)
    assert {r.path for r in records if r.label == 0 and r.split == "test"} == test
    assert len(test) == 1


def test_links_inside_are_copied_and_links_outside_refused(project):
    put(project / "my/images", own_files())
    link = project / "my/images/test/good/z.png"
    link.symlink_to("a.png")
    build("mine", OWN)
    copy = project / "data/raw/mine/test/good/z.png"
    assert not copy.is_symlink()
    assert copy.read_bytes() == png(5)
    put(project / "secret", {"s.png": png(9)})
    link.unlink()
    link.symlink_to("../../../../secret/s.png")
    with pytest.raises(DataError, match=r"z\.png: is a link to a place outside"):
        build("mine", OWN)
    link.unlink()
    (project / "my/images/test/more").symlink_to("../../../secret")
    with pytest.raises(DataError, match="links to folders"):
        build("mine", OWN)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"test/good/e.png": png(8)[:-30]}, r"e\.png: cannot be decoded"),
        ({"test/good/e.png": b""}, r"e\.png: cannot be decoded"),
        ({"train/scratch/e.png": png(8)}, "train/scratch/e.png: an image in an unexpected place"),
        ({"test/e.png": png(8)}, "unexpected place"),
        ({"test/scratch/deep/e.png": png(8)}, "unexpected place"),
        ({"test/broken_pick/e.png": png(8)}, "both the class 'broken_pick'"),
        ({"test/kratzer ä/e.png": png(8)}, "rename the folder"),
        ({"test/scratch/a.jpg": png(8)}, "the mask of several images"),
        ({"ground_truth/scratch/a_mask.bmp": png(8)}, "masks of the same image"),
        ({"ground_truth/scratch/a_mask.png": png(1, (3, 3))}, "3 x 3 pixels and its image 6 x 4"),
        ({"test/good/e\n.png": png(8)}, "control character"),
        ({"test/good/same.png": png(6)}, "equal bytes, but one is labelled normal"),
    ],
)
def test_wrong_folders_are_refused(project, extra, message):
    put(project / "my/images", own_files() | extra)
    with pytest.raises(DataError, match=message):
        build("mine", OWN)
    assert not (project / "data/manifests/mine.csv").exists()


def test_missing_parts_of_a_folder_are_named(project):
    with pytest.raises(DataError, match="my/images: raw_path of 'mine' is not a folder; expected"):
        build("mine", OWN)
    with pytest.raises(DataError, match="train/good: there are no images"):
        arrange(["test/good/a.png", "test/scratch/a.png"])
    with pytest.raises(DataError, match="no anomalous images"):
        arrange(["train/good/a.png", "test/good/a.png"])
    put(project / "my/images", own_files())
    with pytest.raises(ConfigError, match=r"names 'dent', but .* broken_pick, scratch"):
        build("mine", OWN | {"defect_classes": ["dent"]})


@pytest.mark.parametrize("raw_path", ["data/raw/mine", "data", ".", "data/raw/mine/deeper"])
def test_the_folder_may_not_overlap_its_copy(project, raw_path):
    put(project / raw_path, own_files())
    with pytest.raises(ConfigError, match="must not overlap data/raw/mine"):
        build("mine", OWN | {"raw_path": raw_path})
    assert (project / raw_path / "test/good/a.png").read_bytes() == png(5)


def test_brainmri(project):
    if not (DATASETS / "brainmri").is_dir():
        pytest.skip("the BrainMRI images are not beside the repository")
    records = read_manifest(build("mri", OWN | _at(DATASETS / "brainmri", ["tumor"])))
    assert Counter((r.split, r.class_name) for r in records) == {
        ("train", "good"): 73,
        ("test", "good"): 25,
        ("test", "tumor"): 155,
    }


def _at(path: Path, classes: list[str]) -> dict:
    return {"raw_path": str(path), "defect_classes": classes}
