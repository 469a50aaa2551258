"""HeadCT: slices of computed tomography of the head with and without a haemorrhage."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

from osad.core.errors import DataError
from osad.data.fetch.original import Archive, locate, originals
from osad.data.layouts import folder
from osad.data.layouts.crops import divided, read, read_image
from osad.data.registry import Counts, DatasetSpec, Settings, register
from osad.data.source import fill

CLASS = "hemorrhage"
LABELS = "labels.csv"
PAGE = "https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage"
ARCHIVES = (Archive(file="archive.zip", page=PAGE, needs="a Kaggle account"),)


def parse_labels(text: str, where: str) -> dict[str, bool]:
    """Parse ``labels.csv``: a header ``id, hemorrhage`` and one line for each image.

    Args:
        text: content of the file; blanks after commas are ignored.
        where: name of the file, for messages.

    Returns:
        whether each image shows a haemorrhage, by its file name: ``000.png`` for id 0.

    Raises:
        DataError: a line is not of that form or an id is repeated.
    """
    remedy = "get the data set again"
    rows = list(csv.reader(text.removeprefix("\ufeff").splitlines(), skipinitialspace=True))
    if not rows or [field.strip() for field in rows[0]] != ["id", "hemorrhage"]:
        raise DataError(f"{where}, line 1: is not the header 'id, hemorrhage'; {remedy}")
    found: dict[str, bool] = {}
    for number, row in enumerate(rows[1:], start=2):
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if len(fields) != 2 or not fields[0].isdecimal() or fields[1] not in ("0", "1"):
            raise DataError(f"{where}, line {number}: {row!r} is not an id and 0 or 1; {remedy}")
        name = f"{int(fields[0]):03d}.png"
        if name in found:
            raise DataError(f"{where}, line {number}: id {fields[0]} is repeated; {remedy}")
        found[name] = fields[1] == "1"
    return found


def fetch(raw_dir: Path, settings: Settings) -> None:
    """Copy all images that the labels name and divide the normal ones.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals("headct", ARCHIVES, settings) as unpacked:
        labels = locate(unpacked, LABELS) / LABELS
        anomalous = parse_labels(read(labels).decode(errors="replace"), str(labels))
        if not anomalous:
            raise DataError(f"{labels}: lists no images; get the data set again")
        images = locate(unpacked, min(anomalous))
        folders = divided(name for name, positive in anomalous.items() if not positive)
        files: dict[str, Callable[[], bytes]] = {
            f"{folders.get(name, f'test/{CLASS}')}/{name}": partial(read_image, images / name)
            for name in anomalous
        }
        fill(raw_dir, "headct", source=PAGE, files=files)


SPEC = register(
    DatasetSpec(
        name="headct",
        title="HeadCT",
        homepage=PAGE,
        licence="not stated",
        licence_note="No licence was found; ask its author before any use beyond research.",
        citation=f"F. Kitamura: Head CT - hemorrhage. Kaggle, 2018. {PAGE}",
        fetch=fetch,
        records=folder.records,
        defect_classes={"all": (CLASS,)},
        expected={"all": Counts(75, 25, {CLASS: 100})},
        settings=("raw_path", "sample"),
        archives=ARCHIVES,
    )
)
