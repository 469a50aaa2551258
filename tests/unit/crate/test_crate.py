"""What crates say, which a validator accepts; two exports have equal bytes; what is refused."""

import dataclasses
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import project_cases as cases
import pytest
from crate_validator import fill_cache, validate
from project_cases import CHECKPOINT, LARGE, METHOD, METRICS, NAME, PACK, RUN, SCORES, SPLIT, MadeUp

from osad.audit import git, graph, ledger
from osad.core.errors import CheckError, ConfigError, DataError
from osad.crate.crate import write_crate

METADATA = "ro-crate-metadata.json"
needs_validator = pytest.mark.skipif(
    importlib.util.find_spec("rocrate_validator") is None, reason="roc-validator is not installed"
)


def export(made: MadeUp, name: str, output: Path) -> None:
    """Write the crate of a cell."""
    write_crate(made.rules, made.ledger, graph.find(made.ledger, name), output)


def entities(crate: Path) -> dict[str, dict[str, Any]]:
    """Return the entities of a crate by id."""
    described = json.loads((crate / METADATA).read_text(encoding="utf-8"))["@graph"]
    by_id = {entity["@id"]: entity for entity in described}
    assert len(by_id) == len(described)
    return by_id


def ids(value: Any) -> list[str]:
    """Return the ids that a property refers to."""
    return [item["@id"] for item in (value if isinstance(value, list) else [value])]


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder by path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeUp:
    """A project that is not to be changed."""
    return MadeUp(tmp_path_factory.mktemp("made-up") / "project")


@pytest.fixture(scope="module")
def crates(made, tmp_path_factory) -> dict[str, Path]:
    """Crates of a run and of a mean, not to be changed."""
    folder = tmp_path_factory.mktemp("crates")
    crates = {RUN: folder / "run", NAME: folder / "mean"}
    for name, output in crates.items():
        export(made, name, output)
    return crates


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """The contexts for the validator."""
    path = tmp_path_factory.mktemp("cache") / "http"
    fill_cache(path)
    return path


@needs_validator
@pytest.mark.slow
@pytest.mark.parametrize(("name", "actions"), [(RUN, 12), (NAME, 17)])
def test_validator_accepts_and_misses_only_what_nobody_knows(crates, cache, name, actions):
    # Six outputs of the data, five of each seed, and the run of the workflow.
    verdict = validate(crates[name], cache, "recommended")
    assert verdict.profiles == {
        "ro-crate-1.1", "workflow-ro-crate-1.0", "process-run-crate-0.5", "workflow-run-crate-0.5",
        "provenance-run-crate-0.5",
    }  # fmt: skip
    assert {severity for severity, _ in verdict.issues} == {"RECOMMENDED"}
    counts = {message: count for (_, message), count in verdict.issues.items()}
    # The ledger says neither who ran a job nor when, and the project has no address.
    assert counts.pop("The SoftwareApplication id SHOULD be an absolute URI")
    assert counts == {
        "The Action SHOULD have an agent that is a Person or Organization": actions,
        "The Action SHOULD have an endTime in ISO 8601 format": actions,
        "The Application SHOULD have a url": 1,
        "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`": 1,
        "The organization SHOULD have a URL.": 1,
    }
    assert validate(crates[name], cache).code == 0


@needs_validator
@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (None, f"does not include the Data Entity '{SCORES}'"),
        (lambda e: e["./"].pop("mainEntity"), "`mainEntity` property in the root data entity"),
        (lambda e: e[f"#run/{SCORES}"].pop("instrument"), "MUST have an instrument property"),
        (lambda e: e[SCORES].update(sha3="0"), 'the JSON-LD key "sha3" is not allowed'),
    ],
)
def test_validator_rejects_a_damaged_crate(crates, cache, tmp_path, damage, fragment):
    copy = tmp_path / "copy"
    shutil.copytree(crates[RUN], copy)
    if damage is None:
        (copy / SCORES).unlink()
    else:
        content = json.loads((copy / METADATA).read_text(encoding="utf-8"))
        damage({entity["@id"]: entity for entity in content["@graph"]})
        (copy / METADATA).write_text(json.dumps(content), encoding="utf-8")
    verdict = validate(copy, cache)
    assert verdict.code == 1
    assert any(fragment in message for _, message in verdict.issues), verdict.issues


@pytest.mark.parametrize("name", [RUN, NAME])
def test_every_file_is_listed_and_a_second_export_has_equal_bytes(made, crates, tmp_path, name):
    (tmp_path / "again").mkdir()
    export(made, name, tmp_path / "again")
    crate, described = files(crates[name]), entities(crates[name])
    assert files(tmp_path / "again") == crate
    listed = {
        unquote(entity["@id"]): (entity["sha256"], int(entity["contentSize"]))
        for entity in described.values()
        if "sha256" in entity and not entity["@id"].startswith("#")
    }
    del crate[METADATA]
    assert listed == {
        path: (hashlib.sha256(content).hexdigest(), len(content)) for path, content in crate.items()
    }
    assert sorted(unquote(part) for part in ids(described["./"]["hasPart"])) == sorted(listed)
    for content in crate.values():  # No place or person.
        for text in (str(made.root), str(made.root.parent), "nobody"):
            assert text.encode() not in content


def test_contents_are_those_of_the_project(made, crates):
    crate = files(crates[RUN])
    own = {METADATA, "README.md", "number.csv", "provenance.jsonl"}
    for path in crate.keys() - own:
        assert crate[path] == (made.root / path).read_bytes()
    assert own | {
        CHECKPOINT, SCORES, METRICS, f"results/maps/{RUN}.safetensors", SPLIT, cases.MANIFEST,
        "data/raw/tiny/SOURCE.json", "Snakefile", "params.yaml", "dvc.lock", cases.LOCK, "LICENSE",
        "workflow/rules/run.smk", "data/published/paper.csv", METHOD,
        "src/osad/pipeline/steps/run.py",
    } <= crate.keys()  # fmt: skip
    assert not [path for path in crate if "/s1" in path]
    header, row = crate["number.csv"].decode().splitlines()
    assert (header[:11], row[: len(RUN) + 5]) == ("cell,auroc,", f"{RUN},0.75")
    lines = crate["provenance.jsonl"].decode().splitlines()
    paths = [json.loads(line)["path"] for line in lines]
    assert set(paths) > {cases.WEIGHTS, PACK, CHECKPOINT, SCORES, METRICS}
    assert lines == [ledger.line(made.ledger.entries[path]) for path in paths]
    root = entities(crates[RUN])["./"]
    assert (root["datePublished"], root["version"]) == (cases.DATE, git.head(made.root))


def test_a_mean_has_all_its_runs(crates):
    described, crate = entities(crates[NAME]), files(crates[NAME])
    assert ids(described["#run"]["result"]) == [f"results/metrics/{NAME}/s{n}.json" for n in (0, 1)]
    assert f"\n{NAME},0.625," in crate["number.csv"].decode()
    runs = crate["runs.csv"].decode().splitlines()[1:]
    assert [run.split(",")[:2] for run in runs] == [[f"{NAME}/s0", "0.75"], [f"{NAME}/s1", "0.5"]]


def test_large_files_and_images_are_described_and_not_copied(made, crates):
    described = entities(crates[RUN])
    facts = [described[f"#file/{PACK}"][key] for key in ("@type", "name", "sha256", "contentSize")]
    assert facts == ["File", PACK, made.ledger.entries[PACK].sha256, str(LARGE)]
    images = described["#file/data/raw/tiny/"]
    assert (images["@type"], images["name"]) == ("Dataset", "Tiny")
    assert described[images["license"]["@id"]]["name"] == "CC BY 4.0"
    assert described[images["citation"]["@id"]]["name"] == "A. Author: Tiny things. 2020."
    assert not [path for path in files(crates[RUN]) if path == PACK or path.endswith(".png")]


def test_jobs_have_inputs_parameters_tool_and_output(made, crates):
    described = entities(crates[RUN])
    job = described[f"#run/{CHECKPOINT}"]
    assert job["@type"] == "CreateAction"
    assert job["description"].startswith(f"python -m osad.runtime.job run --split {SPLIT} ")
    assert ids(job["result"]) == [CHECKPOINT]
    assert ids(job["instrument"]) == ["#tool/run"]
    objects = [described[name] for name in ids(job["object"])]
    read = [entity["@id"] for entity in objects if entity["@type"] == "File"]
    assert set(read) == {SPLIT, f"#file/{PACK}", PACK.replace("plain", "rotated"), cases.LOCK}
    values = {e["name"]: e["value"] for e in objects if e["@type"] == "PropertyValue"}
    hyper = made.ledger.entries[CHECKPOINT].params["hyper"]
    assert values == {"cell": RUN, "device": "cpu"} | {f"hyper.{k}": v for k, v in hyper.items()}
    kinds = {name: described[f"#input/run/{name}"]["additionalType"] for name in values}
    assert (kinds["cell"], kinds["hyper.epochs"], kinds["hyper.lr"]) == ("Text", "Integer", "Float")
    tool = described["#tool/run"]
    assert {METHOD, "src/osad/pipeline/steps/run.py"} <= {*ids(tool["hasPart"])}
    software = {described[name]["softwareVersion"] for name in ids(tool["softwareRequirements"])}
    assert software == {"3.11.7", "2.0"}
    assert "Pang" in described[tool["citation"]["@id"]]["name"]
    assert ids(described["#step/run"]["connection"]) == [
        "#connection/pack/run", "#connection/split/run",
    ]  # fmt: skip
    connection = described["#connection/pack/run"]
    assert ids(connection["sourceParameter"]) == ["#output/pack"]
    assert ids(connection["targetParameter"]) == ["#input/run/pack"]


def test_changes_are_told_and_missing_results_described(tmp_path):
    made = MadeUp(tmp_path / "project")
    made.put("params.yaml", (made.root / "params.yaml").read_text() + "# edited\n")
    (made.root / SCORES).unlink()
    export(made, RUN, tmp_path / "crate")
    described, entry = entities(tmp_path / "crate"), made.ledger.entries[SCORES]
    assert described["./"]["version"].endswith(" with uncommitted changes")
    assert SCORES not in described
    told = described[f"#file/{SCORES}"]
    assert (told["sha256"], told["contentSize"]) == (entry.sha256, str(entry.size))


def edit_input(made: MadeUp) -> None:
    entry = made.ledger.entries[METRICS]
    inputs = entry.inputs | {SCORES: "0" * 64}
    made.ledger.entries[METRICS] = dataclasses.replace(entry, inputs=inputs)


def lose(path: str) -> Callable[[MadeUp], None]:
    return lambda made: (made.root / path).unlink()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.put(SCORES, "x"), CheckError, f"{SCORES}: differs from the ledger"),
        (lambda m: m.put(METHOD, "# another\n"), CheckError, f"{METHOD}: differs from the ledger"),
        (lambda m: m.put(cases.CELLS, "cell\n"), CheckError, f"{cases.CELLS}: differs from the"),
        (lambda m: m.forget(cases.CELLS), DataError, f"{cases.CELLS}: has no line"),
        (edit_input, CheckError, f"{SCORES}: differs from the ledger"),
        (lose(METHOD), CheckError, f"{METHOD}: is gone"),
        (lose(cases.CELLS), DataError, f"{cases.CELLS}: is missing"),
        (lose("Snakefile"), DataError, "Snakefile: cannot be read"),
        (lambda m: shutil.rmtree(m.root / ".git"), ConfigError, "git: this folder is no"),
    ],
)
def test_what_is_not_as_the_ledger_says_is_not_exported(tmp_path, change, error, message):
    made = MadeUp(tmp_path / "project")
    known = made.rules  # A file of code that is gone has no fingerprint.
    change(made)
    with pytest.raises(error, match=f"^{message}"):
        write_crate(known, made.ledger, graph.find(made.ledger, RUN), tmp_path / "crate")
    assert not (tmp_path / "crate").exists()


def test_output_must_be_new_or_empty(made, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep")
    for output, message in (("", "is there and no empty folder"), ("/mine.txt", "choose another"),
                            ("/mine.txt/below", "cannot be made")):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            export(made, RUN, Path(f"{tmp_path}/full{output}"))
    assert files(tmp_path) == {"full/mine.txt": b"keep"}


def test_other_commands_do_not_import_rocrate():
    code = (
        "import sys; from osad.audit import cli, explain; from osad.crate import crate; "
        "from osad.cli import parser; parser(); assert 'rocrate' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
