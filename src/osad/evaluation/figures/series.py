"""The numbers of a figure, from the rows of the summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from osad.core.cells import Protocol
from osad.evaluation import published
from osad.evaluation.figures.request import FigureSpec
from osad.evaluation.tables.request import MEAN, Request
from osad.evaluation.tables.summary import SummaryRow


@dataclass(frozen=True)
class Point:
    """One mark of a figure.

    Attributes:
        x: the parameter's value, or the method's position.
        method: the method.
        mean: mean AUROC over seeds, in [0, 1].
        std: standard deviation (n-1) over seeds; None for one seed.
        n: number of seeds.
        published: the printed AUROC; None where there is none.
        published_std: its standard deviation.
    """

    x: float
    method: str
    mean: float
    std: float | None
    n: int
    published: float | None
    published_std: float | None


@dataclass(frozen=True)
class Series:
    """One line of a figure, or its bars of one colour.

    Attributes:
        protocol: name of the protocol.
        points: its marks, ascending in ``x``; a method without a result has none.
    """

    protocol: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    """One data set's part of a figure.

    Attributes:
        title: its name, with the category where it has one; the mean over categories has none.
        series: one for each protocol, in the figure's order; also those without marks.
        missing: methods of the figure that lack a result in one of its protocols.
    """

    title: str
    series: tuple[Series, ...]
    missing: tuple[str, ...]


def panels(spec: FigureSpec, rows: Iterable[SummaryRow], request: Request) -> tuple[Panel, ...]:
    """Return the numbers of a figure, one panel for each data set.

    A data set with several categories is shown by the mean over them where the summary has one,
    else each category has a panel.

    Args:
        spec: what the figure shows.
        rows: rows of ``summary.csv``, in their order.
        request: the grid, with the titles of data sets.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], SummaryRow]] = {}
    for row in rows:
        protocol = str(Protocol(row.setting, row.shots, row.known_class))
        if protocol in spec.protocols and row.method in spec.methods:
            found.setdefault((row.dataset, row.category), {})[protocol, row.method] = row
    means = {dataset for dataset, category in found if category == MEAN}
    return tuple(
        _panel(spec, of_place, _title(dataset, category, request))
        for (dataset, category), of_place in found.items()
        if category == MEAN or dataset not in means
    )


def _panel(spec: FigureSpec, rows: dict[tuple[str, str], SummaryRow], title: str) -> Panel:
    series, missing = [], set()
    for protocol in spec.protocols:
        points = []
        for x, method in spec.points:
            row = rows.get((protocol, method))
            if row is None or row.auroc_mean is None:
                missing.add(method)
                continue
            points.append(
                Point(
                    x, method, row.auroc_mean, row.auroc_std, row.n_seeds,
                    row.published_mean, row.published_std,
                )
            )  # fmt: skip
        series.append(Series(protocol, tuple(points)))
    return Panel(title, tuple(series), tuple(name for name in spec.methods if name in missing))


def _title(dataset: str, category: str, request: Request) -> str:
    info = request.datasets.get(dataset)
    title = info.title if info else published.DATASETS.get(dataset, dataset)
    return title if category in ("all", MEAN) else f"{title} / {category}"


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
    counts = {point.n for panel in panels for one in panel.series for point in one.points}
    if not counts:
        return "no results"
    if counts == {1}:
        return "n = 1 seed, no spread"
    n = max(counts)
    except_where = " except where shown" if len(counts) > 1 else ""
    return f"mean ± standard deviation over n = {n} seeds{except_where}"
