"""The step that checks the scores of a run and writes the metrics of a cell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import csv_text, sha256_file
from osad.data.masks import MaskPack, pack_bits, write_masks
from osad.data.splits import SplitRow, write_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.evaluation.scores import COLUMNS
from osad.pipeline.steps.metrics import main

CELL = "made/all/general-m1/patchcore/s0"
RUN = "made/all/normal-m0/patchcore/s0"
KINDS = [
    ("b/0.png", "train_anomaly", "bent"), ("b/1.png", "test", "bent"), ("c/0.png", "test", "cut"),
    ("n/0.png", "train_normal", "good"), ("n/1.png", "train_normal", "good"),
    ("n/2.png", "test", "good"), ("n/3.png", "test", "good"),
]  # fmt: skip
IMAGES = {
    path: SplitRow(path, f"{number:064x}", role, int(name != "good"), name)
    for number, (path, role, name) in enumerate(KINDS)
}
OF_RUN = IMAGES | {"b/0.png": SplitRow("b/0.png", IMAGES["b/0.png"].sha256, "test", 1, "bent")}
"""The split of a run of normals alone: the training anomaly is a test image there."""
SCORES = {"b/0.png": 0.2, "b/1.png": 0.35, "c/0.png": 0.8, "n/2.png": 0.1, "n/3.png": 0.4}
HEAD = {"b/0.png": 0.0, "b/1.png": 1.0, "c/0.png": 1.0, "n/2.png": 1.0, "n/3.png": 0.0}
BITS = {"b/0.png": np.eye(4) > 0, "b/1.png": np.eye(4) > 0, "c/0.png": np.ones((4, 4)) > 0}
MAPS = {path: np.zeros((4, 4), np.float32) for path in SCORES}
"""c is found, b/1 only half, n/3 has one pixel as high as those."""
MAPS["c/0.png"][:] = 3
MAPS["b/1.png"][0, 0] = MAPS["b/1.png"][1, 1] = MAPS["n/3.png"][2, 3] = 2
Rows = list[dict[str, Any]]


def of_test(images: dict[str, SplitRow]) -> list[SplitRow]:
    return [row for row in images.values() if row.role == "test"]


def lines(images: dict[str, SplitRow] = IMAGES) -> Rows:
    return [
        {
            "path": row.path, "sha256": row.sha256, "label": row.label, "class": row.class_name,
            "score": SCORES[row.path], "score_map": HEAD[row.path],
        }
        for row in of_test(images)
    ]  # fmt: skip


def write_maps(folder: Path, images: dict[str, SplitRow] = IMAGES, **changes: Any) -> None:
    paths, digests = zip(*((row.path, row.sha256) for row in of_test(images)), strict=True)
    values = np.stack([MAPS[path] for path in paths])
    fields: dict[str, Any] = {
        "cell": CELL,
        "paths": paths,
        "sha256": digests,
        "image_size": 4,
        "maps": values,
    }
    maps = AnomalyMaps(**fields | changes)
    anomaly_maps.write(folder / "maps", maps, cell=maps.cell)


def write_packed(folder: Path, masked: tuple[str, ...] = tuple(BITS), size: int = 4) -> None:
    digests = tuple(IMAGES[path].sha256 for path in masked)
    enlarged = [BITS[path].repeat(size // 4, 0).repeat(size // 4, 1) for path in masked]
    unmasked = tuple(path for path in BITS if path not in masked)
    pack = MaskPack(masked, digests, digests, unmasked, size, pack_bits(enlarged, size))
    write_masks(folder / "masks", pack)


def write_scores(path: Path, rows: Rows) -> None:
    path.write_text(csv_text(list(rows[0]) if rows else COLUMNS, rows))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write split, scores and a file without maps."""
    write_split(tmp_path / "split.csv", IMAGES.values())
    write_scores(tmp_path / "scores.csv", lines())
    anomaly_maps.write(tmp_path / "maps", None, cell=CELL)
    return tmp_path


def run(files: Path, *further: str, cell: str = CELL) -> dict[str, Any]:
    names = {"split": "split.csv", "scores": "scores.csv", "maps": "maps", "output": "out/m.json"}
    options = [text for key, name in names.items() for text in (f"--{key}", str(files / name))]
    main(["--cell", cell, *options, *further])
    result: dict[str, Any] = json.loads((files / "out/m.json").read_text())
    return result


def localised(files: Path, *further: str, cell: str = CELL) -> dict[str, Any]:
    return run(files, "--masks", str(files / "masks"), *further, cell=cell)


def test_the_metrics_of_the_score_and_of_its_heads(files: Path) -> None:
    assert run(files, "--fitted", "--masks") == {
        "auroc": 0.75, "average_precision": pytest.approx(5 / 6),
        # Pairs of the map: two anomalies tie with one normal and beat the other: 3 of 4.
        "heads": {"map": {"auroc": 0.75, "average_precision": pytest.approx(2 / 3)}},
        "n_train_normal": 2, "n_train_anomaly": 1, "n_test_normal": 2, "n_test_anomaly": 2,
        "scores_sha256": sha256_file(files / "scores.csv"), "pixel_auroc": None, "aupro": None,
    }  # fmt: skip
    # Without heads and with one class.
    normal = {path: row for path, row in IMAGES.items() if row.label == 0}
    write_split(files / "split.csv", normal.values())
    write_scores(files / "scores.csv", [{c: row[c] for c in COLUMNS} for row in lines(normal)])
    result = run(files)
    assert (result["auroc"], result["heads"], result["n_test_anomaly"]) == (None, {}, 0)


def changed(number: int, column: str, value: object) -> Rows:
    rows = lines()
    rows[number][column] = value
    return rows


@pytest.mark.parametrize(("rows", "message"), [
    (lines()[1:], "b/1.png: has no score"),
    (lines()[:-1], "n/3.png: has no score"),
    (lines()[::-1], "n/3.png: is there twice or out of order"),
    ([lines()[0], *lines()], "b/1.png: is there twice or"),
    ([*lines(), lines()[-1]], "n/3.png: is not a test image of the split, or is there twice"),
    (changed(2, "path", "n/0.png"), "n/0.png: is not a test image"),
    (changed(1, "sha256", "0" * 64), "c/0.png: sha256 is '000"),
    (changed(1, "label", 0), "c/0.png: label is 0, 1 in the split"),
    (changed(1, "label", "x"), "c/0.png: label is -1, 1 in the split"),
    (changed(1, "class", "bent"), "c/0.png: class_name is 'bent', 'cut' in the split"),
    (changed(3, "score", "nan"), "n/3.png: score is 'nan', not a finite number"),
    (changed(3, "score", ""), "n/3.png: score is '', not a finite number"),
    (changed(0, "score_map", "-inf"), "b/1.png: score_map is '-inf', not a finite number"),
    ([{**row, "extra": 1} for row in lines()], "columns are .*,extra, expected"),
    ([], "has no rows"),
])  # fmt: skip
def test_the_first_offending_path_is_named(files: Path, rows: Rows, message: str) -> None:
    write_scores(files / "scores.csv", rows)
    with pytest.raises(CheckError, match=rf"scores\.csv: {message}"):
        run(files)
    assert not (files / "out").exists()


def test_files_and_options_must_be_there_and_right(files: Path) -> None:
    for name in ("scores.csv", "split.csv", "maps"):
        away = (files / name).rename(files / "away")
        with pytest.raises(DataError, match=name):
            run(files)
        away.rename(files / name)
    for sigma in ("-1", "nan"):
        with pytest.raises(ConfigError, match=f"--sigma {sigma}"):
            run(files, "--sigma", sigma)


# The run of another protocol


@pytest.fixture
def shared(files: Path) -> Path:
    """Write what a run under another protocol leaves."""
    write_split(files / "fitted.csv", OF_RUN.values())
    write_scores(files / "scores.csv", lines(OF_RUN))
    write_maps(files, OF_RUN, cell=RUN)
    write_packed(files)
    return files


def test_a_cell_takes_its_own_test_images_from_the_run_of_another_protocol(shared: Path) -> None:
    of_run = localised(shared, "--fitted", str(shared / "fitted.csv"))
    for name, file in (("scores", "scores.csv"), ("maps", "maps"), ("masks", "masks")):
        assert of_run[f"{name}_sha256"] == sha256_file(shared / file)
    # As if the run had been made for this split.
    write_scores(shared / "scores.csv", lines())
    write_maps(shared)
    own = localised(shared)
    for name in ("scores_sha256", "maps_sha256"):
        assert of_run.pop(name) != own.pop(name)
    assert of_run == own


def test_a_run_that_does_not_fit_the_cell_is_refused(shared: Path) -> None:
    fitted = ("--fitted", str(shared / "fitted.csv"))
    with pytest.raises(CheckError, match=r"scores\.csv: b/0\.png: is not a test image"):
        run(shared)
    for name in ("patchcore/s1", "dra/s0"):
        message = rf"maps: is of cell {RUN}, expected made/all/normal-m0/{name}"
        with pytest.raises(CheckError, match=message):
            run(shared, *fitted, cell=f"made/all/general-m1/{name}")
    other = SplitRow("n/1.png", "f" * 64, "train_normal", 0, "good")
    write_split(shared / "split.csv", (IMAGES | {"n/1.png": other}).values())
    with pytest.raises(CheckError, match=r"split\.csv: n/1\.png is a training normal here or in"):
        run(shared, *fitted)
    for image in (
        SplitRow("c/0.png", "f" * 64, "test", 1, "cut"),
        SplitRow("c/0.png", IMAGES["c/0.png"].sha256, "test", 1, "dent"),
        SplitRow("c/1.png", "f" * 64, "test", 1, "cut"),
    ):
        rows = {path: row for path, row in IMAGES.items() if path != "c/0.png"} | {"c": image}
        write_split(shared / "split.csv", sorted(rows.values(), key=lambda row: row.path))
        with pytest.raises(CheckError, match=rf"scores\.csv: {image.path}: "):
            run(shared, *fitted)


# Pixel metrics


def test_pixel_metrics(files: Path) -> None:
    plain = run(files)
    write_maps(files)
    write_packed(files)
    found = localised(files)
    # 16 + 4 anomalous pixels and 12 + 16 + 16 normal ones, of which one ties with two of b's.
    pairs = 16 * 44 + 2 * 43.5 + 2 * 43 / 2
    assert found["pixel_auroc"] == pytest.approx(pairs / (20 * 44), abs=1e-15)
    # The curve ends at 0.3 * 44 = 13.2 accepted normal pixels. Region c loses nothing; of b's, two
    # pixels lose half a normal pixel each, the others are on the way from 1 accepted to 44.
    lost = (2 * 0.5 + 2 * (13.2 - 12.2**2 / (2 * 43))) / 4
    assert found["aupro"] == pytest.approx(1 - lost / (2 * 13.2), abs=1e-15)
    for name in ("maps", "masks"):
        assert found.pop(f"{name}_sha256") == sha256_file(files / name)
    assert found | {"pixel_auroc": None, "aupro": None} == plain == run(files)
    write_packed(files, ("b/1.png", "c/0.png"))  # A training anomaly needs no mask.
    assert localised(files)["aupro"] == found["aupro"]
    smooth = localised(files, "--sigma", "1.0")
    assert 0 < smooth["aupro"] != found["aupro"]
    assert smooth["auroc"] == found["auroc"]


@pytest.mark.parametrize(
    ("masked", "told"), [((), False), (("b/1.png",), True), (("b/0.png", "c/0.png"), True)]
)
def test_without_all_masks_there_are_no_pixel_metrics(files, capsys, masked, told) -> None:
    write_maps(files)
    write_packed(files, masked)
    found = localised(files)
    assert found["pixel_auroc"] is found["aupro"] is None
    assert found["masks_sha256"] == sha256_file(files / "masks")
    assert ("1 of 2 anomalous test images have no mask" in capsys.readouterr().err) is told


def test_maps_and_masks_of_something_else_are_refused(files: Path) -> None:
    write_maps(files)
    write_packed(files)
    other = CELL.replace("s0", "s1")
    with pytest.raises(CheckError, match=f"is of cell {CELL}, expected {other}"):
        localised(files, cell=other)
    for changes, size, message in (
        ({}, 8, "its masks have 8 pixels a side, the images of the maps"),
        ({"paths": tuple(SCORES)[:0:-1]}, 4, r"the map of n/3\.png .* where that of b/1\.png"),
        ({"sha256": ("f" * 64,) * 4}, 4, r"has the map of b/1\.png .sha256 ffff"),
    ):
        write_packed(files, size=size)
        write_maps(files, **changes)
        with pytest.raises(CheckError, match=message):
            localised(files)
    assert not (files / "out").exists()
