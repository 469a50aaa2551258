"""Rows of ``summary.csv``: one a table cell, over seeds, with the printed number beside it."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osad.core.cells import Protocol
from osad.core.errors import DataError
from osad.core.files import read_csv
from osad.evaluation import published
from osad.evaluation.tables.cells import CellRow, place_key
from osad.evaluation.tables.request import MEAN

Values = dict[int, float | None]
"""AUROC by seed; None where a run of the grid has none."""


@dataclass(frozen=True)
class SummaryRow:
    """One row of ``summary.csv``; the order of the fields is the order of the columns.

    ``auroc_mean`` is None when no seed is ``ok``, ``auroc_std`` (n-1) when fewer than two are.
    """

    dataset: str
    category: str
    setting: str
    shots: int
    known_class: str
    method: str
    n_seeds: int
    auroc_mean: float | None
    auroc_std: float | None
    published_mean: float | None
    published_std: float | None
    published_source: str
    cell: str


COLUMNS = tuple(item.name for item in dataclasses.fields(SummaryRow))


def read_summary(path: Path) -> list[SummaryRow]:
    """Read a ``summary.csv``.

    Raises:
        DataError: the file is missing, lacks a column, or has a field that is not a number.
    """
    return [
        _parse(row, f"{path}, line {number}")
        for number, row in enumerate(read_csv(path, COLUMNS), start=2)
    ]


def _parse(row: Mapping[str, str], where: str) -> SummaryRow:
    numbers: dict[str, Any] = {}
    try:
        for name in ("shots", "n_seeds"):
            numbers[name] = int(row[name])
        for name in ("auroc_mean", "auroc_std", "published_mean", "published_std"):
            numbers[name] = float(row[name]) if row[name] else None
    except ValueError as error:
        raise DataError(f"{where}: {error}; restore the file") from error
    return SummaryRow(**{name: numbers.get(name, row[name]) for name in COLUMNS})


@dataclass(frozen=True)
class Group:
    """Facets of a table cell: a cell without its seed."""

    dataset: str
    category: str
    setting: str
    shots: int
    known_class: str
    method: str

    @property
    def cell(self) -> str:
        """Return the id, for example ``elpv/all/general-m10/dpdl``."""
        protocol = Protocol(self.setting, self.shots, self.known_class)
        return f"{self.dataset}/{self.category}/{protocol}/{self.method}"


def group_of(row: CellRow | SummaryRow) -> Group:
    """Return the facets of a row."""
    return Group(row.dataset, row.category, row.setting, row.shots, row.known_class, row.method)


def by_group(rows: Iterable[CellRow]) -> dict[Group, Values]:
    """Collect the AUROC of each seed of each group; None where a run is not ``ok``."""
    groups: dict[Group, Values] = defaultdict(dict)
    for row in rows:
        groups[group_of(row)][row.seed] = row.auroc if row.status == "ok" else None
    return dict(groups)


def averages(groups: Mapping[Group, Values], facet: str) -> dict[Group, tuple[Values, int]]:
    """Average each seed over all known classes or over all categories.

    A seed has an average only if every part has a value, so that all averages of a table are over
    the same parts. Parts are those of any method of the grid. With a single part there is no
    average.

    Args:
        groups: AUROC by group and seed.
        facet: ``known_class`` (only hard setting) or ``category`` (only the other settings, where
            the papers print it).

    Returns:
        By group with ``mean`` as its facet: the averages by seed, and the number of parts.
    """
    parts: dict[Group, set[str]] = defaultdict(set)
    members: dict[Group, dict[str, Values]] = defaultdict(dict)
    for group, values in groups.items():
        if (group.setting == "hard") != (facet == "known_class"):
            continue
        changed: dict[str, Any] = {facet: MEAN}
        mean = dataclasses.replace(group, **changed)
        parts[dataclasses.replace(mean, method="")].add(getattr(group, facet))
        members[mean][getattr(group, facet)] = values
    result = {}
    for mean, values_of in members.items():
        wanted = sorted(parts[dataclasses.replace(mean, method="")])
        if len(wanted) < 2:
            continue
        seeds = sorted({seed for values in values_of.values() for seed in values})
        result[mean] = (
            {
                seed: _mean_or_none([values_of.get(p, {}).get(seed) for p in wanted])
                for seed in seeds
            },
            len(wanted),
        )
    return result


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def summary_row(
    group: Group,
    values: Values,
    *,
    table: Mapping[published.Key, published.Published],
    parts: int | None = None,
) -> SummaryRow:
    """Return mean and standard deviation (n-1) over seeds, with the printed number.

    Args:
        group: the table cell.
        values: AUROC by seed.
        table: printed numbers, from `osad.evaluation.published.index`.
        parts: number of parts that an average covers.
    """
    known = [value for _, value in sorted(values.items()) if value is not None]
    facets = dataclasses.asdict(group)
    printed = published.lookup(table, **facets, parts=parts)
    return SummaryRow(
        **facets,
        n_seeds=len(known),
        auroc_mean=statistics.fmean(known) if known else None,
        auroc_std=statistics.stdev(known) if len(known) > 1 else None,
        published_mean=printed.mean if printed else None,
        published_std=printed.std if printed else None,
        published_source=printed.citation if printed else "",
        cell=group.cell,
    )


def summary_rows(
    rows: Iterable[CellRow],
    *,
    table: Mapping[published.Key, published.Published],
    methods: Sequence[str],
) -> list[SummaryRow]:
    """Return the rows of all table cells, averages included, in the order of the runs' rows.

    Args:
        rows: rows of all runs.
        table: printed numbers, from `osad.evaluation.published.index`.
        methods: ids of the methods in the order of the grid.
    """
    groups = by_group(rows)
    result = [summary_row(group, values, table=table) for group, values in groups.items()]
    for facet in ("known_class", "category"):
        for group, (values, parts) in averages(groups, facet).items():
            result.append(summary_row(group, values, table=table, parts=parts))
    order = {method: number for number, method in enumerate(methods)}
    return sorted(result, key=lambda row: place_key(row, order))


def metrics_tree(rows: Iterable[SummaryRow]) -> dict[str, Any]:
    """Return the numbers as nested objects for ``dvc metrics``.

    Keys are data set, category, protocol, method, then ``auroc_mean`` and ``auroc_std``; numbers
    that do not exist are left out.
    """
    tree: dict[str, Any] = {}
    for row in rows:
        values = {"auroc_mean": row.auroc_mean, "auroc_std": row.auroc_std}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            dataset, category, protocol, method = row.cell.split("/")
            branch = tree.setdefault(dataset, {}).setdefault(category, {})
            branch.setdefault(protocol, {})[method] = known
    return tree
