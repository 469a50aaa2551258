"""A user's own images in a folder of MVTec AD's layout.

Settings in ``params.yaml``::

    datasets:
      mine: {layout: folder, raw_path: my/images, defect_classes: [scratch, dent]}

The folder holds ``train/good``, ``test/good``, one ``test/{class}`` for each defect class and,
where there are masks, ``ground_truth/{class}/{stem}_mask.png``. Without ``test/good`` the images of
``train/good`` are divided 3:1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from osad.core.errors import DataError
from osad.data.images import is_image_name
from osad.data.layouts import common as layouts
from osad.data.layouts.common import check_place, class_name, divided, read_image
from osad.data.manifest import NORMAL_CLASS, Record, byte_order, path_problem
from osad.data.registry import DatasetSpec, Settings
from osad.data.source import Source, fill

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


def folder_class(folder: str) -> str:
    """Return the class of a folder (see `osad.data.layouts.common.class_name`).

    Raises:
        DataError: its name is not that of a class.
    """
    name = class_name(folder)
    if name is None:
        raise DataError(f"test/{folder}: rename the folder; use letters a-z, digits, '_' and '-'")
    return name


def arrange(paths: Iterable[str]) -> Arrangement:
    """Find out which files are images of which class, and which are masks.

    Args:
        paths: paths relative to the folder, in any order.

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
    for path, (part, name) in images.items():
        if part == "train" or name == NORMAL_CLASS:
            continue
        key = (path.split("/")[1], f"{PurePosixPath(path).stem}_mask")
        found = candidates.get(key, [])
        if len(found) > 1:
            raise DataError(f"{found[0]} and {found[1]} are masks of the same image; remove one")
        if found:
            if found[0] in masks.values():
                raise DataError(f"{found[0]} is the mask of several images, also of {path}")
            masks[path] = found[0]
    used = set(masks.values())
    skipped += [path for group in candidates.values() for path in group if path not in used]
    return Arrangement(images, masks, sorted(skipped, key=byte_order))


def list_files(raw_path: Path) -> list[str]:
    """List the files of a folder as sorted relative paths.

    Raises:
        DataError: a link leaves the folder or is a folder, or a name cannot be written as text.
    """
    root = raw_path.resolve()
    found: list[str] = []
    for folder, folders, names in os.walk(raw_path):
        for name in folders:
            if Path(folder, name).is_symlink():
                raise DataError(
                    f"{Path(folder, name)}: links to folders are not followed; copy the folder"
                )
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(raw_path).as_posix()
            problem = path_problem(relative)
            if problem:
                raise DataError(f"{relative!a}: its name {problem}; rename the file")
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise DataError(f"{path}: is a link to a place outside {raw_path}; copy the file")
            if not path.is_file():
                raise DataError(f"{path}: is not a regular file; remove it")
            found.append(relative)
    return sorted(found, key=byte_order)


def make_spec(name: str, settings: Settings) -> DatasetSpec:
    """Return the specification of a user's own data set.

    Args:
        name: id of the data set.
        settings: ``layout``, ``raw_path``, ``defect_classes`` (needed for the hard setting) and,
            as they should appear in reports, title, homepage, licence, licence_note, citation.

    Raises:
        ConfigError: a setting is unknown, missing or not valid.
    """
    return layouts.make_spec(name, settings, required=("raw_path",), fetch=fetch, records=records)


def fetch(raw_dir: Path, settings: Settings, *, name: str) -> None:
    """Copy the images and masks of the user's folder.

    The files are copied, not linked, so a later edit of the originals changes no result.

    Raises:
        DataError: the folder is missing, is not of the layout, or an image cannot be decoded.
        ConfigError: the folder and the project's copy of it overlap.
    """
    raw_path = Path(settings["raw_path"])
    check_place(raw_path, raw_dir, name=name, layout=LAYOUT)
    try:
        arrangement = arrange(list_files(raw_path))
    except DataError as error:
        raise DataError(f"{raw_path}: {error}") from error
    if arrangement.skipped:
        first = ", ".join(arrangement.skipped[:3])
        more = ", ..." if len(arrangement.skipped) > 3 else ""
        print(
            f"{name}: {len(arrangement.skipped)} files are no images or masks of the layout and "
            f"are skipped: {first}{more}",
            file=sys.stderr,
        )
    files: dict[str, Callable[[], bytes]] = {
        path: partial(read_image, raw_path / path) for path in arrangement.images
    }
    for path, mask in arrangement.masks.items():
        files[mask] = partial(read_image, raw_path / mask, mask_of=raw_path / path)
    fill(raw_dir, name, source="folder", files=files)


def records(source: Source, category: str) -> list[Record]:
    """List the images of a copied folder.

    Args:
        source: the files.
        category: not used, the layout has the category ``all`` only.

    Raises:
        DataError: the files are not of the layout.
    """
    try:
        arrangement = arrange(source.files)
    except DataError as error:
        raise DataError(f"{source.root}: {error}") from error
    split = {path: part for path, (part, _) in arrangement.images.items()}
    if ("test", NORMAL_CLASS) not in arrangement.images.values():
        split = divided(split, [path for path, part in split.items() if part == "train"])
    return [
        Record(
            path=f"{source.root}/{path}",
            label=int(name != NORMAL_CLASS),
            class_name=name,
            split=split[path],
            mask=f"{source.root}/{arrangement.masks[path]}" if path in arrangement.masks else "",
        )
        for path, (_, name) in arrangement.images.items()
    ]
