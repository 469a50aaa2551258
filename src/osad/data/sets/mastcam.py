"""Mastcam: multispectral images of Mars, their first three channels taken as colours."""

import io
from functools import partial
from pathlib import Path

import numpy as np

from osad.core.errors import DataError
from osad.core.files import sha256_bytes
from osad.data.fetch.original import locate_named, originals
from osad.data.layouts.folder import folder_class
from osad.data.layouts.reading import AGAIN, Pixels, encode_png, list_folders, list_images
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files, fill, read, tell

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
    """Return the first three channels of a ``.npy`` file as 8-bit RGB.

    It holds (64, 64, 6) values in [0, 255]; fractions are cut off.

    Raises:
        DataError: it is no such array. Arrays of Python objects are never loaded.

    Source: the loader of DRA (Ding et al., CVPR 2022).
    """
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a damaged file makes it raise nearly anything
        raise DataError(f"{name}: cannot be loaded ({error}); {AGAIN}") from error
    if not isinstance(values, np.ndarray) or values.shape != (64, 64, 6):
        shape = getattr(values, "shape", "no array")
        raise DataError(f"{name}: has the shape {shape}, expected (64, 64, 6); {AGAIN}")
    colours = values[:, :, :3]
    if colours.dtype.kind not in "uif" or not ((colours >= 0) & (colours < 256)).all():
        raise DataError(f"{name}: has values outside [0, 255] or no numbers; {AGAIN}")
    if colours.dtype.kind == "f" and colours.max() <= 1:
        raise DataError(f"{name}: has values in [0, 1], expected [0, 255]; {AGAIN}")
    pixels: Pixels = colours.astype(np.uint8)
    return pixels


def _png(path: Path) -> bytes:
    return encode_png(first_channels(read(path), str(path)))


def fetch(spec: DatasetSpec, raw_dir: Path, settings: Settings) -> None:
    """Turn all arrays into PNG files; the split into training and test is the authors'.

    An array that lies in the folders of several classes stays in each of them: the classes keep
    their published sizes, and the split step leaves out of a test set every image whose bytes
    equal those of a training anomaly or of another image outside the test set.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals(spec.name, spec.archives, settings) as root:
        train, test, novel = (locate_named(root, part) for part in PARTS)
        classes = {
            group: f"test/{folder_class(group.name)}"
            for group in list_folders(novel)
            if group.name.lower() != LEFT_OUT
        }
        files: Files = {
            f"{place}/{path.stem}.png": partial(_png, path)
            for source, place in {train: "train/good", test: "test/good", **classes}.items()
            for path in list_images(source, ending=".npy")
        }
        arrays = [path for group in classes for path in list_images(group, ending=".npy")]
        different = len({sha256_bytes(_png(path)) for path in arrays})
        text = f"{len(arrays)} novel images in the folders of classes, {different} different"
        tell(spec.name, text)
        fill(raw_dir, spec.name, source=f"{RECORD}; {text}", files=files)


SPEC = DatasetSpec(
    name="mastcam",
    title="Mastcam",
    homepage=RECORD,
    licence="not verified",
    licence_note="Read the terms on the page of the download.",
    citation="H. R. Kerner, K. L. Wagstaff, B. D. Bue, D. F. Wellington, S. Jacob, P. Horton, "
    "J. F. Bell III, C. Kwan, H. Ben Amor: Comparison of Novelty Detection Methods for "
    "Multispectral Images in Rover-Based Planetary Exploration Missions. Data Mining and "
    "Knowledge Discovery 34, 2020. doi:10.1007/s10618-020-00697-6",
    fetch=fetch,
    defect_classes={"all": KNOWN},
    expected={"all": Counts(9302, 426, {}, total=451)},
    settings=("raw_path", "sample"),
    archives=ARCHIVES,
    notes=(
        "Mastcam: images can be in several classes; a test image identical to one outside the "
        "test set is left out, so test sets can be smaller than the printed ones.",
    ),
)
