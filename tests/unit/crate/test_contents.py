"""What crates say of files, jobs, parameters, software and the commit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from crate_cases import (
    DATE,
    LARGE,
    LARGE_DIGEST,
    LOCK,
    METADATA,
    NAME,
    PACK,
    WEIGHTS,
    MadeUp,
    entities,
    export,
    files,
    ids,
)

from osad.audit import ledger
from osad.crate.runs import leaves

RUN = f"{NAME}/s0"
SCORES = f"results/scores/{RUN}.csv"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    """A project that is not to be changed."""
    return MadeUp(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def crates(made: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Crates of a run and of a mean, not to be changed."""
    folder = tmp_path_factory.mktemp("crates")
    found = {RUN: folder / "run", NAME: folder / "mean"}
    for name, output in found.items():
        export(made, name, output)
    return found


def test_contents_are_those_of_the_project(made: MadeUp, crates: dict[str, Path]) -> None:
    crate = files(crates[RUN])
    own = {METADATA, "README.md", "number.csv", "provenance.jsonl"}
    assert own <= crate.keys()
    for path in crate.keys() - own:
        assert crate[path] == (made.root / path).read_bytes()
    runs = [f"results/{kind}/{RUN}" for kind in ("checkpoints", "scores", "metrics")]
    assert {
        f"{runs[0]}.safetensors", f"{runs[1]}.csv", f"{runs[2]}.json", "data/manifests/tiny.csv",
        "results/splits/tiny/all/general-m10/s0.csv", "data/raw/tiny/SOURCE.json", "Snakefile",
        "params.yaml", "dvc.lock", LOCK, "workflow/rules/train.smk", "data/published/paper.csv",
        "src/osad/pipeline/steps/train.py", "src/osad/methods/devnet.py", "LICENSE",
    } <= crate.keys()  # fmt: skip
    assert not [path for path in crate if "/s1" in path]


def test_large_files_and_images_are_described_and_not_copied(crates: dict[str, Path]) -> None:
    described = entities(crates[RUN])
    for path in (PACK, WEIGHTS):
        entity = described[f"#file/{path}"]
        facts = (entity["@type"], entity["name"], entity["sha256"], entity["contentSize"])
        assert facts == ("File", path, LARGE_DIGEST, str(LARGE))
    images = described["#file/data/raw/tiny/"]
    assert (images["@type"], images["name"]) == ("Dataset", "Tiny")
    assert described[images["license"]["@id"]]["name"] == "CC BY 4.0"
    assert described[images["citation"]["@id"]]["name"] == "A. Author: Tiny things. 2020."
    assert not [path for path in files(crates[RUN]) if path.endswith((".pth", "plain.safetensors"))]


def test_file_of_the_results_that_is_not_on_disk_is_described(tmp_path: Path) -> None:
    made = MadeUp(tmp_path / "project")
    entry = made.ledger.entries[SCORES]
    (made.root / SCORES).unlink()
    export(made, RUN, tmp_path / "crate")
    described = entities(tmp_path / "crate")
    assert SCORES not in described
    assert described[f"#file/{SCORES}"]["sha256"] == entry.sha256
    assert described[f"#file/{SCORES}"]["contentSize"] == str(entry.size)


def test_jobs_have_inputs_parameters_tool_and_output(crates: dict[str, Path]) -> None:
    described = entities(crates[RUN])
    checkpoint = f"results/checkpoints/{RUN}.safetensors"
    job = described[f"#run/{checkpoint}"]
    assert job["@type"] == "CreateAction"
    assert job["description"] == f"python -m osad.runtime.job train --output {checkpoint}"
    assert ids(job["result"]) == [checkpoint]
    assert ids(job["instrument"]) == ["#tool/train"]
    objects = [described[name] for name in ids(job["object"])]
    assert [entity["@id"] for entity in objects if entity["@type"] == "File"] == [
        "results/splits/tiny/all/general-m10/s0.csv", f"#file/{PACK}", LOCK,
    ]  # fmt: skip
    values = {e["name"]: e["value"] for e in objects if e["@type"] == "PropertyValue"}
    assert values == {
        "cell": RUN, "hyper.epochs": 3, "hyper.lr": 0.001, "hyper.flip": True,
        "hyper.strides": "[16, 32]", "device": "cpu",
    }  # fmt: skip
    kinds = {name: described[f"#input/train/{name}"]["additionalType"] for name in values}
    assert kinds == {
        "cell": "Text", "hyper.epochs": "Integer", "hyper.lr": "Float", "hyper.flip": "Boolean",
        "hyper.strides": "Text", "device": "Text",
    }  # fmt: skip
    tool = described["#tool/train"]
    assert ids(tool["hasPart"]) == [
        "src/osad/pipeline/steps/train.py",
        "src/osad/methods/devnet.py",
    ]
    assert {described[name]["softwareVersion"] for name in ids(tool["softwareRequirements"])} == {
        "3.11.7", "2.0",
    }  # fmt: skip
    assert "Pang" in described[tool["citation"]["@id"]]["name"]
    step = described["#step/train"]
    assert ids(step["connection"]) == ["#connection/split/train", "#connection/pack/train"]
    connection = described["#connection/pack/train"]
    assert ids(connection["sourceParameter"]) == ["#output/pack"]
    assert ids(connection["targetParameter"]) == ["#input/train/pack"]


def test_a_mean_has_all_its_runs(crates: dict[str, Path]) -> None:
    described, crate = entities(crates[NAME]), files(crates[NAME])
    assert ids(described["#run"]["result"]) == [f"results/metrics/{NAME}/s{n}.json" for n in (0, 1)]
    assert crate["number.csv"].decode() == f"cell,auroc_mean\n{NAME},0.625\n"
    assert crate["runs.csv"].decode() == f"cell,auroc\n{NAME}/s0,0.75\n{NAME}/s1,0.5\n"


def test_number_and_ledger_lines_of_a_run(made: MadeUp, crates: dict[str, Path]) -> None:
    crate = files(crates[RUN])
    assert crate["number.csv"].decode() == f"cell,auroc\n{RUN},0.75\n"
    lines = crate["provenance.jsonl"].decode().splitlines()
    paths = [json.loads(line)["path"] for line in lines]
    assert paths == [
        "data/raw/tiny/SOURCE.json", WEIGHTS, "data/manifests/tiny.csv",
        "results/splits/tiny/all/general-m10/s0.csv", PACK,
        f"results/checkpoints/{RUN}.safetensors", SCORES, f"results/metrics/{RUN}.json",
    ]  # fmt: skip
    assert lines == [ledger.line(made.ledger.entries[path]) for path in paths]


def test_date_and_version_are_those_of_the_commit(made: MadeUp, crates: dict[str, Path]) -> None:
    root = entities(crates[RUN])["./"]
    assert root["datePublished"] == DATE
    command = ["git", "-C", str(made.root), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert root["version"] == head


def test_no_place_or_person_in_the_crate(made: MadeUp, crates: dict[str, Path]) -> None:
    for content in files(crates[NAME]).values():
        for text in (str(made.root), str(made.root.parent), "nobody"):
            assert text.encode() not in content


def test_uncommitted_changes_are_told(tmp_path: Path) -> None:
    made = MadeUp(tmp_path / "project")
    made.put("params.yaml", "results: others\n")
    export(made, RUN, tmp_path / "crate")
    assert entities(tmp_path / "crate")["./"]["version"].endswith(" with uncommitted changes")


def test_leaves_of_nested_parameters() -> None:
    nested = {"b": {"y": None, "x": {"deep": 1}}, "a": {}, "c": [{"d": 1}]}
    assert list(leaves(nested)) == [("a", {}), ("b.x.deep", 1), ("b.y", None), ("c", [{"d": 1}])]
    assert list(leaves({})) == []


def test_other_commands_do_not_import_rocrate() -> None:
    code = (
        "import sys; from osad.audit import commands, crate, explain; from osad.cli import parser; "
        "parser(); assert not {name for name in sys.modules if name.split('.')[0] == 'rocrate'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
