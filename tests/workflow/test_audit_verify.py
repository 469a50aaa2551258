"""What a verification notices: any artefact with one wrong bit or one wrong number."""
# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import io
import json
import re
import shutil
import tokenize
from collections.abc import Callable, Iterator

import pytest
from auditing import CELL, LEDGER, PACKS, audit, flip, nudged, replaced, vouched_for, with_fields
from projects import PARAMS, Project

import osad
from osad.cli import main
from osad.pipeline import fingerprint

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

LISTING = "provenance/SHA256SUMS"
RULES = "src/osad/pipeline/rules.py"
MEAN = CELL.removesuffix("/s0")
OTHER = "tiny/all/general-m10/dra/s0"


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
    # The package that runs has the sources of the project's.
    monkeypatch.setattr(osad, "__file__", str(victim.root / "src/osad/__init__.py"))

    def run(*arguments: str) -> tuple[int, str, str]:
        # A user's process has read no file before; no other module remembers what is in files.
        for function in vars(fingerprint).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
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


ARTEFACTS = {
    "image": "data/raw/tiny/test/dent/003.png",
    "source": "data/raw/tiny/SOURCE.json",
    "manifest": "data/manifests/tiny.csv",
    "weights": "data/weights/efficientnet-lite0-57934424.pth",
    "split": "results/splits/tiny/all/general-m10/s0.csv",
    "features": f"{PACKS}/plain.safetensors",
    "rotated features": f"{PACKS}/rotated.safetensors",
    "pixels": "results/features/tiny/all/pixels.safetensors",
    "masks": "results/features/tiny/all/masks.safetensors",
    "checkpoint": f"results/checkpoints/{CELL}.safetensors",
    "scores": f"results/scores/{CELL}.csv",
    "maps": f"results/maps/{CELL}.safetensors",
    "metrics": f"results/metrics/{CELL}.json",
    "cells": "results/tables/cells.csv",
    "comparison": "results/tables/comparison.csv",
    "summary": "results/tables/summary.csv",
    "metrics of DVC": "results/tables/metrics.json",
    "table": "results/tables/general.md",
    "table in LaTeX": "results/tables/general.tex",
    "figure": "results/figures/methods.png",
    "page": "results/report/index.html",
    "ledger": LEDGER,
    "ledger of tables": "provenance/_shared.jsonl",
    "commands": "provenance/commands.json",
    "digests of code": "provenance/code.json",
    "listing": LISTING,
    "published": "data/published/dpdl.csv",
}
CODE, LOCK = "src/osad/methods/dpdl/method.py", "requirements/numeric.lock"
PLACES = [0.0, 0.37, 0.71, 1.0]
TWO_OF_EACH = [
    (kind, PLACES[(number + more) % 4]) for number, kind in enumerate(ARTEFACTS) for more in (0, 2)
]


@pytest.mark.parametrize(("kind", "place"), TWO_OF_EACH)
def test_one_flipped_bit_is_noticed_and_the_file_named(victim, verify, kind, place) -> None:
    path = victim.root / ARTEFACTS[kind]
    with replaced(path, flip(path.read_bytes(), place)):
        code, _, err = verify("--all")
    assert code == 1
    assert err.startswith(f"osad audit: {ARTEFACTS[kind]}: "), err[:500]


def flip_a_token(content: bytes, place: float) -> bytes:
    """Return code with one bit of a number or name changed, which is neither comment nor text."""
    tokens = [
        token
        for token in tokenize.tokenize(io.BytesIO(content).readline)
        if token.type in (tokenize.NUMBER, tokenize.NAME)
    ]
    row, column = tokens[min(int(place * len(tokens)), len(tokens) - 1)].start
    start = sum(map(len, content.splitlines(keepends=True)[: row - 1])) + column
    return content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_bit_of_code_is_noticed_by_a_process_that_imports_it(victim, place) -> None:
    """A method's file is imported for its hyper-parameters, which a flipped bit can prevent."""
    path = victim.root / CODE
    with replaced(path, flip_a_token(path.read_bytes(), place)):
        # Bytecode is known by size and second: what this run wrote could hide the next change.
        outcome = audit(victim, "verify", CELL, PYTHONDONTWRITEBYTECODE="1")
    assert outcome.code == 1
    outcome.refused(f"osad audit: {CODE}")


def test_another_comment_is_a_note(victim, verify) -> None:
    path = victim.root / CODE
    with replaced(path, path.read_bytes() + b"# A comment.\n"):
        code, _, err = verify(CELL)
    assert code == 0
    assert f"note: {CODE}: only its comments, texts or layout have changed" in err


def test_another_version_of_a_package_is_told(victim, verify) -> None:
    path = victim.root / LOCK
    with replaced(path, re.sub(rb"(?m)^scipy==\S+", b"scipy==1.0.0", path.read_bytes())):
        code, _, err = verify(CELL)
    assert code == 2  # The package installed is another one: nothing can be computed here.
    assert "numeric.lock: scipy must be ==1.0.0" in err


@pytest.mark.parametrize(
    ("pattern", "new", "told"),
    [
        (
            rb"^.",
            lambda old: b"1" if old[0] == b"0" else b"0",
            "the line of _shared.jsonl was edited",
        ),
        (rb"  tiny", rb"  tidy", "the line of tidy.jsonl was edited"),
        (rb"  tiny", rb" tiny", "is no list of digests"),
        (rb"\n$", rb"", "is no list of digests"),
    ],
)
def test_an_edited_listing_is_told_from_an_edited_ledger(
    victim, verify, pattern, new, told
) -> None:
    path = victim.root / LISTING
    with replaced(path, re.sub(pattern, new, path.read_bytes(), count=1)):
        found = verify("--all")
    remedy = f"restore it with `git checkout {LISTING}`"
    assert found == (1, "", f"osad audit: {LISTING}: {told}; {remedy}\n")


def numbers_replaced(content: str) -> Iterator[str]:
    """Yield texts in which one number is replaced by a plausible one."""
    for old, new in [("0.5", "0.6"), ("1.0", "0.9"), ("0.7", "0.8"), ("0.8", "0.9")]:
        if old in content:
            yield content.replace(old, new, 1)


@pytest.mark.parametrize(
    "kind",
    [
        "scores", "metrics", "cells", "summary", "metrics of DVC", "table", "table in LaTeX",
        "ledger",
    ],
)  # fmt: skip
def test_a_plausible_number_is_noticed(victim, verify, kind) -> None:
    path = victim.root / ARTEFACTS[kind]
    changed = list(numbers_replaced(path.read_text(encoding="utf-8")))
    assert changed
    for text in changed:
        with replaced(path, text):
            code, _, err = verify("--all")
        assert code == 1
        assert err.startswith(f"osad audit: {ARTEFACTS[kind]}: ")


NORMAL = {"label": "0", "class": "good"}
EDITS: dict[str, tuple[str, Callable[[str], str]]] = {
    "auroc": ("cells", lambda text: with_fields(text, f",{CELL},", {"auroc": nudged})),
    "precision": (
        "cells",
        lambda text: with_fields(text, f",{CELL},", {"average_precision": nudged}),
    ),
    "another's auroc": ("cells", lambda text: with_fields(text, f",{OTHER},", {"auroc": nudged})),
    "mean": ("summary", lambda text: with_fields(text, MEAN, {"auroc_mean": nudged})),
    "deviation": ("summary", lambda text: with_fields(text, MEAN, {"auroc_std": nudged})),
    "score": ("scores", lambda text: with_fields(text, ",dent,", {"score": nudged})),
    "label of a score": ("scores", lambda text: with_fields(text, ",dent,", NORMAL)),
    "metric": (
        "metrics",
        lambda text: re.sub(r'(?<="auroc": )[0-9.]+', lambda found: nudged(found[0]), text),
    ),
    "class": ("manifest", lambda text: with_fields(text, ",dent,", {"class": "scratch"})),
    "label": ("manifest", lambda text: with_fields(text, ",dent,", NORMAL)),
    "role": ("split", lambda text: with_fields(text, ",test,1,", {"role": "train_anomaly"})),
    "label in a split": ("split", lambda text: with_fields(text, ",test,1,", NORMAL)),
    "row": ("split", lambda text: re.sub(r"^.+,test,1,.+\n", "", text, count=1, flags=re.M)),
}  # fmt: skip
"""Kind of file and what a person might write into it, by what it says of a cell."""


@pytest.mark.parametrize("edit", EDITS)
def test_a_plausible_value_is_noticed_for_a_cell_and_for_all(victim, verify, edit) -> None:
    kind, change = EDITS[edit]
    path = victim.root / ARTEFACTS[kind]
    with replaced(path, change(path.read_text(encoding="utf-8"))):
        found = [verify(CELL), verify("--all")]
    for code, out, err in found:
        assert (code, out) == (1, "")
        assert err.startswith(f"osad audit: {ARTEFACTS[kind]}: differs from the ledger (")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("auroc", f"auroc of {CELL} is '"),
        ("precision", f"average_precision of {CELL} is '"),
        ("mean", f"auroc_mean of {MEAN} is '"),
        ("metric", "auroc is "),
    ],
)
def test_a_number_that_the_ledger_vouches_for_must_follow_from_the_scores(
    victim, verify, edit, told
) -> None:
    kind, change = EDITS[edit]
    relative = ARTEFACTS[kind]
    text = (victim.root / relative).read_text(encoding="utf-8")
    with vouched_for(victim.root, relative, change(text)):
        found = [verify(CELL), verify("--all")]
    for code, _, err in found:
        assert code == 1
        assert err.startswith(f"osad audit: {relative}: {told}"), err[:500]


def test_another_shell_command_is_told(victim, verify) -> None:
    path = victim.root / "src/osad/pipeline/rule.py"
    text = path.read_text(encoding="utf-8")
    edited = text.replace('"python -m osad.runtime.job', '"python -O -m osad.runtime.job')
    with replaced(path, edited):
        outcome = audit(victim, "verify", CELL, PYTHONDONTWRITEBYTECODE="1")
    assert outcome.code == 1
    outcome.refused(f"osad audit: {RULES}: the shell command of rule fetch differs")


def test_a_cell_is_verified_without_regard_to_others(victim, verify) -> None:
    other = victim.root / f"results/scores/{OTHER}.csv"
    with replaced(other, flip(other.read_bytes(), 0.5)):
        assert verify(CELL)[0] == 0
        assert verify(OTHER)[0] == 1


def test_a_missing_file_is_told_with_the_remedy(victim, verify) -> None:
    with victim.without(f"results/scores/{CELL}.csv"):
        code, _, err = verify(CELL)
    assert code == 2
    assert f"results/scores/{CELL}.csv: is missing; get it with `dvc pull`" in err


def test_without_any_image_ten_are_named_and_the_rest_counted(victim, verify) -> None:
    with victim.without("data/raw/tiny/test"):
        code, _, err = verify(CELL)
    assert code == 2
    lines = err.splitlines()
    assert sum("is missing; get it with `dvc pull`" in line for line in lines) == 10
    # 35 test images are gone.
    assert "25 more files are missing" in lines


def test_a_changed_parameter_is_told(victim, verify) -> None:
    changed = json.loads(json.dumps(PARAMS))
    changed["methods"]["dpdl"]["lr"] = 0.002
    with replaced(victim.root / "params.yaml", json.dumps(changed)):
        code, _, err = verify(CELL)
        assert verify(OTHER)[0] == 0
    assert code == 1
    assert "hyper.lr is 0.002, the ledger says 0.0003" in err
