"""DVC beside Snakemake: after a complete run and a commit, both have nothing to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import ROOT, SEEDS, Project, cells

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


@pytest.fixture(scope="module")
def committed(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A finished project in git, with its results committed to DVC; not to be changed."""
    root = tmp_path_factory.mktemp("committed")
    project = finished.copy(root / "project")
    project.run("git", "init", "--quiet").check()
    project.run("dvc", "commit", "--force").check()
    project.commit("A run")
    yield project
    shutil.rmtree(root)


@pytest.fixture
def changeable(committed: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of `committed`, to be changed."""
    yield committed.copy(tmp_path / "project")
    shutil.rmtree(tmp_path / "project")


def test_repro_skips_all_stages_after_a_run(committed: Project) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    before = committed.outputs()
    output = committed.run("dvc", "repro").check().output
    for stage in stages:
        assert f"Stage '{stage}' didn't change, skipping" in output
    assert "up to date" in committed.run("dvc", "status").check().output
    assert committed.outputs() == before
    # What Snakemake makes is in the cache or in git, and nothing else is new.
    assert committed.run("git", "status", "--porcelain").check().output == ""
    assert committed.dry_run() == ({}, set())


def test_metrics_and_plots_are_shown(committed: Project, tmp_path: Path) -> None:
    shown = json.loads(committed.run("dvc", "metrics", "show", "--json").check().output)
    text = json.dumps(shown)
    stored = (committed.root / "results/tables/metrics.json").read_text(encoding="utf-8")
    assert json.dumps(json.loads(stored))[1:-1] in text
    committed.run("dvc", "plots", "show", "--out", str(tmp_path)).check()
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "tiny/all/general-m10/dpdl" in page


def test_a_changed_parameter_reruns_only_its_cells(changeable: Project) -> None:
    """DVC runs the stages again; Snakemake decides what in them is new."""
    content = yaml.safe_load((changeable.root / "params.yaml").read_text(encoding="utf-8"))
    content["methods"]["patchcore"]["coreset"] = 15
    changeable.write_params(content)
    before = changeable.outputs()
    assert "params.yaml" in changeable.run("dvc", "status").check().output
    output = changeable.run("dvc", "repro").check().output
    after = changeable.outputs()
    changed = {path for path in before if before[path] != after[path]}
    assert {path.split("/")[5] for path in changed if "/checkpoints/" in path} == {"patchcore"}
    assert {path.split("/")[5] for path in changed if "/scores/" in path} == {"patchcore"}
    assert not [path for path in changed if "/features/" in path or "/splits/" in path]
    trained = {line.split(": run ")[1] for line in output.splitlines() if ": run " in line}
    # The run of normal-m0 serves all protocols.
    assert trained == {f"tiny/all/normal-m0/patchcore/s{seed}" for seed in SEEDS}
    assert "up to date" in changeable.run("dvc", "status").check().output


def means(tree: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the numbers of ``metrics.json`` by table cell."""
    return {
        f"{dataset}/{category}/{protocol}/{method}": numbers
        for dataset, categories in tree.items()
        for category, protocols in categories.items()
        for protocol, methods in protocols.items()
        for method, numbers in methods.items()
    }


@pytest.mark.long
def test_an_experiment_computes_only_its_cells_and_is_compared(changeable: Project) -> None:
    """A changed hyper-parameter as a DVC experiment: set, run, shown beside the commit."""
    before = changeable.outputs()
    experiment = (
        "dvc",
        "exp",
        "run",
        "--name",
        "larger",
        "--set-param",
        "methods.devnet.iterations=30",
    )
    output = changeable.run(*experiment).check().output
    trained = {line.split(": run ")[1] for line in output.splitlines() if ": run " in line}
    assert trained == cells(methods=["devnet"])
    after = changeable.outputs()
    changed = {path for path in before if before[path] != after[path]}
    kinds = ("checkpoints", "scores", "maps", "metrics")
    of_cells = [path.split("/") for path in changed if path.split("/")[1] in kinds]
    assert {parts[5] for parts in of_cells} == {"devnet"}
    assert "provenance/tiny.jsonl" in changed
    shown = json.loads(changeable.run("dvc", "exp", "show", "--json").check().output)[1]
    (experiment_shown,) = shown["experiments"]
    commit, experiment = shown["data"], experiment_shown["revs"][0]["data"]
    steps = [
        data["params"]["params.yaml"]["data"]["methods"]["devnet"]["iterations"]
        for data in (commit, experiment)
    ]
    assert steps == [3, 30]
    earlier, later = (
        means(data["metrics"]["results/tables/metrics.json"]["data"])
        for data in (commit, experiment)
    )
    stored = (changeable.root / "results/tables/metrics.json").read_text(encoding="utf-8")
    assert later == means(json.loads(stored))
    assert earlier.keys() == later.keys()
    assert {cell.split("/")[3] for cell in earlier} >= {"dra", "devnet", "patchcore"}
    methods = {cell.split("/")[3] for cell in earlier if earlier[cell] != later[cell]}
    assert methods == {"devnet"}
