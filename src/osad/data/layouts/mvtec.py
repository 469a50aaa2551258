"""Data sets of MVTec AD's family: many categories, each with its own training and test images.

Whatever the layout of the originals, ``data/raw/{dataset}`` has that of MVTec AD, one folder a
category::

    {category}/train/good/000.png
    {category}/test/good/000.png
    {category}/test/{class}/000.png
    {category}/ground_truth/{class}/000_mask.png

Images are copied byte for byte. So is a mask whose pixels are all 0 or 255; several masks of one
image, or masks whose grey levels name kinds of defects, become one mask of 0 and 255.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image as pil
from PIL import ImageOps

from osad.core.errors import DataError, listed
from osad.data.fetch.original import locate, originals
from osad.data.images import decode
from osad.data.layouts import folder
from osad.data.layouts.reading import (
    ORIENTATION,
    check_size,
    list_files,
    orientation,
    read_image,
)
from osad.data.manifest import NORMAL_CLASS
from osad.data.marks import mask_numbers
from osad.data.registry import DatasetSpec, Settings
from osad.data.source import Files, fill, read, tell

UNPACK = "unpack the original archive again"


@dataclass(frozen=True)
class Item:
    """One image of the originals that is used.

    Attributes:
        image: its path among the originals.
        target: its path in MVTec AD's layout, ``.../{train,test}/{class}/{name}``.
        masks: paths of its masks among the originals; at least one for an anomalous image.
    """

    image: str
    target: str
    masks: tuple[str, ...] = ()

    @property
    def mask_target(self) -> str:
        """Return the path of its mask in MVTec AD's layout."""
        path = PurePosixPath(self.target)
        category = path.parent.parent.parent
        return str(category / "ground_truth" / path.parent.name / f"{path.stem}_mask.png")

    def below(self, category: str) -> Item:
        """Return the same image with all paths in the folder of a category."""
        masks = tuple(f"{category}/{mask}" for mask in self.masks)
        return Item(f"{category}/{self.image}", f"{category}/{self.target}", masks)


Plan = Callable[[Path, Sequence[str]], list[Item]]
"""Lists the images that are used: of the folder that holds the categories, and their names."""


def plan_category(paths: Iterable[str]) -> list[Item]:
    """List the images of a category that has MVTec AD's layout, by all paths in its folder.

    Raises:
        DataError: they are not of that layout, or an anomalous image has no mask.
    """
    arrangement = folder.arrange(paths)
    masks = arrangement.masks
    return with_masks(
        [Item(path, path, (masks[path],) if path in masks else ()) for path in arrangement.images]
    )


def with_masks(items: list[Item]) -> list[Item]:
    """Return the items after checking that each anomalous image, and no other, has a mask."""
    problems: list[str] = []
    for item in items:
        normal = PurePosixPath(item.target).parent.name == NORMAL_CLASS
        if normal and item.masks:
            problems.append(f"{item.masks[0]}: is the mask of a normal image; {UNPACK}")
        if not normal and not item.masks:
            problems.append(f"{item.image}: an anomalous image without a mask; {UNPACK}")
    if problems:
        raise DataError(listed(problems))
    return items


def plan_all(
    root: Path,
    categories: Sequence[str],
    *,
    of_category: Callable[[Iterable[str]], list[Item]] = plan_category,
) -> list[Item]:
    """List the images of all categories; the `Plan` of sets with a folder for each.

    ``of_category`` lists the images of a category by the paths in its folder.

    Raises:
        DataError: a category is not of the layout; the message names its folder.
    """
    items: list[Item] = []
    for category in categories:
        try:
            images = of_category(list_files(root / category))
        except DataError as error:
            raise DataError(f"{root / category}: {error}") from error
        items += [item.below(category) for item in images]
    return items


def category_root(unpacked: Path, categories: Sequence[str]) -> Path:
    """Return the folder that holds those of the categories: ``unpacked`` or one below it.

    Raises:
        DataError: a category is missing.
    """
    root = locate(unpacked, categories[0])
    missing = [name for name in categories if not (root / name).is_dir()]
    if missing:
        raise DataError(
            f"{root}: the folder of the category {missing[0]!r} is missing ({len(missing)} of "
            f"{len(categories)} are); {UNPACK}"
        )
    return root


def one_mask(masks: Sequence[tuple[str, bytes]], *, image: bytes, name: str) -> bytes:
    """Return the content of the one mask of an image.

    Masks lie over the pixels as the image's file stores them. Images are used upright, so where
    EXIF data turn the image, the mask is turned as well.

    Returns:
        The content of the only mask if its pixels are all 0 or 255, otherwise a PNG file of 0
        and 255: 255 where any mask is not 0. Empty if no pixel is marked.

    Raises:
        DataError: a file cannot be decoded, or a mask has another size than the image.
    """
    decode(image, name)
    with pil.open(io.BytesIO(image)) as stored:
        size = stored.size
    upright = orientation(image) == 1
    union = np.zeros(size[::-1], dtype=bool)
    plain = len(masks) == 1 and upright
    for mask_name, content in masks:
        values = mask_numbers(content, mask_name, upright=False)
        check_size(mask_name, values.shape[::-1], size, UNPACK)
        union |= values != 0
        largest = {"bool": 1, "uint8": 255}.get(values.dtype.name)
        plain = plain and largest is not None and bool(np.isin(values, (0, largest)).all())
        plain = plain and orientation(content) == 1
    if not union.any():
        return b""
    return masks[0][1] if plain else png(turned(union, orientation(image)))


def turned(mask: NDArray[np.bool_], orientation: int) -> NDArray[np.bool_]:
    """Turn a mask as an EXIF orientation (1 to 8) turns its image."""
    image = pil.fromarray(mask.astype(np.uint8))
    image.getexif()[ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(image)) > 0


def png(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask as a grey PNG file of 0 and 255.

    Run lengths alone are compressed: what they give does not depend on the processor, as the
    search for longer matches can.
    """
    stream = io.BytesIO()
    image = pil.fromarray(mask.astype(np.uint8) * np.uint8(255))
    image.save(stream, "PNG", compress_type=zlib.Z_RLE)
    return stream.getvalue()


def read_masks(root: Path, items: Iterable[Item]) -> dict[str, bytes]:
    """Read the masks of anomalous images in the folder of the originals.

    An image whose masks mark nothing stays without a mask; a line on standard error says so.

    Returns:
        Contents by `Item.mask_target`.

    Raises:
        DataError: a file is missing, or see `one_mask`.
    """
    contents: dict[str, bytes] = {}
    empty: list[str] = []
    problems: list[str] = []
    for item in items:
        if not item.masks:
            continue
        image = root / item.image
        try:
            masks = [(str(root / name), read(root / name, UNPACK)) for name in item.masks]
            content = one_mask(masks, image=read(image, UNPACK), name=str(image))
        except DataError as error:
            problems.append(str(error))
            continue
        if content:
            contents[item.mask_target] = content
        else:
            empty.append(item.masks[0])
    if problems:
        raise DataError(listed(problems))
    if empty:
        print(
            f"{len(empty)} masks mark no pixel; their images have no mask, so their categories "
            f"have no pixel metrics: {listed(empty, between=', ')}",
            file=sys.stderr,
        )
    return contents


def fetch(spec: DatasetSpec, raw_dir: Path, settings: Settings, *, plan: Plan = plan_all) -> None:
    """Bring the images of all categories and their masks into MVTec AD's layout.

    Raises:
        DataError: the originals are not to be had, not complete, or not of the layout.
    """
    with originals(spec.name, spec.archives, settings) as unpacked:
        root = category_root(unpacked, spec.categories)
        items = plan(root, spec.categories)
        tell(spec.name, f"{len(items)} images, reading the masks")
        masks = read_masks(root, items)
        files: Files = {item.target: partial(read_image, root / item.image) for item in items}
        files |= {target: partial(bytes, content) for target, content in masks.items()}
        fill(raw_dir, spec.name, source=spec.archives[0].file, files=files)
