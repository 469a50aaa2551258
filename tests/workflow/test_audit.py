"""The ledger that a run writes, what is explained from it, and what a verification notices."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from projects import PARAMS, ROOT, SEEDS, Outcome, Project, cells

from osad.cli import main
from osad.files import sha256_file

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CELL = "tiny/all/general-m10/dpdl/s0"
LEDGER = "provenance/tiny.jsonl"
PACKS = "results/features/tiny/all/tf_efficientnet_lite0-64"


def lines(project: Project) -> dict[str, dict]:
    """Return all lines of the ledger by path."""
    found = [
        json.loads(line)
        for path in sorted((project.root / "provenance").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {line["path"]: line for line in found}


def audit(project: Project, *arguments: str) -> Outcome:
    """Run ``osad audit`` in a project."""
    return project.run(sys.executable, "-m", "osad.cli", "audit", *arguments)


def test_every_output_has_a_line_with_its_digest(finished: Project) -> None:
    ledger = lines(finished)
    outputs = {
        path: digest
        for path, digest in finished.outputs().items()
        if not path.startswith("provenance/")
        and not (path.startswith("data/raw/") and path.endswith(".png"))
    }
    assert {path: line["sha256"] for path, line in ledger.items()} == outputs
    for line in ledger.values():
        assert line["size"] == (finished.root / line["path"]).stat().st_size
        # Inputs have the digests of their own lines, or are files of the project.
        for path, digest in line["inputs"].items():
            if path in ledger:
                assert ledger[path]["sha256"] == digest
            else:
                assert path.startswith(("data/published/", "data/bench/", "src/osad/report/"))
                assert hashlib.sha256((finished.root / path).read_bytes()).hexdigest() == digest


def test_lines_are_sorted_and_say_how_the_output_was_made(finished: Project) -> None:
    text = (finished.root / LEDGER).read_text(encoding="utf-8")
    paths = [json.loads(line)["path"] for line in text.splitlines()]
    assert paths == sorted(paths)
    line = lines(finished)[f"results/checkpoints/{CELL}.safetensors"]
    assert line["rule"] == "train"
    assert line["params"]["hyper"]["prototypes"] == 4
    assert line["params"]["cell"] == CELL
    assert line["command"].startswith(f"python -m osad.job train --cell {CELL} --split results/")
    assert "--gpu" not in line["command"]
    assert "tee" not in line["command"]
    assert sorted(line["inputs"]) == [
        *(f"{PACKS}/{pack}.safetensors" for pack in ("plain", "pseudo", "rotated")),
        "results/splits/tiny/all/general-m10/s0.csv",
    ]
    assert {"osad.methods.dpdl", "osad.learn.lightsb", "rule"} <= line["code"].keys()
    assert "osad.methods.dra" not in line["code"]
    assert line["env"]["device"] == "cpu"
    assert line["env"]["torch"] == "2.14.1"


def test_explain_names_every_image_without_torch_in_seconds(finished: Project) -> None:
    code = (
        "import sys; from osad.cli import main; "
        f"code = main(['audit', 'explain', '{CELL}', '--json']); "
        "assert 'torch' not in sys.modules and 'snakemake' not in sys.modules; sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=finished.root, env=finished.environment(),
        capture_output=True, text=True, timeout=5, check=True,
    )  # fmt: skip
    told = json.loads(result.stdout)
    images = told["images"]["s0"]
    counts = {role: len(found) for role, found in images.items()}
    # 13 + 14 anomalous; 10 are seen and 17 tested. 32 normal images in the proportion 3:1.
    assert counts == {"train_normal": 24, "train_anomaly": 10, "test": 25, "unused": 0}
    told_of = {digest for role in images.values() for digest in role.values()}
    photos = (finished.root / "photos").rglob("*.png")
    assert told_of == {sha256_file(path) for path in photos}
    row = finished.cell_rows()[CELL]
    assert told["number"]["auroc"] == row["auroc"]
    assert told["runs"][0]["metrics"]["auroc"] == float(row["auroc"])
    assert told["missing"] == [
        "git: this folder is no repository with a commit",
        "dvc.lock: is missing; run `osad audit save`",
    ]


def test_explain_as_text_and_of_a_mean(finished: Project) -> None:
    whole = audit(finished, "explain", CELL).check().output
    assert whole.startswith(f"{CELL}\n  AUROC   {finished.cell_rows()[CELL]['auroc']}\n")
    assert whole.count(".png\n") == 59
    short = audit(finished, "explain", CELL, "--depth", "2").check().output
    assert ".png" not in short
    assert "s0 train_anomaly: 10" in short
    mean = audit(finished, "explain", CELL.removesuffix("/s0"), "--depth", "1").check().output
    assert "over 2 seeds" in mean
    assert "s1: AUROC" in mean


def test_explain_refuses_what_is_no_cell(finished: Project) -> None:
    for name, fragment in [
        ("tiny/all/general-m10/dpdl/s7", "is not in the ledger; one that is: tiny/all/"),
        ("tiny/all", "expected DATASET/CATEGORY/PROTOCOL/METHOD/sSEED"),
    ]:
        outcome = audit(finished, "explain", name)
        assert outcome.code == 2
        outcome.refused(fragment)


# --- verify -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def victim(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the finished project for tests that put back what they change."""
    root = tmp_path_factory.mktemp("victim")
    yield finished.copy(root / "project")
    shutil.rmtree(root)


@pytest.fixture
def verify(victim: Project, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run ``osad audit verify`` in this process; give the exit code and both streams."""
    monkeypatch.chdir(victim.root)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["audit", "verify", *arguments])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


def test_verify_accepts_what_is_as_it_was_made(verify) -> None:
    code, out, _ = verify("--all")
    assert code == 0
    # 59 images in both counts.
    assert "verified everything in the ledger: " in out
    assert "(59 images" in out
    assert verify(CELL, "tiny/all/hard-dent-m1/dra")[0] == 0
    code, out, _ = verify("--sample", "3")
    assert code == 0
    assert out == verify("--sample", "3")[1]
    assert out != verify("--sample", "3", "--seed", "1")[1]


@pytest.mark.parametrize(
    "arguments", [[], ["--all", CELL], ["--sample", "0"], ["tiny/all/general-m10/none/s0"]]
)
def test_verify_refuses_wrong_usage(verify, arguments) -> None:
    code, _, err = verify(*arguments)
    assert code == 2
    assert "Traceback" not in err


def flip(content: bytes, place: float) -> bytes:
    """Return bytes with one bit of one byte changed."""
    index = min(int(place * len(content)), len(content) - 1)
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


ARTEFACTS = {
    "image": "data/raw/tiny/test/dent/003.png",
    "source": "data/raw/tiny/SOURCE.json",
    "manifest": "data/manifests/tiny.csv",
    "weights": "data/weights/efficientnet-lite0-57934424.pth",
    "split": "results/splits/tiny/all/general-m10/s0.csv",
    "features": f"{PACKS}/plain.safetensors",
    "checkpoint": f"results/checkpoints/{CELL}.safetensors",
    "scores": f"results/scores/{CELL}.csv",
    "metrics": f"results/metrics/{CELL}.json",
    "cells": "results/tables/cells.csv",
    "summary": "results/tables/summary.csv",
    "table": "results/tables/general.md",
    "ledger": LEDGER,
    "ledger of tables": "provenance/_shared.jsonl",
    "templates": "provenance/templates.json",
    "code": "src/osad/methods/dpdl.py",
    "published": "data/published/dpdl.csv",
    "lock": "requirements/numeric.lock",
}


@pytest.mark.parametrize("place", [0.0, 0.37, 0.71, 1.0])
@pytest.mark.parametrize("kind", ARTEFACTS)
def test_one_flipped_bit_is_noticed_and_the_file_named(victim, verify, kind, place) -> None:
    relative = ARTEFACTS[kind]
    path = victim.root / relative
    content = path.read_bytes()
    try:
        path.write_bytes(flip(content, place))
        code, _, err = verify("--all")
    finally:
        path.write_bytes(content)
    assert code == 1
    assert err.startswith(f"osad audit: {relative}: "), err[:500]


def replaced(content: str) -> Iterator[str]:
    """Yield texts in which one number is replaced by a plausible one."""
    for old, new in [("0.5", "0.6"), ("1.0", "0.9"), ("0.7", "0.8"), ("0.8", "0.9")]:
        if old in content:
            yield content.replace(old, new, 1)


@pytest.mark.parametrize("kind", ["scores", "metrics", "cells", "summary", "table", "ledger"])
def test_a_plausible_number_is_noticed(victim, verify, kind) -> None:
    path = victim.root / ARTEFACTS[kind]
    content = path.read_text(encoding="utf-8")
    changed = list(replaced(content))
    assert changed
    for text in changed:
        try:
            path.write_text(text, encoding="utf-8")
            code, _, err = verify("--all")
        finally:
            path.write_text(content, encoding="utf-8")
        assert code == 1
        assert err.startswith(f"osad audit: {ARTEFACTS[kind]}: ")


def test_a_cell_is_verified_without_regard_to_others(victim, verify) -> None:
    other = victim.root / "results/scores/tiny/all/general-m10/dra/s0.csv"
    content = other.read_bytes()
    try:
        other.write_bytes(flip(content, 0.5))
        assert verify(CELL)[0] == 0
        assert verify("tiny/all/general-m10/dra/s0")[0] == 1
    finally:
        other.write_bytes(content)


def test_a_missing_file_is_told_with_the_remedy(victim, verify) -> None:
    path = victim.root / f"results/scores/{CELL}.csv"
    content = path.read_bytes()
    path.unlink()
    try:
        code, _, err = verify(CELL)
    finally:
        path.write_bytes(content)
    assert code == 2
    assert f"results/scores/{CELL}.csv: is missing; get it with `dvc pull`" in err


def test_a_changed_parameter_is_told(victim, verify) -> None:
    text = (victim.root / "params.yaml").read_text(encoding="utf-8")
    changed = json.loads(json.dumps(PARAMS))
    changed["methods"]["dpdl"]["lr"] = 0.002
    try:
        victim.write_params(changed)
        code, _, err = verify(CELL)
        assert verify("tiny/all/general-m10/dra/s0")[0] == 0
    finally:
        (victim.root / "params.yaml").write_text(text, encoding="utf-8")
    assert code == 1
    assert "hyper.lr is 0.002, the ledger says 0.001" in err


# --- record -------------------------------------------------------------------------------


def test_record_writes_the_same_bytes_again(project: Project) -> None:
    before = project.outputs()
    assert "nothing new" in audit(project, "record").check().output
    shutil.rmtree(project.root / "provenance")
    audit(project, "record").check()
    assert project.outputs() == before


@pytest.mark.parametrize("path", ["results/tables/summary.csv", f"results/metrics/{CELL}.json"])
def test_record_does_not_vouch_for_an_edited_output(project: Project, path: str) -> None:
    before = project.outputs()
    file = project.root / path
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("0.5", "0.6", 1).replace("1.0", "0.9", 1), encoding="utf-8")
    outcome = audit(project, "record")
    assert outcome.code == 1
    outcome.refused(f"{path}: its bytes are not what its job wrote")
    assert path not in lines(project)
    # A run makes the tables again; it cannot know that metrics were edited, but refuses them.
    (project.root / "results/tables/hard.tex").unlink()
    if "/tables/" in path:
        project.snakemake().check()
        assert project.outputs() == before
    else:
        project.snakemake().refused(f"{path}: its bytes are not what its job wrote")


def test_record_leaves_out_what_a_change_has_made_stale(project: Project) -> None:
    changed = json.loads(json.dumps(PARAMS))
    changed["methods"]["devnet"]["lr"] = 0.5
    project.write_params(changed)
    output = audit(project, "record").check().output
    known = lines(project)
    assert not [path for path in known if "/devnet/" in path or "/tables/" in path]
    assert f"results/metrics/{CELL}.json" in known
    # Checkpoint, scores, maps and metrics of each cell, nine tables, a figure in three formats,
    # and of the page: two files a table cell, itself, and what is copied (the figure among it).
    of_cells = cells(methods=["devnet"])
    shown = (
        2 * len(of_cells) // len(SEEDS)
        + 2
        + len([*(ROOT / "src/osad/report/assets").iterdir()])
        + 1
    )
    assert f"{4 * len(of_cells) + 9 + 3 + shown} are out of date" in output
    outcome = audit(project, "save")
    assert outcome.code == 1
    outcome.refused("made with other parameters or code; run snakemake")
    assert not (project.root / "dvc.lock").exists()


def test_another_grid_has_a_ledger_of_its_own(project: Project) -> None:
    before = (project.root / LEDGER).read_bytes()
    small = {**PARAMS, "results": "results/other"}
    small["grid"] = {**PARAMS["grid"], "methods": ["constant"], "seeds": [0], "shots": [1]}
    (project.root / "configs/other.yaml").write_text(json.dumps(small), encoding="utf-8")
    project.snakemake("--configfile", "configs/other.yaml").check()
    assert (project.root / LEDGER).read_bytes() == before
    cell = "tiny/all/general-m1/constant/s0"
    arguments = ["explain", cell, "--configfile", "configs/other.yaml", "--depth", "2"]
    assert "results/other/scores" in audit(project, *arguments).check().output


# --- rebuild ------------------------------------------------------------------------------


@pytest.fixture
def repository(project: Project) -> Project:
    """A finished project in a git repository."""
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid")
    project.run("git", "init", "--quiet").check()
    project.run("git", "add", "--all").check()
    project.run("git", *identity, "commit", "--quiet", "--message", "A run").check()
    return project


def test_rebuild_gives_equal_bytes_and_only_what_the_cell_needs(repository: Project) -> None:
    outcome = audit(repository, "verify", CELL, "--rebuild").check()
    equal = {
        line.removeprefix("equal: ")
        for line in outcome.output.splitlines()
        if line.startswith("equal: ")
    }
    assert equal == {
        "data/raw/tiny/SOURCE.json",
        "data/manifests/tiny.csv",
        "data/weights/efficientnet-lite0-57934424.pth",
        "results/splits/tiny/all/general-m10/s0.csv",
        *(f"{PACKS}/{pack}.safetensors" for pack in ("plain", "pseudo", "rotated")),
        f"results/checkpoints/{CELL}.safetensors",
        "results/features/tiny/all/masks.safetensors",
        f"results/scores/{CELL}.csv",
        f"results/maps/{CELL}.safetensors",
        f"results/metrics/{CELL}.json",
    }
    assert outcome.output.count(": train ") == 1
    assert not list((repository.root / ".osad").glob("rebuild-*"))
    assert repository.run("git", "status", "--porcelain").check().output == ""


def test_rebuild_names_the_first_artefact_that_differs(repository: Project) -> None:
    cell = "tiny/all/general-m10/devnet/s1"
    changed = json.loads(json.dumps(PARAMS))
    changed["methods"]["devnet"]["lr"] = 0.002
    repository.write_params(changed)
    outcome = audit(repository, "verify", cell, "--rebuild")
    assert outcome.code == 1
    outcome.refused(
        "note: params.yaml: has uncommitted changes; the rebuild uses them",
        f"osad audit: results/checkpoints/{cell}.safetensors: differs from the ledger (rebuilt",
    )
    # The recorded commit still gives the number.
    commit = repository.run("git", "rev-parse", "HEAD").check().output.strip()
    audit(repository, "verify", cell, "--rebuild", "--commit", commit).check()


def test_verify_tells_of_uncommitted_sources(repository: Project) -> None:
    with (repository.root / "src/osad/methods/dra.py").open("a") as stream:
        stream.write("# edited\n")
    outcome = audit(repository, "verify", CELL).check()
    assert "note: src/osad/methods/dra.py: has uncommitted changes" in outcome.output
    outcome = audit(repository, "verify", "tiny/all/general-m10/dra/s0")
    assert outcome.code == 1
    assert "src/osad/methods/dra.py: differs from the code that made" in outcome.output
