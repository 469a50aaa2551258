"""Made-up texts: ids, rules, labels of data sets, names of files, citations, lock files."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz_cases import ODD, damaged, tried

from osad.core.cells import Cell
from osad.data.layouts import folder
from osad.data.manifest import path_problem
from osad.data.sets import elpv, headct, optical, visa
from osad.history import cite
from osad.pipeline import lockfile
from osad.predict import decision, threshold
from osad.predict.images import Found

pytestmark = pytest.mark.fuzz
WORDS = ["", "good", "Good", "dent", "big dent", "masks", "ok", "ground_truth", "test", "train",
         "a.png", "A.PNG", "a_mask.png", "a.jpg", ".a.png", "x.txt", "é.png", "e\u0301.png", "..",
         *(odd[:300] for odd in ODD)]  # fmt: skip
SHA = "0" * 64


def lines_of(lines: list[str], draw: random.Random) -> str:
    """Return lines of a table, damaged."""
    text = damaged("\n".join(lines).encode(), draw).decode(errors="replace")
    return text if draw.randrange(2) else text.replace("\n", "\r\n")


def read_elpv(draw: random.Random) -> None:
    lines = ["images/cell0001.png  0.0   mono", "images/cell0002.png 1.0 poly"] * (elpv.CELLS // 2)
    lines[draw.randrange(9)] = lines_of(lines[:1], draw)
    elpv.parse_labels("\n".join(lines), "labels.csv")


def read_visa(draw: random.Random, root: Path) -> None:
    row = "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/000.png"
    rows = ["object,split,label,image,mask", row, row.replace("000", "001")]
    (root / visa.SPLIT).parent.mkdir(exist_ok=True)
    (root / visa.SPLIT).write_bytes(damaged("\n".join(rows).encode(), draw))
    visa.plan(root, ["candle"])


def plain(path: str) -> bool:
    """Tell whether a path is one that `list_files` gives."""
    return path_problem(path) is None


def arranged(draw: random.Random) -> None:
    paths = ["train/good/a.png", "test/dent/a.png"][: draw.randrange(4)]
    for _ in range(draw.randrange(5)):
        paths.append("/".join(draw.choice(WORDS) for _ in range(draw.randint(1, 4))))
    found = folder.arrange(filter(plain, paths), ["ok"], where="table")
    assert {*found.images}.isdisjoint(found.skipped)
    assert {split for split, _ in found.images.values()} <= {"train", "test"}


def labelled(draw: random.Random) -> None:
    paths = ["/".join(draw.choice(WORDS) for _ in range(draw.randint(1, 3))) for _ in range(4)]
    images = [Found(f"mine/{path}", str(draw.randrange(3))) for path in filter(plain, paths)]
    found = decision.labels_of(images, Path("mine"), [], [])
    assert {*found.values()} <= {0, 1}


def decided(draw: random.Random) -> None:
    rules = ["fpr=0.1", "fpr=0.5", "best-f1", "2.5", "-1e3", "fpr=1e-300", *ODD]
    rule = draw.choice(rules) + draw.choice(["", "", "", *ODD])
    scores = [draw.choice([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324]) for _ in range(9)]
    point = threshold.point(rule, scores[: draw.randrange(9)], scores[draw.randrange(9) :])
    number = rule.removeprefix("fpr=")
    assert rule == threshold.BEST_F1 or re.fullmatch(r"[-+0-9.eE]+", number), rule
    assert point.threshold == point.threshold


def cited(draw: random.Random) -> None:
    text = draw.choice([
        "A. Author, B. C. Other: A title. Venue 2024. doi:10.1/x", "Ding et al., CVPR 2022",
        "A. Author: {T} \\\\x. 2019", "Work (arXiv 2401.01234)", *ODD,
    ])  # fmt: skip
    text = damaged(text.encode(errors="replace") or b"x", draw).decode(errors="replace")
    made = cite.entry("key", text, draw.choice([cite.CITED, cite.PAPER, None]), note=text)
    depth = 0
    for number, letter in enumerate(made):
        depth += (letter == "{") - (letter == "}")
        assert depth > 0 or number in (*range(5), len(made) - 1)
    assert depth == 0
    assert [line for line in made.split("\n")[1:-1] if not re.match(r"  [a-z]+ = \{", line)] == []


def locked(draw: random.Random, root: Path) -> None:
    lock = root / "numeric.lock"
    text = f"numpy==2.0 --hash=sha256:{SHA}\ntorch==2.1 ; python_version < '4' \\\n  # why\n"
    lock.write_bytes(damaged(text.encode(), draw))
    for wanted in lockfile.pins(lock):
        assert wanted.name


READERS: dict[str, Callable[[random.Random, Path], Any]] = {
    "cell": lambda draw, _: Cell.parse(
        damaged(b"tiny/all/hard-a-b-m10/dpdl.c8/s0", draw).decode(errors="replace")
    ),
    "elpv": lambda draw, _: read_elpv(draw),
    "headct": lambda draw, _: headct.parse_labels(
        lines_of(["id, hemorrhage", "0, 1", "1, 0"], draw), "labels.csv"
    ),
    "optical": lambda draw, _: optical.parse_labels(
        lines_of(["1", "1\t0\t01.png\t0\t0", "2\t1\t02.PNG\t0\t02_label.PNG"], draw), "Labels.txt"
    ),
    "visa": read_visa,
    "folder": lambda draw, _: arranged(draw),
    "labelled": lambda draw, _: labelled(draw),
    "threshold": lambda draw, _: decided(draw),
    "lock": locked,
    "citation": lambda draw, _: cited(draw),
}


@pytest.mark.parametrize("kind", READERS)
def test_any_text_is_read_or_refused(tmp_path, kind):
    messages, accepted = tried(100, lambda draw: READERS[kind](draw, tmp_path))
    assert accepted > 3
    assert len(messages) > 5 or kind == "citation"
