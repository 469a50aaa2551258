"""MVTec 3D-AD: 10 categories; of its colour images and depth scans only the images are used.

The originals are ``{category}/{train,validation,test}/{class}/{rgb,gt,xyz}/000.png`` (``xyz``:
``000.tiff``). ``validation`` and the scans are not copied.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import PurePosixPath

from osad.data.layouts import folder
from osad.data.layouts import mvtec as mvtec_layout
from osad.data.layouts.mvtec import Item
from osad.data.manifest import NORMAL_CLASS, is_image_name
from osad.data.registry import Archive, Counts, DatasetSpec

ARCHIVE = Archive(
    file="mvtec_3d_anomaly_detection.tar.xz",
    page="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
    url="https://www.mydrive.ch/shares/150646/25de33f1276dd418cd856f2f48a84cdb/download/"
    "428824485-1643299897/mvtec_3d_anomaly_detection.tar.xz",
    digest="md5:d8bb2800fbf3ac88e798da6ae10dc819",
)

EXPECTED = {
    "bagel": Counts(244, 22, {}, total=88),
    "cable_gland": Counts(223, 21, {}, total=87),
    "carrot": Counts(286, 27, {}, total=132),
    "cookie": Counts(210, 28, {}, total=103),
    "dowel": Counts(288, 26, {}, total=104),
    "foam": Counts(236, 20, {}, total=80),
    "peach": Counts(361, 26, {}, total=106),
    "potato": Counts(300, 22, {}, total=92),
    "rope": Counts(298, 32, {}, total=69),
    "tire": Counts(210, 25, {}, total=87),
}
"""Counts of the paper's table; it has no sizes of the defect classes."""


def plan_category(paths: Iterable[str]) -> list[Item]:
    """List the colour images of a category that has MVTec 3D-AD's layout.

    Raises:
        DataError: they are not of that layout, or an anomalous image has no mask.
    """
    images: dict[str, str] = {}
    masks: dict[tuple[str, str], str] = {}
    for path in paths:
        part, name, kind, file = (path.split("/") + [""] * 4)[:4]
        if path.count("/") != 3 or not is_image_name(file) or file.startswith("."):
            continue
        if kind == "rgb" and part in ("train", "test"):
            images[path] = f"{part}/{name}/{file}"
        elif kind == "gt" and part == "test" and name != NORMAL_CLASS:
            masks[name, PurePosixPath(file).stem] = path
    folder.arrange(images.values())
    items = []
    for image, target in sorted(images.items()):
        mask = masks.get((target.split("/")[1], PurePosixPath(target).stem))
        in_test = target.startswith("test/")
        items.append(Item(image, target, (mask,) if mask and in_test else ()))
    return mvtec_layout.with_masks(items)


SPEC = DatasetSpec(
    name="mvtec_3d",
    title="MVTec 3D-AD",
    homepage=ARCHIVE.page,
    licence="CC BY-NC-SA 4.0",
    licence_note="No commercial use; what is made from the images is shared alike.",
    citation="Bergmann, Jin, Sattlegger, Steger: The MVTec 3D-AD Dataset for Unsupervised 3D "
    "Anomaly Detection and Localization. VISAPP 2022.",
    fetch=partial(
        mvtec_layout.fetch, plan=partial(mvtec_layout.plan_all, of_category=plan_category)
    ),
    categories=tuple(EXPECTED),
    expected=EXPECTED,
    settings=("raw_path",),
    archives=(ARCHIVE,),
    protocols=("normal",),
    notes=(
        "MVTec 3D-AD: only the colour images are used; whether the published numbers also "
        "use depth is not known. The validation images are not used.",
    ),
)
