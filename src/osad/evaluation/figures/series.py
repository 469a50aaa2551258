"""The numbers of a figure, from the rows of the summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.cells import Protocol
from osad.core.lazy import lazy
from osad.evaluation.figures.request import FigureSpec
from osad.evaluation.tables.layout import place_label
from osad.evaluation.tables.request import MEAN, Request

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")


@dataclass(frozen=True)
class Panel:
    """One data set's part of a figure.

    Attributes:
        title: its name, with the category where it has one; the mean over categories has none.
        points: one row a mark: ``protocol`` (in the figure's order), ``x`` (the parameter's value,
            or the method's position; ascending), ``method``, and the columns of ``summary.csv``; a
            method without a result has no mark.
        missing: methods of the figure that lack a result in one of its protocols.
    """

    title: str
    points: pd.DataFrame
    missing: tuple[str, ...]


def panels(spec: FigureSpec, summary: pd.DataFrame, request: Request) -> tuple[Panel, ...]:
    """Return the numbers of a figure, one panel for each data set.

    A data set with several categories is shown by the mean over them where the summary has one,
    else each category has a panel.
    """
    marks = pd.DataFrame(
        [(protocol, x, method) for protocol in spec.protocols for x, method in spec.points],
        columns=["protocol", "x", "method"],
    )
    rows = summary.assign(protocol=[cell.split("/")[2] for cell in summary.cell])
    rows = rows[rows.protocol.isin(spec.protocols) & rows.method.isin(spec.methods)]
    averaged = rows.dataset.isin(rows.dataset[rows.category == MEAN])
    rows = rows[(rows.category == MEAN) | ~averaged]
    shown = []
    for (dataset, category), place in rows.groupby(["dataset", "category"], sort=False):
        points = marks.merge(place, on=["protocol", "method"], how="left")
        missing = set(points.method[points.auroc_mean.isna()])
        shown.append(
            Panel(
                place_label(request, dataset, "all" if category == MEAN else category),
                points.dropna(subset="auroc_mean"),
                tuple(name for name in spec.methods if name in missing),
            )
        )
    return tuple(shown)


def protocol_label(protocol: str) -> str:
    """Return a protocol as words.

    Example:
        >>> protocol_label("general-m10"), protocol_label("hard-mono-m1")
        ('general, 10 seen anomalies', 'hard (mono known), 1 seen anomaly')
    """
    parsed = Protocol.parse(protocol)
    if parsed.setting == "normal":
        return "normal images only"
    known = parsed.known_class
    known = " (mean)" if known == MEAN else f" ({known} known)" if known else ""
    return (
        f"{parsed.setting}{known}, {parsed.shots} seen anomal{'y' if parsed.shots == 1 else 'ies'}"
    )


def seeds_note(panels: Sequence[Panel]) -> str:
    """Return how many seeds the marks average, as words.

    Example:
        >>> seeds_note([])
        'no results'
    """
    counts = {n for panel in panels for n in panel.points.n_seeds}
    if not counts:
        return "no results"
    if counts == {1}:
        return "n = 1 seed, no spread"
    except_where = " except where shown" if len(counts) > 1 else ""
    return f"mean ± standard deviation over n = {max(counts):.0f} seeds{except_where}"
