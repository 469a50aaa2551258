"""AITEX (AFID): strips of woven fabric, cut into squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from osad.core.errors import DataError
from osad.data.fetch.original import Archive, locate_named, originals
from osad.data.layouts import folder
from osad.data.layouts.crops import (
    columns,
    divided,
    encode_mask,
    encode_png,
    list_folders,
    list_images,
    read_marks,
    read_pixels,
    tell,
)
from osad.data.registry import Counts, DatasetSpec, Settings, register
from osad.data.source import fill

NORMAL, DEFECTS, MASKS = "NODefect_images", "Defect_images", "Mask_images"

CLASSES = {
    "002": "broken_end",
    "006": "broken_yarn",
    "010": "broken_pick",
    "016": "weft_curling",
    "019": "fuzzyball",
    "022": "cut_selvage",
    "023": "crease",
    "025": "warp_ball",
    "027": "knots",
    "029": "contamination",
    "030": "nep",
    "036": "weft_crack",
}
"""Class by the second field of a strip's name."""

KNOWN = ("broken_end", "broken_pick", "cut_selvage", "fuzzyball", "nep", "weft_crack")

ARCHIVES = (
    Archive(
        file="archive.zip",
        page="https://www.kaggle.com/datasets/nexuswho/aitex-fabric-image-database",
        needs="a Kaggle account; or unpack the three 7z archives of https://www.aitex.es/afid/ "
        "and name their folder as raw_path",
    ),
)


@dataclass(frozen=True)
class Crop:
    """One square of a strip.

    Attributes:
        image: file of the strip.
        name: name of the crop, without ending.
        left: its left edge, pixels.
        side: of the square, pixels.
        class_name: defect class, empty for crops of strips without a defect.
        mask: file of the strip's mask, None without a defect.
    """

    image: Path
    name: str
    left: int
    side: int
    class_name: str = ""
    mask: Path | None = None


def normal_crops(strips_in: Path) -> list[Crop]:
    """List all crops of the strips without a defect, which lie in one folder for each fabric.

    Raises:
        DataError: there are none, or a strip cannot be cut.
    """
    fabrics = list_folders(strips_in)
    strips = [(f"{fabric.name}_", strip) for fabric in fabrics for strip in list_images(fabric)]
    if not fabrics:
        strips = [("", strip) for strip in list_images(strips_in)]
    crops = []
    for prefix, strip in strips:
        height, width = _size(strip)
        crops += [
            Crop(strip, f"{prefix}{strip.stem}_{number:02d}", left, height)
            for number, (_, _, left) in enumerate(columns(width, height))
        ]
    return crops


def defect_crops(strips_in: Path, masks_in: Path) -> list[Crop]:
    """List the crops of strips with a defect whose own column has a marked pixel.

    Only a mask named ``{strip}_mask.png`` counts. Strips without such a mask, or with an empty
    one, give no crop.

    Raises:
        DataError: a strip's code is unknown, or its mask has another size.
    """
    crops = []
    for strip in list_images(strips_in):
        code = strip.stem.split("_")[1] if strip.stem.count("_") else ""
        if code not in CLASSES:
            raise DataError(
                f"{strip}: its second field is not the code of a defect "
                f"({', '.join(CLASSES)}); remove the file or get the data set again"
            )
        mask = masks_in / f"{strip.stem}_mask.png"
        if not mask.is_file():
            tell("aitex", f"{strip.name}: has no mask {mask.name} and gives no crops")
            continue
        height, width = _size(strip)
        marks = read_marks(mask)
        if marks.shape != (height, width):
            raise DataError(
                f"{mask}: has {marks.shape[1]} x {marks.shape[0]} pixels and its strip {width} x "
                f"{height}; get the data set again"
            )
        kept = [
            Crop(strip, f"{strip.stem}_{number:02d}", left, height, CLASSES[code], mask)
            for number, (first, end, left) in enumerate(columns(width, height))
            if marks[:, first:end].any()
        ]
        if not kept:
            tell("aitex", f"{mask.name}: marks nothing, its strip gives no crops")
        crops += kept
    return crops


def _size(strip: Path) -> tuple[int, int]:
    """Return height and width of a strip; it must not be narrower than high."""
    height, width = read_pixels(strip).shape[:2]
    if width < height:
        raise DataError(f"{strip}: is {width} x {height} pixels, no strip; get the data set again")
    return height, width


def fetch(raw_dir: Path, settings: Settings) -> None:
    """Cut all strips and masks and divide the normal crops.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals("aitex", ARCHIVES, settings) as unpacked:
        parts = [locate_named(unpacked, name) for name in (NORMAL, DEFECTS, MASKS)]
        normal, defective = normal_crops(parts[0]), defect_crops(*parts[1:])
        folders = divided(crop.name for crop in normal)
        files: dict[str, Callable[[], bytes]] = {}
        for crop in normal:
            files[f"{folders[crop.name]}/{crop.name}.png"] = partial(_image, crop)
        for crop in defective:
            files[f"test/{crop.class_name}/{crop.name}.png"] = partial(_image, crop)
            files[f"ground_truth/{crop.class_name}/{crop.name}_mask.png"] = partial(_mask, crop)
        fill(raw_dir, "aitex", source="AITEX Fabric Image Database", files=files)


def _image(crop: Crop) -> bytes:
    return encode_png(read_pixels(crop.image)[:, crop.left : crop.left + crop.side])


def _mask(crop: Crop) -> bytes:
    assert crop.mask is not None
    return encode_mask(read_marks(crop.mask)[:, crop.left : crop.left + crop.side])


SPEC = register(
    DatasetSpec(
        name="aitex",
        title="AITEX",
        homepage="https://www.aitex.es/afid/",
        licence="not stated",
        licence_note="No licence was found; ask its authors before any use beyond research.",
        citation=(
            "J. Silvestre-Blanes, T. Albero-Albero, I. Miralles, R. Perez-Llorens, J. Moreno: "
            "A Public Fabric Database for Defect Detection Methods and Results. Autex Research "
            "Journal 19, 2019. doi:10.2478/aut-2019-0035"
        ),
        fetch=fetch,
        records=folder.records,
        defect_classes={"all": KNOWN},
        expected={"all": Counts(1692, 564, {}, total=183)},
        settings=("raw_path", "sample"),
        archives=ARCHIVES,
        notes=(
            "AITEX: 141 strips without a defect give the printed 1692 + 564 normals, though its "
            "authors speak of 140.",
            "AITEX: only masks named after their strip count, which gives the printed 183 "
            "anomalies; the masks of two strips are in two parts and not used.",
            "AITEX: crops of one strip can be in both the training and the test set.",
        ),
    )
)
