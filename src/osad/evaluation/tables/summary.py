"""The rows of ``summary.csv``: one a table cell, over seeds, with the printed number beside it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell, Protocol
from osad.core.lazy import lazy
from osad.evaluation import published
from osad.evaluation.tables.cells import FACETS, in_order, read_frame
from osad.evaluation.tables.request import MEAN

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

MEANS = (*FACETS, "n_seeds", "auroc_mean", "auroc_std", *published.VALUES, "cell")
COMPARED = (
    "best", "difference_to_best", "seeds_low", "seeds_high", "images_low", "images_high", "rank",
    "difference_to_published", "to_published_low", "to_published_high",
)  # fmt: skip
"""How a mean differs from the best of ours, with both intervals, and from the printed number."""
COLUMNS = (*MEANS, *COMPARED, *published.RANGE)
"""Of ``summary.csv``: ``auroc_mean`` is missing when no seed has an AUROC, ``auroc_std`` (n-1) when
fewer than two have."""


def read_summary(path: Path) -> pd.DataFrame:
    """Read a ``summary.csv``.

    Raises:
        DataError: the file is missing, lacks a column, or has a field that is not a number.
    """
    return read_frame(path, COLUMNS)


# Exact sums, rounded once: pandas' own mean and deviation depend on the order of the values.
def _mean(values: pd.Series) -> float:
    known = values.dropna().tolist()
    return statistics.fmean(known) if known else math.nan


def _deviation(values: pd.Series) -> float:
    known = values.dropna().tolist()
    return statistics.stdev(known) if len(known) > 1 else math.nan


def averages(cells: pd.DataFrame, facet: str) -> pd.DataFrame:
    """Average each seed over all known classes or over all categories.

    A seed has an average only if every part has a value, so that all averages of a table are over
    the same parts. Parts are those of any method of the grid. With a single part there is no
    average.

    Args:
        cells: rows of ``cells.csv``.
        facet: ``known_class`` (only hard setting) or ``category`` (only the other settings, where
            the papers print it).

    Returns:
        One row for each method and seed, with ``mean`` as the facet, ``auroc``, ``parts``, the
        number of parts, and ``cells``, their ids.
    """
    rows = cells[(cells.setting == "hard") == (facet == "known_class")]
    place = [name for name in FACETS if name not in (facet, "method")]
    rows = rows.assign(parts=rows.groupby(place)[facet].transform("nunique"))
    by = [*place, "method", "seed", "parts"]
    means = (
        rows[rows.parts > 1]
        .groupby(by, sort=False, as_index=False)
        .agg(known=("auroc", "count"), auroc=("auroc", _mean), cells=("cell", list))
    )
    return means.assign(auroc=means.auroc.where(means.known == means.parts), **{facet: MEAN})


def with_averages(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cells and of all averages, seed by seed.

    Returns:
        the facets, ``seed``, ``auroc``, ``parts`` (missing where it is no average), ``cells`` (ids
        of the cells behind it) and ``table_cell`` (its id without the seed).
    """
    own = cells.assign(parts=math.nan, cells=[[cell] for cell in cells.cell])
    rows = pd.concat([own, *(averages(cells, facet) for facet in ("known_class", "category"))])
    names = [
        f"{row.dataset}/{row.category}/{Protocol(row.setting, row.shots, row.known_class)}"
        f"/{row.method}"
        for row in rows.itertuples()
    ]
    return rows.assign(table_cell=names)


def summary_frame(
    cells: pd.DataFrame, printed: pd.DataFrame, methods: Iterable[str]
) -> pd.DataFrame:
    """Return the rows of all table cells, averages included, in the order of the runs' rows.

    They have all columns but those of `COMPARED`.

    Args:
        cells: rows of ``cells.csv``.
        printed: the published numbers, from `osad.evaluation.published.place`.
        methods: ids of the methods in the order of the grid.
    """
    summary = with_averages(cells).groupby([*FACETS], as_index=False).agg(
        n_seeds=("auroc", "count"), auroc_mean=("auroc", _mean), auroc_std=("auroc", _deviation),
        parts=("parts", "first"), cell=("table_cell", "first"),
    )  # fmt: skip
    return in_order(published.beside(summary, printed)[[*MEANS, *published.RANGE]], methods)


def beside_comparison(summary: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Add `COMPARED` from the rows of ``comparison.csv`` to those of `summary_frame`."""
    return summary.merge(compared[["cell", *COMPARED]], on="cell", how="left")[[*COLUMNS]]


def rate_frame(outcomes: Mapping[Cell, Mapping[str, Any]]) -> pd.DataFrame:
    """Return mean, standard deviation (n-1) and number of seeds of every metric of table cells.

    Args:
        outcomes: for each cell its metrics; every floating-point number among them is a rate.

    Returns:
        One row for each table cell and metric, in the order of the cells: ``cell``, ``metric``,
        ``mean``, ``std`` and ``n``.
    """
    rows = [
        (str(cell).rpartition("/")[0], name, value)
        for cell, outcome in outcomes.items()
        for name, value in sorted(outcome.items())
        if isinstance(value, float)
    ]
    frame = pd.DataFrame(rows, columns=["cell", "metric", "value"])
    values = frame.groupby(["cell", "metric"], sort=False).value
    return values.agg(mean=_mean, std=_deviation, n="count").reset_index()


def metrics_tree(summary: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers as nested objects for ``dvc metrics``.

    Keys are data set, category, protocol, method, then ``auroc_mean`` and ``auroc_std``; numbers
    that do not exist are left out.
    """
    tree: dict[str, Any] = {}
    for cell, row in summary.set_index("cell")[["auroc_mean", "auroc_std"]].iterrows():
        if numbers := row.dropna().to_dict():
            *branches, method = str(cell).split("/")
            branch = tree
            for name in branches:
                branch = branch.setdefault(name, {})
            branch[method] = numbers
    return tree
