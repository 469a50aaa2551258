"""The rows of ``comparison.csv``: how each method differs from the best and from the printed one.

The best of a place is the method with the highest mean, controls apart. Two methods are compared
over the seeds that both have. Of an average over known classes or categories each seed, and each
draw of test images, is averaged first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from osad.core.lazy import lazy
from osad.evaluation import comparison
from osad.evaluation.comparison import NONE, Draws, Interval
from osad.evaluation.tables.cells import FACETS, KINDS
from osad.evaluation.tables.summary import COMPARED, summary_frame, with_averages

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

COLUMNS = (*FACETS, "n_seeds", *COMPARED, "distinguishable", "cell")
"""Of ``comparison.csv``: ``distinguishable`` is ``yes`` where each interval of the difference to
the best that there is lies below 0, else ``no``; empty for the best, for controls, and without any
interval."""
TOLD = {True: "yes", False: "no", None: ""}


@dataclass(frozen=True)
class Series:
    """What is known of one method in one place.

    Attributes:
        aurocs: by seed, in [0, 1].
        draws: by seed, (draws,) AUROCs of the drawn test sets; seeds without scores are not there.
    """

    aurocs: Mapping[int, float]
    draws: Mapping[int, Draws]

    def minus(self, other: Series) -> tuple[float, Interval, Interval]:
        """Return the mean difference to another method, its interval over seeds and over images."""
        both = sorted(self.aurocs.keys() & other.aurocs.keys())
        if not both:
            return math.nan, NONE, NONE
        differences = [self.aurocs[seed] - other.aurocs[seed] for seed in both]
        over_images = NONE
        if self.draws.keys() & other.draws.keys() >= {*both}:
            drawn = [self.draws[seed] - other.draws[seed] for seed in both]
            over_images = comparison.images_interval(np.mean(drawn, axis=0))
        return statistics.fmean(differences), comparison.seeds_interval(differences), over_images


def series_of(rows: pd.DataFrame, draws: Mapping[str, Draws]) -> Series:
    """Return what is known of one method.

    Args:
        rows: its seeds, from `osad.evaluation.tables.summary.with_averages`.
        draws: by the id of a cell.
    """
    known = rows[rows.auroc.notna()]
    return Series(
        dict(zip(known.seed, known.auroc, strict=True)),
        {
            row.seed: np.mean([draws[cell] for cell in row.cells], axis=0)
            for row in known.itertuples()
            if all(cell in draws for cell in row.cells)
        },
    )


def ends(name: str, interval: Interval) -> dict[str, float]:
    """Return the columns of an interval."""
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def compare(methods: Mapping[str, Series]) -> dict[str, dict[str, Any]]:
    """Compare the methods of one place.

    Args:
        methods: by the id of the table cell, those that compete and have a result, the highest mean
            first.

    Returns:
        for each the columns of `COMPARED` that are about the best, and ``distinguishable``.
    """

    def lower(cell: str, other: str) -> bool | None:
        _, *intervals = methods[cell].minus(methods[other])
        return comparison.is_lower(*intervals)

    ranks = comparison.ranks([*methods], lower)
    best = next(iter(methods))
    values: dict[str, dict[str, Any]] = {}
    for cell, series in methods.items():
        mean, seeds, images = series.minus(methods[best]) if cell != best else (0.0, NONE, NONE)
        values[cell] = {
            "best": best.rpartition("/")[2],
            "difference_to_best": mean,
            **ends("seeds", seeds),
            **ends("images", images),
            "rank": ranks.get(cell),
            "distinguishable": TOLD[comparison.is_lower(seeds, images)],
        }
    return values


def comparison_frame(
    cells: pd.DataFrame,
    draws: Mapping[str, Draws],
    printed: pd.DataFrame,
    *,
    methods: Iterable[str],
    controls: Sequence[str],
) -> pd.DataFrame:
    """Return the rows of all table cells, in the order of ``summary.csv``.

    Args:
        cells: rows of ``cells.csv``.
        draws: AUROCs of the drawn test sets by the id of a cell; those of controls are not used.
        printed: the published numbers, from `osad.evaluation.published.place`.
        methods: ids of the methods in the order of the grid.
        controls: ids of the methods that do not compete.
    """
    summary = summary_frame(cells, printed, methods)
    groups = with_averages(cells).groupby("table_cell")
    series = {str(cell): series_of(rows, draws) for cell, rows in groups}
    values: dict[str, dict[str, Any]] = {cell: {} for cell in summary.cell}
    known = summary[summary.n_seeds > 0].sort_values("auroc_mean", ascending=False, kind="stable")
    for _, rivals in known[~known.method.isin(controls)].groupby([*FACETS[:-1]]):
        values |= compare({cell: series[cell] for cell in rivals.cell})
    for row in known[known.published_mean.notna()].itertuples():
        # The printed number counts as exact.
        differences = [auroc - row.published_mean for auroc in series[row.cell].aurocs.values()]
        values[row.cell]["difference_to_published"] = statistics.fmean(differences)
        values[row.cell] |= ends("to_published", comparison.seeds_interval(differences))
    columns = [name for name in COLUMNS if name not in summary]
    frame = pd.DataFrame(values.values(), columns=columns, index=summary.index, dtype=object)
    kinds = {name: kind for name, kind in KINDS.items() if name in columns}
    frame = frame.astype(kinds).fillna({"best": "", "distinguishable": ""})
    return summary.join(frame)[[*COLUMNS]]
