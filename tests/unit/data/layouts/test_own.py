"""A user's own images in folders of MVTec AD's layout."""

from pathlib import Path

import pytest
from data_cases import build, png, put, sha256

from osad.core.errors import ConfigError, DataError
from osad.data.layouts.folder import arrange
from osad.data.manifest import COLUMNS, three_to_one

OWN = {"layout": "folder", "raw_path": "my/images", "defect_classes": ["scratch"]}
FILES = {
    **{f"train/good/{name}": png(1 + i) for i, name in enumerate(["a.png", "b 1.PNG", "c.png"])},
    "test/good/a.png": png(5),
    "test/scratch/a.png": png(6),
    "test/Broken pick/a.png": png(7),
    "ground_truth/scratch/a_mask.png": png(255),
    "notes.txt": b"hello",
    "test/good/._a.png": b"not an image",
}


def test_own_images(project, capsys):
    put(project / "my/images", FILES)
    build("mine", OWN)
    raw = "data/raw/mine"
    rows = [
        ("test/Broken pick/a.png", "1,broken_pick,test,"),
        ("test/good/a.png", "0,good,test,"),
        ("test/scratch/a.png", f"1,scratch,test,{raw}/ground_truth/scratch/a_mask.png"),
        *((f"train/good/{name}", "0,good,train,") for name in ("a.png", "b 1.PNG", "c.png")),
    ]
    lines = [f"{raw}/{name},{sha256(FILES[name])},{rest}" for name, rest in rows]
    written = Path("data/manifests/mine-all.csv").read_text()
    assert written.splitlines() == [",".join(COLUMNS), *lines]
    assert "2 files are no images" in capsys.readouterr().err
    assert not Path(raw, "notes.txt").exists()
    (project / "my/images/test/good/a.png").write_bytes(png(77))
    assert Path(raw, "test/good/a.png").read_bytes() == png(5), "copies, not links"


def test_own_images_without_test_good(project):
    files = {name: data for name, data in FILES.items() if not name.startswith("test/good")}
    put(project / "my/images", files)
    normal = [record for record in build("mine", OWN) if record.label == 0]
    _, test = three_to_one(record.path for record in normal)
    assert {record.path for record in normal if record.split == "test"} == test
    assert len(test) == 1


def test_links_inside_are_copied_and_links_outside_refused(project):
    put(project / "my/images", FILES)
    link = project / "my/images/test/good/z.png"
    link.symlink_to("a.png")
    build("mine", OWN)
    copy = project / "data/raw/mine/test/good/z.png"
    assert not copy.is_symlink()
    assert copy.read_bytes() == png(5)
    put(project / "secret", {"s.png": png(9)})
    for place, target, message in (
        ("test/good/z.png", "../../../../secret/s.png", r"z\.png: is a link to a place outside"),
        ("test/more", "../../../secret", "links to folders"),
    ):
        link.unlink()
        link = project / "my/images" / place
        link.symlink_to(target)
        with pytest.raises(DataError, match=message):
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
        ({"test/good/e.png": png(0, (9500, 9500), "1")}, "good/e.png: has 9500 x 9500 .* 89478485"),
    ],
)
def test_wrong_folders_are_refused(project, extra, message):
    put(project / "my/images", FILES | extra)
    with pytest.raises(DataError, match=message):
        build("mine", OWN)
    assert not (project / "data/manifests/mine-all.csv").exists()


def test_missing_parts_of_a_folder_are_named(project):
    with pytest.raises(DataError, match="my/images: raw_path of 'mine' is not a folder; expected"):
        build("mine", OWN)
    for part, message in (
        ("test/scratch", "train/good: there are no images"),
        ("train/good", "no anomalous images"),
    ):
        with pytest.raises(DataError, match=message):
            arrange(["test/good/a.png", f"{part}/a.png"])
    put(project / "my/images", FILES)
    with pytest.raises(ConfigError, match=r"names 'dent', but .* broken_pick, scratch"):
        build("mine", OWN | {"defect_classes": ["dent"]})


@pytest.mark.parametrize("raw_path", ["data/raw/mine", "data", ".", "data/raw/mine/deeper"])
def test_the_folder_may_not_overlap_its_copy(project, raw_path):
    put(project / raw_path, FILES)
    with pytest.raises(ConfigError, match="must not overlap data/raw/mine"):
        build("mine", OWN | {"raw_path": raw_path})
    assert (project / raw_path / "test/good/a.png").read_bytes() == png(5)
