"""What ``osad datasets`` shows: every data set, its counts and classes, and how to get it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osad.data import registry
from osad.data.fetch.original import DOWNLOADS, how_to_get
from osad.data.registry import DatasetSpec
from osad.data.source import SOURCE_NAME

COLUMNS = (
    *("id", "title", "paper", "licence", "train/test normal/anomalous", "known classes"),
    "on disk",
)


def rows(root: Path, settings: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return one row of `COLUMNS` for each data set of the package and of the grid.

    ``settings`` are those of the grid, by data set.

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
            ", ".join(sorted({name for group in spec.defect_classes.values() for name in group}))
            or "-",
            "yes" if _is_here(spec, root) else "no",
        ]
        for spec in _specs(settings)
    ]


def remedies(root: Path, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each data set that is not on disk: how to get it.

    Arguments and errors are those of `rows`.
    """
    lines = []
    for spec in _specs(settings):
        if not _is_here(spec, root):
            text = how(spec, root, raw_path=settings.get(spec.name, {}).get("raw_path"))
            add = "" if spec.name in settings else "add it to grid.datasets in params.yaml; "
            lines.append(f"{spec.name}: {add}{text}")
    return lines


def _specs(settings: Mapping[str, Mapping[str, Any]]) -> list[DatasetSpec]:
    names = dict.fromkeys([*registry.names(), *settings])
    return [registry.get(name, settings.get(name)) for name in names]


def _is_here(spec: DatasetSpec, root: Path) -> bool:
    return (root / "data/raw" / spec.name / SOURCE_NAME).is_file()


def counts(spec: DatasetSpec) -> str:
    """Return the expected numbers of images, summed over categories; ``-`` if unknown.

    Example:
        >>> counts(registry.get("elpv"))
        '1131/377/715'
    """
    if spec.expected is None:
        return "-"
    each = spec.expected.values()
    train, test = sum(c.train_normal for c in each), sum(c.test_normal for c in each)
    text = f"{train}/{test}/{sum(c.anomalous for c in each)}"
    return text if len(each) == 1 else f"{text} in {len(each)} categories"


def how(spec: DatasetSpec, root: Path, *, raw_path: object = None) -> str:
    """Say how to get a data set: what a person has to do, and the command.

    ``raw_path`` is its setting of that name, if it has one.
    """
    run = f"snakemake data/raw/{spec.name}/{SOURCE_NAME}"
    if raw_path is not None:
        return f"{run} reads {raw_path}"
    place = root / DOWNLOADS / spec.name
    absent = [archive for archive in spec.archives if not (place / archive.file).is_file()]
    by_hand = [archive for archive in absent if not archive.url]
    if by_hand:
        return f"{how_to_get(spec.name, by_hand)}; then {run}"
    if absent:
        pages = ", ".join(dict.fromkeys(archive.page for archive in absent))
        return f"{run} downloads {', '.join(archive.file for archive in absent)} ({pages})"
    return run
