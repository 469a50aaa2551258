"""Mastcam: multispectral images of Mars, their first three channels taken as colours."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from osad.core.errors import DataError
from osad.core.files import sha256_bytes
from osad.data.fetch.original import Archive, locate_named, originals
from osad.data.layouts import folder
from osad.data.layouts.crops import Pixels, encode_png, list_folders, list_images, read, tell
from osad.data.registry import Counts, DatasetSpec, Settings, register
from osad.data.source import fill

RECORD = "https://zenodo.org/records/3732485"
PARTS = ("train_typical", "test_typical", "test_novel")
LEFT_OUT = "all"
"""Folder beside those of the classes that holds their images again."""

KNOWN = (
    *("bedrock", "broken-rock", "drill-hole", "drt", "dump-pile", "float", "meteorite"),
    *("scuff", "veins"),
)

ARCHIVES = tuple(
    Archive(file=f"{name}.zip", page=RECORD, url=f"{RECORD}/files/{name}.zip") for name in PARTS
)


def first_channels(content: bytes, name: str) -> Pixels:
    """Return the first three channels of an array file as 8-bit RGB.

    Args:
        content: a ``.npy`` file of (64, 64, 6), values in [0, 255]; fractions are cut off.
        name: its name, for messages.

    Raises:
        DataError: it is no such array. Arrays of Python objects are never loaded.

    Source: the loader of DRA (Ding et al., CVPR 2022).
    """
    remedy = "get the data set again"
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{name}: cannot be loaded ({error}); {remedy}") from error
    if not isinstance(values, np.ndarray) or values.shape != (64, 64, 6):
        shape = getattr(values, "shape", "no array")
        raise DataError(f"{name}: has the shape {shape}, expected (64, 64, 6); {remedy}")
    colours = values[:, :, :3]
    if colours.dtype.kind not in "uif" or not ((colours >= 0) & (colours < 256)).all():
        raise DataError(f"{name}: has values outside [0, 255] or no numbers; {remedy}")
    pixels: Pixels = colours.astype(np.uint8)
    return pixels


def _png(path: Path) -> bytes:
    return encode_png(first_channels(read(path), str(path)))


def fetch(raw_dir: Path, settings: Settings) -> None:
    """Turn all arrays into PNG files; the split into training and test is the authors'.

    An array that lies in the folders of several classes stays in each of them: the classes keep
    their published sizes, and the split step leaves out of a test set every image whose bytes
    equal those of a training anomaly or of another image outside the test set.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals("mastcam", ARCHIVES, settings) as root:
        train, test, novel = (locate_named(root, part) for part in PARTS)
        files: dict[str, Callable[[], bytes]] = {}
        for source, place in ((train, "train/good"), (test, "test/good")):
            for path in list_images(source, ending=".npy"):
                files[f"{place}/{path.stem}.png"] = partial(_png, path)
        arrays = [
            (folder.folder_class(group.name), path)
            for group in list_folders(novel)
            if group.name.lower() != LEFT_OUT
            for path in list_images(group, ending=".npy")
        ]
        different = len({sha256_bytes(_png(path)) for _, path in arrays})
        text = f"{len(arrays)} novel images in the folders of classes, {different} different"
        tell("mastcam", text)
        for name, path in arrays:
            files[f"test/{name}/{path.stem}.png"] = partial(_png, path)
        fill(raw_dir, "mastcam", source=f"{RECORD}; {text}", files=files)


SPEC = register(
    DatasetSpec(
        name="mastcam",
        title="Mastcam",
        homepage=RECORD,
        licence="not verified",
        licence_note="Read the terms on the page of the download.",
        citation=(
            "H. R. Kerner, K. L. Wagstaff, B. D. Bue, D. F. Wellington, S. Jacob, P. Horton, "
            "J. F. Bell III, C. Kwan, H. Ben Amor: Comparison of Novelty Detection Methods for "
            "Multispectral Images in Rover-Based Planetary Exploration Missions. Data Mining and "
            "Knowledge Discovery 34, 2020. doi:10.1007/s10618-020-00697-6"
        ),
        fetch=fetch,
        records=folder.records,
        defect_classes={"all": KNOWN},
        expected={"all": Counts(9302, 426, {}, total=451)},
        settings=("raw_path", "sample"),
        archives=ARCHIVES,
        notes=(
            "Mastcam: images can be in several classes; a test image identical to one outside the "
            "test set is left out, so test sets can be smaller than the printed ones.",
        ),
    )
)
