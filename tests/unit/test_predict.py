"""Scoring a user's own images: which images, which bits, which colours, which refusals."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import sys
from pathlib import Path

import learn_cases
import numpy as np
import pytest
import torch
from learn_cases import Packs
from PIL import Image

from osad import anomaly_maps, cli, config
from osad.anomaly_maps import AnomalyMaps
from osad.audit import ledger
from osad.audit.ledger import Entry, Ledger
from osad.cells import Cell
from osad.errors import CheckError, ConfigError, DataError
from osad.features.views import pixel_statistics
from osad.files import sha256_file, write_tensors
from osad.learn.images import Scores
from osad.methods import registry
from osad.predict import heat
from osad.predict.check import find_tools, parse_cell
from osad.predict.heat import Scale, levels, overlay, scale_of, shown_size
from osad.predict.images import Found, find, read
from osad.predict.output import filling, map_names
from osad.predict.scoring import places, score_all
from osad.splits import SplitRow, write_split
from osad.steps import predict as step
from osad.workflow import Workflow

one_thread = learn_cases.one_thread
ROOT = Path(__file__).resolve().parents[2]


def row(path: str, digest: str) -> SplitRow:
    return SplitRow(path, digest, "test", 0, "good")


# --- the same bits as the run ---------------------------------------------------------------

BUDGET = {
    "epochs": 1, "iterations": 3, "batch": 12, "adapter": 8, "head_width": 16, "prototypes": 4,
    "holistic_width": 16, "residual_width": 8, "codebook_samples": 200, "candidates": 200,
    "coreset": 20, "projection": 8,
}  # fmt: skip
NORMALS, ANOMALIES = tuple(range(30)), (100, 101, 102, 103)
TEST = (*range(30, 100), *range(104, 120))
"""86 images: a full batch of 64, and a rest."""
NAMES = [name for name in registry.modules() if name != "true_labels"]


@functools.cache
def packs() -> Packs:
    return Packs("predict", 100, 20)


def build(name: str):
    spec = registry.get(name)
    fields = {field.name for field in dataclasses.fields(spec.hyper)}
    return spec.build(spec.resolve({key: BUDGET[key] for key in BUDGET.keys() & fields}))


@functools.cache
def fitted(name: str):
    base = registry.get(name).base
    data = packs().training(NORMALS, ANOMALIES, "cell")
    return build(name).fit(dataclasses.replace(data, base=fitted(base) if base else None))


def made(index: int) -> str:
    return f"data/raw/made/{index:03d}.png"


def score_of(name: str):
    def score(images, paths):
        found = packs().images([int(image.sha256) for image in images])
        return build(name).score(fitted(name), dataclasses.replace(found, paths=tuple(paths)))

    return score


@functools.cache
def whole(name: str) -> Scores:
    """Return the scores of the whole test set, as the score step computes them."""
    return build(name).score(fitted(name), packs().images(TEST))


SPLIT = [row(made(index), str(index)) for index in TEST]
PARTS = [(45,), (30, 31), (99, 31, 110, 58, 119), TEST[3:70]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(len(part)))
def test_test_images_have_the_bits_of_the_run(name, part):
    images = [Found(f"elsewhere/{index}.png", str(index)) for index in part]
    found, run = score_all(images, SPLIT, score_of(name)), whole(name)
    rows = [TEST.index(index) for index in part]
    assert torch.equal(found.total, run.total[rows])
    assert list(found.heads) == list(run.heads)
    for head, values in found.heads.items():
        assert torch.equal(values, run.heads[head][rows])
    assert (found.maps is None) == (run.maps is None)
    if run.maps is not None:
        assert torch.equal(found.maps, run.maps[rows])


@pytest.mark.parametrize("name", NAMES)
def test_new_images_are_scored_alike_in_any_company(name):
    """Alone, with others, and beside test images; close to what the run would have given."""
    new = [Found(made(index), str(index)) for index in (60, 104, 31)]
    alone = [score_all([image], [], score_of(name)).total for image in new]
    known = Found("a.png", "99")
    split = [line for line in SPLIT if line.sha256 not in {image.sha256 for image in new}]
    found = score_all([new[0], known, *new[1:]], split, score_of(name)).total
    assert torch.equal(found[[0, 2, 3]], torch.cat(alone))
    expected = whole(name).total[[TEST.index(int(image.sha256)) for image in new]]
    torch.testing.assert_close(torch.cat(alone), expected, rtol=1e-3, atol=1e-4)


def test_images_are_found_in_the_test_set_by_their_digests():
    test = [row("x/a.png", "1"), row("x/b.png", "2"), row("x/c.png", "1")]
    images = [
        Found("new.png", "9"),
        Found("copy.png", "1"),
        Found("x/c.png", "1"),
        Found("x/b.png", "2"),
        Found("x/a.png", "7"),
    ]
    assert places(images, test) == {1: 0, 2: 2, 3: 1}


def test_images_stand_where_they_stood():
    asked = []

    def score(images, paths):
        asked.append(([image.path for image in images], list(paths)))
        values = torch.arange(len(images), dtype=torch.float32)
        return Scores(values, {"part": -values}, values[:, None, None])

    test = [row(f"x/{letter}.png", letter) for letter in "abcd"]
    images = [Found("new.png", "9"), Found("u/c.png", "c"), Found("u/b.png", "b")]
    scores = score_all(images, test, score)
    assert asked == [
        (
            ["u/c.png", "u/b.png", "u/c.png", "u/c.png"],
            ["x/a.png", "x/b.png", "x/c.png", "x/d.png"],
        ),
        (["new.png"], ["new.png"]),
    ]
    assert scores.total.tolist() == [0, 2, 1]
    assert scores.heads["part"].tolist() == [0, -2, -1]
    assert scores.maps.flatten().tolist() == [0, 2, 1]


# --- which images ---------------------------------------------------------------------------


def put(path: str, image: Image.Image | None = None, **options) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("L", (6, 4), 9)).save(path, **options)
    return Path(path)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


OUT = Path("out")


def test_files_and_folders_are_found_once_and_sorted(here, capsys):
    put("in/b.png"), put("in/deep/A.JPG"), put("in/.hidden.png"), put("in/.git/x.png")
    put("../up.png"), put("named", format="PNG")
    Path("in/notes.txt").write_text("x")
    found = find(
        [Path("in"), Path("in/b.png"), here / "in/b.png", Path("../up.png"), Path("named")],
        output=OUT,
    )
    assert found == ["../up.png", "in/b.png", "in/deep/A.JPG", "named"]
    assert capsys.readouterr().err == "in: 1 files are no images and are skipped\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: is no file or folder"),
        (["empty"], "empty: holds no images"),
        (["linked"], "linked/folder: links to folders are not followed"),
        (["new\nline.png"], "is not plain text; rename"),
    ],
)
def test_wrong_arguments_are_refused(here, arguments, message):
    put("empty/.a.png"), put("linked/a.png"), put("new\nline.png")
    Path("linked/folder").symlink_to("../empty")
    with pytest.raises(DataError, match=message):
        find([Path(argument) for argument in arguments], output=OUT)


def test_the_output_may_not_lie_among_the_images(here):
    put("in/a.png")
    with pytest.raises(ConfigError, match="lies in the folder of images in"):
        find([Path("in")], output=Path("in/deep/out"))


def test_all_bad_images_are_named(here):
    good = put("a.png")
    Path("b.png").write_bytes(good.read_bytes()[:40])
    Path("c.png").write_bytes(b"")
    assert read(["a.png"], workers=2) == [Found("a.png", sha256_file(good))]
    with pytest.raises(DataError) as refused:
        read(["a.png", "b.png", "c.png", "d.png"], workers=2)
    lines = str(refused.value).splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "b.png: cannot be decoded",
        "c.png: cannot be decoded",
        "d.png: cannot be read",
    ]
    with pytest.raises(DataError, match=r"and 2 more$"):
        read(["c.png"] * 12, workers=1)


# --- heat maps ------------------------------------------------------------------------------


def test_levels_by_hand():
    scores = np.array([[-1, 0, 1, 2, 4, 5]], np.float32)
    assert levels(scores, Scale(0.0, 4.0, "")).tolist() == [[0, 0, 64, 128, 255, 255]]
    assert levels(scores, Scale(2.0, 2.0, "")).tolist() == [[0, 0, 0, 0, 255, 255]]


def test_the_scale_is_made_of_scores_that_occur():
    scores = np.arange(1, 2001, dtype=np.float32)[::-1].reshape(2, 40, 25)
    assert scale_of(scores, "s") == Scale(1000.0, 1998.0, "s")
    assert scale_of(np.ones((1, 1, 1), np.float32), "s") == Scale(1.0, 1.0, "s")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 300), (300, 300)),
        ((1, 1), (224, 224)),
        ((3, 500), (3, 500)),
        ((1, 4000), (1, 512)),
        ((6000, 4000), (512, 341)),
        ((100, 50), (224, 112)),
    ],
)
def test_size_of_a_heat_map(size, expected):
    assert shown_size(*size) == expected


def test_low_scores_leave_the_image_and_high_ones_colour_it():
    image = Image.new("RGB", (224, 224), (100, 150, 200))
    scores = np.array([[0, 0], [0, 8]], np.float32)
    drawn = overlay(image, scores, image_size=64, scale=Scale(0.0, 8.0, ""))
    assert drawn.getpixel((10, 10)) == (100, 150, 200)
    # plasma ends in (239, 248, 33); 191/255 of it and 64/255 of the image, rounded.
    assert heat.colours()[255].tolist() == [239, 248, 33]
    assert drawn.getpixel((220, 220)) == (204, 223, 75)
    left, right = np.asarray(drawn)[:112, :112], np.asarray(drawn)[120:, 120:]
    assert (left != right.mean()).any()
    assert (
        drawn.tobytes()
        == overlay(image, scores, image_size=64, scale=Scale(0.0, 8.0, "")).tobytes()
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (40, 30), (2000, 1000)])
def test_images_of_any_size_get_a_heat_map(size):
    scores = np.arange(49, dtype=np.float32).reshape(7, 7)
    drawn = overlay(Image.new("RGB", size), scores, image_size=224, scale=Scale(0.0, 48.0, ""))
    assert (drawn.mode, drawn.size) == ("RGB", shown_size(*size))


def test_scores_of_a_wrong_shape_are_refused():
    with pytest.raises(ConfigError, match="do not fit 32 pixels"):
        overlay(Image.new("RGB", (9, 9)), np.zeros((40, 7), np.float32), image_size=32,
                scale=Scale(0.0, 1.0, ""))  # fmt: skip


def test_names_of_heat_maps():
    images = [Found(path, "1") for path in ("../c.png", "a.png", "b/a.jpg", "b/a.png")]
    assert map_names(images) == ["c.png.png", "a.png.png", "b/a.jpg.png", "b/a.png.png"]
    with pytest.raises(ConfigError, match=r"c\.png and \.\./c\.png would have the same heat map"):
        map_names([*images, Found("c.png", "2")])


def test_the_output_appears_only_when_it_is_complete(here):
    def stopped() -> None:
        with filling(Path("new/out")) as folder:
            (folder / "x").write_text("1")
            assert not Path("new/out").exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopped()
    assert list(Path("new").iterdir()) == []
    Path("empty").mkdir()
    for name in ("empty", "new/out"):
        with filling(Path(name)) as folder:
            (folder / "x").write_text("1")
        assert [path.name for path in Path(name).iterdir()] == ["x"]
        assert [path.name for path in Path(name).parent.glob(".*.part")] == []
        with pytest.raises(ConfigError, match="is there and no empty folder"), filling(Path(name)):
            pass
    with (
        pytest.raises(ConfigError, match=r"--output .*: cannot be made"),
        filling(Path("empty/x/out")),
    ):
        pass


# --- the step -------------------------------------------------------------------------------

CELL = "mine/all/normal-m0/mean_intensity/s0"


def kinds() -> dict[str, tuple[Image.Image, dict]]:
    """Return an image of every kind with its options for saving, by file name."""
    ramp = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.merge("RGB", [Image.fromarray(ramp + shift) for shift in (0, 5, 15)])
    return {
        "grey.png": (Image.fromarray(ramp), {}),
        "colour.png": (colour, {}),
        "alpha.png": (colour.convert("RGBA"), {}),
        "deep.png": (Image.fromarray(ramp.astype(np.uint16) * 257), {}),
        "deep.tif": (Image.fromarray(ramp.astype(np.uint16) * 257), {}),
        "palette.png": (colour.convert("P"), {}),
        "turned.png": (colour, {"exif": exif}),
        "print.jpg": (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), {"quality": 95}),
        "bit.png": (Image.new("1", (5, 3), 1), {}),
        "dot.png": (Image.new("L", (1, 1), 51), {}),
        "strip.bmp": (Image.new("L", (3, 500), 102), {}),
        "large.png": (Image.new("L", (9000, 6000), 51), {}),
    }


def run_step(*images: str, output: str = "out", **changed: str) -> list[Path]:
    options = {
        "cell": CELL, "trained": CELL, "hyper": "{}", "checkpoint": "c.safetensors",
        "features": "", "output": output, "cores": "2",
    }  # fmt: skip
    pairs = (options | changed).items()
    arguments = [text for key, value in pairs for text in (f"--{key}", value)]
    return step.main([*arguments, "--images", *images])


def checkpoint(cell: str = CELL, **metadata) -> None:
    state = {"mean": torch.tensor(0.25), "std": torch.tensor(0.5)}
    known = {"format": 1, "cell": cell, "hyper": {}, "device": "cpu"}
    write_tensors("c.safetensors", state, known | metadata)


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_kind_of_image_is_scored(here, capsys):
    """By the distance of the mean intensity from 0.25, in units of 0.5."""
    checkpoint()
    images = kinds()
    for name, (image, options) in images.items():
        put(f"in/{name}", image, **options)
    written = run_step("in")
    assert [path.as_posix() for path in written] == ["out/prediction.json", "out/scores.csv"]
    rows = rows_of("out/scores.csv")
    assert list(rows[0]) == ["path", "sha256", "score"]
    assert [row["path"] for row in rows] == sorted(f"in/{name}" for name in images)
    scores = {row["path"].removeprefix("in/"): float(row["score"]) for row in rows}
    for name, mean in {
        "grey.png": 115 / 255,
        "deep.png": 115 / 255,
        "deep.tif": 115 / 255,
        "colour.png": (115 + 20 / 3) / 255,
        "alpha.png": (115 + 20 / 3) / 255,
        "turned.png": (115 + 20 / 3) / 255,
        "print.jpg": 1.0,
        "bit.png": 1.0,
        "dot.png": 0.2,
        "strip.bmp": 0.4,
        "large.png": 0.2,
    }.items():
        assert scores[name] == pytest.approx(abs(mean - 0.25) / 0.5, abs=1e-6), name
    with Image.open("in/palette.png") as image:
        mean = pixel_statistics(image.convert("RGB"))[0]
    assert scores["palette.png"] == pytest.approx(abs(mean - 0.25) / 0.5, abs=1e-6)
    for line in rows:
        assert line["sha256"] == sha256_file(line["path"])
    assert "12 images scored with" in capsys.readouterr().out
    assert json.loads(Path("out/prediction.json").read_text())["maps"] is None


def test_the_bytes_do_not_depend_on_cores_or_on_the_order_of_images(here):
    checkpoint()
    for number in range(5):
        put(f"in/{number}.png", Image.new("L", (6, 4), 20 * number))
    run_step("in", output="one", cores="1")
    run_step("in/3.png", "in/0.png", "in", "in/4.png", output="two", cores="3")
    for name in ("scores.csv", "prediction.json"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    text = Path("one/prediction.json").read_text()
    assert str(here) not in text


def test_images_that_cannot_be_read_leave_nothing(here):
    checkpoint()
    put("in/a.png")
    Path("in/b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"in/b\.png: cannot be decoded"):
        run_step("in")
    assert sorted(path.name for path in here.iterdir()) == ["c.safetensors", "in"]


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.zeros((2, 2), np.float32)),
        Image.fromarray(np.zeros((2, 2), np.int32)),
        Image.new("LAB", (2, 2)),
    ],
    ids=["float", "32-bit", "Lab"],
)
def test_kinds_without_a_known_range_are_refused(here, image):
    checkpoint()
    put("in/a.tif", image)
    with pytest.raises(DataError, match=r"in/a\.tif: pixels of kind '.*' are not supported"):
        run_step("in")


def test_a_checkpoint_of_something_else_is_refused(here):
    put("in/a.png")
    checkpoint("mine/all/normal-m0/mean_intensity/s1")
    with pytest.raises(CheckError, match=r"c\.safetensors: its cell is 'mine/.*/s1'"):
        run_step("in")
    checkpoint(hyper={"epochs": 1})
    with pytest.raises(CheckError, match=r"c\.safetensors: its hyper is"):
        run_step("in")


def test_controls_without_features_know_the_path_that_an_image_had(here):
    """The random control draws a number for each path: that of the run for its test images."""
    cell = "mine/all/normal-m0/random/s0"
    write_tensors(
        "c.safetensors",
        {"key": torch.tensor(7)},
        {"format": 1, "cell": cell, "hyper": {}, "device": "cpu"},
    )
    put("in/a.png"), put("in/b.png", Image.new("L", (1, 1)))
    digest = sha256_file("in/a.png")
    write_split("s.csv", [
        SplitRow("data/raw/mine/x.png", digest, "test", 0, "good"),
        SplitRow("data/raw/mine/y.png", "0" * 64, "train_normal", 0, "good"),
    ])  # fmt: skip
    run_step("in", cell=cell, trained=cell, split="s.csv")
    images = dataclasses.replace(packs().images([0]), paths=("data/raw/mine/x.png",))
    expected = registry.get("random").build({}).score({"key": torch.tensor(7)}, images).total
    assert float(rows_of("out/scores.csv")[0]["score"]) == expected.item()


# --- what is checked before -------------------------------------------------------------------


@pytest.fixture
def project(here) -> Workflow:
    """A project with a checkpoint, a split and maps of one run, and their ledger."""
    for name in ("params.yaml", "workflow/schemas/params.schema.yaml", "requirements/numeric.lock"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes((ROOT / name).read_bytes())
    Path("src").symlink_to(ROOT / "src")
    workflow = Workflow(config.load(Path()), Path().resolve())
    cell = Cell.parse(RUN)
    hyper = workflow.params.hyper["patchcore"]
    write_tensors(
        workflow.artefact("checkpoints", cell),
        {"bank": torch.zeros(2, 2)},
        {"format": 1, "cell": RUN, "hyper": hyper, "device": "cpu"},
    )
    Path(workflow.weights).parent.mkdir(parents=True)
    Path(workflow.weights).write_bytes(b"weights")
    write_split(
        Path(workflow.split(cell)),
        [SplitRow("x.png", "1" * 64, "test", 0, "good")],
    )
    maps = AnomalyMaps(RUN, ("x.png",), ("1" * 64,), 32, np.ones((1, 2, 2), np.float32))
    anomaly_maps.write(Path(workflow.maps(cell)[0]), maps)
    write_ledger(workflow)
    return workflow


RUN = "elpv/all/normal-m0/patchcore/s0"


def paths(workflow: Workflow) -> list[str]:
    cell = Cell.parse(RUN)
    checkpoint, maps = workflow.artefact("checkpoints", cell), workflow.maps(cell)[0]
    return [checkpoint, workflow.weights, workflow.split(cell), maps]


def write_ledger(workflow: Workflow, *, without: str = "") -> None:
    entries = {
        path: Entry(path, sha256_file(path), 1, "r", "c", code={"rule": "0"})
        for path in paths(workflow)
        if path != without
    }
    ledger.write(Path("provenance"), Ledger(entries, {"0": "command"}))


def test_a_run_that_agrees_with_the_ledger(project):
    tools = find_tools(project, parse_cell(RUN, project))
    assert tools.verified
    assert tools.notes == ()
    assert [str(path) for path in tools.files()] == paths(project)
    arguments = tools.arguments()
    assert arguments[:4] == ["--cell", RUN, "--trained", RUN]
    assert json.loads(arguments[5]) == project.params.hyper["patchcore"] | {"strides": [32]}
    assert arguments[arguments.index("--verified") + 1] == "yes"


@pytest.mark.parametrize("number", range(4))
def test_a_file_that_differs_from_the_ledger_is_refused(project, number):
    path = Path(paths(project)[number])
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CheckError, match=f"^{path}: differs from the ledger"):
        find_tools(project, Cell.parse(RUN))


@pytest.mark.parametrize("number", range(4))
def test_what_the_ledger_does_not_know_is_said(project, number):
    path = paths(project)[number]
    write_ledger(project, without=path)
    tools = find_tools(project, Cell.parse(RUN))
    assert tools.notes == (f"provenance has no line for {path}, so it cannot be checked",)
    assert not tools.verified


def test_a_damaged_ledger_is_refused(project):
    path = Path("provenance/elpv.jsonl")
    path.write_text(path.read_text().replace('"size":1', '"size":2', 1))
    with pytest.raises(CheckError, match=r"elpv\.jsonl"):
        find_tools(project, Cell.parse(RUN))


def test_without_split_and_maps_it_is_said(project):
    for path in paths(project)[2:]:
        Path(path).unlink()
    tools = find_tools(project, Cell.parse(RUN))
    assert (tools.split, tools.maps) == (None, None)
    assert len(tools.notes) == 1
    assert "split is not there" in tools.notes[0]


@pytest.mark.parametrize(
    ("number", "message"),
    [(0, "is not trained here; run snakemake results/checkpoints/"), (1, "weights/.* is missing")],
)
def test_missing_files_are_named(project, number, message):
    Path(paths(project)[number]).unlink()
    with pytest.raises(DataError, match=message.replace("weights/.* is", "weights/.*: is")):
        find_tools(project, Cell.parse(RUN))


def test_a_cell_that_shares_a_run_uses_its_checkpoint_and_split(project):
    shared = "elpv/all/general-m10/patchcore/s0"
    target = Path(project.artefact("checkpoints", Cell.parse(shared)))
    target.parent.mkdir(parents=True)
    target.write_bytes(Path(paths(project)[0]).read_bytes())
    tools = find_tools(project, Cell.parse(shared))
    assert tools.arguments()[:4] == ["--cell", shared, "--trained", RUN]
    assert tools.split == Path(paths(project)[2])
    assert not tools.verified


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("elpv/all/normal-m0/patchcore", "is a mean over runs.*choose one run.*patchcore/s0"),
        ("elpv/all/normal-m0/true_labels/s0", "true_labels scores an image by its label"),
        ("elpv/all/normal-m0/patchcor/s0", "'patchcor' is unknown; did you mean 'patchcore'"),
        ("elpv/patchcore", "expected DATASET/CATEGORY"),
        ("../../etc/passwd/s0", "expected DATASET/CATEGORY"),
    ],
)
def test_cells_that_cannot_predict_are_refused(project, cell, message):
    with pytest.raises(ConfigError, match=message):
        parse_cell(cell, project)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elpv/all/normal-m0/patchcore"], "is a mean over runs"),
        (["elpv/all/normal-m0/devnet/s0"], "is not trained here"),
        ([RUN, "--cores", "0"], "--cores must be 1 or more"),
        ([RUN, "--configfile", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_the_command_refuses_with_one_line(project, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("the job must not start"))
    cell, *options = arguments
    assert cli.main(["predict", cell, "in", "--output", "out", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("osad predict: ")


def test_the_command_becomes_the_job(project, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda path, words: started.append((path, words)))
    cli.main(["predict", RUN, "in", "b.png", "--output", "out", "--gpu", "1", "--cores", "3"])
    ((program, words),) = started
    assert program == words[0] == sys.executable
    assert words[1:4] == ["-m", "osad.job", "predict"]
    options = step.parse(words[4:])
    assert (options.cell, options.gpu, options.cores) == (RUN, 1, 3)
    assert options.images == [Path("in"), Path("b.png")]
    assert options.features == project.feature_options("plain")
    assert (options.verified, str(options.split)) == ("yes", paths(project)[2])
