"""What ``osad datasets`` shows: every data set, its counts and classes, and how to get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from osad.data import registry
from osad.data.original import DOWNLOADS, how_to_get
from osad.data.registry import DatasetSpec

COLUMNS = (
    *("id", "title", "paper", "licence", "train/test normal/anomalous", "known classes"),
    "on disk",
)


def rows(root: Path, settings: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return one row of `COLUMNS` for each data set of the package and of the parameters.

    Args:
        root: the project's folder.
        settings: settings by data set.

    Raises:
        ConfigError: the settings are not those of a data set.
    """
    found = []
    for name in dict.fromkeys([*registry.names(), *settings]):
        spec = registry.get(name, settings.get(name))
        raw_path = settings.get(name, {}).get("raw_path")
        found.append(
            [
                name,
                spec.title,
                spec.citation or "-",
                spec.licence,
                counts(spec),
                ", ".join(classes(spec)) or "-",
                presence(spec, root, raw_path=raw_path),
            ]
        )
    return found


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


def presence(spec: DatasetSpec, root: Path, *, raw_path: object = None) -> str:
    """Say that a data set is on disk, or how to get it.

    Args:
        spec: the data set.
        root: the project's folder.
        raw_path: its setting of that name, if it has one.
    """
    target = f"data/raw/{spec.name}/SOURCE.json"
    if (root / target).is_file():
        return "yes"
    place = root / DOWNLOADS / spec.name
    absent = [archive for archive in spec.archives if not (place / archive.file).is_file()]
    by_hand = [archive for archive in absent if not archive.url]
    run = f"snakemake {target}"
    if raw_path is not None:
        return f"no; {run} reads {raw_path}"
    if by_hand:
        return f"no; {how_to_get(spec.name, by_hand)}, then {run}"
    if absent:
        pages = ", ".join(dict.fromkeys(archive.page for archive in absent))
        return f"no; {run} downloads {', '.join(a.file for a in absent)} ({pages})"
    return f"no; {run}"
