"""BrainMRI: slices of magnetic resonance images with and without a tumour."""

from functools import partial
from pathlib import Path

from osad.data.fetch.original import locate, published
from osad.data.layouts.reading import divided_files, list_images, read_image
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files

CLASS = "tumor"
PAGE = "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
ARCHIVES = (Archive(file="archive.zip", page=PAGE, needs="a Kaggle account"),)


def raw_files(unpacked: Path, settings: Settings) -> Files:
    """Return all images, the normal ones divided; the archive holds them twice."""
    root = locate(unpacked, "yes", "no")
    normal = {image.name: partial(read_image, image) for image in list_images(root / "no")}
    return divided_files(normal) | {
        f"test/{CLASS}/{image.name}": partial(read_image, image)
        for image in list_images(root / "yes")
    }


SPEC = DatasetSpec(
    name="brainmri",
    title="BrainMRI",
    homepage=PAGE,
    licence="not stated",
    licence_note="No licence was found; ask its author before any use beyond research.",
    citation=(f"N. Chakrabarty: Brain MRI Images for Brain Tumor Detection. Kaggle, 2019. {PAGE}"),
    fetch=published(raw_files, source=PAGE),
    defect_classes={"all": (CLASS,)},
    expected={"all": Counts(73, 25, {CLASS: 155})},
    settings=("raw_path", "sample"),
    archives=ARCHIVES,
    notes=(
        "BrainMRI holds 22 groups of identical files; a test image identical to one outside "
        "the test set is left out, so test sets can be smaller than the printed ones.",
    ),
)
