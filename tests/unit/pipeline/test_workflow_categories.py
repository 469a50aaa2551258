"""The pipeline of data sets with many categories."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from osad.core.cells import Cell
from osad.evaluation.tables.request import parse_grid
from osad.pipeline import config
from osad.pipeline.fingerprint import closure
from osad.pipeline.jobs import jobs
from osad.pipeline.workflow import Workflow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wf() -> Workflow:
    params = dataclasses.replace(
        config.load(ROOT),
        datasets=("mvtec", "visa"),
        dataset_settings={"mvtec": {"raw_path": "my/mvtec"}, "visa": {}},
        methods=("patchcore", "dra"),
        seeds=(0, 1),
    )
    return Workflow(params, ROOT)


def test_categories_have_manifests_splits_and_packs_of_their_own(wf):
    assert len(wf.categories()) == 15 + 12
    data = wf.targets("data")
    assert data[:2] == ["data/raw/mvtec/SOURCE.json", "data/raw/visa/SOURCE.json"]
    assert "data/manifests/mvtec/carpet.csv" in data
    assert "data/manifests/visa/pcb1.csv" in data
    features = wf.targets("features")
    assert "results/features/mvtec/carpet/masks.safetensors" in features
    folder = "results/features/mvtec/carpet/tf_efficientnet_lite0-224"
    assert f"{folder}/plain.safetensors" in features
    cell = Cell("mvtec", "carpet", "hard-cut-m10", "dra", 1)
    assert cell in wf.cells()
    assert wf.packs(cell)[0].startswith(folder)
    assert wf.split(cell) == "results/splits/mvtec/carpet/hard-cut-m10/s1.csv"
    assert wf.manifest_options("mvtec/metal_nut") == "--dataset mvtec --category metal_nut"


def test_only_two_categories_have_hard_cells(wf):
    runs = [cell for cell in wf.cells() if cell.dataset == "mvtec" and cell.method == "dra"]
    found = Counter(cell.category for cell in runs if cell.protocol.startswith("hard-"))
    assert found == {"carpet": 5 * 2 * 2, "metal_nut": 4 * 2 * 2}  # Classes, shots, seeds.
    general = Counter(cell.category for cell in runs if cell.protocol.startswith("general-"))
    assert set(general.values()) == {2 * 2}
    assert len(general) == 15
    shared = Cell("mvtec", "carpet", "hard-cut-m1", "patchcore", 0)
    assert wf.source_cell(shared) == Cell("mvtec", "carpet", "normal-m0", "patchcore", 0)


def test_constraints_match_every_target(wf):
    constraints = wf.constraints()
    patterns = {
        "data": "data/manifests/{manifest}.csv",
        "splits": "results/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        "metrics": "results/metrics/{dataset}/{category}/{protocol}/{method}/s{seed}.json",
    }
    for phase, pattern in patterns.items():
        for name, expression in constraints.items():
            pattern = pattern.replace(f"{{{name}}}", f"(?:{expression})")
        targets = [path for path in wf.targets(phase) if not path.startswith("data/raw")]
        targets = [path for path in targets if not path.startswith("data/weights")]
        assert targets
        assert all(re.fullmatch(pattern, path) for path in targets), phase


def test_the_plan_makes_every_target_once(wf):
    outputs = [path for job in jobs(wf) for path in job.outputs]
    assert len(set(outputs)) == len(outputs)
    for phase in ("data", "splits", "features", "train", "score", "tables"):
        assert set(wf.targets(phase)) <= set(outputs), phase


def test_the_tables_are_told_all_categories(wf):
    request = parse_grid(json.loads(wf.grid()), where="grid")
    assert {cell for cell, _ in request.cells} == set(wf.cells())
    assert "sources disagree" in request.datasets["visa"].licence


def test_an_edit_of_a_layout_reruns_its_data_sets():
    modules = closure(["osad.data.sets.mvtec_loco"], ROOT / "src")
    assert {
        "osad.data.layouts.mvtec",
        "osad.data.layouts.folder",
        "osad.data.fetch.original",
    } <= set(modules)
    assert "osad.data.layouts.mvtec" not in closure(["osad.data.sets.elpv"], ROOT / "src")
