"""MVTec AD's layout, in which ``data/raw`` has the images of nearly every data set.

A folder (of a category, where there are several) holds ``train/good``, ``test/good``, one
``test/{class}`` for each defect class, if there are any, and, where there are masks,
``ground_truth/{class}/{stem}_mask.png``. Without ``test/good`` the images of ``train/good`` are
divided 3:1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from osad.core.errors import DataError, listed
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
    "expected are images (png, jpg, bmp, tif or webp) in train/good and, optional, in test/good "
    "and test/CLASS, and optional masks ground_truth/CLASS/STEM_mask.png"
)
SYSTEM = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
)
"""Folders that systems make beside a user's files, in lower case."""
MASK_WORDS = "masks?|gt|seg|segmentation|annotation|ground[_-]?truth"
MASK_NAME = re.compile(
    rf"(?:(.+)[ _.-](?:{MASK_WORDS}|label))|(?:(?:{MASK_WORDS}|label)[ _.-](.+))"
)
"""Names of images, without ending, that are likely masks of the image in the rest of the name."""


@dataclass(frozen=True)
class Arrangement:
    """Meaning of the files of a folder.

    Attributes:
        images: split and class of each image by its path.
        masks: path of the mask by the path of its image.
        skipped: paths that are neither, sorted.
        unused: masks of no image, sorted.
    """

    images: dict[str, tuple[str, str]]
    masks: dict[str, str]
    skipped: list[str]
    unused: list[str]


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is hidden, or is a folder that a system makes for itself."""
    return name.startswith(".") or name.casefold() in SYSTEM


def class_name(text: str) -> str | None:
    """Return the class of a folder or table entry: in lower case, with ``_`` for blanks.

    Returns:
        The class, or None if that is not a name.

    Example:
        >>> class_name("Broken pick "), class_name("a/b")
        ('broken_pick', None)
    """
    name = "_".join(text.lower().split())
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


def arrange(paths: Iterable[str], normal: Collection[str] = (), *, where: str = "") -> Arrangement:
    """Find out which files of a folder are images of which class, and which are masks.

    Names of folders, and of masks and their images, are compared in lower case.

    Args:
        paths: of the files; those that end in ``/`` are folders that are skipped.
        normal: classes besides ``good`` whose images are normal.
        where: the folder, for messages.

    Raises:
        DataError: an image is where none is expected or looks like the mask of another, two
            folders or masks clash, or there are no normal images.
    """
    images: dict[str, tuple[str, str]] = {}
    candidates: dict[tuple[str, str], list[str]] = {}
    skipped: list[str] = []
    problems: list[str] = []
    folders: dict[tuple[str, str], str] = {}
    for path in sorted(paths, key=byte_order):
        parts = path.split("/")
        top = parts[0].lower()
        if parts[-1].startswith(".") or not is_image_name(parts[-1]):
            skipped.append(path)
        elif top == "ground_truth" and len(parts) == 3:
            candidates.setdefault(_key(path), []).append(path)
        elif top not in ("train", "test"):
            skipped.append(path)
        elif len(parts) != 3:
            problems.append(f"{path}: an image in an unexpected place; {LAYOUT}")
        else:
            try:
                name = folder_class(parts[1])
            except DataError as error:
                problems.append(str(error))
                continue
            name = NORMAL_CLASS if name in normal else name
            place = f"{parts[0]}/{parts[1]}"
            if (other := folders.setdefault((top, name), place)) != place:
                problems.append(f"{place} and {other} are both the class {name!r}; rename one")
            if top == "train" and name != NORMAL_CLASS:
                problems.append(
                    f"{path}: an image in an unexpected place; {LAYOUT}. If {parts[1]} holds "
                    f"normal images, say `normal_classes: [{name}]`"
                )
            images[path] = (top, name)
    problems += _masks_beside(images)
    full = {tuple(path.split("/")[:2]) for path in images}
    bare = {(*path.split("/")[:2],) for path in skipped if path.count("/") == 2} - full
    problems += [
        f"{top}/{name}: holds no images of a known kind; remove the folder or convert them"
        for top, name in sorted(bare)
        if top.lower() in ("train", "test") and not is_hidden(name)
    ]
    if not problems and ("train", NORMAL_CLASS) not in images.values():
        problems.append(f"train/good: there are no images; {LAYOUT}")
    masks, owners = _matched(images, candidates, problems)
    if problems:
        # One folder is often the reason of many.
        start = f"{where}: " if where else ""
        raise DataError(listed([f"{start}{problem}" for problem in dict.fromkeys(problems)]))
    unused = [path for group in candidates.values() for path in group if path not in owners]
    return Arrangement(
        images, masks, *(sorted(names, key=byte_order) for names in (skipped, unused))
    )


def _matched(
    images: Mapping[str, tuple[str, str]],
    candidates: Mapping[tuple[str, str], list[str]],
    problems: list[str],
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the mask of each image and the image of each mask; add to ``problems``."""
    masks: dict[str, str] = {}
    owners: dict[str, str] = {}
    for path, (_, name) in images.items():
        mask, *others = candidates.get(_key(path, "_mask"), [""])
        if name == NORMAL_CLASS or not mask:
            continue
        if others:
            problems.append(f"{mask} and {others[0]} are masks of the same image; remove one")
        if (owner := owners.setdefault(mask, path)) != path:
            problems.append(f"{mask} is the mask of several images, {owner} and {path}")
        masks[path] = mask
    return masks, owners


def _key(path: str, end: str = "") -> tuple[str, str]:
    """Return what an image and its mask have in common: class and name, however they are typed."""
    place = PurePosixPath(path)
    stem = unicodedata.normalize("NFC", f"{place.stem}{end}").casefold()
    return class_name(place.parent.name) or place.parent.name, stem


def _masks_beside(images: Iterable[str]) -> list[str]:
    """Say which images look like the masks of images beside them, by their names."""
    stems = {path.rpartition(".")[0].lower(): path for path in images}
    found: dict[str, list[str]] = {}
    for stem, path in stems.items():
        folder, _, name = stem.rpartition("/")
        match = MASK_NAME.fullmatch(name)
        if match and f"{folder}/{match[1] or match[2]}" in stems:
            found.setdefault(path.rpartition("/")[0], []).append(path)
    return [
        f"{folder}: {len(paths)} images look like masks of images beside them (the first is "
        f"{paths[0]}); move them to ground_truth/CLASS/STEM_mask.png, or say in a table what each "
        "image is (layout: csv)"
        for folder, paths in found.items()
    ]


def records(source: Source, category: str, normal: Collection[str] = ()) -> list[Record]:
    """List the images of ``data/raw/{dataset}``, or of the folder of a category but ``all`` in it.

    ``normal`` names classes besides ``good`` whose images are normal.

    Raises:
        DataError: the files are missing or not of the layout.
    """
    start = "" if category == "all" else f"{category}/"
    root = f"{source.root}/{start}".removesuffix("/")
    paths = [path.removeprefix(start) for path in source.files if path.startswith(start)]
    arrangement = arrange(paths, normal, where=root)
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
