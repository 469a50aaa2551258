"""HeadCT: slices of computed tomography of the head with and without a haemorrhage."""

import csv
import io
import re
from functools import partial
from pathlib import Path

from osad.core.errors import DataError
from osad.data.fetch.original import locate, published
from osad.data.layouts.reading import AGAIN, divided_files, read_image
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files, read

CLASS = "hemorrhage"
LABELS = "labels.csv"
PAGE = "https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage"
ARCHIVES = (Archive(file="archive.zip", page=PAGE, needs="a Kaggle account"),)


def parse_labels(text: str, where: str) -> dict[str, bool]:
    """Parse ``labels.csv``: a header ``id, hemorrhage`` and one line for each image.

    Returns:
        whether each image shows a haemorrhage, by its file name: ``000.png`` for id 0.

    Raises:
        DataError: a line is not of that form, an id is repeated, or there is none.
    """
    stream = io.StringIO(text.removeprefix("\ufeff"), newline="")
    try:
        rows = list(csv.reader(stream, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{where}: is no CSV file ({error}); {AGAIN}") from error
    if not rows or [field.strip() for field in rows[0]] != ["id", "hemorrhage"]:
        raise DataError(f"{where}, line 1: is not the header 'id, hemorrhage'; {AGAIN}")
    anomalous: dict[str, bool] = {}
    for number, row in enumerate(rows[1:], start=2):
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if (
            len(fields) != 2
            or not re.fullmatch("[0-9]{1,6}", fields[0])
            or fields[1] not in ("0", "1")
        ):
            raise DataError(f"{where}, line {number}: {row!r} is not an id and 0 or 1; {AGAIN}")
        name = f"{int(fields[0]):03d}.png"
        if name in anomalous:
            raise DataError(f"{where}, line {number}: id {fields[0]} is repeated; {AGAIN}")
        anomalous[name] = fields[1] == "1"
    if not anomalous:
        raise DataError(f"{where}: lists no images; {AGAIN}")
    return anomalous


def raw_files(unpacked: Path, settings: Settings) -> Files:
    """Return all images that the labels name, the normal ones divided."""
    labels = locate(unpacked, LABELS) / LABELS
    anomalous = parse_labels(read(labels).decode(errors="replace"), str(labels))
    root = locate(unpacked, min(anomalous))
    images = {name: partial(read_image, root / name) for name in anomalous}
    return divided_files({name: images[name] for name in images if not anomalous[name]}) | {
        f"test/{CLASS}/{name}": images[name] for name in images if anomalous[name]
    }


SPEC = DatasetSpec(
    name="headct",
    title="HeadCT",
    homepage=PAGE,
    licence="not stated",
    licence_note="No licence was found; ask its author before any use beyond research.",
    citation=f"F. Kitamura: Head CT - hemorrhage. Kaggle, 2018. {PAGE}",
    fetch=published(raw_files, source=PAGE),
    defect_classes={"all": (CLASS,)},
    expected={"all": Counts(75, 25, {CLASS: 100})},
    settings=("raw_path", "sample"),
    archives=ARCHIVES,
)
