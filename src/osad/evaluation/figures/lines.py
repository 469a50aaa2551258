"""Figures of AUROC over a parameter, one line for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osad.evaluation.figures.request import FigureSpec
from osad.evaluation.figures.series import Panel, Series, protocol_label
from osad.evaluation.figures.style import COLOURS, DASHES, MARKERS, add_notes, new_figure, style
from osad.evaluation.tables.footers import method_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 4.2


def line_figure(spec: FigureSpec, panels: Sequence[Panel]) -> Figure:
    """Draw mean AUROC over a parameter, with bars of one standard deviation.

    Args:
        spec: what the figure shows; of kind ``line``.
        panels: its numbers.
    """
    with style():
        figure, axes = new_figure(panels, title=spec.title, height=HEIGHT)
        for one, panel in zip(axes, panels, strict=False):
            _axes(one, spec)
            most = max((p.n for series in panel.series for p in series.points), default=0)
            for number, series in enumerate(panel.series):
                _line(one, series, number=number, most=most)
            one.legend(loc="best")
        missing = dict.fromkeys(name for panel in panels for name in panel.missing)
        add_notes(figure, panels, titles=[method_title(name) for name in missing])
        return figure


def _axes(axes: Axes, spec: FigureSpec) -> None:
    if spec.log:
        axes.set_xscale("log")
    values = [x for x, _ in spec.points]
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.08)
    axes.set_xlabel(spec.parameter)
    axes.set_ylabel("image AUROC")


def _line(axes: Axes, series: Series, *, number: int, most: int) -> None:
    """Draw one line; ``number`` chooses its colour, mark and dashes."""
    colour = COLOURS[number % len(COLOURS)]
    points = series.points
    axes.errorbar(
        [p.x for p in points],
        [p.mean for p in points],
        yerr=[p.std or 0.0 for p in points],
        color=colour,
        marker=MARKERS[number % len(MARKERS)],
        linestyle=DASHES[number % len(DASHES)],
        label=protocol_label(series.protocol),
    )
    printed = [(p.x, p.published, p.published_std) for p in points if p.published is not None]
    if printed:
        axes.errorbar(
            [x for x, _, _ in printed],
            [mean for _, mean, _ in printed],
            yerr=[std or 0.0 for _, _, std in printed],
            color=colour, marker="D", markerfacecolor="white", linestyle="none",
            label="_published",
        )  # fmt: skip
    for p in points:
        if p.n < most:
            axes.annotate(
                f"n={p.n}", (p.x, p.mean), xytext=(5, -11), textcoords="offset points", fontsize=8
            )
