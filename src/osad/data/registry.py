"""Registry of data sets.

To add a data set, add one module ``osad/data/sets/{name}.py`` with a `DatasetSpec` of the same name
as ``SPEC``, and a page ``docs/datasets/{name}.md``. Nothing else has to change. A user's own data
set needs no module: in ``params.yaml`` its settings name a layout, see `osad.data.layouts.own`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import osad.data.sets
from osad.core.cells import NAME
from osad.core.errors import CheckError, ConfigError
from osad.data.layouts.folder import records
from osad.data.manifest import Record
from osad.data.source import Source

Settings = Mapping[str, Any]

LAYOUTS = {"csv": "osad.data.layouts.listing", "folder": "osad.data.layouts.own"}
"""Modules of the layouts of users' own data sets (see `osad.data.layouts.own`)."""

PROTOCOLS = ("general", "hard", "normal")
"""Settings of the evaluation protocol."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file that the authors of a data set publish.

    Attributes:
        file: its name, which it also has below ``data/downloads/{dataset}``.
        page: address of the page where a person gets it.
        url: address of the file itself; empty when an account or a click is needed.
        digest: ``sha256:HEX`` or ``md5:HEX``; empty when it is not known, then the digest of the
            first good download is kept and compared from then on.
        size: bytes, None when not known.
        needs: what a person has to do on the page, for example ``a Kaggle account``.
    """

    file: str
    page: str
    url: str = ""
    digest: str = ""
    size: int | None = None
    needs: str = ""


@dataclass(frozen=True)
class Counts:
    """Expected numbers of images of one category.

    Attributes:
        train_normal: number of normal training images.
        test_normal: number of normal test images.
        anomalies: number of anomalous images by defect class.
        total: number of all anomalous images; only for data sets whose authors and papers do not
            say how many images each class has, then ``anomalies`` has the classes that are known.
    """

    train_normal: int
    test_normal: int
    anomalies: Mapping[str, int]
    total: int | None = None

    @property
    def anomalous(self) -> int:
        """Return the number of all anomalous images."""
        return sum(self.anomalies.values()) if self.total is None else self.total


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetSpec:
    """Everything the benchmark knows about a data set.

    Attributes:
        name: id of the data set, also the name of its module.
        title: name for people.
        homepage: address where it is described; may be empty.
        licence: licence of the images, ``not stated`` when unknown.
        licence_note: what the licence means for a user; may be empty.
        citation: how to cite it; may be empty.
        fetch: ``fetch(spec, raw_dir, settings)`` fills the folder and writes ``SOURCE.json`` last.
        records: ``records(source, category)`` lists the images, digests left empty; that of
            MVTec AD's layout (`osad.data.layouts.folder`) if not given.
        categories: categories that are trained one by one; ``("all",)`` without any.
        defect_classes: by category, the classes that can be the known class of the hard setting.
        expected: counts by category where they are known, checked for every manifest.
        settings: names of the settings that a user may give.
        archives: what its authors publish, as a user gets it; empty for a package or own images.
        protocols: settings of the evaluation protocol in which papers use it.
        notes: differences from the published counts that are accepted knowingly and faults of the
            data, one sentence each, for the footers of the tables.
        adapt: ``adapt(spec, settings)`` returns the specification that holds with the settings,
            where they change it; None where they do not.
    """

    name: str
    title: str
    homepage: str
    licence: str
    licence_note: str
    citation: str
    fetch: Callable[[DatasetSpec, Path, Settings], None]
    records: Callable[[Source, str], list[Record]] = records
    categories: tuple[str, ...] = ("all",)
    defect_classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expected: Mapping[str, Counts] | None = None
    settings: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    protocols: tuple[str, ...] = PROTOCOLS
    notes: tuple[str, ...] = ()
    adapt: Callable[[DatasetSpec, Settings], DatasetSpec] | None = None

    def texts(self) -> dict[str, Any]:
        """Return what the footers of tables say about the data set."""
        return {name: getattr(self, name) for name in ("title", "licence", "citation", "notes")}

    def check_category(self, category: str) -> None:
        """Check that the data set has this category.

        Raises:
            ConfigError: it has not.
        """
        if category not in self.categories:
            raise ConfigError(
                f"data set {self.name!r} has no category {category!r}; "
                f"it has {', '.join(self.categories)}"
            )

    def known_classes(self, category: str) -> tuple[str, ...]:
        """Return the classes that can be the known class of the hard setting.

        Raises:
            ConfigError: the category does not exist.
        """
        self.check_category(category)
        return tuple(self.defect_classes.get(category, ()))

    def single_class(self, category: str) -> bool:
        """Tell whether the hard setting is impossible: it needs a known and an unknown class."""
        return len(self.known_classes(category)) < 2


def module(name: str, layout: str | None = None) -> str:
    """Return the module that describes a data set, or a user's own data set in some layout."""
    return LAYOUTS[layout] if layout else f"osad.data.sets.{name}"


def names() -> list[str]:
    """Return the ids of the data sets that come with the package, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(osad.data.sets.__path__))


def get(name: str, settings: Settings | None = None) -> DatasetSpec:
    """Return a data set with its settings in ``params.yaml``; imports only its own module.

    One whose settings have a ``layout`` is a user's own.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    settings = settings or {}
    if "layout" in settings:
        from osad.data.layouts.own import make_spec

        return make_spec(name, settings)
    if name not in names():
        raise ConfigError(
            f"data set {name!r} is unknown; known are {', '.join(names())}. For your own images "
            "give it the settings `layout: folder` and `raw_path` in params.yaml"
        )
    spec = getattr(importlib.import_module(module(name)), "SPEC", None)
    if not isinstance(spec, DatasetSpec) or spec.name != name or not re.fullmatch(NAME, name):
        raise ConfigError(
            f"src/osad/data/sets/{name}.py has no SPEC of a data set {name!r}, a name of a-z, 0-9 "
            "and '_'"
        )
    unknown = sorted(set(settings) - set(spec.settings))
    if unknown:
        raise ConfigError(
            f"data set {name!r}: unknown setting {unknown[0]!r}; "
            f"possible are: {', '.join(spec.settings) or 'none'}"
        )
    raw_path = settings.get("raw_path")
    if raw_path is not None and not (isinstance(raw_path, str) and raw_path):
        raise ConfigError(
            f"data set {name!r}: setting 'raw_path' must be the path of a folder or of an archive, "
            f"not {raw_path!r}"
        )
    return _as_sample(spec if spec.adapt is None else spec.adapt(spec, settings), settings)


def _as_sample(spec: DatasetSpec, settings: Settings) -> DatasetSpec:
    """Return the specification for a part of the data set if the setting ``sample`` says so."""
    sample = settings.get("sample", False)
    if not isinstance(sample, bool):
        raise ConfigError(
            f"data set {spec.name!r}: setting 'sample' must be true or false, not {sample!r}"
        )
    if not sample:
        return spec
    note = f"{spec.title}: only a part of the data (setting sample); compare it with no others."
    return replace(spec, expected=None, notes=(*spec.notes, note))


def check_counts(records: list[Record], expected: Counts, *, where: str) -> None:
    """Check the numbers of images of a category; ``where`` names it in the message.

    Raises:
        CheckError: a number differs; the message has both numbers.
    """
    anomalous = [record.class_name for record in records if record.label == 1]
    normal = [record.split for record in records if record.label == 0]
    pairs = {
        "normal training images": (expected.train_normal, normal.count("train")),
        "normal test images": (expected.test_normal, normal.count("test")),
    }
    if expected.total is not None:
        pairs["anomalous images"] = (expected.total, len(anomalous))
    classes = set() if expected.total is not None else set(anomalous)
    for name in sorted(classes | set(expected.anomalies)):
        pairs[f"images of class {name!r}"] = (
            expected.anomalies.get(name, 0),
            anomalous.count(name),
        )
    for what, (number, actual) in pairs.items():
        if number != actual:
            raise CheckError(
                f"{where}: expected {number} {what}, found {actual}; delete the raw data and "
                "fetch it again"
            )
