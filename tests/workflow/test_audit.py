"""The ledger that a run writes, and what is explained from it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from auditing import CELL, LEDGER, PACKS, audit, lines
from projects import PARAMS, ROOT, SEEDS, Project, cells

from osad.core.files import sha256_file

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


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
    assert line["rule"] == "run"
    assert line["params"]["hyper"]["prototypes"] == 4
    assert line["params"]["cell"] == CELL
    commands = json.loads((finished.root / "provenance/commands.json").read_text(encoding="utf-8"))
    command = commands[line["command"]]
    assert command.startswith("python -m osad.runtime.job run --split {input.split:q} ")
    assert hashlib.sha256(command.encode()).hexdigest() == line["command"]
    assert sorted(line["inputs"]) == [
        *(f"{PACKS}/{pack}.safetensors" for pack in ("plain", "pseudo", "rotated")),
        "results/splits/tiny/all/general-m10/s0.csv",
    ]
    code = json.loads((finished.root / "provenance/code.json").read_text(encoding="utf-8"))
    modules = code["closures"][line["code"]]
    assert {"osad.methods.dpdl.method", "osad.methods.dpdl.bridge"} <= set(modules)
    assert "osad.methods.dra" not in modules
    for name in modules:
        path = finished.root / "src" / Path(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert code["modules"][name][0] == sha256_file(path)
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
        # Or the scores contradict them before that.
        outcome = project.snakemake()
        assert outcome.code
        reasons = (f"{path}: its bytes are not what its job wrote", "does not give the AUROC of")
        assert any(reason in outcome.output for reason in reasons)


def test_record_leaves_out_what_a_change_has_made_stale(project: Project) -> None:
    changed = json.loads(json.dumps(PARAMS))
    changed["methods"]["devnet"]["lr"] = 0.5
    project.write_params(changed)
    output = audit(project, "record").check().output
    known = lines(project)
    assert not [path for path in known if "/devnet/" in path or "/tables/" in path]
    assert f"results/metrics/{CELL}.json" in known
    # Checkpoint, scores, maps and metrics of each cell, eleven tables, a figure in three formats,
    # and of the page: two files a table cell, itself, and what is copied (the figure among it).
    of_cells = cells(methods=["devnet"])
    shown = (
        2 * len(of_cells) // len(SEEDS)
        + 2
        + len([*(ROOT / "src/osad/report/assets").iterdir()])
        + 1
    )
    assert f"{4 * len(of_cells) + 11 + 3 + shown} are out of date" in output
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
