"""Draw a figure: AUROC over a parameter as lines, or by method as bars; one for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from osad.evaluation.figures.request import FigureSpec
from osad.evaluation.figures.series import Panel, protocol_label
from osad.evaluation.figures.style import (
    COLOURS,
    DASHES,
    GREY,
    MARKERS,
    add_notes,
    new_figure,
    style,
)
from osad.evaluation.tables.request import Request

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE = 0.5
"""Where bars start: the AUROC of scores that know nothing."""
THICKNESS = 0.8
"""Of all bars of a method together; the methods are 1 apart."""


def draw(spec: FigureSpec, panels: Sequence[Panel], request: Request) -> Figure:
    """Draw mean AUROC with one standard deviation, and published values as hollow diamonds."""
    count = len(spec.points) * len(spec.protocols)
    is_line = spec.kind == "line"
    height = 4.2 if is_line else 1.6 + 0.17 * count + 0.12 * len(spec.points)
    with style():
        figure, axes = new_figure(panels, title=spec.title, height=height)
        for ax, panel in zip(axes, panels, strict=False):
            if is_line:
                _line_axes(ax, spec)
            else:
                _bar_axes(ax, spec, panel.points, request)
            for number, protocol in enumerate(spec.protocols):
                points = panel.points[panel.points.protocol == protocol]
                few = points[points.n_seeds < panel.points.n_seeds.max()]
                label = protocol_label(protocol)
                if is_line:
                    _line(ax, points, few, number=number, label=label)
                else:
                    _bars(ax, points, few, number=number, label=label, count=len(spec.protocols))
            if is_line:
                ax.legend(loc="best")
        if panels and not is_line:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
        missing = dict.fromkeys(name for panel in panels for name in panel.missing)
        add_notes(figure, panels, titles=[request.title(name) for name in missing])
        return figure


def _line_axes(axes: Axes, spec: FigureSpec) -> None:
    if spec.log:
        axes.set_xscale("log")
    values = [x for x, _ in spec.points]
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.08)
    axes.set_xlabel(spec.parameter)
    axes.set_ylabel("image AUROC")


def _bar_axes(axes: Axes, spec: FigureSpec, points: pd.DataFrame, request: Request) -> None:
    axes.set_yticks([x for x, _ in spec.points], [request.title(name) for name in spec.methods])
    axes.set_ylim(len(spec.points) - 0.5, -0.5)  # The first method is on top.
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("image AUROC (bars start at chance, 0.5)")
    ends = [CHANCE]
    for kind in ("auroc", "published"):
        mean, std = points[f"{kind}_mean"], points[f"{kind}_std"].fillna(0.0)
        ends += [*(mean - std).dropna(), *(mean + std).dropna()]
    low, high = min(ends), max(ends)
    axes.set_xlim(low - (0.02 if low < CHANCE else 0), high + 0.02)
    axes.axvline(CHANCE, color=GREY, linewidth=1)


def _line(axes: Axes, points: pd.DataFrame, few: pd.DataFrame, *, number: int, label: str) -> None:
    """Draw one line; ``number`` chooses its colour, mark and dashes."""
    colour = COLOURS[number % len(COLOURS)]
    axes.errorbar(
        points.x,
        points.auroc_mean,
        yerr=points.auroc_std.fillna(0.0),
        color=colour,
        marker=MARKERS[number % len(MARKERS)],
        linestyle=DASHES[number % len(DASHES)],
        label=label,
    )
    printed = points.dropna(subset="published_mean")
    _diamonds(
        axes, printed.x, printed.published_mean, yerr=printed.published_std.fillna(0.0),
        color=colour,
    )  # fmt: skip
    for p in few.itertuples():
        _count(axes, p.n_seeds, (p.x, p.auroc_mean), (5, -11))


def _bars(
    axes: Axes, points: pd.DataFrame, few: pd.DataFrame, *, number: int, label: str, count: int
) -> None:
    """Draw the bars of one protocol; ``number`` of ``count`` chooses colour and place."""
    colour, thickness = COLOURS[number % len(COLOURS)], THICKNESS / count
    offset = (number - (count - 1) / 2) * thickness
    axes.barh(
        points.x + offset,
        points.auroc_mean - CHANCE,
        height=0.9 * thickness,
        left=CHANCE,
        color=colour,
        label=label,
    )
    axes.errorbar(
        points.auroc_mean,
        points.x + offset,
        xerr=points.auroc_std.fillna(0.0),
        color="black",
        linestyle="none",
        linewidth=1.2,
    )
    printed = points.dropna(subset="published_mean")
    _diamonds(
        axes, printed.published_mean, printed.x + offset, xerr=printed.published_std.fillna(0.0),
        color="black", linewidth=1.2, markersize=5,
    )  # fmt: skip
    for p in few.fillna({"auroc_std": 0.0}).itertuples():
        _count(axes, p.n_seeds, (p.auroc_mean + p.auroc_std, p.x + offset), (4, -3))


def _diamonds(axes: Axes, x: pd.Series, y: pd.Series, **how: Any) -> None:
    if len(x):
        axes.errorbar(
            x, y, marker="D", markerfacecolor="white", linestyle="none", label="_published", **how
        )


def _count(axes: Axes, n_seeds: float, where: tuple[float, float], beside: tuple[int, int]) -> None:
    """Say beside a mark over how many seeds it is, where it lacks some."""
    axes.annotate(f"n={n_seeds:.0f}", where, beside, textcoords="offset points", fontsize=8)
