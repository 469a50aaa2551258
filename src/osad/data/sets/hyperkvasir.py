"""Hyper-Kvasir: endoscopic images of the upper gastro-intestinal tract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from osad.data.fetch.original import Archive, locate, originals
from osad.data.layouts import folder
from osad.data.layouts.crops import divided, list_images, read_image
from osad.data.registry import Counts, DatasetSpec, Settings, register
from osad.data.source import fill

TRACT = "upper-gi-tract"
NORMAL = ("pylorus", "retroflex-stomach", "z-line")
CLASSES = {
    "barretts": 41,
    "barretts-short-segment": 53,
    "esophagitis-a": 403,
    "esophagitis-b-d": 260,
}
PAGE = "https://datasets.simula.no/hyper-kvasir/"

ARCHIVES = (
    Archive(
        file="hyper-kvasir-labeled-images.zip",
        page=PAGE,
        url="https://datasets.simula.no/downloads/hyper-kvasir/hyper-kvasir-labeled-images.zip",
    ),
)


def fetch(raw_dir: Path, settings: Settings) -> None:
    """Copy the anatomical landmarks (normal) and pathological findings of the upper tract.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals("hyperkvasir", ARCHIVES, settings) as unpacked:
        root = locate(unpacked, TRACT) / TRACT
        normal = {
            f"{name}_{image.name}": image
            for name in NORMAL
            for image in list_images(root / "anatomical-landmarks" / name)
        }
        folders = divided(normal)
        files: dict[str, Callable[[], bytes]] = {
            f"{folders[name]}/{name}": partial(read_image, image) for name, image in normal.items()
        }
        for name in CLASSES:
            for image in list_images(root / "pathological-findings" / name):
                files[f"test/{name}/{image.name}"] = partial(read_image, image)
        fill(raw_dir, "hyperkvasir", source=PAGE, files=files)


SPEC = register(
    DatasetSpec(
        name="hyperkvasir",
        title="Hyper-Kvasir",
        homepage=PAGE,
        licence="CC BY 4.0",
        licence_note="Attribution.",
        citation=(
            "H. Borgli, V. Thambawita, P. H. Smedsrud et al.: HyperKvasir, a comprehensive "
            "multi-class image and video dataset for gastrointestinal endoscopy. Scientific Data "
            "7, 2020. doi:10.1038/s41597-020-00622-y"
        ),
        fetch=fetch,
        records=folder.records,
        defect_classes={"all": tuple(CLASSES)},
        expected={"all": Counts(2021, 674, CLASSES)},
        settings=("raw_path", "sample"),
        archives=ARCHIVES,
        notes=(
            "Hyper-Kvasir: patients are not known; images of one patient can be in both the "
            "training and the test set.",
        ),
    )
)
