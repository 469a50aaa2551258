"""A grid with further networks: their pooled features are made, read, and predicted from."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from projects import SMALL, Project, params

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.long]

METHOD = '''
"""Distances of pooled features to those of the training normals, summed over the networks."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.methods.registry import method


@method(title="Nearest Means", paper="ours", packs=("plain", "pooled"), maps=True)
@dataclass(frozen=True)
class NearestMeans:
    """Means of one network after the other."""

    def fit(self, data: TrainingData) -> State:
        """Remember the means."""
        return {f"mean{n}": rows.take().mean(0) for n, rows in enumerate(data.normal.pooled)}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return distances; the maps are those of the first network alone."""
        parts = [
            (rows.take() - state[f"mean{n}"]).square().mean((1, 2))
            for n, rows in enumerate(images.pooled)
        ]
        return Scores(sum(parts), maps=images.deepest.map(lambda maps: maps.square().mean(1)))
'''
CELL = "tiny/all/general-m10/nearest_means/s0"
FIRST, LARGER, OTHER = (
    "tf_efficientnet_lite0-64", "tf_efficientnet_lite0-96", "tf_efficientnet_lite1-64",
)  # fmt: skip


def grid(*sizes: int) -> dict[str, Any]:
    """Return parameters with the first network at other sizes, too, and with another network."""
    content = copy.deepcopy(params(**SMALL, methods=["nearest_means", "mean_intensity"]))
    further = [{"backbone": "tf_efficientnet_lite0", "image_size": size} for size in sizes]
    other = {"backbone": "tf_efficientnet_lite1", "image_size": 64}
    content["features"]["further"] = [*further, other]
    return content | {"figures": []}


def scores(path: Path) -> dict[str, str]:
    """Return the scores of a table by the images' digests."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["sha256"]: row["score"] for row in csv.DictReader(stream)}


def test_pooled_features_of_three_networks_from_the_images_to_a_prediction(fresh: Project) -> None:
    (fresh.root / "src/osad/methods/nearest_means.py").write_text(METHOD.lstrip(), encoding="utf-8")
    fresh.write_params(grid(96))
    fresh.snakemake(cores=2).check()
    made = (fresh.root / "results/features").rglob("*.safetensors")
    folder = fresh.root / "results/features/tiny/all"
    packs = sorted(str(path.relative_to(folder).with_suffix("")) for path in made)
    pooled = [f"{network}/pooled" for network in (FIRST, LARGER, OTHER)]
    assert packs == sorted(["masks", "pixels", f"{FIRST}/plain", *pooled])
    assert len([*(fresh.root / "data/weights").iterdir()]) == 2
    row = fresh.cell_rows()[CELL]
    assert (row["status"], row["backbone"]) == ("ok", "tf_efficientnet_lite0+tf_efficientnet_lite1")
    assert fresh.dry_run() == ({}, set())
    fresh.run("osad", "audit", "record").check()

    images = "data/raw/tiny/test/dent"
    outcome = fresh.run("osad", "predict", CELL, images, "--output", "out").check()
    assert "note:" not in outcome.output
    run = scores(fresh.root / f"results/scores/{CELL}.csv")
    found = scores(fresh.root / "out/scores.csv")
    known = found.keys() & run.keys()
    assert known
    assert {digest: found[digest] for digest in known} == {digest: run[digest] for digest in known}
    described = json.loads((fresh.root / "out/prediction.json").read_text(encoding="utf-8"))
    assert (described["ledger"], described["features_of_run"]) == ("agrees", "agree")
    kinds = [text.split()[1] for text in described["features"]]
    assert kinds == ["plain", "pooled", "pooled", "pooled"]
    assert len([name for name in described["files"] if name.startswith("weights ")]) == 2

    # Another size of any network, or another list of networks, is not what the run had.
    for content, message in (
        (grid(128), "is 64, 64, 96, 64, now it is 64, 64, 128, 64"),
        (grid(), "backbone of the run's features is tf_efficientnet_lite0, tf_efficientnet_lite0,"),
    ):
        fresh.write_params(content)
        outcome = fresh.run("osad", "predict", CELL, images, "--output", "other")
        outcome.refused(f"results/checkpoints/{CELL}.safetensors", message)
        assert outcome.code == 2
        assert not (fresh.root / "other").exists()
    # Only what a change concerns is made again.
    fresh.write_params(grid(128))
    jobs, _ = fresh.dry_run()
    assert (jobs["pack"], jobs["run"]) == (1, 1)
    assert "weights" not in jobs
