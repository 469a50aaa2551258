"""MVTec LOCO AD: 5 categories with structural defects and violations of logical rules.

An image can have several masks, ``ground_truth/{class}/{stem}/000.png`` and so on, whose grey
levels name the kind of defect. They become one mask. ``validation/good`` is not used.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import PurePosixPath

from osad.data.layouts import folder
from osad.data.layouts import mvtec as mvtec_layout
from osad.data.layouts.mvtec import Item
from osad.data.manifest import is_image_name
from osad.data.registry import Archive, Counts, DatasetSpec

ARCHIVE = Archive(
    file="mvtec_loco_anomaly_detection.tar.xz",
    page="https://www.mvtec.com/company/research/datasets/mvtec-loco",
    url="https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/download/"
    "430647091-1646842701/mvtec_loco_anomaly_detection.tar.xz",
    digest="sha256:9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
    size=6_126_996_224,
)

EXPECTED = {
    "breakfast_box": Counts(351, 102, {"logical_anomalies": 83, "structural_anomalies": 90}),
    "juice_bottle": Counts(335, 94, {"logical_anomalies": 142, "structural_anomalies": 94}),
    "pushpins": Counts(372, 138, {"logical_anomalies": 91, "structural_anomalies": 81}),
    "screw_bag": Counts(360, 122, {"logical_anomalies": 137, "structural_anomalies": 82}),
    "splicing_connectors": Counts(360, 119, {"logical_anomalies": 108, "structural_anomalies": 85}),
}
"""Counts of the paper's table and, of splicing_connectors, of the archive (the paper: 354)."""


def plan_category(paths: Iterable[str]) -> list[Item]:
    """List the images of a category that has MVTec LOCO AD's layout.

    Raises:
        DataError: they are not of that layout, or an anomalous image has no mask.
    """
    files = list(paths)
    masks: dict[tuple[str, str], list[str]] = {}
    for path in files:
        parts = path.split("/")
        if len(parts) != 4 or parts[3].startswith("."):
            continue
        if parts[0] == "ground_truth" and is_image_name(parts[3]):
            masks.setdefault((parts[1], parts[2]), []).append(path)
    items = []
    for path in folder.arrange(files).images:
        place = (path.split("/")[1], PurePosixPath(path).stem)
        in_test = path.startswith("test/")
        items.append(Item(path, path, tuple(sorted(masks.get(place, ()))) if in_test else ()))
    return mvtec_layout.with_masks(items)


SPEC = DatasetSpec(
    name="mvtec_loco",
    title="MVTec LOCO AD",
    homepage=ARCHIVE.page,
    licence="CC BY-NC-SA 4.0",
    licence_note="No commercial use; what is made from the images is shared alike.",
    citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: "
    "Logical Constraints in Unsupervised Anomaly Detection and Localization. IJCV 130, 2022.",
    fetch=partial(
        mvtec_layout.fetch, plan=partial(mvtec_layout.plan_all, of_category=plan_category)
    ),
    categories=tuple(EXPECTED),
    expected=EXPECTED,
    settings=("raw_path",),
    archives=(ARCHIVE,),
    protocols=("normal",),
    notes=(
        "MVTec LOCO AD: the archive has 360 training images of splicing_connectors, the paper "
        "prints 354; the validation images are not used.",
        "MVTec LOCO AD: pixel metrics are of the union of an image's masks; the paper's own "
        "measure sPRO is not computed.",
    ),
)
