"""Which images are scored, and what is written of them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import every_kind
from PIL import Image
from predict_cases import CELL, FITTED, checkpoint, put, run_step

from osad.backbones import get_backbone
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_csv, sha256_file, write_tensors
from osad.data.splits import SplitRow, write_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.features.packs import PackInfo
from osad.learn.images import ImageSet
from osad.methods import registry
from osad.pipeline.steps.run import describe_features
from osad.predict import computing, step
from osad.predict.heat import Scale
from osad.predict.images import Found, find, read
from osad.predict.step import scale_of_run


def test_maps_of_another_run_give_no_colours(project):
    other = AnomalyMaps("other/x", ("a",), ("1" * 64,), 4, np.ones((1, 2, 2), np.float32))
    anomaly_maps.write(Path("maps.safetensors"), other, cell="other/x")
    with pytest.raises(
        CheckError, match=rf"maps\.safetensors: is of cell other/x, expected {CELL}"
    ):
        step.run_scale(Path("maps.safetensors"), CELL, [])


def test_a_checkpoint_that_nothing_vouches_for_is_refused_where_it_does_not_fit(project):
    put("in/a.png")
    checkpoint(state={"median": FITTED["mean"], "std": FITTED["std"]})
    with pytest.raises(DataError, match=r"c\.safetensors: mean_intensity cannot score .*'mean'"):
        run_step("in")
    assert not Path("out").exists()
    with pytest.raises(KeyError):  # The ledger says that the file is right, so it is our fault.
        run_step("in", verified="yes")


def test_files_and_folders_are_found_once_and_sorted(project, capsys):
    put("in/b.png"), put("in/deep/A.JPG"), put("in/.hidden.png"), put("in/.git/x.png")
    put("../up.png"), put("named", format="PNG")
    Path("in/notes.txt").write_text("x")
    named = [Path("in"), Path("in/b.png"), project / "in/b.png", Path("../up.png"), Path("named")]
    assert find(named, output=Path("out")) == ["../up.png", "in/b.png", "in/deep/A.JPG", "named"]
    assert capsys.readouterr().err == (
        "in: 3 files and folders are hidden or no images and are skipped: "
        ".git/, .hidden.png, notes.txt\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: is no file or folder"),
        (["empty"], "empty: holds no images"),
        (["linked"], "linked/folder: links to folders are not followed"),
        (["new\nline.png"], "is not plain text; rename"),
    ],
)
def test_wrong_arguments_are_refused(project, arguments, message):
    put("empty/.a.png"), put("linked/a.png"), put("new\nline.png")
    Path("linked/folder").symlink_to("../empty")
    with pytest.raises(DataError, match=message):
        find([Path(argument) for argument in arguments], output=Path("out"))
    with pytest.raises(ConfigError, match="lies in the folder of images linked"):
        find([Path("linked")], output=Path("linked/deep/out"))


def test_nothing_below_a_folder_is_left_out_in_silence(project, monkeypatch):
    put("in/a.png"), put("in/deep/b.png"), put("../out.png")
    Path("in/out.png").symlink_to("../../out.png")
    assert len(find([Path("in")], output=Path("out"))) == 3
    real = os.scandir

    def refusing(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    os.mkfifo("in/pipe.png")
    Path("in/loop.png").symlink_to("loop.png")
    with pytest.raises(DataError) as caught:
        find([Path("in")], output=Path("out"))
    assert [line.split(";")[0] for line in str(caught.value).splitlines()] == [
        "in/deep: cannot be read (Permission denied)",
        "in/loop.png: is not a regular file",
        "in/pipe.png: is not a regular file",
    ]
    with pytest.raises(DataError, match=r"nowhere: is no.*\n.*neither: is no"):
        find([Path("nowhere"), Path("neither")], output=Path("out"))


def test_odd_images_are_told_and_scored(project, capsys):
    put("a.png", Image.new("L", (3, 3), 7)), put("b.jpg", Image.linear_gradient("L"))
    assert [image.path for image in read(["a.png", "b.jpg"], workers=2)] == ["a.png", "b.jpg"]
    note = capsys.readouterr().err
    assert "1 files have one colour only, nothing is seen: a.png" in note
    assert "several kinds, by which alone a method can tell them apart: 1 JPEG of 8-bit L" in note


def test_all_bad_images_are_named(project):
    good = put("a.png")
    Path("b.png").write_bytes(good.read_bytes()[:40])
    Path("c.png").write_bytes(b"")
    assert read(["a.png"], workers=2) == [Found("a.png", sha256_file(good))]
    with pytest.raises(DataError) as refused:
        read(["a.png", "b.png", "c.png", "d.png"], workers=2)
    lines = [line.partition(" (")[0] for line in str(refused.value).splitlines()]
    reasons = {"b": "decoded", "c": "decoded", "d": "read"}
    assert lines == [f"{name}.png: cannot be {reason}" for name, reason in reasons.items()]
    with pytest.raises(DataError, match=r"and 2 more$"):
        read(["c.png"] * 12, workers=1)
    put("large.png", Image.new("1", (9500, 9500)))
    with pytest.raises(DataError, match=r"^large\.png: has 9500 x 9500 pixels, more than [^\n]*$"):
        read(["large.png"], workers=1)


def test_every_kind_of_image_is_scored(project, capsys):
    """By the distance of the mean intensity from 0.25, in units of 0.5."""
    checkpoint()
    means = every_kind("in")
    written = run_step("in")
    assert [path.as_posix() for path in written] == ["out/prediction.json", "out/scores.csv"]
    rows = read_csv("out/scores.csv", ["path", "sha256", "score"])
    assert list(rows[0]) == ["path", "sha256", "score"]
    assert [row["path"] for row in rows] == sorted(f"in/{name}" for name in means)
    scores = {row["path"].removeprefix("in/"): float(row["score"]) for row in rows}
    assert scores == pytest.approx({n: abs(m - 0.25) / 0.5 for n, m in means.items()}, abs=1e-6)
    assert all(line["sha256"] == sha256_file(line["path"]) for line in rows)
    assert "13 images scored with" in capsys.readouterr().out
    described = json.loads(Path("out/prediction.json").read_text())
    assert (described["maps"], described["features"]) == (None, ["--pack pixels"])
    assert described["features_of_run"] == "agree"


def test_the_bytes_do_not_depend_on_cores_or_on_the_order_of_images(project):
    checkpoint()
    for number in range(5):
        put(f"in/{number}.png", Image.new("L", (6, 4), 20 * number))
    run_step("in", output="one", cores="1")
    run_step("in/3.png", "in/0.png", "in", "in/4.png", output="two", cores="3")
    for name in ("scores.csv", "prediction.json"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    text = Path("one/prediction.json").read_text()
    assert str(project) not in text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "cannot be decoded"),
        *(
            (Image.new(mode, (2, 2)), "pixels of kind '.*' are not supported")
            for mode in ("F", "LAB")
        ),
    ],
)
def test_images_that_cannot_be_read_leave_nothing(project, image, message):
    checkpoint()
    put("in/a.png")
    put("in/b.tif", image) if image else Path("in/b.tif").write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"in/b\.tif: {message}"):
        run_step("in")
    assert sorted(path.name for path in project.iterdir()) == ["c.safetensors", "in"]


def test_a_checkpoint_of_something_else_is_refused(project):
    put("in/a.png")
    checkpoint("mine/all/normal-m0/mean_intensity/s1")
    with pytest.raises(CheckError, match=r"c\.safetensors: its cell is 'mine/.*/s1'"):
        run_step("in")
    checkpoint(hyper={"epochs": 1})
    with pytest.raises(CheckError, match=r"c\.safetensors: its hyper is"):
        run_step("in")


def test_controls_without_features_know_the_path_that_an_image_had(project):
    """The random control draws a number for each path: that of the run for its test images."""
    cell = "mine/all/normal-m0/random/s0"
    checkpoint(cell, {"key": torch.tensor(7)})
    put("in/a.png"), put("in/b.png", Image.new("L", (1, 1)))
    digest = sha256_file("in/a.png")
    write_split("s.csv", [
        SplitRow("data/raw/mine/x.png", digest, "test", 0, "good"),
        SplitRow("data/raw/mine/y.png", "0" * 64, "train_normal", 0, "good"),
    ])  # fmt: skip
    run_step("in", cell=cell, trained=cell, split="s.csv", features="[]")
    images = ImageSet(("data/raw/mine/x.png",))
    expected = registry.get("random").build({}).score({"key": torch.tensor(7)}, images).total
    assert float(read_csv("out/scores.csv", ["score"])[0]["score"]) == expected.item()


def test_colours_are_those_of_the_runs_normal_images():
    """A defect that scores far more than all others takes no colour from the others."""
    maps = np.stack([np.full((2, 2), value, np.float32) for value in (1, 2, 900)])
    known = AnomalyMaps("c", ("a.png", "b.png", "c.png"), ("1", "2", "3"), 64, maps)
    test = [SplitRow(f"{n}.png", "1", "test", int(n == "c"), "x") for n in "abc"]
    assert scale_of_run(known, test) == Scale(2.0, 2.0, "the run's normal test images")
    assert scale_of_run(known, []) == Scale(900.0, 900.0, "the run's test images")


def test_what_was_not_checked_is_written(project):
    metadata = {"format": 1, "cell": CELL, "hyper": {}, "device": "cpu"}
    write_tensors("c.safetensors", FITTED, metadata)
    put("in/a.png")
    run_step("in", notes='["a note"]')
    described = json.loads(Path("out/prediction.json").read_text())
    assert described["features_of_run"] == described["ledger"] == "could not be compared"
    assert described["notes"] == ["a note"]


def options_of(*networks: tuple[str, int]) -> str:
    """Return the options of pooled packs, whose weights are made where they are missing."""
    told = []
    for name, size in networks:
        backbone = get_backbone(name)
        if not Path(backbone.file).exists():
            backbone.obtain(Path(backbone.file))
        told.append(
            f"--pack pooled --backbone {name} --weights {backbone.file} --image-size {size} "
            "--strides 16,32"
        )
    return json.dumps(told)


LITE0, LITE1 = "tf_efficientnet_lite0", "tf_efficientnet_lite1"


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (
            [(LITE0, 64), (LITE1, 96)],
            "image_size of the run's features is 64, 64, now it is 64, 96",
        ),
        ([(LITE0, 64)], f"backbone of .* is {LITE0}, {LITE1}, now it is {LITE0}; restore"),
        ([(LITE1, 64), (LITE0, 64)], f"is {LITE0}, {LITE1}, now it is {LITE1}, {LITE0}"),
    ],
)
def test_features_of_other_networks_are_refused_before_anything_is_computed(
    project, monkeypatch, networks, message
):
    infos = [
        PackInfo("pooled", (), (), "cpu", name, get_backbone(name).sha256, 64, (8, 16, 32))
        for name in (LITE0, LITE1)
    ]
    checkpoint(features=describe_features(infos))
    put("in/a.png")
    monkeypatch.setattr(
        computing, "extract", lambda *_, **__: pytest.fail("nothing may be computed")
    )
    with pytest.raises(ConfigError, match=rf"^c\.safetensors: .*{message}"):
        run_step("in", features=options_of(*networks))
    assert not Path("out").exists()
