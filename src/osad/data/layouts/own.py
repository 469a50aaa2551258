"""A user's own images: their settings, and the layout ``folder``, that of MVTec AD.

Settings in ``params.yaml``::

    datasets:
      mine: {layout: folder, raw_path: my/images, defect_classes: [scratch, dent]}

The files are copied, not linked, so a later edit of the originals changes no result. A module of a
layout (`osad.data.registry.LAYOUTS`) has ``REQUIRED``, ``fetch`` and ``records``.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from osad.core.cells import NAME
from osad.core.errors import ConfigError, DataError, listed
from osad.data.layouts import folder
from osad.data.layouts.folder import LAYOUT, MASK_WORDS, arrange
from osad.data.layouts.reading import list_files, read_image
from osad.data.manifest import CLASS_PATTERN, NORMAL_CLASS, Record, is_image_name
from osad.data.registry import LAYOUTS, DatasetSpec, Settings, module, names
from osad.data.remarks import CONSTANT, Remarks
from osad.data.source import Files, Source, fill, tell

LONGEST = 100
"""Characters of a class: it is part of names of files."""
TEXTS = ("title", "homepage", "licence", "licence_note", "citation")
"""Optional settings that appear in reports."""
CLASSES = ("defect_classes", "normal_classes")
"""Optional settings that list classes."""
DOUBTFUL = (
    (
        re.compile(
            r"(?:(?:is|all)[_-])?(?:good|ok|okay|normal|gut|pass|passed|fine|perfect|healthy|clean"
            r"|intact|negative|neg|io|bon|bonne|buono|bueno|accept|accepted|reference|golden"
            r"|flawless|defectless|undamaged|(?:no|non|without|not)[_-]?(?:defect|defects|defective"
            r"|anomaly|anomalies|anomalous|fault|error)|(?:defect|anomaly|error)[_-]?free)"
            r"(?:[_-]?(?:[0-9]+|parts?|images?|samples?|items?|pieces?|products?|test))*"
        ),
        "good parts",
        "say `normal_classes: [{}]` if they are normal",
    ),
    (
        re.compile(rf"(?:.*[_-])?(?:{MASK_WORDS})"),
        "masks",
        "move the masks to ground_truth/CLASS/STEM_mask.png",
    ),
)
"""Patterns of classes that are likely no defects, what they speak of, and the remedy."""
REQUIRED = ("raw_path",)
"""Settings of the layout ``folder`` that must be texts."""

records = folder.records


def make_spec(name: str, settings: Settings) -> DatasetSpec:
    """Return the specification of a user's own data set after checking its settings.

    They are ``layout``, what the layout requires, ``defect_classes`` (needed for the hard
    setting), ``normal_classes`` (names of normal images besides ``good``) and `TEXTS`.

    Raises:
        ConfigError: the name is taken, or a setting is unknown, missing or not valid.
    """
    where = f"data set {name!r}"
    if settings["layout"] not in [*LAYOUTS]:
        raise ConfigError(
            f"{where}: unknown layout {settings['layout']!r}; known are {', '.join(LAYOUTS)}"
        )
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"{where}: choose a name of a-z, 0-9 and '_'")
    if name in names():
        raise ConfigError(
            f"{where} comes with the package; choose another name for your own images"
        )
    layout = importlib.import_module(module(name, settings["layout"]))
    keys = ("layout", *layout.REQUIRED, *CLASSES, *TEXTS)
    unknown = sorted(str(key) for key in set(settings) - set(keys))
    if unknown:
        raise ConfigError(
            f"{where}: unknown setting {unknown[0]!r}; possible are {', '.join(keys)}"
        )
    for key in (*layout.REQUIRED, *(key for key in TEXTS if key in settings)):
        if not isinstance(settings.get(key), str) or not settings[key].strip():
            raise ConfigError(f"{where}: setting {key!r} must be a text that is not empty")
    if not re.fullmatch(r"(https?://\S+)?", settings.get("homepage", "")):
        raise ConfigError(
            f"{where}: homepage must begin with https:// and have no blanks, not "
            f"{settings['homepage']!r}"
        )
    classes, normal = _classes(settings, where)
    return DatasetSpec(
        name=name,
        title=settings.get("title", name),
        homepage=settings.get("homepage", ""),
        licence=settings.get("licence", "not stated"),
        licence_note=settings.get("licence_note", ""),
        citation=settings.get("citation", ""),
        fetch=layout.fetch,
        records=partial(_records, layout=layout, classes=classes, normal=normal),
        defect_classes={"all": tuple(classes)},
        settings=keys,
    )


def _records(
    source: Source, category: str, *, layout: Any, classes: list[str], normal: list[str]
) -> list[Record]:
    """List the images after checking the classes: those of the settings are there, none is odd."""
    images: list[Record] = layout.records(source, category, normal)
    present = Counter(record.class_name for record in images if record.label)
    odd = [
        f"data set {source.dataset!r}: the {present[name]} images of class {name!r} would count as "
        f"anomalies, but its name speaks of {kind}; {remedy.format(name)}, or name it in "
        f"defect_classes, `defect_classes: [{', '.join([*classes, name])}]`, if it is a kind of "
        "defect"
        for pattern, kind, remedy in DOUBTFUL
        for name in sorted(present.keys() - set(classes))
        if pattern.fullmatch(name)
    ]
    if odd:
        raise ConfigError(listed(odd))
    missing = [name for name in classes if name not in present]
    if missing:
        raise ConfigError(
            f"data set {source.dataset!r}: defect_classes names {missing[0]!r}, but the folder has "
            f"{', '.join(sorted(present))}; correct params.yaml"
        )
    return images


def fetch(spec: DatasetSpec, raw_dir: Path, settings: Settings) -> None:
    """Copy the images and masks of the user's folder.

    Raises:
        DataError: the folder is missing, is not of the layout, or see `copy`.
        ConfigError: the folder and the project's copy of it overlap.
    """
    raw_path = check_place(settings, raw_dir, name=spec.name, layout=LAYOUT)
    normal = settings.get("normal_classes", ())
    paths = list_files(raw_path)
    check_folders(paths, where=raw_path)
    arrangement = arrange(paths, normal, where=str(raw_path))
    for paths, text in (
        (arrangement.skipped, "files and folders are hidden or no images of the layout"),
        (arrangement.unused, "masks belong to no anomalous image"),
    ):
        if paths:
            tell(spec.name, f"{len(paths)} {text} and are skipped: {listed(paths, between=', ')}")
    classes = {path: name for path, (_, name) in arrangement.images.items()}
    tell(spec.name, counted(arrangement.images.values()))
    copy(raw_path, raw_dir, spec.name, classes=classes, masks=arrangement.masks, source="folder")


def check_folders(paths: Collection[str], *, where: Path) -> None:
    """Ask what folders such as ``OK`` and ``NG`` mean where none is called ``train``.

    Raises:
        DataError: images lie in such folders; the message has the settings for both readings.
    """
    tops = sorted({path.split("/")[0] for path in paths if path.count("/") == 1})
    tops = [t for t in tops if any(p.startswith(f"{t}/") and is_image_name(p) for p in paths)]
    if not tops or any(path.lower().startswith(("train/", "test/")) for path in paths):
        return
    name = folder.class_name(tops[0]) or tops[0].lower()
    first = tops[0]
    raise DataError(
        f"{where}: has images in {', '.join(tops)}, and names are not guessed at; where {first} "
        f"has good parts move it to train/{first} and say `normal_classes: [{name}]`, where it has "
        f"defects move it to test/{first} and say `defect_classes: [{name}]`, and so for the others"
    )


def counted(images: Collection[tuple[str, str]]) -> str:
    """Say how many images there are of each split and class, and how they are divided.

    Example:
        >>> counted([("train", "good"), ("train", "good"), ("test", "dent")])
        '2 in train/good, 1 in test/dent; without test/good a quarter of train/good is held out'
    """
    found = Counter(f"{split}/{name}" for split, name in images)
    text = ", ".join(f"{number} in {place}" for place, number in found.items())
    if f"test/{NORMAL_CLASS}" in found:
        return f"{text}; test/good is held out, all of train/good is for training"
    return f"{text}; without test/good a quarter of train/good is held out"


def copy(
    raw_path: Path,
    raw_dir: Path,
    dataset: str,
    *,
    classes: Mapping[str, str],
    masks: Mapping[str, str],
    source: str,
    more: Files | None = None,
) -> None:
    """Copy images and masks after decoding each, and tell what is odd about them.

    Args:
        raw_path: the user's folder.
        raw_dir: the project's.
        dataset: id of the data set.
        classes: class of each image by its path.
        masks: path of the mask by that of its image.
        source: name of the layout.
        more: further files.

    Raises:
        DataError: files cannot be read or decoded, or a class has only images of one colour.
    """
    remarks = Remarks()
    files: Files = dict(more or {})
    for path in classes:
        files[path] = partial(read_image, raw_path / path, remarks=remarks)
    for path, mask in masks.items():
        files[mask] = partial(read_image, raw_path / mask, mask_of=raw_path / path, remarks=remarks)

    def problems() -> list[str]:
        for line in remarks.lines():
            tell(dataset, line)
        seen = {path for path in classes if str(raw_path / path) not in remarks.found[CONSTANT]}
        gone = sorted({*classes.values()} - {classes[path] for path in seen})
        return [f"{raw_path}: all images of class {name!r} {CONSTANT}" for name in gone]

    fill(raw_dir, dataset, source=source, files=files, check=problems)


def check_place(settings: Settings, raw_dir: Path, *, name: str, layout: str) -> Path:
    """Return a user's folder after checking that it exists, apart from the project's copy.

    Raises:
        DataError: it does not exist; the message ends with ``layout``.
        ConfigError: they overlap.
    """
    raw_path = Path(settings["raw_path"])
    if not raw_path.is_dir():
        raise DataError(f"{raw_path}: raw_path of {name!r} is not a folder; {layout}")
    here, there = raw_dir.resolve(), raw_path.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ConfigError(f"{raw_path}: raw_path of {name!r} must not overlap {raw_dir}; move it")
    return raw_path


def _classes(settings: Settings, where: str) -> tuple[list[str], list[str]]:
    """Return the classes of defects, and those of normal images besides ``good``."""
    for key in CLASSES:
        names_in = settings.get(key, [])
        if not isinstance(names_in, list):
            raise ConfigError(f"{where}: {key} must be a list of classes, not {names_in!r}")
        for item in names_in:
            if (
                not isinstance(item, str)
                or not CLASS_PATTERN.fullmatch(item)
                or len(item) > LONGEST
                or item == NORMAL_CLASS
            ):
                raise ConfigError(
                    f"{where}: {key} must have classes in lower case (a-z, 0-9, '-', '_' for "
                    f"blanks), at most {LONGEST} characters each and without good, not {item!r}"
                )
    defects, normal = (settings.get(key, []) for key in CLASSES)
    twice = [name for name, number in Counter([*defects, *normal]).items() if number > 1]
    if twice:
        raise ConfigError(f"{where}: {' or '.join(CLASSES)} names the class {twice[0]!r} twice")
    return defects, normal
