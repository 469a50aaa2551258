"""Metrics: hand-worked values, scikit-learn as a second opinion, and the step's checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import csv_text, sha256_file
from osad.data.masks import MaskPack, pack_bits, write_masks
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.evaluation.metrics import auroc, average_precision
from osad.pipeline.steps.metrics import SCORE_COLUMNS, SPLIT_COLUMNS, main

Row = dict[str, str]


def test_hand_worked_without_ties() -> None:
    # Pairs (anomaly, normal): 0.35 > 0.1, 0.35 < 0.4, 0.8 > both: 3 of 4.
    scores, labels = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    assert auroc(scores, labels) == 0.75
    # From the top: 0.8 hit (1/1), 0.4 miss, 0.35 hit (2/3): (1 + 2/3) / 2.
    assert average_precision(scores, labels) == pytest.approx(5 / 6, abs=1e-15)


def test_hand_worked_with_ties() -> None:
    # Anomalies 2, 2, 3; normals 1, 2. Pairs: 2>1, 2=2, 2>1, 2=2, 3>1, 3>2: (4 + 2/2) / 6.
    scores, labels = [2, 1, 2, 3, 2], [1, 0, 0, 1, 1]
    assert auroc(scores, labels) == 5 / 6
    # Groups: {3}: 1 hit, precision 1; {2, 2, 2}: 2 hits, precision 3/4; {1}: none.
    assert average_precision(scores, labels) == pytest.approx((1 + 2 * 0.75) / 3, abs=1e-15)


@pytest.mark.parametrize("n", [7, 1000, 3333])
def test_constant_scores_give_exactly_one_half_and_the_share_of_anomalies(n: int) -> None:
    labels = np.arange(3 * n) % 3 == 0
    scores = np.full(3 * n, 0.1, dtype=np.float32)
    assert auroc(scores, labels) == 0.5
    assert average_precision(scores, labels) == pytest.approx(1 / 3, abs=1e-15)


@pytest.mark.parametrize(("n_normal", "n_anomaly"), [(1, 1), (49, 3), (377, 705), (3500, 2090)])
def test_perfect_and_reversed_rankings_are_exact(n_normal: int, n_anomaly: int) -> None:
    labels = np.repeat([0, 1], [n_normal, n_anomaly])
    scores = np.arange(n_normal + n_anomaly) / 7
    assert auroc(scores, labels) == 1.0
    assert average_precision(scores, labels) == 1.0
    assert auroc(-scores, labels) == 0.0


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_has_no_value(labels: list[int]) -> None:
    scores = np.arange(len(labels), dtype=float)
    assert auroc(scores, labels) is None
    assert average_precision(scores, labels) is None


@pytest.mark.parametrize("n_levels", [2, 5, 40, 10**9])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int, n_levels: int) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, 300)
    scores = (draw.integers(0, n_levels, 300) / 3).astype(np.float32)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=25
    ).filter(lambda rows: len({label for _, label in rows}) == 2)
)  # fmt: skip
def test_agrees_with_the_definitions(rows: list[tuple[int, bool]]) -> None:
    scores, labels = [score for score, _ in rows], [label for _, label in rows]
    anomalies = [score for score, label in rows if label]
    normals = [score for score, label in rows if not label]
    wins = sum((a > n) + 0.5 * (a == n) for a in anomalies for n in normals)
    assert auroc(scores, labels) == wins / (len(anomalies) * len(normals))

    total = 0.0
    for anomaly in anomalies:  # Each hit weighs the precision at its own score.
        taken = [label for score, label in rows if score >= anomaly]
        total += sum(taken) / len(taken)
    assert average_precision(scores, labels) == pytest.approx(total / len(anomalies), abs=1e-12)
    assert auroc(scores[::-1], labels[::-1]) == auroc(scores, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, float("nan")], [0, 1], "index 1 is not finite"),
        ([float("inf"), 0.1], [0, 1], "index 0 is not finite"),
        ([0.1, 0.2, 0.3], [0, 1], r"shape \(3,\) and labels \(2,\)"),
        ([[0.1, 0.2]], [[0, 1]], r"must be \(n,\)"),
        ([0.1, 0.2], [0, 2], "must be 0"),
        ([0.1, 0.2], [0, -1], "must be 0"),
        ([0.1, 0.2], [0, float("nan")], "must be 0"),
        (["0.1", "0.2"], [0, 1], "must be real numbers"),
    ],
)
def test_bad_input_is_refused(scores: object, labels: object, message: str) -> None:
    for metric in (auroc, average_precision):
        with pytest.raises(ValueError, match=message):
            metric(scores, labels)  # type: ignore[arg-type]


def test_the_module_imports_no_heavy_package() -> None:
    code = (
        "import sys, osad.evaluation.metrics, osad.evaluation.published\n"
        "import osad.pipeline.steps.metrics, osad.pipeline.steps.tables\n"
        "print(sorted({'torch', 'timm', 'pandas', 'sklearn', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The step


SPLIT = [
    ("n/0.png", "train_normal", 0, "good"),
    ("n/1.png", "train_normal", 0, "good"),
    ("n/2.png", "test", 0, "good"),
    ("n/3.png", "test", 0, "good"),
    ("b/0.png", "train_anomaly", 1, "bent"),
    ("b/1.png", "test", 1, "bent"),
    ("c/0.png", "test", 1, "cut"),
]
SCORES = {"b/1.png": 0.35, "c/0.png": 0.8, "n/2.png": 0.1, "n/3.png": 0.4}
MAPS = {"b/1.png": 1.0, "c/0.png": 1.0, "n/2.png": 1.0, "n/3.png": 0.0}


def split_rows() -> list[dict[str, object]]:
    return [
        {"path": path, "sha256": f"{n:064x}", "role": role, "label": label, "class": name}
        for n, (path, role, label, name) in enumerate(SPLIT)
    ]


def score_rows() -> list[dict[str, object]]:
    rows = [row for row in split_rows() if row.pop("role") == "test"]
    rows.sort(key=lambda row: str(row["path"]))
    heads = [{"score": SCORES[str(r["path"])], "score_map": MAPS[str(r["path"])]} for r in rows]
    return [{**row, **head} for row, head in zip(rows, heads, strict=True)]


def run_step(
    folder: Path,
    scores: list[dict[str, object]],
    split: list[dict[str, object]] | None = None,
) -> dict[str, object]:
    columns = list(scores[0]) if scores else list(SCORE_COLUMNS)
    (folder / "scores.csv").write_text(csv_text(columns, scores))
    rows = split_rows() if split is None else split
    (folder / "split.csv").write_text(csv_text(SPLIT_COLUMNS, rows))
    options = {"scores": "scores.csv", "split": "split.csv", "output": "out/metrics.json"}
    main([text for name, file in options.items() for text in (f"--{name}", str(folder / file))])
    result: dict[str, object] = json.loads((folder / "out/metrics.json").read_text())
    return result


def test_step_writes_the_metrics_of_all_heads(tmp_path: Path) -> None:
    assert run_step(tmp_path, score_rows()) == {
        "auroc": 0.75,
        "average_precision": pytest.approx(5 / 6),
        # Pairs of the map: two anomalies tie with one normal and beat the other: 3 of 4.
        "heads": {"map": {"auroc": 0.75, "average_precision": pytest.approx(2 / 3)}},
        "n_train_normal": 2,
        "n_train_anomaly": 1,
        "n_test_normal": 2,
        "n_test_anomaly": 2,
        "scores_sha256": sha256_file(tmp_path / "scores.csv"),
        "pixel_auroc": None,
        "aupro": None,
    }


def test_step_without_heads_and_with_one_class(tmp_path: Path) -> None:
    split = [row for row in split_rows() if row["role"] != "test" or row["label"] == 0]
    scores = [
        {column: row[column] for column in SCORE_COLUMNS}
        for row in score_rows()
        if row["label"] == 0
    ]
    result = run_step(tmp_path, scores, split)
    assert result["auroc"] is None
    assert result["heads"] == {}
    assert result["n_test_anomaly"] == 0


def changed(number: int, column: str, value: object) -> list[dict[str, object]]:
    rows = score_rows()
    rows[number][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (score_rows()[1:], "b/1.png: has no score"),
        (score_rows()[:-1], "n/3.png: has no score"),
        (score_rows()[::-1], "n/3.png: is there twice or the rows are not sorted"),
        ([score_rows()[0], *score_rows()], "b/1.png: is there twice or"),
        ([*score_rows(), score_rows()[-1]], "n/3.png: is not a test image of the split, or is"),
        (changed(2, "path", "n/0.png"), "n/0.png: is not a test image"),
        (changed(1, "sha256", "0" * 64), "c/0.png: sha256 is '000"),
        (changed(1, "label", 0), "c/0.png: label is '0', '1' in the split"),
        (changed(1, "class", "bent"), "c/0.png: class is 'bent', 'cut' in the split"),
        (changed(3, "score", "nan"), "n/3.png: score is 'nan', not a finite number"),
        (changed(3, "score", ""), "n/3.png: score is '', not a finite number"),
        (changed(0, "score_map", "-inf"), "b/1.png: score_map is '-inf', not a finite number"),
        ([{**row, "extra": 1} for row in score_rows()], "columns are .*,extra, expected"),
        ([], "has no rows"),
    ],
)
def test_step_names_the_first_offending_path(
    tmp_path: Path, rows: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(CheckError, match=message):
        run_step(tmp_path, rows)
    assert not (tmp_path / "out/metrics.json").exists()


@pytest.mark.parametrize(
    ("number", "column", "value", "message"),
    [
        (0, "role", "val", "n/0.png: role 'val'"),
        (0, "label", 1, "n/0.png: role train_normal has label 1"),
        (4, "label", 0, "b/0.png: role train_anomaly has label 0"),
        (5, "label", 2, "b/1.png: label '2'"),
        (5, "path", "b/0.png", "b/0.png: the path occurs twice"),
    ],
)
def test_step_refuses_a_wrong_split(
    tmp_path: Path, number: int, column: str, value: object, message: str
) -> None:
    split = split_rows()
    split[number][column] = value
    with pytest.raises(CheckError, match=message):
        run_step(tmp_path, score_rows(), split)


def test_step_needs_its_files(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"none\.csv"):
        main(["--scores", missing, "--split", missing, "--output", str(tmp_path / "m.json")])


# Pixel metrics

CELL = "made/all/general-m1/patchcore/s0"
DIGEST = {str(row["path"]): str(row["sha256"]) for row in split_rows()}
TEST = sorted(SCORES)
BITS = {"b/0.png": np.eye(4) > 0, "b/1.png": np.eye(4) > 0, "c/0.png": np.ones((4, 4)) > 0}


def position_scores() -> np.ndarray:
    """Return maps (4, 4, 4): c is found, b only half of it, n/3 has one pixel as high as those."""
    maps = {path: np.zeros((4, 4), np.float32) for path in TEST}
    maps["c/0.png"][:] = 3
    maps["b/1.png"][0, 0] = maps["b/1.png"][1, 1] = 2
    maps["n/3.png"][2, 3] = 2
    return np.stack([maps[path] for path in TEST])


def write_maps(folder: Path, **changes: object) -> None:
    fields = {
        "cell": CELL,
        "paths": tuple(TEST),
        "sha256": tuple(DIGEST[path] for path in TEST),
        "image_size": 4,
        "maps": position_scores(),
    }
    maps = AnomalyMaps(**{**fields, **changes})  # type: ignore[arg-type]
    anomaly_maps.write(folder / "maps.safetensors", maps)


def write_packed(
    folder: Path, masked: tuple[str, ...] = ("b/0.png", "b/1.png", "c/0.png"), size: int = 4
) -> None:
    unmasked = tuple(path for path in BITS if path not in masked)
    digests = tuple(DIGEST[path] for path in masked)
    enlarged = [BITS[path].repeat(size // 4, 0).repeat(size // 4, 1) for path in masked]
    pack = MaskPack(masked, digests, digests, unmasked, size, pack_bits(enlarged, size))
    write_masks(folder / "masks.safetensors", pack)


def run_localised(folder: Path, *more: str, cell: str = CELL) -> dict[str, object]:
    rows = score_rows()
    (folder / "scores.csv").write_text(csv_text(list(rows[0]), rows))
    (folder / "split.csv").write_text(csv_text(SPLIT_COLUMNS, split_rows()))
    files = {"scores": "scores.csv", "split": "split.csv", "output": "metrics.json",
             "maps": "maps.safetensors", "masks": "masks.safetensors"}  # fmt: skip
    options = [text for name, file in files.items() for text in (f"--{name}", str(folder / file))]
    main([*options, "--cell", cell, *more])
    result: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return result


def test_step_writes_pixel_metrics(tmp_path: Path) -> None:
    write_maps(tmp_path)
    write_packed(tmp_path)
    found = run_localised(tmp_path)
    # 16 + 4 anomalous pixels and 12 + 16 + 16 normal ones, of which one ties with two of b's.
    pairs = 16 * 44 + 2 * 43.5 + 2 * 43 / 2
    assert found["pixel_auroc"] == pytest.approx(pairs / (20 * 44), abs=1e-15)
    # The curve ends at 0.3 * 44 = 13.2 accepted normal pixels. Region c loses nothing; of b's, two
    # pixels lose half a normal pixel each, the others are on the way from 1 accepted to 44.
    lost = (2 * 0.5 + 2 * (13.2 - 12.2**2 / (2 * 43))) / 4
    assert found["aupro"] == pytest.approx(1 - lost / (2 * 13.2), abs=1e-15)
    assert found["maps_sha256"] == sha256_file(tmp_path / "maps.safetensors")
    assert found["masks_sha256"] == sha256_file(tmp_path / "masks.safetensors")
    plain = run_step(tmp_path, score_rows())
    for name in ("maps_sha256", "masks_sha256"):
        del found[name]
    assert found | {"pixel_auroc": None, "aupro": None} == plain


def test_step_smooths_on_request(tmp_path: Path) -> None:
    write_maps(tmp_path, maps=position_scores() * np.float32(1.1))
    write_packed(tmp_path)
    sharp, smooth = run_localised(tmp_path), run_localised(tmp_path, "--sigma", "1.0")
    assert 0 < float(str(smooth["aupro"])) != sharp["aupro"]
    assert smooth["auroc"] == sharp["auroc"]


@pytest.mark.parametrize(
    ("masked", "told"), [((), False), (("b/1.png",), True), (("b/0.png", "c/0.png"), True)]
)
def test_without_all_masks_there_are_no_pixel_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], masked: tuple[str, ...], told: bool
) -> None:
    write_maps(tmp_path)
    write_packed(tmp_path, masked)
    found = run_localised(tmp_path)
    assert found["pixel_auroc"] is found["aupro"] is None
    assert ("1 of 2 anomalous test images have no mask" in capsys.readouterr().err) is told


def test_a_training_anomaly_needs_no_mask(tmp_path: Path) -> None:
    write_maps(tmp_path)
    write_packed(tmp_path, ("b/1.png", "c/0.png"))
    assert run_localised(tmp_path)["aupro"] is not None


def test_step_refuses_maps_and_masks_of_something_else(tmp_path: Path) -> None:
    write_maps(tmp_path)
    write_packed(tmp_path)
    with pytest.raises(CheckError, match=f"is of cell {CELL}, expected other"):
        run_localised(tmp_path, cell="other")
    write_packed(tmp_path, size=8)
    with pytest.raises(CheckError, match="its masks have 8 pixels a side, the images of"):
        run_localised(tmp_path)
    write_packed(tmp_path)
    write_maps(tmp_path, paths=tuple(TEST[::-1]))
    with pytest.raises(CheckError, match=r"has the map of n/3\.png .* where that of b/1\.png"):
        run_localised(tmp_path)
    write_maps(tmp_path, sha256=("f" * 64,) * 4)
    with pytest.raises(CheckError, match=r"has the map of b/1\.png .sha256 ffff"):
        run_localised(tmp_path)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--maps", "m"], "--maps and --masks belong together"),
        (["--masks", "m"], "--maps and --masks belong together"),
        (["--maps", "m", "n", "--masks", "o", "p"], "one file each or none"),
        (["--maps", "m", "--masks", "o"], "needs --cell"),
        (["--sigma", "-1"], "--sigma -1.0: must be 0 or more"),
        (["--sigma", "nan"], "--sigma nan"),
    ],
)
def test_step_refuses_half_of_the_options(more: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(["--scores", "s", "--split", "t", "--output", "o", *more])


def test_options_without_files_mean_no_pixel_metrics(tmp_path: Path) -> None:
    rows = score_rows()
    (tmp_path / "s.csv").write_text(csv_text(list(rows[0]), rows))
    (tmp_path / "t.csv").write_text(csv_text(SPLIT_COLUMNS, split_rows()))
    files = ["--scores", str(tmp_path / "s.csv"), "--split", str(tmp_path / "t.csv")]
    main([*files, "--maps", "--masks", "--output", str(tmp_path / "m.json")])
    assert json.loads((tmp_path / "m.json").read_text())["aupro"] is None
