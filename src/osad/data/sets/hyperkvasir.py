"""Hyper-Kvasir: endoscopic images of the upper gastro-intestinal tract."""

from functools import partial
from pathlib import Path

from osad.data.fetch.original import locate, published
from osad.data.layouts.reading import divided_files, list_images, read_image
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files

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


def raw_files(unpacked: Path, settings: Settings) -> Files:
    """Return the anatomical landmarks (normal) and pathological findings of the upper tract."""
    root = locate(unpacked, TRACT) / TRACT
    normal = {
        f"{name}_{image.name}": partial(read_image, image)
        for name in NORMAL
        for image in list_images(root / "anatomical-landmarks" / name)
    }
    return divided_files(normal) | {
        f"test/{name}/{image.name}": partial(read_image, image)
        for name in CLASSES
        for image in list_images(root / "pathological-findings" / name)
    }


SPEC = DatasetSpec(
    name="hyperkvasir",
    title="Hyper-Kvasir",
    homepage=PAGE,
    licence="CC BY 4.0",
    licence_note="Attribution.",
    citation="H. Borgli, V. Thambawita, P. H. Smedsrud et al.: HyperKvasir, a comprehensive "
    "multi-class image and video dataset for gastrointestinal endoscopy. Scientific Data "
    "7, 2020. doi:10.1038/s41597-020-00622-y",
    fetch=published(raw_files, source=PAGE),
    defect_classes={"all": tuple(CLASSES)},
    expected={"all": Counts(2021, 674, CLASSES)},
    settings=("raw_path", "sample"),
    archives=ARCHIVES,
    notes=(
        "Hyper-Kvasir: patients are not known; images of one patient can be in both the "
        "training and the test set.",
    ),
)
