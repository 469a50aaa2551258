"""AITEX (AFID): strips of woven fabric, cut into squares."""

from functools import partial
from pathlib import Path

from osad.core.errors import DataError
from osad.data.fetch.original import locate_named, published
from osad.data.layouts.reading import (
    AGAIN,
    check_size,
    cut_image,
    cut_mask,
    divided_files,
    list_folders,
    list_images,
    read_marks,
    read_pixels,
)
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files, tell

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


def columns(width: int, side: int) -> list[tuple[int, int, slice]]:
    """Return the square crops of a strip, which is at least as wide as high.

    The last column of a strip whose width is no multiple of ``side`` is narrower. Its crop is
    moved to the left until it is inside the strip, so that it has real pixels only.

    Returns:
        for each crop the first pixel and the last + 1 of its own column, and the crop's.

    Example:
        >>> columns(600, 256)[2]
        (512, 600, slice(344, 600, None))
    """
    return [
        (start, end, slice(end - side, end))
        for start in range(0, width, side)
        for end in [min(start + side, width)]
    ]


def normal_crops(strips_in: Path) -> Files:
    """Return all crops of the strips without a defect, which lie in one folder for each fabric.

    Returns:
        contents by name, without ending.

    Raises:
        DataError: there are none, or a strip cannot be cut.
    """
    fabrics = list_folders(strips_in)
    strips = [(f"{fabric.name}_", strip) for fabric in fabrics for strip in list_images(fabric)]
    if not fabrics:
        strips = [("", strip) for strip in list_images(strips_in)]
    crops: Files = {}
    for prefix, strip in strips:
        width, height = _size(strip)
        for number, (_, _, square) in enumerate(columns(width, height)):
            name = f"{prefix}{strip.stem}_{number:02d}"
            crops[name] = partial(cut_image, strip, slice(None), square)
    return crops


def defect_crops(strips_in: Path, masks_in: Path) -> Files:
    """Return the crops of strips with a defect whose own column has a marked pixel, and masks.

    Only a mask named ``{strip}_mask.png`` counts. Strips without such a mask, or with an empty
    one, give no crop.

    Raises:
        DataError: a strip's code is unknown, or its mask has another size.
    """
    crops: Files = {}
    for strip in list_images(strips_in):
        code = strip.stem.split("_")[1] if strip.stem.count("_") else ""
        if code not in CLASSES:
            raise DataError(
                f"{strip}: its second field is not the code of a defect "
                f"({', '.join(CLASSES)}); remove the file or {AGAIN}"
            )
        mask = masks_in / f"{strip.stem}_mask.png"
        if not mask.is_file():
            tell("aitex", f"{strip.name}: has no mask {mask.name} and gives no crops")
            continue
        (width, height), marks = _size(strip), read_marks(mask)
        check_size(mask, marks.shape[::-1], (width, height))
        if not marks.any():
            tell("aitex", f"{mask.name}: marks nothing, its strip gives no crops")
        for number, (first, end, square) in enumerate(columns(width, height)):
            if marks[:, first:end].any():
                name = f"{CLASSES[code]}/{strip.stem}_{number:02d}"
                crops[f"test/{name}.png"] = partial(cut_image, strip, slice(None), square)
                crops[f"ground_truth/{name}_mask.png"] = partial(
                    cut_mask, mask, slice(None), square
                )
    return crops


def _size(strip: Path) -> tuple[int, int]:
    """Return width and height of a strip; it must not be narrower than high."""
    height, width = read_pixels(strip).shape[:2]
    if width < height:
        raise DataError(f"{strip}: is {width} x {height} pixels, no strip; {AGAIN}")
    return width, height


def raw_files(unpacked: Path, settings: Settings) -> Files:
    """Return the crops of all strips and masks, the normal ones divided."""
    normal, defects, masks = (locate_named(unpacked, name) for name in (NORMAL, DEFECTS, MASKS))
    crops = defect_crops(defects, masks)
    return divided_files(normal_crops(normal), ending=".png") | crops


SPEC = DatasetSpec(
    name="aitex",
    title="AITEX",
    homepage="https://www.aitex.es/afid/",
    licence="not stated",
    licence_note="No licence was found; ask its authors before any use beyond research.",
    citation="J. Silvestre-Blanes, T. Albero-Albero, I. Miralles, R. Perez-Llorens, J. Moreno: "
    "A Public Fabric Database for Defect Detection Methods and Results. Autex Research "
    "Journal 19, 2019. doi:10.2478/aut-2019-0035",
    fetch=published(raw_files, source="AITEX Fabric Image Database"),
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
