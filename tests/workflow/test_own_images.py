"""Photographs as a user brings them: a run on some of MVTec AD's screws, then new images."""

from __future__ import annotations

import copy
import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from auditing import audit, flip, replaced
from PIL import Image
from projects import PARAMS, Outcome, Project, new_project, run_of

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

REAL = Path(
    os.environ.get("OSAD_REAL_DATA", Path(__file__).parents[3] / "shared/datasets"), "mvtec_screw"
)
CLASSES = ["manipulated_front", "scratch_head", "scratch_neck", "thread_side", "thread_top"]
METHODS = ["mean_intensity", "mahalanobis", "patchcore", "devnet"]
PROTOCOLS = ["general-m1", *(f"hard-{name}-m1" for name in CLASSES), "normal-m0"]
RAW = "data/raw/screws/test"


def screws(target: Path) -> None:
    """Copy 16 training normals, 6 test normals and 4 images of each class with their masks."""
    for folder, count in {
        "train/good": 16,
        "test/good": 6,
        **{f"test/{c}": 4 for c in CLASSES},
    }.items():
        (target / folder).mkdir(parents=True)
        for image in sorted((REAL / folder).glob("*.png"))[:count]:
            shutil.copy(image, target / folder / image.name)
            mask = Path("ground_truth", image.parent.name, f"{image.stem}_mask.png")
            if image.parent.name in CLASSES:
                (target / mask).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REAL / mask, target / mask)


def parameters() -> dict[str, Any]:
    changed = copy.deepcopy(PARAMS)
    changed["grid"] = {
        "datasets": ["screws"],
        "settings": ["general", "hard", "normal"],
        "shots": [1],
        "seeds": [0],
        "methods": METHODS,
    }
    changed["protocol"] = {"removed": 1}
    changed["features"] |= {"image_size": 96, "views": 1, "rotation": 0}
    changed["datasets"] = {
        "screws": {"layout": "folder", "raw_path": "../my-screws", "defect_classes": CLASSES}
    }
    return changed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    if not REAL.is_dir():
        pytest.skip(f"the screws are not at {REAL}; set OSAD_REAL_DATA to the folder above them")
    root = tmp_path_factory.mktemp("screws")
    screws(root / "my-screws")
    project = new_project(root / "project")
    project.write_params(parameters())
    project.snakemake(cores=2).check()
    yield project
    shutil.rmtree(root)


def predict(project: Project, cell: str, *arguments: str) -> Outcome:
    return project.run("osad", "predict", cell, *arguments)


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["path"]: row for row in csv.DictReader(stream)}


def test_every_protocol_is_measured_also_pixel_by_pixel(finished: Project) -> None:
    rows = finished.cell_rows()
    assert set(rows) == {
        f"screws/all/{protocol}/{method}/s0"
        for protocol in PROTOCOLS
        for method in METHODS
        if (protocol, method) != ("normal-m0", "devnet")
    }
    for cell, row in rows.items():
        assert row["status"] == "ok", cell
        assert (row["n_train_normal"], row["n_test_normal"]) == ("16", "6")
        # 20 anomalies without the one removed, without the known class, or all.
        wanted = {"general": "19", "hard": "16", "normal": "20"}
        assert row["n_test_anomaly"] == wanted[row["setting"]]
        for metric in ("pixel_auroc", "aupro"):
            if row["method"] in ("patchcore", "devnet"):
                assert 0 < float(row[metric]) < 1, cell
            else:
                assert row[metric] == "", cell


def test_one_flipped_bit_of_a_mask_is_noticed(finished: Project) -> None:
    """The manifest has a mask's path, and the list of raw files its digest."""
    mask = "data/raw/screws/ground_truth/scratch_neck/001_mask.png"
    file = finished.root / mask
    cell = "screws/all/general-m1/devnet/s0"
    for arguments in (["--all"], [cell]):
        with replaced(file, flip(file.read_bytes(), 0.5)):
            outcome = audit(finished, "verify", *arguments)
        assert outcome.code == 1
        outcome.refused(f"osad audit: {mask}: differs from data/raw/screws/SOURCE.json (")
    audit(finished, "verify", cell).check()


@pytest.mark.parametrize(
    ("protocol", "method"),
    [
        ("normal-m0", "mean_intensity"),
        ("general-m1", "mahalanobis"),
        ("hard-scratch_neck-m1", "patchcore"),
        ("hard-scratch_neck-m1", "devnet"),
    ],
)
def test_test_images_get_the_scores_of_the_run(
    finished: Project, tmp_path: Path, protocol: str, method: str
) -> None:
    """Bit for bit, whichever of them are scored, and beside new ones."""
    cell = f"screws/all/{protocol}/{method}/s0"
    new = tmp_path / "new.jpg"
    with Image.open(finished.root / RAW / "good/000.png") as image:
        image.convert("RGB").rotate(90).save(new)
    images = [f"{RAW}/good", f"{RAW}/thread_top/001.png", str(new)]
    outcome = predict(finished, cell, *images, "--output", str(tmp_path / "out")).check()
    run = table(finished.root / f"results/scores/{run_of(cell)}.csv")
    found = table(tmp_path / "out/scores.csv")
    known = [path for path in found if path in run]
    assert len(found) == 8
    assert len(known) == 7
    for path in known:
        assert found[path] == {name: run[path][name] for name in ("path", "sha256", "score")}
    assert "note:" not in outcome.output
    assert "7 of them are test images of the run and have its scores" in outcome.output
    description = json.loads((tmp_path / "out/prediction.json").read_text(encoding="utf-8"))
    assert description["ledger"] == "agrees"
    drawn = sorted((tmp_path / "out").rglob("*.png"))
    assert len(drawn) == (8 if method in ("patchcore", "devnet") else 0)
    for heat_map in drawn:
        with Image.open(heat_map) as image:
            assert (image.mode, image.size) == ("RGB", (512, 526))


def test_a_prediction_has_the_same_bytes_again(finished: Project, tmp_path: Path) -> None:
    """With another number of cores, and whatever the order of the images."""
    cell = "screws/all/hard-thread_top-m1/patchcore/s0"
    images = [f"{RAW}/good/002.png", f"{RAW}/thread_side"]
    for name, arguments in {"one": images, "two": [*reversed(images), "--cores", "1"]}.items():
        predict(finished, cell, *arguments, "--output", str(tmp_path / name)).check()
    files = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 2 + 5
    for path in files:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes(), path


def test_every_kind_of_image_goes_through_the_network(finished: Project, tmp_path: Path) -> None:
    """Of one picture: all kinds that keep its grey values have its score."""
    with Image.open(finished.root / RAW / "good/000.png") as image:
        grey = image.convert("L").resize((301, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.asarray(grey)
    folder = tmp_path / "kinds"
    folder.mkdir()
    grey.save(folder / "grey.png")
    grey.convert("RGB").save(folder / "colour.bmp")
    grey.convert("RGBA").save(folder / "alpha.webp", lossless=True)
    grey.convert("P").save(folder / "palette.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(folder / "deep.tif")
    grey.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    same = {path.name for path in folder.iterdir()}
    grey.convert("CMYK").save(folder / "print.jpg")
    grey.convert("1").save(folder / "bit.png")
    Image.new("L", (1, 1), 9).save(folder / "dot.png")
    grey.resize((3, 500)).save(folder / "strip.png")
    Image.new("L", (9000, 9000), 60).save(folder / "large.png")
    cell = "screws/all/normal-m0/patchcore/s0"
    outcome = predict(finished, cell, str(folder), "--output", str(tmp_path / "out")).check()
    note = "11 of 11 images are of another size or shape than those of the run"
    assert f"note: {note}" in outcome.output
    described = json.loads((tmp_path / "out/prediction.json").read_text(encoding="utf-8"))
    assert [text.startswith(note) for text in described["notes"]] == [True]
    scores = {
        Path(path).name: row["score"] for path, row in table(tmp_path / "out/scores.csv").items()
    }
    assert len(scores) == 11
    assert len({scores[name] for name in same}) == 1
    assert len(set(scores.values())) == 6
    assert len(list((tmp_path / "out").rglob("*.png"))) == 11


def test_bad_images_and_bad_files_leave_nothing(finished: Project, tmp_path: Path) -> None:
    cell = "screws/all/general-m1/devnet/s0"
    (tmp_path / "a.png").write_bytes(b"no image")
    outcome = predict(finished, cell, str(tmp_path / "a.png"), "--output", str(tmp_path / "out"))
    outcome.refused("a.png: cannot be decoded")
    assert outcome.code == 2
    checkpoint = finished.root / f"results/checkpoints/{cell}.safetensors"
    honest = checkpoint.read_bytes()
    try:
        checkpoint.write_bytes(honest[:-1] + bytes([honest[-1] ^ 1]))
        outcome = predict(finished, cell, f"{RAW}/good", "--output", str(tmp_path / "out"))
    finally:
        checkpoint.write_bytes(honest)
    outcome.refused(
        f"osad predict: results/checkpoints/{cell}.safetensors: differs from the ledger"
    )
    assert outcome.code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
