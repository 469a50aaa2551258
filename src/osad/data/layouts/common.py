"""What the layouts of users' own images share: settings, reading files once, the 3:1 division."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from osad.core.errors import ConfigError, DataError
from osad.data.images import FORMATS, decode
from osad.data.manifest import CLASS_PATTERN, NORMAL_CLASS, Record, three_to_one
from osad.data.registry import DatasetSpec, Settings
from osad.data.source import Source

TEXTS = ("title", "homepage", "licence", "licence_note", "citation")
"""Optional settings that appear in reports."""
ORIENTATION = 0x0112
"""EXIF's number of the orientation; 1 is upright, 5 to 8 swap width and height."""


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


def make_spec(
    name: str,
    settings: Settings,
    *,
    required: tuple[str, ...],
    fetch: Callable[..., None],
    records: Callable[..., list[Record]],
) -> DatasetSpec:
    """Return the specification of a user's own data set after checking its settings.

    Args:
        name: id of the data set.
        settings: its mapping in ``params.yaml``.
        required: settings of the layout that must be texts.
        fetch: takes ``raw_dir``, ``settings`` and ``name``.
        records: takes ``source`` and ``category``.

    Raises:
        ConfigError: a setting is unknown, missing or not valid.
    """
    keys = ("layout", *required, "defect_classes", *TEXTS)
    unknown = sorted(str(key) for key in set(settings) - set(keys))
    if unknown:
        raise ConfigError(
            f"data set {name!r}: unknown setting {unknown[0]!r}; possible are {', '.join(keys)}"
        )
    for key in (*required, *(key for key in TEXTS if key in settings)):
        if not isinstance(settings.get(key), str) or not settings[key]:
            raise ConfigError(
                f"data set {name!r}: setting {key!r} must be a text that is not empty"
            )
    classes = settings.get("defect_classes", [])
    if not isinstance(classes, list) or not all(
        isinstance(item, str) and CLASS_PATTERN.fullmatch(item) and item != NORMAL_CLASS
        for item in classes
    ):
        raise ConfigError(
            f"data set {name!r}: defect_classes must be a list of classes in lower case with '_' "
            "for blanks and without good"
        )
    if len(set(classes)) != len(classes):
        raise ConfigError(f"data set {name!r}: defect_classes names a class twice")
    return DatasetSpec(
        name=name,
        title=settings.get("title", name),
        homepage=settings.get("homepage", ""),
        licence=settings.get("licence", "not stated"),
        licence_note=settings.get("licence_note", ""),
        citation=settings.get("citation", ""),
        fetch=partial(fetch, name=name),
        records=partial(_records, records=records, classes=tuple(classes)),
        defect_classes={"all": tuple(classes)},
        settings=keys,
    )


def _records(
    source: Source,
    category: str,
    *,
    records: Callable[..., list[Record]],
    classes: tuple[str, ...],
) -> list[Record]:
    """List the images after checking that every class of the settings is there.

    Raises:
        ConfigError: one is not.
    """
    found = records(source, category)
    present = {record.class_name for record in found} - {NORMAL_CLASS}
    missing = [name for name in classes if name not in present]
    if missing:
        raise ConfigError(
            f"data set {source.dataset!r}: defect_classes names {missing[0]!r}, but the folder has "
            f"{', '.join(sorted(present))}; correct params.yaml"
        )
    return found


def check_place(raw_path: Path, raw_dir: Path, *, name: str, layout: str) -> None:
    """Check that a user's folder exists and is apart from the project's copy of it.

    Raises:
        DataError: it does not exist.
        ConfigError: they overlap.
    """
    if not raw_path.is_dir():
        raise DataError(f"{raw_path}: raw_path of {name!r} is not a folder; {layout}")
    here, there = raw_dir.resolve(), raw_path.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ConfigError(f"{raw_path}: raw_path of {name!r} must not overlap {raw_dir}; move it")


def read_image(path: Path, *, mask_of: Path | None = None) -> bytes:
    """Return the content of an image after decoding it once.

    Args:
        path: of the image, or of a mask.
        mask_of: of the mask's image.

    Raises:
        DataError: a file cannot be read or decoded, or the mask does not lie over its image.
    """
    try:
        content = path.read_bytes()
        other = mask_of.read_bytes() if mask_of else None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    size = _size(content, path)
    if other is None:
        return content
    wanted = _size(other, mask_of)
    if size != wanted:
        raise DataError(
            f"{path}: the mask has {size[0]} x {size[1]} pixels and its image "
            f"{wanted[0]} x {wanted[1]}; make them equal or remove the mask"
        )
    turned, mask_turned = orientation(other), orientation(content)
    if turned != mask_turned and (wanted[0] == wanted[1] or max(turned, mask_turned) < 5):
        raise DataError(
            f"{path}: the mask has EXIF orientation {mask_turned} and its image {turned}, so how "
            "the mask lies over the image is unclear; save both upright, without orientation"
        )
    return content


def _size(content: bytes, path: Path | None) -> tuple[int, int]:
    """Return width and height of an image that can be decoded, upright."""
    with warnings.catch_warnings():
        # Too large an image is refused; Pillow's warning would stand beside the message.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return decode(content, str(path)).size


def orientation(content: bytes) -> int:
    """Return the EXIF orientation of an image, 1 (upright) to 8; 1 without any."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def divided(split: Mapping[str, str], normal: Sequence[str]) -> dict[str, str]:
    """Divide normal images 3:1 into ``train`` and ``test`` (see `three_to_one`).

    Args:
        split: ``train`` or ``test`` by path of every image.
        normal: paths of the normal images, all of which are divided anew.

    Returns:
        the new split by path; other images keep theirs.
    """
    train, test = three_to_one(normal)
    return {**split, **dict.fromkeys(train, "train"), **dict.fromkeys(test, "test")}
