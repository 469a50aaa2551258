"""A user's own images in folders of MVTec AD's layout."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_cases import build, counted, encoded, png, put, sha256
from image_cases import raw_png
from PIL import Image

from osad.core.errors import ConfigError, DataError
from osad.data.layouts.folder import arrange
from osad.data.layouts.own import check_folders
from osad.data.manifest import COLUMNS, three_to_one
from osad.data.remarks import CMYK, CONSTANT, DIM, LARGE, MASKS, PROFILE, SAME

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
    assert "2 files and folders are hidden or no images" in capsys.readouterr().err
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
        (
            {"test/good/same.png": png(6), "test/good/too.png": png(7)},
            "2 pairs of images have equal bytes.*\n.*Broken pick/a.png and .*too.png\n.*same.png",
        ),
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
    with pytest.raises(DataError, match="train/good: there are no images"):
        arrange(["test/good/a.png", "test/scratch/a.png"])
    put(project / "my/images", FILES)
    with pytest.raises(ConfigError, match=r"names 'dent', but .* broken_pick, scratch"):
        build("mine", OWN | {"defect_classes": ["dent"]})


def test_good_images_alone_are_a_data_set(project):
    files = {f"train/good/{number}.png": png(10 * number) for number in range(8)}
    assert built(project, files) == {("train", "good"): 6, ("test", "good"): 2}


@pytest.mark.parametrize("raw_path", ["data/raw/mine", "data", ".", "data/raw/mine/deeper"])
def test_the_folder_may_not_overlap_its_copy(project, raw_path):
    put(project / raw_path, FILES)
    with pytest.raises(ConfigError, match="must not overlap data/raw/mine"):
        build("mine", OWN | {"raw_path": raw_path})
    assert (project / raw_path / "test/good/a.png").read_bytes() == png(5)


def pictures(*names: str) -> dict[str, bytes]:
    """Return normal training images and images of these names, no two with equal bytes."""
    return {name: png(40 + i) for i, name in enumerate(["train/good/a.png", *names])}


def built(project: Path, files: dict[str, bytes], **settings: object) -> Counter[tuple[str, str]]:
    put(project / "my/images", files)
    return counted(build("mine", {"layout": "folder", "raw_path": "my/images", **settings}))


def test_hidden_folders_are_skipped_with_a_note(project, capsys):
    hidden = (".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN")
    names = [f"train/good/{name}/a.png" for name in hidden]
    files = pictures("test/good/a.png", "test/cut/a.png", "__MACOSX/test/cut/._a.png", *names)
    assert built(project, files) == {("train", "good"): 1, ("test", "good"): 1, ("test", "cut"): 1}
    note = capsys.readouterr().err
    assert "mine: 5 files and folders are hidden" in note
    assert "train/good/.ipynb_checkpoints/, train/good/@eaDir/" in note


def test_names_are_compared_in_lower_case(project):
    """Also composed letters with their decomposed form, as other systems write them."""
    files = pictures("test/Good/a.png", "Test/Deep Cut/\u00c4.png", "Test/Deep Cut/b.PNG")
    files |= {"Ground_Truth/deep_cut/A\u0308_MASK.png": png(255)}
    put(project / "my/images", files)
    records = build("mine", {"layout": "folder", "raw_path": "my/images"})
    assert counted(records) == {("train", "good"): 1, ("test", "good"): 1, ("test", "deep_cut"): 2}
    masks = {Path(record.path).name: Path(record.mask).name for record in records if record.mask}
    assert masks == {"\u00c4.png": "A\u0308_MASK.png"}


@pytest.mark.parametrize(
    "name", ["OK", "ok", "Normal", "gut", "pass", "OK parts", "good_2", "No defect", "defect-free"]
)
def test_normal_images_of_another_name_are_believed_only_when_said(project, name):
    files = pictures(
        "train/good/b.png", f"test/{name}/a.png", f"test/{name}/b.png", "test/NG/a.png"
    )
    key = "_".join(name.lower().split())
    with pytest.raises(
        ConfigError, match=f"the 2 images of class '{key}' would count as anomalies"
    ):
        built(project, files)
    said = built(project, files, normal_classes=[key])
    assert said == {("train", "good"): 2, ("test", "good"): 2, ("test", "ng"): 1}
    assert built(project, files, defect_classes=[key])["test", key] == 2


def test_training_images_of_another_name_are_named_with_the_setting(project):
    files = {f"train/OK/{i}.png": png(i) for i in range(4)} | {"test/NG/a.png": png(9)}
    with pytest.raises(DataError, match=r"my/images: train/OK/0\.png: .*normal_classes: .ok."):
        built(project, files)
    assert built(project, files, normal_classes=["ok"])["train", "good"] == 3


@pytest.mark.parametrize("name", ["mask", "Masks", "scratch_mask", "ground truth", "cut-gt"])
def test_folders_of_masks_are_not_a_class(project, name):
    with pytest.raises(ConfigError, match="its name speaks of masks; move the masks to ground_tr"):
        built(project, pictures("train/good/b.png", f"test/{name}/a.png", "test/cut/a.png"))


@pytest.mark.parametrize(
    "name", ["a_mask", "A_Mask", "a-gt", "a.label", "mask_a", "a segmentation"]
)
def test_masks_beside_images_are_no_images(project, name):
    files = pictures("test/cut/a.png", f"test/cut/{name}.png", "test/dent/a.png",
                     f"test/dent/{name}.jpg", "test/hole/c_mask.png")  # fmt: skip
    with pytest.raises(DataError) as caught:
        built(project, files)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["my/images", "test/cut"], ["my/images", "test/dent"],
    ]  # fmt: skip
    assert (
        f"1 images look like masks of images beside them (the first is test/cut/{name}" in lines[0]
    )


def test_everything_wrong_is_named_at_once(project):
    files = pictures("test/good/a.png", "test/cut/a.png", "test/cut/b.png", "test/cut/c.png")
    files |= {"test/cut/a.png": png(1)[:-30], "test/good/a.png": b"", "test/cut/d.png": png(3)}
    lossy = encoded(np.eye(4, 6, dtype=np.uint8) * 99, "JPEG")
    files |= {"ground_truth/cut/b_mask.png": png(1, (3, 3)), "ground_truth/cut/c_mask.jpg": lossy}
    with pytest.raises(DataError) as caught:
        built(project, files)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].removeprefix("my/images/") for line in lines] == [
        "ground_truth/cut/b_mask.png", "ground_truth/cut/c_mask.jpg",
        "test/cut/a.png", "test/good/a.png",
    ]  # fmt: skip
    files = pictures("test/cut/a.png", "test/a.png", "train/cut/a.png", "test/cut/deep/a.png")
    put(project / "other", files | {"test/k\u00e4/a.png": png(1)})
    with pytest.raises(DataError) as caught:
        build("mine", {"layout": "folder", "raw_path": "other"})
    assert len(str(caught.value).splitlines()) == 4


def test_an_empty_mask_and_masks_of_no_image_are_told(project, capsys):
    files = pictures("train/good/b.png", "test/cut/a.png")
    files |= {"ground_truth/cut/a_mask.png": encoded(np.zeros((4, 6), np.uint8)),
              "ground_truth/cut/b_mask.png": png(255)}  # fmt: skip
    assert built(project, files)["test", "cut"] == 1
    note = capsys.readouterr().err
    assert "1 masks belong to no anomalous image and are skipped: ground_truth/cut/b_mask" in note
    assert "1 files are masks that mark no pixel; their images count as images without" in note


def test_what_is_odd_about_images_is_told_with_names(project, capsys):
    checks = np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((8, 8), np.uint8))
    files = pictures("train/good/b.png", "test/cut/a.png") | {
        "test/cut/flat.png": encoded(np.full((4, 4), 7, np.uint8)),
        "test/cut/mask.png": encoded(checks),
        "test/cut/dim.png": encoded(np.arange(4096, dtype=np.uint16).reshape(64, 64)),
        "test/cut/profile.png": encoded(checks // 2, icc_profile=b"Adobe RGB (1998)"),
        "test/cut/plain.png": encoded(checks // 3, icc_profile=b"s\0R\0G\0B\0"),
        "test/cut/linear.png": raw_png([b"\1\2"], 2, 8, gAMA=(100_000).to_bytes(4, "big")),
        "test/cut/print.jpg": encoded(
            Image.fromarray(checks[:, ::-1] // 2).convert("CMYK"), "JPEG"
        ),
        "test/dent/big.png": encoded(np.tile(np.arange(8, dtype=np.uint8), (8, 1))),
        "ground_truth/dent/big_mask.png": encoded(np.triu(np.full((8, 8), 255, np.uint8))),
        "test/dent/half.png": encoded(np.tile(np.arange(8, dtype=np.uint8), (8, 2))),
        "ground_truth/dent/half_mask.png": encoded(
            np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((4, 8), np.uint8))
        ),
    }
    again = Image.open(io.BytesIO(files["train/good/b.png"]))
    files["test/dent/again.bmp"] = encoded(again, "BMP")
    assert built(project, files)["test", "cut"] == 8
    note = capsys.readouterr().err.splitlines()
    assert f"mine: 1 files {LARGE}: my/images/ground_truth/dent/big_mask.png" in note
    same = "my/images/test/dent/again.bmp = my/images/train/good/b.png"
    assert f"mine: 2 files {SAME}: {same}" in note
    place = "my/images/test/cut"
    for text, name in (
        (CONSTANT, "flat.png"), (MASKS, "mask.png"), (DIM, "dim.png"), (CMYK, "print.jpg"),
    ):  # fmt: skip
        assert f"mine: 1 files {text}: {place}/{name}" in note
    assert f"mine: 2 files {PROFILE}: {place}/linear.png, {place}/profile.png" in note
    kinds = [line for line in note if "several kinds" in line]
    assert "1 JPEG of 8-bit CMYK" in kinds[0]
    assert f"1 PNG of 16-bit I (first {place}/dim.png), 10 PNG of 8-bit L" in kinds[0]


@pytest.mark.parametrize("left", ["test/dent/a.gif", "Test/dent/.DS_Store", "test/dent/"])
def test_a_class_that_would_be_lost_is_named(project, left):
    files = pictures("train/good/b.png", "test/cut/a.png", "test/cut/b.gif")
    (project / "my/images/test/dent").mkdir(parents=True)
    if not left.endswith("/"):
        files |= {left: b"GIF89a"}
    with pytest.raises(DataError, match=r"my/images: (test|Test)/dent: holds no images of a known"):
        built(project, files)


def test_a_class_of_images_of_one_colour_is_refused(project):
    flat = {f"test/cut/{i}.png": encoded(np.full((4, 4), i, np.uint8)) for i in range(3)}
    files = pictures("train/good/b.png", "test/dent/a.png") | flat
    with pytest.raises(DataError, match=f"my/images: all images of class 'cut' {CONSTANT}"):
        built(project, files)
    assert not Path("data/raw/mine/SOURCE.json").exists()


@pytest.mark.parametrize("key", ["defect_classes", "normal_classes"])
@pytest.mark.parametrize("value", ["ok", ["good"], ["A b"], [1], ["cut", "cut"]])
def test_wrong_lists_of_classes_are_refused(project, key, value):
    with pytest.raises(ConfigError, match=key):
        built(project, {}, **{key: value})
    with pytest.raises(ConfigError, match="names the class 'x' twice"):
        built(project, {}, defect_classes=["x"], normal_classes=["x"])


def test_folders_without_train_are_asked_about():
    paths = ["NG/b.png", "OK/a.png", "notes/a.txt"]
    with pytest.raises(DataError) as refused:
        check_folders(paths, where=Path("my/images"))
    assert str(refused.value) == (
        "my/images: has images in NG, OK, and names are not guessed at; where NG has good parts "
        "move it to train/NG and say `normal_classes: [ng]`, where it has defects move it to "
        "test/NG and say `defect_classes: [ng]`, and so for the others"
    )
    check_folders([*paths, "train/good/a.png"], where=Path("my/images"))
