"""What ``osad datasets`` shows: every data set, its counts and classes, and how to get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from osad.data import registry
from osad.data.fetch.original import DOWNLOADS, how_to_get
from osad.data.registry import DatasetSpec

COLUMNS = (
    *("id", "title", "paper", "licence", "train/test normal/anomalous", "known classes"),
    "on disk",
)


def rows(root: Path, settings: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return one row of `COLUMNS` for each data set of the package and of the parameters.

    Args:
        root: the project's folder.
        settings: settings by data set of the grid.

    Raises:
        ConfigError: the settings are not those of a data set.
    """
    return [
        [
            spec.name,
            spec.title,
            spec.citation or "-",
            spec.licence,
            counts(spec),
            ", ".join(classes(spec)) or "-",
            "yes" if is_here(spec, root) else "no",
        ]
        for spec in _specs(settings)
    ]


def remedies(root: Path, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each data set that is not on disk: how to get it.

    Arguments and errors are those of `rows`.
    """
    lines = []
    for spec in _specs(settings):
        if not is_here(spec, root):
            text = how(spec, root, raw_path=settings.get(spec.name, {}).get("raw_path"))
            add = "" if spec.name in settings else "add it to grid.datasets in params.yaml; "
            lines.append(f"{spec.name}: {add}{text}")
    return lines


def _specs(settings: Mapping[str, Mapping[str, Any]]) -> list[DatasetSpec]:
    names = dict.fromkeys([*registry.names(), *settings])
    return [registry.get(name, settings.get(name)) for name in names]


def counts(spec: DatasetSpec) -> str:
    """Return the expected numbers of images, summed over categories; ``-`` if unknown.

    Example:
        >>> counts(registry.get("elpv"))
        '1131/377/715'
    """
    if spec.expected is None:
        return "-"
    each = list(spec.expected.values())
    train = sum(count.train_normal for count in each)
    test = sum(count.test_normal for count in each)
    text = f"{train}/{test}/{sum(count.anomalous for count in each)}"
    return text if len(each) == 1 else f"{text} in {len(each)} categories"


def classes(spec: DatasetSpec) -> Iterable[str]:
    """Return all classes that can be the known class of the hard setting, sorted."""
    return sorted({name for group in spec.defect_classes.values() for name in group})


def is_here(spec: DatasetSpec, root: Path) -> bool:
    """Tell whether a data set was fetched into the project at ``root``."""
    return (root / "data/raw" / spec.name / "SOURCE.json").is_file()


def how(spec: DatasetSpec, root: Path, *, raw_path: object = None) -> str:
    """Say how to get a data set: what a person has to do, and the command.

    Args:
        spec: the data set.
        root: the project's folder.
        raw_path: its setting of that name, if it has one.
    """
    run = f"snakemake data/raw/{spec.name}/SOURCE.json"
    place = root / DOWNLOADS / spec.name
    absent = [archive for archive in spec.archives if not (place / archive.file).is_file()]
    by_hand = [archive for archive in absent if not archive.url]
    if raw_path is not None:
        return f"{run} reads {raw_path}"
    if by_hand:
        return f"{how_to_get(spec.name, by_hand)}; then {run}"
    if absent:
        pages = ", ".join(dict.fromkeys(archive.page for archive in absent))
        return f"{run} downloads {', '.join(archive.file for archive in absent)} ({pages})"
    return run
