"""Tiles and padding, from the images to a prediction; and one tile, which is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image
from projects import SMALL, Project, params

from osad.evaluation import maps as anomaly_maps
from osad.features.packs import Pack

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.long]

CELL = "tiny/all/general-m10/patchcore/s0"
RUN = "tiny/all/normal-m0/patchcore/s0"
TILED = {"resize": "pad", "tiles": {"grid": 2, "overlap": 32}}
"""A square of 2 * 64 - 32 = 96 pixels: 3 x 3 positions at stride 32."""


def test_tiles_of_padded_images_from_the_images_to_a_prediction(fresh: Project) -> None:
    for path in (fresh.root / "photos").rglob("*.png"):
        with Image.open(path) as image:
            image.resize((72, 36)).save(path)  # Twice as wide as high.
    content = params(**SMALL, methods=["patchcore"])
    content["features"] |= TILED
    fresh.write_params(content)
    fresh.snakemake().check()
    row = fresh.cell_rows()[CELL]
    assert row["status"] == "ok"
    assert 0 <= float(row["auroc"]) <= 1

    pack = Pack.open(
        fresh.root / "results/features/tiny/all/tf_efficientnet_lite0-64/plain.safetensors"
    )
    assert pack.tensor("s32").shape[2:] == (3, 3)
    assert set(map(tuple, pack.tensor("content")[:].tolist())) == {(48, 96)}
    maps = anomaly_maps.read(fresh.root / f"results/maps/{RUN}.safetensors")
    assert maps.maps.shape[1:] == (3, 3)

    # The same images elsewhere have the scores of the run, and heat maps of their own shape.
    shutil.copytree(fresh.root / "photos/test", fresh.root / "new")
    fresh.run("osad", "predict", CELL, "new", "--output", "out").check()
    known = {row["sha256"]: row["score"] for row in fresh.rows(f"results/scores/{RUN}.csv")}
    scored = fresh.rows("out/scores.csv")
    assert {row["sha256"]: row["score"] for row in scored} == known
    assert len({row["score"] for row in scored}) > len(scored) / 2
    for row in scored:
        with Image.open(fresh.root / f"out/maps/{row['path']}.png") as heat_map:
            assert heat_map.width == 224
    described = json.loads((fresh.root / "out/prediction.json").read_text(encoding="utf-8"))
    assert (described["features_of_run"], described["ledger"]) == ("agree", "agrees")


def test_one_tile_is_no_tiles_so_no_number_is_made_anew(finished: Project, tmp_path: Path) -> None:
    for grid, reruns in ((1, False), (2, True)):
        path = tmp_path / f"{grid}.yaml"
        path.write_text(yaml.safe_dump({"features": {"tiles": {"grid": grid, "overlap": 32}}}))
        counts, _ = finished.dry_run("--configfile", str(path))
        assert bool(counts) == reruns
