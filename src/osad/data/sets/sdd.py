"""SDD (KolektorSDD): surfaces of electrical commutators, each image cut in thirds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from osad.core.errors import ConfigError, DataError
from osad.data.fetch.original import Archive, locate, originals
from osad.data.layouts import folder
from osad.data.layouts.crops import (
    divided,
    encode_mask,
    encode_png,
    list_folders,
    list_images,
    read,
    read_marks,
    read_pixels,
    tell,
    thirds,
)
from osad.data.registry import Counts, DatasetSpec, Settings, register
from osad.data.source import fill

ITEM_PATTERN = re.compile(r"kos[0-9]{2}")
PART_PATTERN = re.compile(r"Part[0-9]+")
SPLITS = ("pieces", "image_disjoint")

ARCHIVES = (
    Archive(
        file="KolektorSDD.zip",
        page="https://www.vicos.si/resources/kolektorsdd/",
        url="https://go.vicos.si/kolektorsdd",
        digest="sha256:65dc621693418585de9c4467d1340ea7958a6181816f0dc2883a1e8b61f9d4dc",
        size=101_831_129,
    ),
)


@dataclass(frozen=True)
class Piece:
    """One third of an image.

    Attributes:
        image: file of the image.
        label: file of its mask.
        name: name of the image, ``{item}_{part}``.
        number: 0 top, 1 middle, 2 bottom.
        anomalous: whether the mask marks a pixel of it.
    """

    image: Path
    label: Path
    name: str
    number: int
    anomalous: bool

    @property
    def file(self) -> str:
        """Return the name of the piece, without ending."""
        return f"{self.name}_{self.number}"


def find_pieces(root: Path) -> list[Piece]:
    """List the pieces of all images, sorted.

    Left out are folders inside an item (a stray copy of another item in some copies of the data)
    and images that repeat an earlier one of the same item byte for byte.

    Raises:
        DataError: an image has no mask, or one of another size.
    """
    pieces = []
    for item in list_folders(locate_items(root)):
        if not ITEM_PATTERN.fullmatch(item.name):
            continue
        for stray in list_folders(item):
            tell("sdd", f"{item.name}/{stray.name}: a folder inside an item is left out")
        seen: dict[bytes, str] = {}
        for image in list_images(item):
            if not PART_PATTERN.fullmatch(image.stem):
                continue
            first = seen.setdefault(read(image), image.name)
            if first != image.name:
                tell("sdd", f"{item.name}/{image.name}: repeats {first} and is left out")
                continue
            label = image.with_name(f"{image.stem}_label.bmp")
            marks, pixels = read_marks(label), read_pixels(image)
            if marks.shape != pixels.shape[:2]:
                raise DataError(
                    f"{label}: has {marks.shape[1]} x {marks.shape[0]} pixels and its image "
                    f"{pixels.shape[1]} x {pixels.shape[0]}; get the data set again"
                )
            pieces += [
                Piece(image, label, f"{item.name}_{image.stem}", number, bool(marks[a:b].any()))
                for number, (a, b) in enumerate(thirds(marks.shape[0]))
            ]
    return pieces


def locate_items(root: Path) -> Path:
    """Return the folder that holds the items, by the first item that is in it.

    Raises:
        DataError: there is none.
    """
    folders = (path for path in root.rglob("kos*") if ITEM_PATTERN.fullmatch(path.name))
    items = sorted(
        (path for path in folders if path.is_dir()), key=lambda path: (len(path.parts), path.name)
    )
    return items[0].parent if items else locate(root, "kos01")


def places(pieces: list[Piece], split: str) -> dict[str, str]:
    """Return the folder of each piece by its name.

    Args:
        pieces: all pieces.
        split: ``pieces`` divides the normal pieces 3:1, as the papers do. ``image_disjoint``
            divides the images without a defect 3:1; the normal pieces of the others are tested.

    Source: DRA (Ding et al., CVPR 2022) for ``pieces``; ``image_disjoint`` is ours.
    """
    if split == "pieces":
        normal = divided(piece.file for piece in pieces if not piece.anomalous)
        return {piece.file: normal.get(piece.file, "test/defect") for piece in pieces}
    defective = {piece.name for piece in pieces if piece.anomalous}
    images = divided({piece.name for piece in pieces} - defective)
    return {
        piece.file: "test/defect" if piece.anomalous else images.get(piece.name, "test/good")
        for piece in pieces
    }


def fetch(raw_dir: Path, settings: Settings) -> None:
    """Cut all images and masks and divide the pieces.

    Raises:
        DataError: the data set is not here or not as published.
    """
    with originals("sdd", ARCHIVES, settings) as root:
        pieces = find_pieces(root)
        folders = places(pieces, settings.get("split", SPLITS[0]))
        files: dict[str, Callable[[], bytes]] = {}
        for piece in pieces:
            files[f"{folders[piece.file]}/{piece.file}.png"] = partial(_image, piece)
            if piece.anomalous:
                files[f"ground_truth/defect/{piece.file}_mask.png"] = partial(_mask, piece)
        fill(raw_dir, "sdd", source="KolektorSDD", files=files)


def _image(piece: Piece) -> bytes:
    pixels = read_pixels(piece.image)
    first, end = thirds(pixels.shape[0])[piece.number]
    return encode_png(pixels[first:end])


def _mask(piece: Piece) -> bytes:
    marks = read_marks(piece.label)
    first, end = thirds(marks.shape[0])[piece.number]
    return encode_mask(marks[first:end])


def adapt(spec: DatasetSpec, settings: Settings) -> DatasetSpec:
    """Return the specification for the setting ``split``.

    Raises:
        ConfigError: its value is unknown.
    """
    split = settings.get("split", SPLITS[0])
    if split not in SPLITS:
        raise ConfigError(
            f"data set 'sdd': setting 'split' must be {' or '.join(SPLITS)}, not {split!r}"
        )
    if split == SPLITS[0]:
        return spec
    # 399 images, 52 with a defect: of the other 347 three in four are trained on.
    return replace(
        spec,
        expected={"all": Counts(260 * 3, 87 * 3 + 52 * 3 - 54, {"defect": 54})},
        notes=(
            "SDD is divided by images (setting split: image_disjoint), not by pieces as in the "
            "papers; its numbers do not compare with published ones.",
        ),
    )


SPEC = register(
    DatasetSpec(
        name="sdd",
        title="SDD",
        homepage="https://www.vicos.si/resources/kolektorsdd/",
        licence="CC BY-NC-SA 4.0",
        licence_note="Attribution, non-commercial use, share alike.",
        citation=(
            "D. Tabernik, S. Sela, J. Skvarc, D. Skocaj: Segmentation-Based Deep-Learning Approach "
            "for Surface-Defect Detection. Journal of Intelligent Manufacturing 31, 2020. "
            "doi:10.1007/s10845-019-01476-x"
        ),
        fetch=fetch,
        records=folder.records,
        defect_classes={"all": ("defect",)},
        expected={"all": Counts(857, 286, {"defect": 54})},
        settings=("raw_path", "sample", "split"),
        archives=ARCHIVES,
        notes=(
            "SDD: 857 training normals where the papers print 594; 399 images in thirds without "
            "the 54 defective pieces leave 1143, of which a quarter are the printed 286 test "
            "normals and the rest 857.",
            "SDD: pieces of one image can be in both the training and the test set.",
        ),
        adapt=adapt,
    )
)
