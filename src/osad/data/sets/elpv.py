"""ELPV: electroluminescence images of solar cells, from the package elpv-dataset."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
from functools import partial
from pathlib import Path

from osad.core.errors import CheckError, DataError
from osad.data.layouts.folder import divided
from osad.data.manifest import NORMAL_CLASS, Record
from osad.data.registry import Counts, DatasetSpec, Settings
from osad.data.source import Files, Source, fill, read

PACKAGE = "elpv-dataset"
VERSION = "1.0.0.post1"
INSTALL = f"`pip install {PACKAGE}=={VERSION}`"
CELLS = 2624
CONTENT_SHA256 = "0b8458eaf39c5c03db91af1bd6951fe687f8d3b178b6843d78c237f1f2a7d63c"
"""Content digest of the files that are copied, so that every fetch gives the same bytes."""

LINE_PATTERN = re.compile(r"(images/cell[0-9]{4}\.png)\s+([01]\.[0-9]+)\s+(mono|poly)")


def parse_labels(text: str, where: str) -> dict[str, str]:
    """Parse ``labels.csv``: lines of path, defect probability and kind of cell, no header.

    Returns:
        For each image that is used its class by its path: ``good`` for probability 0,
        ``mono`` or ``poly`` for probability 1. Cells with 1/3 or 2/3 are left out.

    Raises:
        DataError: a line is not of that form.
        CheckError: the number of lines is not that of the data set.

    Source: the data set's README; the choice of cells is that of DRA (Ding et al., CVPR 2022).
    """
    lines = text.splitlines()
    if len(lines) != CELLS:
        raise CheckError(
            f"{where}: expected {CELLS} lines, found {len(lines)}; reinstall with {INSTALL}"
        )
    classes: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = LINE_PATTERN.fullmatch(line.strip())
        if not match:
            raise DataError(f"{where}, line {number}: {line!r} is not 'path probability type'")
        path, probability, kind = match.groups()
        if float(probability) == 0:
            classes[path] = NORMAL_CLASS
        elif float(probability) == 1:
            classes[path] = kind
    return classes


def fetch(spec: DatasetSpec, raw_dir: Path, settings: Settings) -> None:
    """Copy the labels and the images that are used out of the installed package.

    Cells with a probability between 0 and 1 belong to no split, so they are not copied: all that
    is stored and shared is then part of the manifest.

    Raises:
        DataError: the package is missing or has another version.
        CheckError: its content is not that of the release.
    """
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"ELPV comes with a package that is not installed: {INSTALL}") from error
    if version != VERSION:
        raise DataError(f"{PACKAGE} {version} is installed, expected {VERSION}: {INSTALL}")
    data, remedy = importlib.resources.files("elpv_dataset") / "data", f"reinstall: {INSTALL}"
    with importlib.resources.as_file(data) as folder:
        labels = read(folder / "labels.csv", remedy)
        classes = parse_labels(labels.decode(errors="replace"), f"labels.csv of {PACKAGE}")
        files: Files = {name: partial(read, folder / name, remedy) for name in classes}
        fill(
            raw_dir,
            spec.name,
            source=f"{PACKAGE}=={VERSION}",
            files=files | {"labels.csv": lambda: labels},
            content_sha256=CONTENT_SHA256,
        )


def records(source: Source, category: str) -> list[Record]:
    """List the images: normals divided 3:1, all anomalies in the test set.

    Raises:
        DataError: ``labels.csv`` cannot be read.
        CheckError: an image of the labels is not among the files.
    """
    labels = Path(source.root, "labels.csv")
    text = read(labels, "fetch the data set again").decode(errors="replace")
    classes = parse_labels(text, str(labels))
    missing = sorted(set(classes) - set(source.files))
    if missing:
        raise CheckError(
            f"{source.root}/{missing[0]}: is not listed in SOURCE.json; fetch the data set again"
        )
    splits = divided(path for path, name in classes.items() if name == NORMAL_CLASS)
    return [
        Record(
            path=f"{source.root}/{path}",
            label=int(name != NORMAL_CLASS),
            class_name=name,
            split=splits.get(path, "test"),
        )
        for path, name in classes.items()
    ]


SPEC = DatasetSpec(
    name="elpv",
    title="ELPV",
    homepage="https://github.com/zae-bayern/elpv-dataset",
    licence="CC BY-NC-SA 4.0",
    licence_note="Images: attribution, non-commercial use, share alike.",
    citation="C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, B. Doll, J. Hauch, "
    "C. Camus, C. J. Brabec: A Benchmark for Visual Identification of Defective Solar "
    "Cells in Electroluminescence Imagery. EU PVSEC 2018. "
    "doi:10.4229/35thEUPVSEC20182018-5CV.3.15",
    fetch=fetch,
    records=records,
    defect_classes={"all": ("mono", "poly")},
    expected={"all": Counts(1131, 377, {"mono": 313, "poly": 402})},
)
