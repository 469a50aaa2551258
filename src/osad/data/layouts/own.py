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
from functools import partial
from pathlib import Path
from typing import Any

from osad.core.cells import NAME
from osad.core.errors import ConfigError, DataError
from osad.data.layouts import folder
from osad.data.layouts.folder import LAYOUT, arrange
from osad.data.layouts.reading import list_files, read_image
from osad.data.manifest import CLASS_PATTERN, NORMAL_CLASS, Record
from osad.data.registry import LAYOUTS, DatasetSpec, Settings, module, names
from osad.data.source import Files, Source, fill, tell

LONGEST = 100
"""Characters of a class: it is part of names of files."""
TEXTS = ("title", "homepage", "licence", "licence_note", "citation")
"""Optional settings that appear in reports."""
REQUIRED = ("raw_path",)
"""Settings of the layout ``folder`` that must be texts."""

records = folder.records


def make_spec(name: str, settings: Settings) -> DatasetSpec:
    """Return the specification of a user's own data set after checking its settings.

    They are ``layout``, what the layout requires, ``defect_classes`` (needed for the hard setting)
    and `TEXTS`.

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
    keys = ("layout", *layout.REQUIRED, "defect_classes", *TEXTS)
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
    classes = settings.get("defect_classes", [])
    if not isinstance(classes, list):
        raise ConfigError(f"{where}: defect_classes must be a list of classes, not {classes!r}")
    for item in classes:
        if (
            not isinstance(item, str)
            or not CLASS_PATTERN.fullmatch(item)
            or len(item) > LONGEST
            or item == NORMAL_CLASS
        ):
            raise ConfigError(
                f"{where}: defect_classes must have classes in lower case (a-z, 0-9, '-', '_' for "
                f"blanks), at most {LONGEST} characters each and without good, not {item!r}"
            )
        if classes.count(item) > 1:
            raise ConfigError(f"{where}: defect_classes names the class {item!r} twice")
    return DatasetSpec(
        name=name,
        title=settings.get("title", name),
        homepage=settings.get("homepage", ""),
        licence=settings.get("licence", "not stated"),
        licence_note=settings.get("licence_note", ""),
        citation=settings.get("citation", ""),
        fetch=layout.fetch,
        records=partial(_records, layout=layout, classes=classes),
        defect_classes={"all": tuple(classes)},
        settings=keys,
    )


def _records(source: Source, category: str, *, layout: Any, classes: list[str]) -> list[Record]:
    """List the images after checking that every class of the settings is there."""
    images: list[Record] = layout.records(source, category)
    present = {record.class_name for record in images} - {NORMAL_CLASS}
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
        DataError: the folder is missing, is not of the layout, or an image cannot be decoded.
        ConfigError: the folder and the project's copy of it overlap.
    """
    raw_path = check_place(settings, raw_dir, name=spec.name, layout=LAYOUT)
    try:
        arrangement = arrange(list_files(raw_path))
    except DataError as error:
        raise DataError(f"{raw_path}: {error}") from error
    skipped = arrangement.skipped
    if skipped:
        first = ", ".join([*skipped[:3], *(["..."] if len(skipped) > 3 else [])])
        text = f"{len(skipped)} files are no images or masks of the layout and are skipped: {first}"
        tell(spec.name, text)
    files: Files = {path: partial(read_image, raw_path / path) for path in arrangement.images}
    for path, mask in arrangement.masks.items():
        files[mask] = partial(read_image, raw_path / mask, mask_of=raw_path / path)
    fill(raw_dir, spec.name, source="folder", files=files)


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
