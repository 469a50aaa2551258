"""MVTec AD's layout, in which ``data/raw`` has the images of nearly every data set.

A folder (of a category, where there are several) holds ``train/good``, ``test/good``, one
``test/{class}`` for each defect class and, where there are masks,
``ground_truth/{class}/{stem}_mask.png``. Without ``test/good`` the images of ``train/good`` are
divided 3:1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from osad.core.errors import DataError
from osad.data.manifest import (
    CLASS_PATTERN,
    NORMAL_CLASS,
    Record,
    byte_order,
    is_image_name,
    three_to_one,
)
from osad.data.source import Source

LAYOUT = (
    "expected are images (png, jpg, bmp, tif or webp) in train/good, test/good (optional) and "
    "test/CLASS, and optional masks ground_truth/CLASS/STEM_mask.png"
)


@dataclass(frozen=True)
class Arrangement:
    """Meaning of the files of a folder.

    Attributes:
        images: split and class of each image by its path.
        masks: path of the mask by the path of its image.
        skipped: paths that are neither, sorted.
    """

    images: dict[str, tuple[str, str]]
    masks: dict[str, str]
    skipped: list[str]


def class_name(text: str) -> str | None:
    """Return the class of a folder or table entry: in lower case, with ``_`` for blanks.

    Returns:
        The class, or None if that is not a name.

    Example:
        >>> class_name("Broken pick"), class_name("a/b")
        ('broken_pick', None)
    """
    name = text.lower().replace(" ", "_")
    return name if CLASS_PATTERN.fullmatch(name) else None


def folder_class(folder: str) -> str:
    """Return the class of a folder (see `class_name`).

    Raises:
        DataError: its name is not that of a class.
    """
    name = class_name(folder)
    if name is None:
        raise DataError(f"test/{folder}: rename the folder; use letters a-z, digits, '_' and '-'")
    return name


def arrange(paths: Iterable[str]) -> Arrangement:
    """Find out which files of a folder are images of which class, and which are masks.

    Raises:
        DataError: an image is where none is expected, two folders or masks clash, or there are
            no normal or no anomalous images.
    """
    images: dict[str, tuple[str, str]] = {}
    candidates: dict[tuple[str, str], list[str]] = {}
    skipped: list[str] = []
    folders: dict[str, str] = {}
    for path in sorted(paths, key=byte_order):
        parts = path.split("/")
        if parts[-1].startswith(".") or not is_image_name(parts[-1]):
            skipped.append(path)
        elif parts[0] == "ground_truth" and len(parts) == 3:
            candidates.setdefault((parts[1], PurePosixPath(path).stem), []).append(path)
        elif parts[0] not in ("train", "test"):
            skipped.append(path)
        elif len(parts) != 3 or (parts[0] == "train" and parts[1] != NORMAL_CLASS):
            raise DataError(f"{path}: an image in an unexpected place; {LAYOUT}")
        else:
            name = folder_class(parts[1])
            if folders.setdefault(name, parts[1]) != parts[1]:
                raise DataError(
                    f"test/{parts[1]} and test/{folders[name]} are both the class {name!r}; "
                    "rename one of them"
                )
            images[path] = (parts[0], name)
    if ("train", NORMAL_CLASS) not in images.values():
        raise DataError(f"train/good: there are no images; {LAYOUT}")
    if all(name == NORMAL_CLASS for _, name in images.values()):
        raise DataError(f"test: there are no anomalous images; {LAYOUT}")
    masks: dict[str, str] = {}
    for path, (_, name) in images.items():
        key = (path.split("/")[1], f"{PurePosixPath(path).stem}_mask")
        if name == NORMAL_CLASS or key not in candidates:
            continue
        mask, *others = candidates[key]
        if others:
            raise DataError(f"{mask} and {others[0]} are masks of the same image; remove one")
        if mask in masks.values():
            raise DataError(f"{mask} is the mask of several images, also of {path}")
        masks[path] = mask
    used = set(masks.values())
    skipped += [path for group in candidates.values() for path in group if path not in used]
    return Arrangement(images, masks, sorted(skipped, key=byte_order))


def records(source: Source, category: str) -> list[Record]:
    """List the images of ``data/raw/{dataset}``, or of the folder of a category but ``all`` in it.

    Raises:
        DataError: the files are missing or not of the layout.
    """
    start = "" if category == "all" else f"{category}/"
    root = f"{source.root}/{start}".removesuffix("/")
    paths = [path.removeprefix(start) for path in source.files if path.startswith(start)]
    try:
        arrangement = arrange(paths)
    except DataError as error:
        raise DataError(f"{root}: {error}") from error
    splits = {path: split for path, (split, _) in arrangement.images.items()}
    if ("test", NORMAL_CLASS) not in arrangement.images.values():
        splits |= divided(path for path, split in splits.items() if split == "train")
    return [
        Record(
            path=f"{root}/{path}",
            label=int(name != NORMAL_CLASS),
            class_name=name,
            split=splits[path],
            mask=f"{root}/{arrangement.masks[path]}" if path in arrangement.masks else "",
        )
        for path, (_, name) in arrangement.images.items()
    ]


def divided(names: Iterable[str]) -> dict[str, str]:
    """Return ``train`` or ``test`` for each name of a normal image, divided 3:1."""
    train, test = three_to_one(names)
    return dict.fromkeys(train, "train") | dict.fromkeys(test, "test")
