"""Decisions: on which images a threshold is chosen, and what is written of it."""

import json
from pathlib import Path

import pytest
from PIL import Image
from predict_cases import checkpoint, put, run_step

from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_csv, sha256_file, write_csv
from osad.data.splits import SplitRow, write_split
from osad.evaluation.scores import COLUMNS
from osad.predict import computing
from osad.predict.decision import labels_of
from osad.predict.images import Found


def grey(path: str, value: int) -> str:
    """Put an image of score |value / 255 - 0.25| / 0.5 and return its digest."""
    return sha256_file(put(path, Image.new("L", (6, 4), value)))


@pytest.fixture
def run(project):
    """A run with 9 normal test images of the scores 1 to 9, two anomalous ones of 8.5 and 20."""
    checkpoint()
    scores = [(float(n), 0) for n in range(1, 10)] + [(8.5, 1), (20.0, 1)]
    rows = [
        SplitRow(f"data/{n:02}.png", f"{n:064x}", "test", label, ["good", "dent"][label])
        for n, (_, label) in enumerate(scores)
    ]
    trained = SplitRow("data/99.png", grey("trained.png", 60), "train_normal", 0, "good")
    write_split("split.csv", [*rows, trained])
    write_csv("scores.csv", COLUMNS, [
        {"path": row.path, "sha256": row.sha256, "label": row.label, "class": row.class_name,
         "score": score}
        for row, (score, _) in zip(rows, scores, strict=True)
    ])  # fmt: skip
    grey("in/dark.png", 64), grey("in/light.png", 255)
    return {"split": "split.csv", "scores": "scores.csv"}


def decisions() -> dict[str, str]:
    rows = read_csv("out/scores.csv", ["path", "sha256", "score", "decision"])
    return {Path(row["path"]).name: row["decision"] for row in rows}


def told() -> dict:
    return json.loads(Path("out/prediction.json").read_text())["threshold"]


def test_the_runs_own_test_images_give_the_threshold(run, capsys):
    run_step("in", threshold="fpr=0.1", **run)
    threshold = told()
    assert (threshold["rule"], threshold["threshold"]) == ("fpr=0.1", 9.0)
    assert threshold["source"] == "9 normal and 2 anomalous test images of the run (scores.csv)"
    alarms, found = threshold["false_alarms"], threshold["detections"]
    # 1 - 0.025 ** (1 / 9).
    assert (alarms["images"], alarms["above"], alarms["low"]) == (9, 0, 0.0)
    assert alarms["high"] == pytest.approx(0.336267, abs=1e-6)
    assert (found["images"], found["above"], found["rate"]) == (2, 1, 0.5)
    assert [point["rule"] for point in threshold["operating_points"]] == ["fpr=0.1", "best-f1"]
    described = json.loads(Path("out/prediction.json").read_text())
    assert described["files"]["scores"]["sha256"] == sha256_file("scores.csv")
    said = capsys.readouterr().out
    assert "0 are anomalous, with a score above 9, as 0 of 9 held-out normal images have" in said
    assert "0.00% to 33.63% (95% interval)" in said


@pytest.mark.parametrize(
    ("rule", "threshold", "light"),
    [("best-f1", 8.0, "normal"), ("1.4", 1.4, "anomalous"), ("1.5", 1.5, "normal")],
)
def test_scores_above_the_threshold_are_anomalous(run, rule, threshold, light):
    """The score of light.png is (1 - 0.25) / 0.5 = 1.5."""
    run_step("in", threshold=rule, **run)
    assert told()["threshold"] == threshold
    assert decisions() == {"dark.png": "normal", "light.png": light}


def test_without_a_threshold_nothing_is_decided(run):
    run_step("in", **run)
    assert [*read_csv("out/scores.csv", ["path"])[0]] == ["path", "sha256", "score"]
    assert told() is None


def test_labelled_images_of_ones_own_give_the_threshold(run):
    """Also where the images to score are among them; a copy counts once."""
    for value in (61, 62, 63, 64, 65, 66, 67, 68, 90):
        grey(f"mine/Good/{value}.png", value)
    grey("mine/good/copy.png", 90), grey("mine/scratch/deep/a.png", 255)
    run_step("in", "mine/Good/90.png", threshold="fpr=0.1", labelled="mine", split="split.csv")
    threshold = told()
    assert threshold["source"] == "9 normal and 1 anomalous images of mine"
    assert threshold["threshold"] == pytest.approx((90 / 255 - 0.25) / 0.5, abs=1e-6)
    assert threshold["detections"]["above"] == 1
    assert decisions() == {"dark.png": "normal", "light.png": "anomalous", "90.png": "normal"}


def test_classes_that_are_normal_in_the_data_set_are_normal_in_a_folder():
    images = [Found(f"mine/{path}", path) for path in ("good/a", "Type B/a", "dent/a")]
    labels = labels_of(images, Path("mine"), [], ["type_b"])
    assert labels == {"good/a": 0, "Type B/a": 0, "dent/a": 1}
    assert labels_of(images, Path("mine"), [], [])["Type B/a"] == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("mine/a.png", 3, r"mine/a\.png: lies in no folder; put it into good"),
        ("mine/OK/a.png", 3, "mine/OK: would count as anomalous, but its name speaks of good part"),
        ("mine/ground_truth/a.png", 3, "mine/ground_truth: would .* speaks of masks"),
        ("mine/good/a.png", 60, r"mine/good/a\.png: was trained on; give images"),
        ("mine/scratch/a.png", 61, r"mine/scratch/a\.png: the same image is in good and"),
    ],
)
def test_labels_that_cannot_be_believed_are_refused(run, path, value, message):
    grey("mine/good/1.png", 61), grey(path, value)
    with pytest.raises(DataError, match=message):
        run_step("in", threshold="best-f1", labelled="mine", split="split.csv")
    assert not Path("out").exists()


def test_thresholds_that_cannot_be_are_refused_before_anything_is_computed(run, monkeypatch):
    monkeypatch.setattr(
        computing, "extract", lambda *_, **__: pytest.fail("nothing may be computed")
    )
    grey("mine/good/a.png", 70)
    with pytest.raises(ConfigError, match=r"fpr=0\.1: needs 9 or more .* there are 1"):
        run_step("in", threshold="fpr=0.1", labelled="mine")
    with pytest.raises(ConfigError, match=r"fpr=0\.05: needs 19 or more held-out .* there are 9"):
        run_step("in", threshold="fpr=0.05", **run)
    with pytest.raises(ConfigError, match=r"fpr=0\.05: needs 19 .* there are 0"):
        run_step("in", threshold="fpr=0.05", split="split.csv")
    with pytest.raises(ConfigError, match=r"best-f1: needs normal and anomalous"):
        run_step("in", threshold="best-f1")
    Path("scores.csv").write_text(Path("scores.csv").read_text().replace(",0,good", ",1,dent", 1))
    with pytest.raises(CheckError, match=r"scores\.csv: data/00\.png: class_name is 'dent'"):
        run_step("in", threshold="fpr=0.1", **run)
    assert not Path("out").exists()


def test_a_number_needs_no_other_image(run):
    run_step("in", threshold="-1e-3")
    assert decisions() == {"dark.png": "anomalous", "light.png": "anomalous"}
    threshold = told()
    assert (threshold["false_alarms"], threshold["operating_points"]) == (None, [])
