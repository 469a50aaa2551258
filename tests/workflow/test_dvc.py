"""DVC beside Snakemake: after a complete run and a commit, both have nothing to do."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from projects import ROOT, SEEDS, Project, cells

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


@pytest.fixture
def committed(project: Project) -> Project:
    """A finished project in a git repository, with its results committed to DVC."""
    project.run("git", "init", "--quiet").check()
    project.run("dvc", "commit", "--force").check()
    project.run("git", "add", "--all").check()
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid")
    project.run("git", *identity, "commit", "--quiet", "--message", "A run").check()
    return project


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


def test_metrics_and_plots_are_shown(committed: Project) -> None:
    shown = json.loads(committed.run("dvc", "metrics", "show", "--json").check().output)
    text = json.dumps(shown)
    stored = (committed.root / "results/tables/metrics.json").read_text(encoding="utf-8")
    assert json.dumps(json.loads(stored))[1:-1] in text
    committed.run("dvc", "plots", "show").check()
    page = (committed.root / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert "tiny/all/general-m10/dpdl" in page


def test_a_changed_parameter_reruns_only_its_cells(committed: Project) -> None:
    """DVC runs the stages again; Snakemake decides what in them is new."""
    content = yaml.safe_load((committed.root / "params.yaml").read_text(encoding="utf-8"))
    content["methods"]["patchcore"]["coreset"] = 15
    committed.write_params(content)
    before = committed.outputs()
    assert "params.yaml" in committed.run("dvc", "status").check().output
    output = committed.run("dvc", "repro").check().output
    after = committed.outputs()
    changed = {path for path in before if before[path] != after[path]}
    assert {path.split("/")[5] for path in changed if "/checkpoints/" in path} == {"patchcore"}
    assert {path.split("/")[5] for path in changed if "/scores/" in path} == {"patchcore"}
    assert not [path for path in changed if "/features/" in path or "/splits/" in path]
    trained = {line.split(": train ")[1] for line in output.splitlines() if ": train " in line}
    # The run of normal-m0 serves all protocols.
    assert trained == {f"tiny/all/normal-m0/patchcore/s{seed}" for seed in SEEDS}
    assert "up to date" in committed.run("dvc", "status").check().output


def test_an_experiment_computes_only_its_cells_and_is_compared(committed: Project) -> None:
    """A changed hyper-parameter as a DVC experiment: set, run, shown beside the commit."""
    before = committed.outputs()
    experiment = ("dvc", "exp", "run", "--name", "larger", "--set-param", "methods.dra.batch=9")
    output = committed.run(*experiment).check().output
    trained = {line.split(": train ")[1] for line in output.splitlines() if ": train " in line}
    # AHL starts from the checkpoints of DRA.
    assert trained == cells(methods=["dra", "ahl"])
    after = committed.outputs()
    changed = {path for path in before if before[path] != after[path]}
    kinds = ("checkpoints", "scores", "maps", "metrics")
    of_cells = [path.split("/") for path in changed if path.split("/")[1] in kinds]
    assert {parts[5] for parts in of_cells} == {"dra", "ahl"}
    assert "provenance/tiny.jsonl" in changed
    shown = json.loads(committed.run("dvc", "exp", "show", "--json").check().output)
    rates = {}
    for experiment_shown in shown[1]["experiments"] or []:
        data = experiment_shown["revs"][0]["data"]
        rates["experiment"] = data["params"]["params.yaml"]["data"]["methods"]["dra"]["batch"]
    data = shown[1]["data"]
    rates["commit"] = data["params"]["params.yaml"]["data"]["methods"]["dra"]["batch"]
    assert rates == {"experiment": 9, "commit": 8}
