"""What a verification, an explanation and a rebuild say of files that are not as they were."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import project_cases
import pytest
from project_cases import (
    CELLS,
    CHECKPOINT,
    METHOD,
    METRICS,
    NAME,
    PACK,
    RUN,
    SCORES,
    SHARING,
    SUMMARY,
    MadeUp,
)  # fmt: skip

from osad import cli
from osad.audit import local, render
from osad.audit.explain import explain
from osad.audit.graph import find
from osad.audit.verify import Findings, verify
from osad.core.cells import Cell
from osad.core.files import sha256_file
from osad.pipeline import rule

made = project_cases.made
MANIFEST, SPLIT, LOCK = "data/manifests/tiny.csv", project_cases.SPLIT, project_cases.LOCK
IMAGE = "data/raw/tiny/test/dent/1.png"


def verified(made: MadeUp, *names: str) -> Findings:
    return verify(made.rules, made.ledger, [find(made.ledger, name) for name in names] or None)


def test_what_is_as_it_was_made_is_accepted(made: MadeUp, capsys):
    lines, modules = len(made.ledger.entries), len(made.ledger.modules)
    everything = verified(made)
    assert (everything.differs, everything.missing, everything.notes) == ([], [], [])
    # The files of the project are the published numbers and the style.
    assert (everything.files, everything.images) == (lines + modules + 2 + 6, 6)
    assert cli.main(["audit", "verify", RUN, SHARING]) == 0
    assert capsys.readouterr().out.startswith(f"verified {RUN}, {SHARING}: ")


def test_a_cell_is_verified_without_regard_to_others(made: MadeUp):
    made.put(SCORES, "edited")
    made.put(IMAGE, "edited")
    Path(PACK).unlink()
    for cells, files in (((SHARING, f"{NAME}/s1"), [IMAGE]), ((RUN,), [IMAGE, SCORES])):
        findings = verified(made, *cells)
        assert [line.split(": ")[0] for line in findings.differs] == files
        assert findings.missing == [f"{PACK}: is missing; get it with `dvc pull` or run snakemake"]


def test_numbers_must_follow_from_the_scores_though_the_ledger_vouches_for_them(made: MadeUp):
    made.edit(CELLS, f"{RUN},0.75,", f"{RUN},0.7,")
    entry = made.ledger.entries[CELLS]
    made.ledger.entries[CELLS] = dataclasses.replace(entry, sha256=sha256_file(CELLS))
    message = f"{CELLS}: auroc of {RUN} is '0.7', the scores give 0.75"
    assert message in verified(made, RUN).differs


def test_metrics_without_a_line_must_follow_from_scores_that_have_one(made: MadeUp):
    """As after a run that found them edited, dropped their line and made the tables of them."""
    for path in (METRICS, CELLS, SUMMARY):
        made.ledger.entries.pop(path)
    made.edit(METRICS, '"auroc": 0.75', '"auroc": 0.7')
    assert f"{METRICS}: auroc is 0.7, the scores give 0.75" in verified(made).differs


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        (METHOD, "= 1", "= 2", f"{METHOD}: differs from the code that made the numbers"),
        (METHOD, "= 1", "= = 1", "src/osad/methods/devnet.py, line 1: invalid syntax"),
        (LOCK, "numpy==", "numpy>=", f"{LOCK}: differs from that which made the numbers"),
        ("params.yaml", "epochs: 3", "epochs: 4",
         f"{SCORES} was made with other parameters: hyper.epochs is 4, the ledger says 3"),
        ("params.yaml", "devnet, patchcore", "devnet",
         f"params.yaml: results/metrics/{SHARING}.json is not in its grid any more; run snakemake"),
    ],
)  # fmt: skip
def test_what_decides_a_number_is_compared(made: MadeUp, path, old, new, message):
    made.edit(path, old, new)
    assert message in "\n".join(verified(made).differs)


def test_other_code_commands_and_comments_are_told_apart(made: MadeUp, monkeypatch, capsys):
    made.edit(METHOD, "# of learning", "# of forgetting")
    made.put(LOCK, Path(LOCK).read_text() + "# a comment\n")
    made.put("src/osad/core/errors.py", "NEW = 1\n")
    assert cli.main(["audit", "verify", RUN]) == 0
    note = f"note: {METHOD}: only its comments, texts or layout have changed"
    assert note in capsys.readouterr().err.splitlines()
    Path(METHOD).unlink()
    other = verified(made, SHARING)  # It has another method.
    assert (other.differs, other.notes) == ([], [])
    monkeypatch.setattr(rule, "FAILURES", "elsewhere")
    command = "src/osad/pipeline/rules.py: the shell command of rule run differs from that which"
    assert any(line.startswith(command) for line in verified(made, SHARING).differs)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda m: shutil.rmtree(".git"), "git: this folder is no repository with a commit, so"),
        (lambda m: m.forget(CHECKPOINT), f"{CHECKPOINT}: has no line in the ledger, so"),
        (lambda m: m.forget(METRICS), f"{METRICS}: has no line in the ledger, so"),
        (lambda m: m.forget(SUMMARY), f"{SUMMARY}: has no line in the ledger, so"),
        (lambda m: m.vouch(SUMMARY, "cell,auroc_mean\n"), f"{SUMMARY}: has no row of {NAME}"),
        (lambda m: m.vouch(CELLS, "x\n"), f"{CELLS}: has no row of {RUN}"),
        (lambda m: m.vouch(METRICS, "[]"), f"the numbers of {RUN} cannot be checked: {METRICS}"),
    ],
)
@pytest.mark.parametrize("what", ["--all", NAME])
def test_what_cannot_be_checked_is_told_and_fails_if_asked(made, change, note, what, capsys):
    assert cli.main(["audit", "verify", what, "--strict"]) == 0
    assert capsys.readouterr().err == ""
    change(made)
    code = cli.main(["audit", "verify", what])
    told = capsys.readouterr().err.splitlines()
    assert code == 0 or any(line.startswith("osad audit: ") for line in told)
    assert any(line.startswith(f"note: {note}") for line in told)
    assert cli.main(["audit", "verify", what, "--strict"]) != 0
    if code == 0:
        assert "osad audit: --strict: " in capsys.readouterr().err


# --- explanations -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [METRICS, CELLS, MANIFEST, SPLIT])
def test_explain_says_which_file_it_reads_is_edited(made: MadeUp, path):
    made.put(path, Path(path).read_text() + "\n")
    missing = explain(made.rules, made.ledger, find(made.ledger, RUN))["missing"]
    assert missing == [f"{path}: differs from the ledger; run `osad audit verify`"]


def test_no_variable_makes_another_repository_speak(made: MadeUp, tmp_path, monkeypatch):
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    target = find(made.ledger, RUN)
    own = explain(made.rules, made.ledger, target)["git"]
    assert (len(own["commit"]), own["changes"]) == (40, [])
    for name in ("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert explain(made.rules, made.ledger, target)["git"] == own


@pytest.mark.parametrize("text", ["[]", "stages: [1]", "stages: {a: {outs: [b]}}", "a: [", "\0"])
def test_a_damaged_dvc_lock_is_said_to_be_missing(made: MadeUp, text):
    made.put("dvc.lock", text)
    value = explain(made.rules, made.ledger, find(made.ledger, RUN))
    assert value["dvc"] == {}
    assert [line[:9] for line in value["missing"]] == ["dvc.lock:"]


TABLES = [(CELLS, RUN, "auroc"), (SUMMARY, NAME, "n_seeds")]


@pytest.mark.parametrize(("path", "name", "column"), TABLES)
def test_a_table_without_a_column_is_said_to_be_missing(made: MadeUp, path, name, column, capsys):
    made.edit(path, column, "x")
    assert cli.main(["audit", "explain", name]) == 0
    assert f"{path}: column {column!r} is missing; restore the file" in capsys.readouterr().out


def test_explain_says_what_has_no_line(made: MadeUp):
    made.forget(CELLS)
    value = explain(made.rules, made.ledger, find(made.ledger, RUN))
    assert value["missing"] == [f"{CELLS}: has no line in the ledger, so it cannot be checked"]


def test_explain_names_the_run_that_a_cell_is_made_of(made: MadeUp):
    value = explain(made.rules, made.ledger, find(made.ledger, SHARING))
    assert value["missing"] == []
    (run,) = value["runs"]
    assert run["run"] == run["params"]["cell"] == project_cases.SHARED
    assert run["checkpoint"] == f"results/checkpoints/{run['run']}.safetensors"
    assert run["split"] == SPLIT
    assert {len(images) for images in value["images"]["s0"].values()} == {2, 0, 4}
    assert value["code"]["osad.methods.patchcore"] == sha256_file("src/osad/methods/patchcore.py")
    text = render.text(value)
    assert "  AUROC   0.75\n" in text
    assert "  s0: AUROC 0.75, trained on" in text
    run["metrics"]["auroc"] = None  # As without anomalous test images.
    assert "  s0: AUROC n/a, trained on" in render.text(value)
    assert f"{sha256_file(IMAGE)}  {IMAGE}" in text
    assert value["git"]["introduced_by"][SHARING].endswith(" 2024-02-03 made up")


# --- rebuilds ---------------------------------------------------------------------------------


def test_a_file_here_that_nothing_vouches_for_is_named(made: MadeUp, tmp_path):
    entries = [made.ledger.entries[METRICS]]
    other = tmp_path / "rebuilt"

    def found() -> list[str]:
        messages = local.edited(made.root, other, made.ledger, entries)
        return [message.split(": ")[0] for message in messages]

    assert found() == []
    made.put(METRICS, "{}\n")
    made.put(SUMMARY, "cell,auroc_mean\n")
    assert found() == [METRICS, SUMMARY]
    (other / METRICS).parent.mkdir(parents=True)  # As rebuilt: told as a rebuild that differs.
    (other / METRICS).write_text("{}\n", encoding="utf-8")
    Path(SUMMARY).unlink()
    assert found() == []


@pytest.mark.parametrize(
    ("auroc", "mean", "named"),
    [("0.75", "0.625", []), ("0.76", "0.625", [CELLS]), ("0.75", "0.63", [SUMMARY])],
)
def test_rows_are_compared_with_the_rebuilt_numbers(made: MadeUp, tmp_path, auroc, mean, named):
    other = tmp_path / "rebuilt" / METRICS
    other.parent.mkdir(parents=True)
    other.write_bytes(Path(METRICS).read_bytes())
    made.edit(CELLS, ",0.75,", f",{auroc},")
    made.edit(SUMMARY, "0.625", mean)
    where = (made.root, tmp_path / "rebuilt", made.ledger, [Cell.parse(RUN)])
    assert [message.split(": ")[0] for message in local.misprinted(*where, 0.0)] == named
    # On another kind of device, the bytes of the metrics differ and rates agree nearly.
    other.write_text(json.dumps(json.loads(other.read_text()), indent=3), encoding="utf-8")
    assert local.misprinted(*where, 0.02) == []
