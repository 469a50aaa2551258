"""VisA: 12 categories, in the one-class split of its authors.

The originals are ``{category}/Data/Images/{Normal,Anomaly}/000.JPG`` and
``{category}/Data/Masks/Anomaly/000.png``; ``split_csv/1cls.csv`` says what is used for what.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from osad.core.errors import DataError
from osad.core.files import read_csv
from osad.data.layouts import mvtec as mvtec_layout
from osad.data.layouts.mvtec import Item
from osad.data.manifest import path_problem
from osad.data.registry import Archive, Counts, DatasetSpec

ARCHIVE = Archive(
    file="VisA_20220922.tar",
    page="https://github.com/amazon-science/spot-diff",
    url="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
    digest="sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
    size=1_929_840_640,
)
SPLIT = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
CLASSES = {"normal": "good", "anomaly": "anomaly"}

EXPECTED = {
    name: Counts(train, test, {"anomaly": 100})
    for name, train, test in (
        ("candle", 900, 100),
        ("capsules", 542, 60),
        ("cashew", 450, 50),
        ("chewinggum", 453, 50),
        ("fryum", 450, 50),
        ("macaroni1", 900, 100),
        ("macaroni2", 900, 100),
        ("pcb1", 904, 100),
        ("pcb2", 901, 100),
        ("pcb3", 905, 101),
        ("pcb4", 904, 101),
        ("pipe_fryum", 450, 50),
    )
}
"""Counts of ``1cls.csv``."""


def plan(root: Path, categories: Sequence[str]) -> list[Item]:
    """List the images of all categories; ``root`` holds their folders and ``split_csv``.

    Raises:
        DataError: ``1cls.csv`` cannot be read or a line of it is not valid.
    """
    where = root / SPLIT
    items = []
    for number, row in enumerate(read_csv(where, COLUMNS), start=2):
        problem = _problem(row, categories)
        if problem:
            raise DataError(f"{where}, line {number}: {problem}; {mvtec_layout.UNPACK}")
        name = PurePosixPath(row["image"]).name
        target = f"{row['object']}/{row['split']}/{CLASSES[row['label']]}/{name}"
        items.append(Item(row["image"], target, (row["mask"],) if row["mask"] else ()))
    targets = [item.target for item in items]
    if len(set(targets)) < len(targets):
        raise DataError(f"{where}: an image is listed twice; {mvtec_layout.UNPACK}")
    return mvtec_layout.with_masks(items)


def _problem(row: Mapping[str, str], categories: Sequence[str]) -> str | None:
    """Say what is wrong with a line of ``1cls.csv``, or return None."""
    if row["object"] not in categories:
        return f"object {row['object']!r} is not a category"
    if row["split"] not in ("train", "test") or row["label"] not in CLASSES:
        return f"split {row['split']!r} or label {row['label']!r} is unknown"
    if row["split"] == "train" and row["label"] == "anomaly":
        return "an anomalous image is for training"
    for path in (row["image"], row["mask"]):
        problem = path_problem(path) if path else None
        if problem:
            return f"path {path!r} {problem}"
    return None if row["image"] else "the image has no path"


SPEC = DatasetSpec(
    name="visa",
    title="VisA",
    homepage=ARCHIVE.page,
    licence="CC BY 4.0 or CC BY-NC-SA 4.0: sources disagree",
    licence_note="The authors' page says CC BY 4.0; others say CC BY-NC-SA 4.0. Read "
    "LICENSE-DATASET in the archive before any commercial use.",
    citation="Zou, Jeong, Pemula, Zhang, Dabeer: SPot-the-Difference Self-Supervised "
    "Pre-training for Anomaly Detection and Segmentation. ECCV 2022.",
    fetch=partial(mvtec_layout.fetch, plan=plan),
    categories=tuple(EXPECTED),
    expected=EXPECTED,
    settings=("raw_path",),
    archives=(ARCHIVE,),
    protocols=("normal",),
)
