"""BrainMRI: slices of magnetic resonance images with and without a tumour."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from osad.data.fetch.original import Archive, locate, originals
from osad.data.layouts import folder
from osad.data.layouts.crops import divided, list_images, read_image
from osad.data.registry import Counts, DatasetSpec, Settings, register
from osad.data.source import fill

CLASS = "tumor"
PAGE = "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
ARCHIVES = (Archive(file="archive.zip", page=PAGE, needs="a Kaggle account"),)


def fetch(raw_dir: Path, settings: Settings) -> None:
    """Copy all images and divide the normal ones; the archive holds them twice.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals("brainmri", ARCHIVES, settings) as unpacked:
        root = locate(unpacked, "yes", "no")
        normal = {image.name: image for image in list_images(root / "no")}
        folders = divided(normal)
        files: dict[str, Callable[[], bytes]] = {
            f"{folders[name]}/{name}": partial(read_image, image) for name, image in normal.items()
        }
        for image in list_images(root / "yes"):
            files[f"test/{CLASS}/{image.name}"] = partial(read_image, image)
        fill(raw_dir, "brainmri", source=PAGE, files=files)


SPEC = register(
    DatasetSpec(
        name="brainmri",
        title="BrainMRI",
        homepage=PAGE,
        licence="not stated",
        licence_note="No licence was found; ask its author before any use beyond research.",
        citation=(
            f"N. Chakrabarty: Brain MRI Images for Brain Tumor Detection. Kaggle, 2019. {PAGE}"
        ),
        fetch=fetch,
        records=folder.records,
        defect_classes={"all": (CLASS,)},
        expected={"all": Counts(73, 25, {CLASS: 155})},
        settings=("raw_path", "sample"),
        archives=ARCHIVES,
        notes=(
            "BrainMRI holds 22 groups of identical files; a test image identical to one outside "
            "the test set is left out, so test sets can be smaller than the printed ones.",
        ),
    )
)
