"""Optical (DAGM 2007): artificial textures of ten classes, some with a defect."""

import re
from functools import partial
from pathlib import Path

from osad.core.errors import DataError
from osad.data.fetch.original import locate_named, published
from osad.data.layouts.reading import (
    AGAIN,
    divided_files,
    read_image,
    read_marks,
    read_pixels,
)
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files, read, tell

CLASSES = tuple(f"Class{number}" for number in range(1, 11))
PARTS = ("Train", "Test")
FILE_PATTERN = re.compile(r"[0-9]+(?:_label)?\.(?:png|PNG)")
RECORD = "https://zenodo.org/records/8086136"

ARCHIVES = tuple(
    Archive(file=f"{name}.zip", page=RECORD, url=f"{RECORD}/files/{name}.zip") for name in CLASSES
)


def parse_labels(text: str, where: str) -> dict[str, str]:
    """Parse ``Labels.txt``: a first line ``1``, then five fields separated by tabs.

    Field 2 is 1 for an image with a defect, field 3 its name, field 5 the name of its mask.

    Returns:
        for each image by its file name, that of its mask; empty without a defect.

    Raises:
        DataError: a line is not of that form, or an image is repeated.

    Source: the data set's description; how it is used is that of DRA (Ding et al., CVPR 2022).
    """
    lines = [line.rstrip() for line in text.removeprefix("\ufeff").splitlines()]
    if not lines or lines[0] != "1":
        raise DataError(f"{where}, line 1: is not '1'; {AGAIN}")
    masks: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        fields = line.split("\t")
        names = fields[2::2] if fields[1:2] == ["1"] else fields[2:3]
        if (
            len(fields) != 5
            or fields[1] not in ("0", "1")
            or not all(FILE_PATTERN.fullmatch(name) for name in names)
        ):
            raise DataError(
                f"{where}, line {number}: {line!r} is not 'number, 0 or 1, image, 0, mask' with "
                f"tabs; {AGAIN}"
            )
        if fields[2] in masks:
            raise DataError(f"{where}, line {number}: {fields[2]} is repeated; {AGAIN}")
        masks[fields[2]] = fields[4] if fields[1] == "1" else ""
    return masks


def raw_files(unpacked: Path, settings: Settings) -> Files:
    """Return the images of all classes and both original parts, the normal ones divided.

    Classes are counted from 0 in the names of folders: ``Class1`` becomes ``class0``.
    """
    normal: Files = {}
    files: Files = {}
    for index, name in enumerate(CLASSES):
        for part in PARTS:
            folder = locate_named(unpacked, name) / part
            labels = folder / "Label" / "Labels.txt"
            masks = parse_labels(read(labels).decode(errors="replace"), str(labels))
            for file, mask_file in masks.items():
                image, new = folder / file, f"class{index}_{part.lower()}_{file}"
                if not mask_file:
                    normal[new] = partial(read_image, image)
                    continue
                files[f"test/class{index}/{new}"] = partial(read_image, image)
                mask = labels.with_name(mask_file)
                if usable(mask, image):
                    path = f"ground_truth/class{index}/{Path(new).stem}_mask.png"
                    files[path] = partial(read_image, mask)
    return files | divided_files(normal)


def usable(mask: Path, image: Path) -> bool:
    """Tell whether a mask is there, has its image's size and marks something."""
    problem = "is missing"
    if mask.is_file():
        marks = read_marks(mask)
        same = marks.shape == read_pixels(image).shape[:2]
        problem = ("" if marks.any() else "marks nothing") if same else "has another size"
    if problem:
        tell("optical", f"{image.parent.name}/Label/{mask.name}: {problem}, no mask is kept")
    return not problem


SPEC = DatasetSpec(
    name="optical",
    title="Optical",
    homepage="https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
    licence="not verified",
    licence_note="Read the terms on the page of the download.",
    citation="M. Wieler, T. Hahn, F. A. Hamprecht: Weakly Supervised Learning for Industrial "
    "Optical Inspection. 2007. doi:10.5281/zenodo.8086136",
    fetch=published(raw_files, source="DAGM 2007"),
    # The folders are textures, not kinds of defects: the papers take them as one class.
    defect_classes={},
    expected={
        "all": Counts(
            10500, 3500, {f"class{index}": 150 if index < 6 else 300 for index in range(10)}
        )
    },
    settings=("raw_path", "sample"),
    archives=ARCHIVES,
    notes=("Optical: masks are rough ellipses around the defects.",),
)
