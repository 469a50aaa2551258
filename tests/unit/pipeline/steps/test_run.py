"""The step that fits a method and scores its test images."""

import json
from dataclasses import replace
from pathlib import Path

import learn_cases
import numpy as np
import pytest
import torch
from learn_cases import Packs

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, TrainingError
from osad.core.files import read_metadata, read_tensors, write_tensors
from osad.data.splits import SplitRow, write_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.scores import check_scores, read_scores
from osad.features.packs import PackInfo, write_pack
from osad.learn.images import Scores
from osad.methods import registry
from osad.pipeline.steps import run

one_thread = learn_cases.one_thread

CELL = "made/all/normal-m0/patchcore/s0"
SPEC = registry.get("patchcore")
HYPER = SPEC.resolve({"strides": [16], "candidates": 300, "coreset": 30, "projection": 8})
OUTPUTS = ("checkpoint", "scores", "maps")
KINDS = 20 * [("train_normal", 0, "good")] + 10 * [("test", 0, "good")] + 6 * [("test", 1, "bent")]
ROWS = [
    SplitRow(f"data/raw/made/{number:03d}.png", f"{number:064x}", *kind)
    for number, kind in enumerate(KINDS)
]


INFO = PackInfo("plain", (), (), device="cpu", backbone="made", weights_sha256="0" * 64,
                image_size=128, strides=(16,), channels=(12,))  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write the split and the features of made images."""
    write_split(tmp_path / "split.csv", ROWS)
    paths, digests = (tuple(getattr(row, name) for row in ROWS) for name in ("path", "sha256"))
    info = replace(INFO, paths=paths, sha256=digests)
    write_pack(tmp_path / "plain", {"s16": Packs("step", 30, 6).tensors["s16"]}, info)
    return tmp_path


def options(files: Path, method: str = "patchcore", *, hyper: object = HYPER) -> list[str]:
    written = [text for name in OUTPUTS for text in (f"--{name}", str(files / "out" / name))]
    packs = [str(files / "plain")] if "plain" in registry.get(method).packs else []
    cell = CELL.replace("patchcore", method)
    inputs = ["--split", str(files / "split.csv"), "--packs", *packs, "--cell", cell]
    return [*inputs, "--hyper", json.dumps(hyper), *written]


def test_checkpoints_name_tiles_and_padding_where_there_are_some() -> None:
    plain, tiled = run.describe_features([INFO, replace(INFO, resize="pad", grid=2, overlap=32)])
    assert {*plain} == {*run.FEATURES}
    assert {*tiled} - {*plain} == {"resize", "grid", "overlap"}
    where = Path("c.safetensors")
    for then, now, text in (
        (plain, replace(INFO, grid=2), "grid of the run's features is 1, now it is 2"),
        (tiled, INFO, "resize of the run's features is pad, now it is squash"),
    ):
        with pytest.raises(ConfigError, match=text):
            run.check_features({"features": [then]}, [now], where)
    assert run.check_features({"features": [plain]}, [INFO], where)


def test_checkpoint_scores_and_maps_of_a_run(files: Path) -> None:
    written = [files / "out" / name for name in OUTPUTS]
    assert run.main(options(files)) == written
    metadata = read_metadata(written[0])
    run.check_checkpoint(metadata, Cell.parse(CELL), HYPER, written[0])
    assert (metadata["cell"], metadata["device"]) == (CELL, "cpu")
    assert metadata["features"] == [
        {"pack": "plain", "backbone": "made", "weights_sha256": "0" * 64, "image_size": 128,
         "strides": [16]},
    ]  # fmt: skip
    state = SPEC.build(HYPER).fit(Packs("step", 30, 6).training(range(20), (), CELL))
    assert torch.equal(read_tensors(written[0])["bank"], state["bank"])
    scored, maps = read_scores(written[1]), anomaly_maps.read(written[2])
    check_scores(scored, ROWS[20:], where=written[1])
    images = [(row.path, row.sha256) for row in ROWS[20:]]
    anomaly_maps.check(maps, images, cell=CELL, where=written[2])
    assert (maps.maps.shape, maps.image_size) == ((16, 8, 8), 128)
    # Maps and scores are in the same order: a score is close to, and below, its map's maximum.
    ratio = np.array([image.score for image in scored]) / maps.maps.max(axis=(1, 2))
    assert ((ratio > 0.5) & (ratio < 1)).all()
    before = [path.read_bytes() for path in written]
    run.main(options(files))
    assert [path.read_bytes() for path in written] == before


def test_a_method_without_maps_leaves_a_file_without_any(files: Path) -> None:
    run.main(options(files, "true_labels", hyper={}))
    assert len(anomaly_maps.read(files / "out/maps")) == 0
    assert [image.score for image in read_scores(files / "out/scores")] == [0.0] * 10 + [1.0] * 6


ZEROS, MAPS = torch.zeros(16), torch.zeros(16, 8, 8)


@pytest.mark.parametrize(("scores", "message"), [
    (Scores(ZEROS), "declares maps but returned none"),
    (Scores(ZEROS, maps=MAPS[1:]), r"maps are \(15, 8, 8\)"),
    (Scores(ZEROS, maps=MAPS + torch.inf), r"020\.png: its anomaly map is not finite"),
    (Scores(ZEROS[1:], maps=MAPS), r"score has shape \(15,\), expected \(16,\)"),
    (Scores(ZEROS + torch.nan, maps=MAPS), r"020\.png: score is nan, not finite"),
])  # fmt: skip
def test_scores_that_are_not_as_declared_are_refused(files, monkeypatch, scores, message) -> None:
    monkeypatch.setattr(SPEC.hyper, "score", lambda *_: scores)
    with pytest.raises(TrainingError, match=message):
        run.main(options(files))
    assert not (files / "out/maps").exists()


def test_a_fit_that_is_not_finite_leaves_nothing(files: Path, monkeypatch) -> None:
    monkeypatch.setattr(SPEC.hyper, "fit", lambda *_: {"bank": torch.tensor([torch.nan])})
    with pytest.raises(TrainingError, match=f"{CELL}: fitted tensor 'bank' is not finite"):
        run.main(options(files))
    assert not (files / "out").exists()


def test_hyper_parameters_and_base_must_be_the_run_s(files: Path) -> None:
    for further, message in (
        (["--hyper", "{"], "is not valid JSON"),
        (["--hyper", "[1]"], "expected a JSON object"),
        (["--base", "x"], "starts from no other method, got 1 checkpoints"),
    ):
        with pytest.raises(ConfigError, match=message):
            run.main([*options(files), *further])
    cell = Cell.parse(CELL.replace("patchcore", "ahl"))
    with pytest.raises(ConfigError, match="starts from dra, got 0 checkpoints"):
        run.read_base([], cell, "dra")
    write_tensors(files / "base", {"x": torch.ones(1)}, {"cell": CELL})
    with pytest.raises(CheckError, match=f"base: is of cell '{CELL}', expected '.*/dra/s0'"):
        run.read_base([files / "base"], cell, "dra")
    metadata = {"format": 1, "cell": CELL, "hyper": {}}
    with pytest.raises(CheckError, match=r"its hyper is .*, expected \{'coreset': 31"):
        run.check_checkpoint(metadata, Cell.parse(CELL), {"coreset": 31}, files)


POOLED = replace(INFO, pack="pooled")
OTHER = replace(POOLED, backbone="other", image_size=64)
READ = {"features": run.describe_features([INFO, replace(INFO, pack="rotated"), POOLED, OTHER])}


@pytest.mark.parametrize(("infos", "message"), [
    ([replace(INFO, image_size=96)], "image_size of the run's features is 128, now it is 96; "),
    ([replace(INFO, strides=(8, 16))], r"strides of .* is \[16\], now it is \[8, 16\]"),
    ([replace(INFO, weights_sha256="1")], f"weights_sha256 of .* is {'0' * 64}, now it is 1;"),
    ([INFO, replace(POOLED, backbone="x"), OTHER], "is made, made, other, now it is made, x"),
    ([INFO, POOLED], "backbone of .* is made, made, other, now it is made, made;"),
    ([INFO, OTHER, POOLED], "is made, made, other, now it is made, other, made"),
    ([POOLED, INFO, OTHER], "pack of .* is plain, pooled, pooled, now it is pooled, pl"),
    ([replace(INFO, pack="pixels")], "backbone of the run's features is nothing, now it is made"),
])  # fmt: skip
def test_other_features_than_the_run_s_are_refused(infos, message) -> None:
    with pytest.raises(ConfigError, match=f"^c: .*{message}"):
        run.check_features(READ, infos, Path("c"))


def test_features_are_compared_by_kind_where_the_checkpoint_names_them(tmp_path) -> None:
    for infos in ([INFO, POOLED, OTHER], [INFO], [POOLED, OTHER], []):
        assert run.check_features(READ, infos, Path("c"))
    assert not run.check_features({}, [INFO], Path("c"))
    # A base must have been fitted on the features of the fit that starts from it.
    path, cell = tmp_path / "base", Cell.parse(CELL.replace("patchcore", "ahl"))
    metadata = {"cell": CELL.replace("patchcore", "dra")} | READ
    write_tensors(path, {"x": torch.ones(1)}, metadata)
    draem = replace(INFO, pack="draem", image_size=96)  # Its base does not read it.
    assert "x" in (run.read_base([path], cell, "dra", [INFO, draem]) or {})
    with pytest.raises(ConfigError, match=r"base: image_size of .* is 128, now it is 96"):
        run.read_base([path], cell, "dra", [replace(INFO, image_size=96)])
