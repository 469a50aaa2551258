"""SDD (KolektorSDD): surfaces of electrical commutators, each image cut in thirds."""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from osad.core.errors import ConfigError
from osad.data.fetch.original import locate, published
from osad.data.layouts.folder import divided
from osad.data.layouts.reading import (
    check_size,
    cut_image,
    cut_mask,
    list_folders,
    list_images,
    read_marks,
    read_pixels,
)
from osad.data.registry import Archive, Counts, DatasetSpec, Settings
from osad.data.source import Files, read, tell

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
        file: name of the piece, without ending.
        rows: its rows.
        anomalous: whether the mask marks a pixel of it.
    """

    image: Path
    label: Path
    name: str
    file: str
    rows: slice
    anomalous: bool


def find_pieces(root: Path) -> list[Piece]:
    """List the pieces of all images, sorted; images are cut at floor(H / 3) and floor(2 H / 3).

    Left out are folders inside an item (a stray copy of another item in some copies of the data)
    and images that repeat an earlier one of the same item byte for byte.

    Raises:
        DataError: an image has no mask, or one of another size.

    Source: DRA (Ding et al., CVPR 2022).
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
            check_size(label, marks.shape[::-1], pixels.shape[1::-1])
            name, height = f"{item.name}_{image.stem}", len(marks)
            cuts = [0, height // 3, 2 * height // 3, height]
            for number, rows in enumerate(map(slice, cuts, cuts[1:])):
                file, marked = f"{name}_{number}", bool(marks[rows].any())
                pieces.append(Piece(image, label, name, file, rows, marked))
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

    ``pieces`` divides the normal pieces 3:1, as the papers do. ``image_disjoint`` divides the
    images without a defect 3:1; the normal pieces of the others are tested.

    Source: DRA (Ding et al., CVPR 2022) for ``pieces``; ``image_disjoint`` is ours.
    """
    if split == "pieces":
        splits = divided(piece.file for piece in pieces if not piece.anomalous)
    else:
        defective = {piece.name for piece in pieces if piece.anomalous}
        images = divided({piece.name for piece in pieces} - defective)
        splits = {piece.file: images.get(piece.name, "test") for piece in pieces}
    return {
        piece.file: "test/defect" if piece.anomalous else f"{splits[piece.file]}/good"
        for piece in pieces
    }


def raw_files(unpacked: Path, settings: Settings) -> Files:
    """Return the pieces of all images and masks, divided."""
    pieces = find_pieces(unpacked)
    folders = places(pieces, settings.get("split", SPLITS[0]))
    files: Files = {}
    for piece in pieces:
        files[f"{folders[piece.file]}/{piece.file}.png"] = partial(
            cut_image, piece.image, piece.rows
        )
        if piece.anomalous:
            files[f"ground_truth/defect/{piece.file}_mask.png"] = partial(
                cut_mask, piece.label, piece.rows
            )
    return files


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


SPEC = DatasetSpec(
    name="sdd",
    title="SDD",
    homepage="https://www.vicos.si/resources/kolektorsdd/",
    licence="CC BY-NC-SA 4.0",
    licence_note="Attribution, non-commercial use, share alike.",
    citation="D. Tabernik, S. Sela, J. Skvarc, D. Skocaj: Segmentation-Based Deep-Learning "
    "Approach for Surface-Defect Detection. Journal of Intelligent Manufacturing 31, 2020. "
    "doi:10.1007/s10845-019-01476-x",
    fetch=published(raw_files, source="KolektorSDD"),
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
