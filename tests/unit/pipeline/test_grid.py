"""What a grid consists of, where its files stand, and what steps are told of it."""

import dataclasses
import json
import re
from collections import Counter
from typing import Any

import pytest
from project_cases import OWN, ROOT, SEVERAL, rules_of

from osad.core.cells import Cell
from osad.core.errors import ConfigError
from osad.core.files import sha256_bytes
from osad.evaluation.tables.request import parse_grid
from osad.methods import registry
from osad.pipeline import config
from osad.pipeline import grid as grids
from osad.pipeline.describe import PIXELS, describe, feature_options, weights_options
from osad.pipeline.grid import Grid, run_of
from osad.pipeline.jobs import jobs, makers
from osad.pipeline.rules import Rules

GRID = rules_of().grid
CELL = Cell("elpv", "all", "hard-mono-m10", "dpdl", 3)
DEEP = "results/features/elpv/all/tf_efficientnet_lite0-224"


def of_method(method: str, **changes: Any) -> Cell:
    return dataclasses.replace(CELL, method=method, **changes)


def test_the_default_grid_has_610_cells_of_400_runs_on_35_splits():
    assert len(set(GRID.cells)) == len(GRID.cells) == 610
    # 19 methods in general and hard: 6 protocols; 8 of them in normal: 1; 5 seeds.
    assert sum(cell.protocol == "normal-m0" for cell in GRID.cells) == 8 * 5
    assert sum(cell.method == "dpdl" for cell in GRID.cells) == 6 * 5
    # Seven methods learn from normals alone, or not at all: 5 runs each instead of 35.
    assert len(set(GRID.runs)) == len(GRID.runs) == 610 - 7 * 30
    assert len(set(GRID.split_ids)) == len(GRID.split_ids) == 35
    assert {cell.split_id for cell in GRID.cells} == set(GRID.split_ids)
    assert len(GRID.means) == 610 / 5
    assert GRID.categories == (("elpv", "all"),)


def test_paths_of_artefacts():
    assert GRID.split(CELL) == "results/splits/elpv/all/hard-mono-m10/s3.csv"
    assert GRID.artefact("metrics", CELL) == f"results/metrics/{CELL}.json"
    assert GRID.artefact("scores", CELL) == f"results/scores/{CELL}.csv"
    assert GRID.manifest("mvtec", "carpet") == "data/manifests/mvtec/carpet.csv"
    assert rules_of(results="results/smoke").grid.split(CELL).startswith("results/smoke/splits/")


def test_methods_of_normals_alone_have_one_run_per_seed():
    shared = of_method("patchcore")
    run = of_method("patchcore", protocol="normal-m0")
    assert (run_of(CELL), run_of(shared), run_of(run)) == (CELL, run, run)
    for kind in ("checkpoints", "scores", "maps"):
        assert GRID.artefact(kind, shared) == GRID.artefact(kind, run)
    assert GRID.artefact("metrics", shared) == f"results/metrics/{shared}.json"
    # Without the setting in the grid, the run is made all the same, but it is no cell.
    few = rules_of(settings=("general",), shots=(1,), seeds=(0,), methods=("patchcore", "dra")).grid
    assert list(map(str, few.cells)) == [f"elpv/all/general-m1/{m}/s0" for m in few.params.methods]
    assert {run.protocol: run.method for run in few.runs} == {
        "general-m1": "dra", "normal-m0": "patchcore",
    }  # fmt: skip
    assert few.split_ids == ("elpv/all/general-m1/s0", "elpv/all/normal-m0/s0")
    assert few.constraints()["protocol"] == r"general\-m1|normal\-m0"


def test_a_base_is_the_run_of_the_same_split_and_comes_first():
    run = of_method("ahl.devnet")
    assert GRID.base_of(run) == ["results/checkpoints/elpv/all/hard-mono-m10/devnet/s3.safetensors"]
    assert GRID.base_of(CELL) == []
    assert GRID.runs.index(of_method("devnet")) < GRID.runs.index(run)


def test_feature_packs_and_masks_are_those_that_runs_read():
    packs = ["cutmix", "draem", "pixels", "plain", *["pooled"] * 4, "pseudo", "rotated"]
    assert sorted(pack for _, _, _, pack in GRID.packs) == packs
    single = {network for *_, network, pack in GRID.packs if pack not in ("pixels", "pooled")}
    assert single == {DEEP.split("/")[-1]}
    trained = [f"{DEEP}/{pack}.safetensors" for pack in ("plain", "rotated", "pseudo")]
    assert GRID.packs_of(CELL) == trained
    pixels = "results/features/elpv/all/pixels.safetensors"
    assert GRID.packs_of(of_method("mean_intensity")) == [pixels]
    assert GRID.packs_of(of_method("random")) == []
    assert GRID.masks_of(CELL) == ["results/features/elpv/all/masks.safetensors"]
    assert GRID.masks_of(of_method("random")) == []
    few = rules_of(methods=("mean_intensity", "random")).grid
    assert (few.packs, few.masked) == ((("elpv", "all", "", "pixels"),), ())
    assert few.networks == {}


def test_pooled_packs_are_of_each_network_and_the_others_of_the_first():
    first, larger, other = map(str, SEVERAL.networks)
    assert (first, larger) == ("tf_efficientnet_lite0-224", "tf_efficientnet_lite0-320")
    grid = rules_of(methods=("evidence", "patchcore"), features=SEVERAL).grid
    assert grid.kinds(("pixels", "pooled", "plain")) == [
        ("", "pixels"), (first, "pooled"), (larger, "pooled"), (other, "pooled"), (first, "plain"),
    ]  # fmt: skip
    read = [(first, "plain"), (first, "pooled"), (larger, "pooled"), (other, "pooled")]
    assert grid.packs_of(of_method("evidence")) == [
        f"results/features/elpv/all/{network}/{pack}.safetensors" for network, pack in read
    ]
    assert grid.packs_of(of_method("patchcore")) == [f"{DEEP}/plain.safetensors"]
    assert set(grid.packs) == {("elpv", "all", *pack) for pack in read}
    assert [*grid.networks.values()] == [*SEVERAL.networks]
    network, weights = (grid.constraints()[name] for name in ("network", "weights"))
    assert all(re.fullmatch(network, name) for name in (first, larger, other))
    assert not re.fullmatch(network, "tf_efficientnet_lite1-224")
    assert re.fullmatch(weights, SEVERAL.networks[2].weights.removeprefix("data/weights/"))
    backbones = {method["name"]: method["backbone"] for method in describe(grid)["methods"]}
    assert backbones == {
        "evidence": "tf_efficientnet_lite0+tf_efficientnet_lite1",
        "patchcore": "tf_efficientnet_lite0",
    }
    told = (
        "Methods that read pooled features see those of tf_efficientnet_lite0 at 320 px, "
        "tf_efficientnet_lite1 at 240 px, too."
    )
    assert told in describe(grid)["notes"]
    # What no method reads is not made, and not told.
    few = rules_of(methods=("patchcore",), features=SEVERAL).grid
    assert [*few.networks] == [first]
    assert len(describe(few)["notes"]) == len(describe(grid)["notes"]) - 1
    assert not re.fullmatch(few.constraints()["network"], larger)


def test_constraints_keep_unknown_names_out():
    known = {
        "dataset": "elpv", "category": "all", "protocol": "hard-poly-m1", "seed": "12",
        "method": "mahalanobis_lda", "manifest": "elpv", "pack": "plain",
        "network": "tf_efficientnet_lite0-224", "weights": "efficientnet-lite0-57934424.pth",
    }  # fmt: skip
    assert GRID.constraints().keys() == known.keys()
    for name, value in known.items():
        assert re.fullmatch(GRID.constraints()[name], value)
        assert not re.fullmatch(GRID.constraints()[name], f"{value}/x")
    variant = rules_of(methods=("dpdl.no_dfl",), hyper={"dpdl.no_dfl": {}}).grid.constraints()
    assert re.fullmatch(variant["method"], "dpdl.no_dfl")
    assert not re.fullmatch(variant["method"], "dpdlxno_dfl")
    none = rules_of(methods=("random",), settings=("normal",), datasets=()).grid.constraints()
    assert not re.fullmatch(none["dataset"], "")


def test_categories_have_splits_and_packs_of_their_own():
    settings = {"mvtec": {"raw_path": "my/mvtec"}, "visa": {}}
    grid = rules_of(
        datasets=("mvtec", "visa"), dataset_settings=settings, methods=("patchcore", "dra"),
        seeds=(0, 1),
    ).grid  # fmt: skip
    assert len(grid.categories) == len(grid.manifests) == 15 + 12
    assert {"mvtec/carpet", "visa/pcb1"} < set(grid.manifests)
    runs = [cell for cell in grid.cells if cell.dataset == "mvtec" and cell.method == "dra"]
    hard = Counter(cell.category for cell in runs if cell.protocol.startswith("hard-"))
    assert hard == {"carpet": 5 * 2 * 2, "metal_nut": 4 * 2 * 2}  # Classes, shots, seeds.
    general = Counter(cell.category for cell in runs if cell.protocol.startswith("general-"))
    assert len(general) == 15
    assert set(general.values()) == {2 * 2}
    shared = Cell("mvtec", "carpet", "hard-cut-m1", "patchcore", 0)
    assert run_of(shared) == Cell("mvtec", "carpet", "normal-m0", "patchcore", 0)
    request = parse_grid(describe(grid), where="grid")
    assert request.cells == grid.cells
    assert "sources disagree" in request.datasets["visa"].licence


def test_a_user_s_own_data_set():
    own = rules_of(datasets=("mine",), dataset_settings={"mine": OWN}, shots=(1,)).grid
    protocols = {cell.protocol for cell in own.cells}
    assert protocols == {"general-m1", "hard-scratch-m1", "hard-dent-m1", "normal-m0"}


def test_tables_are_told_exactly_the_cells_and_the_faults_of_the_data():
    value = describe(GRID)
    request = parse_grid(json.loads(json.dumps(value)), where="grid")
    assert request.cells == GRID.cells
    assert [request.run_of(cell) for cell in GRID.cells] == [run_of(cell) for cell in GRID.cells]
    assert tuple(request.methods) == GRID.params.methods
    assert set(request.controls) == {"true_labels", "random", "constant"}
    for name, method in request.methods.items():
        lite = [f"tf_efficientnet_lite{number}" for number in range(3)]
        names = lite if name == "evidence" else lite[: registry.get(name).uses_backbone]
        assert method.backbone == "+".join(names)
    settings = {"sdd": {"sample": True}}
    sdd = rules_of(datasets=("sdd",), dataset_settings=settings, settings=("general",)).grid
    notes = parse_grid(describe(sdd), where="grid").datasets["sdd"].notes
    assert any("857 training normals where the papers print 594" in note for note in notes)
    assert any("only a part of the data" in note for note in notes)


def test_options_of_the_features_and_weights_steps():
    features, first = GRID.params.features, GRID.params.features.first
    assert first.weights == "data/weights/efficientnet-lite0-57934424.pth"
    assert PIXELS == "--pack pixels"
    assert feature_options("rotated", features, first) == (
        f"--pack rotated --backbone tf_efficientnet_lite0 --weights {first.weights} "
        "--image-size 224 --strides 16,32 --views 4 --rotation 0.0"
    )
    assert weights_options(first) == "--backbone tf_efficientnet_lite0"
    local = dataclasses.replace(first, weights_file="my $net.pth")
    assert weights_options(local).endswith(" --local='my $net.pth'")


def test_versions_count_and_what_else_a_lock_file_says_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(grids, "NUMERIC_LOCK", "numeric.lock")
    lock = tmp_path / "numeric.lock"
    for text in ("a==1\nb==2\n", f"b==2 \\\n    --hash=sha256:{'0' * 64}\n# via\na==1  # a note\n"):
        lock.write_text(text)
        assert Grid(GRID.params, tmp_path).versions() == sha256_bytes(b"a==1\nb==2\n")
    with pytest.raises(ConfigError, match="b must be ==2, here it is not installed"):
        Grid(GRID.params, tmp_path).environment()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_grid_of_the_project_has_a_run_for_every_cell(path):
    made = Rules(Grid(config.load(ROOT, path), ROOT))
    rule, maker = {rule.name: rule for rule in made}, makers(jobs(made))
    cells = [
        Cell(one["dataset"], one["category"], one["protocol"], one["method"], int(one["seed"]))
        for one in rule["metrics"].each
    ]
    assert {run_of(cell) for cell in cells} == {*made.grid.runs}
    # Nothing is read that no job makes and that is not there.
    assert not [
        path for job in jobs(made) for path in job.inputs
        if path not in maker and not (ROOT / path).exists()
    ]  # fmt: skip
