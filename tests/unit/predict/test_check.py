"""What a prediction is made with, and what is refused before anything is computed."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from project_cases import LOCK, PACK, SHARED, SHARING, WEIGHTS, MadeUp

from osad import cli
from osad.audit import ledger
from osad.backbones import get_backbone
from osad.core.errors import CheckError, DataError
from osad.core.files import sha256_file
from osad.methods import registry
from osad.pipeline.describe import feature_options
from osad.predict import step
from osad.predict.check import Tools, find_tools, parse_cell

CHECKPOINT = f"results/checkpoints/{SHARED}.safetensors"
SPLIT = "results/splits/tiny/all/normal-m0/s0.csv"
SCORES = f"results/scores/{SHARED}.csv"
MAPS = f"results/maps/{SHARED}.safetensors"
FILES = [CHECKPOINT, WEIGHTS, SPLIT, MAPS]
CODE = "src/osad/methods/patchcore.py"


@pytest.fixture
def made(tmp_path, monkeypatch) -> MadeUp:
    """A project of which a prediction needs no feature pack."""
    project = MadeUp(tmp_path / "made-up")
    project.enter(monkeypatch)
    Path(PACK).unlink()
    return project


def tools_of(made: MadeUp, cell: str = SHARED) -> Tools:
    return find_tools(made.rules, parse_cell(cell, made.rules.grid))


@pytest.mark.parametrize("cell", [SHARED, SHARING])
def test_a_run_that_agrees_with_the_ledger_serves_all_its_cells(made, cell):
    tools = tools_of(made, cell)
    assert (tools.verified, tools.notes) == (True, ())
    assert [str(path) for path in tools.files()] == FILES
    arguments = tools.arguments()
    assert arguments[:4] == ["--cell", cell, "--trained", SHARED]
    hyper = dict(made.rules.grid.params.hyper["patchcore"])
    assert json.loads(arguments[5]) == json.loads(json.dumps(hyper))
    assert arguments[arguments.index("--verified") + 1] == "yes"


@pytest.mark.parametrize("path", FILES)
def test_a_file_must_be_that_of_the_ledger_or_unknown_to_it(made, path):
    known = dict(made.ledger.entries)
    del known[path]
    ledger.write(Path("provenance"), dataclasses.replace(made.ledger, entries=known))
    tools = tools_of(made)
    unknown = [f"provenance has no line for {path}, so it cannot be checked"]
    if path == CHECKPOINT:
        unknown.append("the run's code and versions are not known, so they cannot be checked")
    assert (list(tools.notes), tools.verified) == (unknown, False)
    arguments = tools.arguments()
    assert json.loads(arguments[arguments.index("--notes") + 1]) == unknown
    ledger.write(Path("provenance"), made.ledger)
    Path(path).write_bytes(Path(path).read_bytes() + b" ")
    with pytest.raises(CheckError, match=f"^{path}: differs from the ledger"):
        tools_of(made)
    made.edit("provenance/tiny.jsonl", '"size":', '"size":1')
    with pytest.raises(CheckError, match=r"tiny\.jsonl"):
        tools_of(made)


@pytest.mark.parametrize("path", [*FILES, "provenance/SHA256SUMS", "features"])
def test_strict_scores_nothing_where_something_cannot_be_checked(made, path, monkeypatch, capsys):
    started = []
    monkeypatch.setattr("os.execv", lambda *_: started.append(path))
    command = ["predict", SHARED, "in", "--output", "out", "--strict"]
    assert (cli.main(command), started) == (0, [path])
    if path == "features":  # As of an older checkpoint.
        made.edit(CHECKPOINT, "features", "featured")
    known = {} if path.startswith("provenance") else dict(made.ledger.entries)
    known.pop(path, None)
    if path == "features":
        known[CHECKPOINT] = dataclasses.replace(known[CHECKPOINT], sha256=sha256_file(CHECKPOINT))
    ledger.write(Path("provenance"), dataclasses.replace(made.ledger, entries=known))
    assert (cli.main(command), started) == (1, [path])
    *notes, last = capsys.readouterr().err.splitlines()
    assert notes[0].startswith("note: ")
    assert last.startswith("osad predict: --strict: " + notes[0].removeprefix("note: "))
    assert cli.main(command[:-1]) == 0
    assert len(started) == 2


def test_missing_files_are_named(made):
    Path(SPLIT).unlink()
    Path(MAPS).unlink()
    tools = tools_of(made)
    assert (tools.split, tools.maps) == (None, None)
    assert [note[:28] for note in tools.notes] == [
        "the run's split is not there", "the run's maps are not there",
    ]  # fmt: skip
    Path(WEIGHTS).unlink()
    with pytest.raises(DataError, match=f"^{WEIGHTS}: is missing; make it with"):
        tools_of(made)
    Path(CHECKPOINT).unlink()
    with pytest.raises(DataError, match=f"is not trained here; run snakemake {CHECKPOINT}"):
        tools_of(made)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny/all/normal-m0/patchcore"], "a mean over runs, whose scores have no common scale"),
        (["tiny/all/normal-m0/true_labels/s0"], "true_labels scores an image by its label"),
        (["tiny/all/normal-m0/patchcor/s0"], "'patchcor' is unknown; did you mean 'patchcore'"),
        (["tiny/patchcore"], "expected DATASET/CATEGORY"),
        (["../../etc/passwd/s0"], "expected DATASET/CATEGORY"),
        (["tiny/all/normal-m0/patchcore/s7"], "is not trained here"),
        ([SHARED, "--cores", "0"], "--cores must lie in 1 to 1024"),
        ([SHARED, "--threshold", "fpr=2"], "--threshold 'fpr=2': expected fpr=RATE"),
        ([SHARED, "--labelled", "in"], "--labelled: is for a threshold; say which"),
        ([SHARED, "--configfile", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_the_command_refuses_with_one_line(made, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("the job must not start"))
    cell, *options = arguments
    assert cli.main(["predict", cell, "in", "--output", "out", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("osad predict: ")


def test_the_command_becomes_the_job(made, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda path, words: started.append((path, words)))
    cli.main(["predict", "--output=out", "--gpu=1", "--cores=3", "--", SHARING, "in", "-b.png"])
    ((program, words),) = started
    assert program == words[0] == sys.executable
    assert words[1:4] == ["-m", "osad.runtime.job", "predict"]
    options = step.parse(words[4:])
    assert (options.cell, options.gpu, options.cores) == (SHARING, 1, 3)
    assert options.images == [Path("in"), Path("./-b.png")]
    grid = made.rules.grid
    features = grid.params.features
    assert json.loads(options.features) == [feature_options("plain", features, features.first)]
    assert options.weights == [Path(WEIGHTS)]
    assert (options.verified, str(options.split)) == ("yes", SPLIT)


@pytest.mark.parametrize("rule", ["best-f1", "-1e-3"])
def test_a_threshold_takes_the_scores_of_the_run_to_the_job(made, rule, monkeypatch, capsys):
    started = []
    monkeypatch.setattr("os.execv", lambda path, words: started.append(step.parse(words[4:])))
    command = ["predict", SHARING, "in", "--output=out", f"--threshold={rule}"]
    assert cli.main(command) == 0
    assert cli.main([*command, "--labelled=mine"]) == 0
    own, labelled = started
    assert (own.threshold, str(own.scores), own.labelled) == (rule, SCORES, None)
    assert (labelled.scores, labelled.labelled) == (None, Path("mine"))
    assert capsys.readouterr().err == ""
    Path(SCORES).write_text("edited")
    assert cli.main(command) == 1
    assert f"{SCORES}: differs from the ledger" in capsys.readouterr().err
    Path(SCORES).unlink()
    assert cli.main(command) == 0
    assert "note: the run's scores are not there" in capsys.readouterr().err
    assert (started[2].scores, started[2].verified) == (None, "yes")


def test_each_network_that_scoring_reads_is_told_and_its_weights_are_needed(made, monkeypatch):
    spec = dataclasses.replace(registry.registered("patchcore"), packs=("plain", "pooled"))
    monkeypatch.setitem(registry._specs["patchcore"], "patchcore", spec)
    lite = "{backbone: tf_efficientnet_lite%s, image_size: %s}"
    further = f"further: [{lite % (1, 96)}, {lite % (0, 32)}]"
    made.edit("params.yaml", "weights_file: null", f"weights_file: null, {further}")
    other = f"data/weights/{get_backbone('tf_efficientnet_lite1').file}"
    with pytest.raises(DataError, match=f"^{other}: is missing; make it with"):
        tools_of(made)
    made.put(other, "weights")
    tools = tools_of(made)
    assert tools.weights == (Path(WEIGHTS), Path(other))
    assert tools.notes[0] == f"provenance has no line for {other}, so it cannot be checked"
    assert not tools.verified
    options = step.parse([*tools.arguments(), "--output", "out", "--images", "in"])
    assert options.weights == [Path(WEIGHTS), Path(other)]
    told = [text.split()[1:8:2] for text in json.loads(options.features)]
    assert told == [
        ["plain", "tf_efficientnet_lite0", WEIGHTS, "64"],
        ["pooled", "tf_efficientnet_lite0", WEIGHTS, "64"],
        ["pooled", "tf_efficientnet_lite1", other, "96"],
        ["pooled", "tf_efficientnet_lite0", WEIGHTS, "32"],
    ]


def test_code_of_features_that_changed_since_the_run_is_said(made):
    made.put("src/osad/pipeline/steps/features.py", "EDITED = 1\n")
    (note,) = tools_of(made).notes
    assert note.startswith(
        "the code has changed since the run (osad.pipeline.steps.features; 1 modul"
    )


def test_code_and_versions_that_changed_since_the_run_are_said(made):
    made.put(CODE, "# A comment.\n")
    assert tools_of(made).notes == ()
    made.put(CODE, "EDITED = 1\n")
    assert [note[:67] for note in tools_of(made).notes] == [
        "the code has changed since the run (osad.methods.patchcore; 1 modul"
    ]
    Path(CODE).write_text("def :\n")
    Path("src/osad/pipeline/steps/run.py").unlink()
    made.edit(LOCK, "numpy==", "numpy>=")
    tools = tools_of(made)
    assert tools.verified
    assert [note.partition(" changed")[0] for note in tools.notes] == [
        "the code has", "the lock file has",
    ]  # fmt: skip
    assert "; 2 modules)" in tools.notes[0]
