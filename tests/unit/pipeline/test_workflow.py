"""What the rules get to know: targets and their paths, constraints, the grid, handlers."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from osad.core.cells import Cell
from osad.core.files import sha256_file, write_json, write_text
from osad.evaluation.tables.cells import Outcome
from osad.evaluation.tables.request import parse_grid
from osad.methods import registry
from osad.pipeline import config, handlers, workflow
from osad.pipeline.config import Params
from osad.pipeline.handlers import Handlers
from osad.pipeline.workflow import Workflow
from osad.report.targets import Report

ROOT = Path(__file__).parents[3]
OWN = {"layout": "folder", "raw_path": "images", "defect_classes": ["scratch", "dent"]}
PHASES = ("data", "splits", "features", "train", "score", "tables")
OK = SimpleNamespace(returncode=0)
CELL = Cell("elpv", "all", "hard-mono-m10", "dpdl", 3)

WF = Workflow(config.load(ROOT), ROOT)


def changed(**changes) -> Workflow:
    """Return the shipped workflow with other parameters."""
    params: Params = dataclasses.replace(WF.params, **changes)
    return Workflow(params, ROOT)


def test_default_grid_has_580_cells_on_35_splits():
    cells = WF.cells()
    assert len(set(cells)) == len(cells) == 580
    # 18 methods in general and hard: 6 protocols; 8 of them in normal: 1; 5 seeds.
    assert sum(cell.protocol == "normal-m0" for cell in cells) == 8 * 5
    assert sum(cell.method == "dpdl" for cell in cells) == 6 * 5
    assert len(set(WF.split_ids())) == len(WF.split_ids()) == 35
    assert {cell.split_id for cell in cells} == set(WF.split_ids())
    assert WF.categories() == [("elpv", "all")]


def test_counts_of_targets():
    assert {phase: len(WF.targets(phase)) for phase in PHASES} == {
        "data": 3, "splits": 35, "features": 7, "train": 580, "score": 1505, "tables": 9,
    }  # fmt: skip
    every = [path for phase in PHASES for path in WF.targets(phase)]
    assert len(set(every)) == len(every)
    assert not any(Path(path).is_absolute() for path in every)
    with pytest.raises(ValueError, match="unknown phase 'scores'"):
        WF.targets("scores")


def test_paths_of_artefacts():
    assert CELL in WF.cells()
    cell = "elpv/all/hard-mono-m10/dpdl/s3"
    assert WF.split(CELL) == "results/splits/elpv/all/hard-mono-m10/s3.csv"
    for kind, suffix in (("checkpoints", "safetensors"), ("scores", "csv"), ("metrics", "json")):
        path = f"results/{kind}/{cell}.{suffix}"
        assert WF.artefact(kind, CELL) == path
        assert path in WF.targets("train") + WF.targets("score")
    assert WF.split(CELL) in WF.targets("splits")
    assert set(WF.targets("data")) == {
        "data/raw/elpv/SOURCE.json", "data/manifests/elpv.csv", WF.weights,
    }  # fmt: skip
    assert {"results/tables/cells.csv", "results/tables/summary.csv"} <= set(WF.targets("tables"))
    assert WF.manifest("mvtec", "carpet") == "data/manifests/mvtec/carpet.csv"


def test_feature_packs_of_methods():
    folder = "results/features/elpv/all"
    deep = f"{folder}/tf_efficientnet_lite0-224"
    packs = ("cutmix", "draem", "plain", "pseudo", "rotated")
    expected = [f"{folder}/masks.safetensors", f"{folder}/pixels.safetensors"]
    expected += [f"{deep}/{pack}.safetensors" for pack in packs]
    assert WF.targets("features") == expected
    trained = ("plain", "rotated", "pseudo")
    assert WF.packs(CELL) == [f"{deep}/{pack}.safetensors" for pack in trained]
    assert WF.packs(dataclasses.replace(CELL, method="mean_intensity")) == expected[1:2]
    assert WF.packs(dataclasses.replace(CELL, method="random")) == []


def test_methods_of_normals_alone_share_the_run_of_normal_m0():
    shared = dataclasses.replace(CELL, method="patchcore")
    source = dataclasses.replace(shared, protocol="normal-m0")
    assert WF.source_cell(CELL) == CELL
    assert WF.source_cell(shared) == WF.source_cell(source) == source
    # Without the setting in the grid, its run is made all the same, but it is no cell.
    few = changed(settings=("general",), shots=(1,), seeds=(0,), methods=("patchcore", "dra"))
    cells = [f"elpv/all/general-m1/{name}/s0" for name in ("patchcore", "dra")]
    assert list(map(str, few.cells())) == cells
    assert list(map(str, few.runs())) == [*cells, "elpv/all/normal-m0/patchcore/s0"]
    assert few.split_ids() == ["elpv/all/general-m1/s0", "elpv/all/normal-m0/s0"]
    assert len(few.targets("metrics")) == 2
    assert few.constraints()["protocol"] == r"general\-m1|normal\-m0"


def test_a_base_is_the_run_of_the_same_split():
    run = dataclasses.replace(CELL, method="ahl.devnet")
    assert WF.base(run) == ["results/checkpoints/elpv/all/hard-mono-m10/devnet/s3.safetensors"]
    assert WF.base(CELL) == []


def test_kinds_of_rules_cover_every_method_once():
    kinds = {name: kind["method"].split("|") for name, kind in WF.kinds().items()}
    scored = [re.sub(r"\\", "", name) for name in kinds["score"] + kinds["score_maps"]]
    assert sorted(scored) == sorted(WF.params.methods)
    assert "patchcore" in kinds["share_maps"]
    assert "mahalanobis" in kinds["share"]
    assert "dra" in kinds["score_maps"]
    assert "dra" not in kinds["share_maps"]
    assert changed(methods=("random",)).kinds()["share"]["method"] == "(?!)"


def test_without_networks_no_weights_are_fetched():
    few = changed(methods=("mean_intensity", "random"))
    assert few.weights not in few.targets("data")
    assert few.targets("features") == ["results/features/elpv/all/pixels.safetensors"]


def test_another_folder_of_results():
    other = changed(results="results/smoke")
    for phase in ("splits", "features", "train", "score", "tables"):
        assert all(path.startswith("results/smoke/") for path in other.targets(phase))


PATTERNS = {
    "splits": "{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
    "train": "{results}/checkpoints/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
    "features": "{results}/features/{dataset}/{category}/BACKBONE/{pack}.safetensors",
    "data": "data/manifests/{manifest}.csv",
}  # fmt: skip


@pytest.mark.parametrize("phase", PATTERNS)
def test_constraints_match_every_target_in_one_way(phase):
    constraints = WF.constraints()
    pattern = re.escape(PATTERNS[phase]).replace(r"\{", "{").replace(r"\}", "}")
    pattern = pattern.replace("BACKBONE", "tf_efficientnet_lite0-224")
    for name, expression in constraints.items():
        pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>{expression})")
    for path in WF.targets(phase):
        if phase == "features" and Path(path).stem in ("pixels", "masks"):
            assert not re.fullmatch(pattern, path)
        elif phase != "data" or path.startswith("data/manifests"):
            assert re.fullmatch(pattern, path), path


def test_constraints_keep_unknown_names_out():
    constraints = WF.constraints()
    known = {
        "dataset": "elpv", "category": "all", "protocol": "hard-poly-m1",
        "method": "mahalanobis_lda", "seed": "12", "results": "results", "manifest": "elpv",
    }  # fmt: skip
    for name, value in known.items():
        assert re.fullmatch(constraints[name], value)
        assert not re.fullmatch(constraints[name], f"{value}x")
    variant = changed(methods=("dpdl.no_dfl",), hyper={"dpdl.no_dfl": {}}).constraints()
    assert re.fullmatch(variant["method"], "dpdl.no_dfl")
    assert not re.fullmatch(variant["method"], "dpdlxno_dfl")


def test_a_cell_is_read_from_wildcards():
    wildcards = SimpleNamespace(
        dataset="elpv", category="all", protocol="hard-mono-m10", method="dpdl", seed="3"
    )
    assert WF.cell(wildcards) == CELL


def test_grid_tells_the_tables_exactly_the_cells():
    request = parse_grid(json.loads(WF.grid()), where="grid")
    assert {cell for cell, _ in request.cells} == set(WF.cells())
    assert len(request.cells) == 580
    assert request.methods == WF.params.methods
    assert set(request.controls) == {"true_labels", "random", "constant"}
    assert request.results == "results"
    assert request.datasets["elpv"].licence
    assert request.notes == tuple(WF.notes())
    for cell, backbone in request.cells:
        reads = registry.get(cell.method).uses_backbone
        assert backbone == ("tf_efficientnet_lite0" if reads else "")


def test_grid_tells_the_tables_the_faults_of_the_data():
    settings = {"sdd": {"sample": True}}
    grid = changed(datasets=("sdd",), dataset_settings=settings, settings=("general",)).grid()
    notes = parse_grid(json.loads(grid), where="grid").datasets["sdd"].notes
    assert any("857 training normals where the papers print 594" in note for note in notes)
    assert any("only a part of the data" in note for note in notes)


def test_grid_and_hyper_parameters_are_one_line_of_json():
    assert "\n" not in WF.grid()
    hyper = json.loads(WF.hyper("patchcore"))
    assert hyper["strides"] == list(WF.params.hyper["patchcore"]["strides"])
    assert registry.get("patchcore").resolve(hyper) == WF.params.hyper["patchcore"]
    assert list(hyper) == sorted(hyper)


def test_options_of_steps():
    assert WF.manifest_options("elpv") == "--dataset elpv --category all"
    assert WF.manifest_options("mvtec/carpet") == "--dataset mvtec --category carpet"
    assert WF.feature_options("pixels") == "--pack pixels"
    options = shlex.split(WF.feature_options("rotated"))
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        "--pack": "rotated", "--backbone": "tf_efficientnet_lite0", "--weights": WF.weights,
        "--image-size": "224", "--strides": "16,32", "--views": "4", "--rotation": "0.0",
    }  # fmt: skip
    assert WF.weights_options() == "--backbone tf_efficientnet_lite0"
    local = dataclasses.replace(WF.params.features, weights_file="my.pth")
    assert changed(features=local).weights_options().endswith(" --local my.pth")


def test_a_user_s_own_data_set():
    own = changed(datasets=("mine",), dataset_settings={"mine": OWN})
    assert json.loads(own.settings("mine")) == OWN
    assert {cell.protocol for cell in own.cells()} == {
        "general-m10", "general-m1", "hard-scratch-m10", "hard-scratch-m1", "hard-dent-m10",
        "hard-dent-m1", "normal-m0",
    }  # fmt: skip
    assert own.targets("data")[:2] == ["data/raw/mine/SOURCE.json", "data/manifests/mine.csv"]
    assert own.data_code("fetch", "mine") == WF.fingerprint(
        ["osad.pipeline.steps.fetch", "osad.data.layouts.folder"]
    )
    assert WF.data_code("fetch", "elpv") == WF.fingerprint(
        ["osad.pipeline.steps.fetch", "osad.data.sets.elpv"]
    )


def test_code_and_environment_are_digests():
    assert WF.method_code("train", "dpdl.no_dfl") == WF.method_code("train", "dpdl")
    assert WF.method_code("train", "dpdl") != WF.method_code("train", "dra")
    assert WF.fingerprint(["osad.pipeline.steps.train", "osad.methods.dra"]) == WF.method_code(
        "train", "dra"
    )
    assert WF.environment() == sha256_file(ROOT / "requirements/numeric.lock")


def test_published_numbers_are_found_by_name():
    names = WF.published()
    assert names == sorted(names)
    assert all((ROOT / f"data/published/{name}.csv").is_file() for name in names)
    assert names


@pytest.mark.parametrize(("present", "asked"), [(0, 0), (1, 1), (4, 1)])
def test_a_job_asks_for_one_gpu_where_there_is_one(monkeypatch, present, asked):
    monkeypatch.setattr(workflow, "visible_gpus", lambda: present)
    assert WF.gpu() == asked


# --- handlers -----------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Run handlers in an empty folder with a stand-in for the server and for processes."""
    done = []
    server = SimpleNamespace(address="/tmp/address", stop=lambda: done.append("stopped"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSAD_SERVER", "")
    monkeypatch.setattr(handlers, "start_server", lambda: server)
    monkeypatch.setattr(handlers.subprocess, "run", lambda command, **_: done.append(command) or OK)
    return done


def test_the_server_lives_as_long_as_the_run(calls, monkeypatch):
    found = Handlers(WF)
    found.start()
    assert handlers.os.environ["OSAD_SERVER"] == "/tmp/address"
    found.success()
    assert calls == ["stopped"]
    assert "OSAD_SERVER" not in handlers.os.environ
    found.success()
    assert calls == ["stopped"]
    monkeypatch.setattr(handlers, "start_server", lambda: None)
    found.start()
    assert "OSAD_SERVER" not in handlers.os.environ


def record(folder: Path, name: str, reason: str) -> None:
    content = {"step": "x", "reason": reason, "error": "DataError"}
    write_json(folder / "results/failures" / f"{name}.json", content)


def test_failures_are_listed_and_shown_in_the_tables(calls, tmp_path, capsys):
    reasons = {
        "features/elpv/all/plain": "no disk",
        "splits/elpv/all/general-m1/s0": "no images",
        str(CELL): "loss is nan at step 3",
    }
    for name, reason in reasons.items():
        record(tmp_path, name, reason)
    record(tmp_path, "visa/candle/general-m10/dpdl/s0", "a cell of an earlier grid")
    record(tmp_path, "features/visa/candle/plain", "a pack of an earlier grid")
    found = Handlers(WF)
    assert found.failures() == {
        name: Outcome("failed", f"x: {reason}") for name, reason in reasons.items()
    }
    found.start()
    found.error()
    stopped, cells, tables, figures, assets, page = calls
    assert stopped == "stopped"
    for command, step in ((cells, ["cells", "--partial"]), (tables, ["tables"])):
        start = [sys.executable, "-m", "osad.runtime.job", *step]
        assert command[: len(start)] == start
        options = dict(zip(command[len(start) :: 2], command[len(start) + 1 :: 2], strict=True))
        assert options["--output"].startswith("results/tables")
        assert parse_grid(json.loads(options["--grid"]), where="grid").cells
    # No run has metrics, so no table cell has files of its own.
    assert figures[3:5] == ["figures", "--cells"]
    assert assets[3:5] == ["report_assets", "--assets"]
    assert page[3:5] == ["report_page", "--partial"]
    assert page[-2:] == ["--output", "results/report"]
    text = capsys.readouterr().err
    assert f"failed: {CELL}: x: loss is nan at step 3" in text
    assert "3 failed; tables and page show them" in text
    assert "ledger" not in text


def test_missing_data_are_told_apart_and_the_rest_is_recorded(calls, tmp_path, capsys):
    content = {"step": "fetch", "reason": "see page", "error": "MissingData"}
    write_json(tmp_path / ".osad/failures/fetch/elpv.json", content)
    write_json(tmp_path / ".osad/failures/fetch/visa.json", content)
    Handlers(WF).error()
    text = capsys.readouterr().err
    assert "skipped: fetch/elpv: fetch: see page" in text
    assert "visa" not in text
    assert "1 data sets are missing; tables and page show their cells as skipped" in text
    assert "osad: ledger: 0 outputs recorded" in text
    assert "failed" not in text


def test_a_cell_with_some_runs_is_shown_with_these(calls, tmp_path):
    """Its old files go, also those of a cell without any run; whole cells keep theirs."""
    report = Report(WF)
    whole, some, none = (f"elpv/all/general-m10/{name}" for name in ("random", "constant", "dra"))
    for mean, seeds in ((whole, WF.params.seeds), (some, (0, 2)), (none, ())):
        for seed in seeds:
            write_json(tmp_path / f"results/metrics/{mean}/s{seed}.json", {})
        for path in report.cell_outputs(mean):
            write_text(tmp_path / path, "old")
    Handlers(WF)._partial_page()
    cell, figures, assets, page = calls
    assert cell[3:] == [
        "report_cell", "--partial", "--cell", some, "--results", "results",
        "--seeds", "0", "1", "2", "3", "4",
        "--output", f"results/report/cells/{some}.js",
        "--images", f"results/report/images/{some}.js",
    ]  # fmt: skip
    assert [one[3] for one in (figures, assets, page)] == [
        "figures",
        "report_assets",
        "report_page",
    ]
    left = [mean for mean in (whole, some, none) if Path(report.cell_outputs(mean)[0]).exists()]
    assert left == [whole]


def test_old_metrics_of_a_cell_that_failed_are_dropped(calls, tmp_path):
    complete, failed = CELL, dataclasses.replace(CELL, seed=4)
    for cell in (complete, failed):
        earlier = [WF.manifest("elpv", "all"), WF.split(cell), *WF.packs(cell)]
        earlier += [*WF.maps(cell), *WF.localisation(cell)]
        for path in earlier + [
            WF.artefact(kind, cell) for kind in ("checkpoints", "scores", "metrics")
        ]:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
    (tmp_path / WF.artefact("scores", failed)).unlink()
    record(tmp_path, str(failed), "score is nan")
    Handlers(WF).error()
    assert (tmp_path / WF.artefact("metrics", complete)).exists()
    assert not (tmp_path / WF.artefact("metrics", failed)).exists()


def test_an_interrupted_run_without_failures_writes_no_tables(calls, capsys):
    found = Handlers(WF)
    found.start()
    found.error()
    assert calls == ["stopped"]
    assert capsys.readouterr().err == ""
