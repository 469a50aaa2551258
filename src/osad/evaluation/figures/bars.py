"""Figures of AUROC by method, one bar for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osad.evaluation.figures.request import FigureSpec
from osad.evaluation.figures.series import Panel, Series, protocol_label
from osad.evaluation.figures.style import COLOURS, GREY, add_notes, new_figure, style
from osad.evaluation.tables.footers import method_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE = 0.5
"""Where bars start: the AUROC of scores that know nothing."""
THICKNESS = 0.8
"""Of all bars of a method together; the methods are 1 apart."""


def bar_figure(spec: FigureSpec, panels: Sequence[Panel]) -> Figure:
    """Draw mean AUROC by method as bars from chance level, with one standard deviation.

    Args:
        spec: what the figure shows; of kind ``bar``.
        panels: its numbers.
    """
    count = len(spec.points) * len(spec.protocols)
    with style():
        height = 1.6 + 0.17 * count + 0.12 * len(spec.points)
        figure, axes = new_figure(panels, title=spec.title, height=height)
        for one, panel in zip(axes, panels, strict=False):
            _axes(one, spec, panel)
            most = max((p.n for series in panel.series for p in series.points), default=0)
            for number, series in enumerate(panel.series):
                _bars(one, series, number=number, count=len(panel.series), most=most)
        if panels:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
        missing = dict.fromkeys(name for panel in panels for name in panel.missing)
        add_notes(figure, panels, titles=[method_title(name) for name in missing])
        return figure


def _axes(axes: Axes, spec: FigureSpec, panel: Panel) -> None:
    axes.set_yticks([x for x, _ in spec.points], [method_title(name) for name in spec.methods])
    axes.set_ylim(len(spec.points) - 0.5, -0.5)  # The first method is on top.
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("image AUROC (bars start at chance, 0.5)")
    ends = [
        value + sign * (std or 0.0)
        for series in panel.series
        for p in series.points
        for value, std in ((p.mean, p.std), (p.published, p.published_std))
        if value is not None
        for sign in (-1, 1)
    ]
    low, high = min([CHANCE, *ends]), max([CHANCE, *ends])
    axes.set_xlim(low - (0.02 if low < CHANCE else 0), high + 0.02)
    axes.axvline(CHANCE, color=GREY, linewidth=1)


def _bars(axes: Axes, series: Series, *, number: int, count: int, most: int) -> None:
    """Draw the bars of one protocol; ``number`` of ``count`` chooses colour and place."""
    colour, thickness = COLOURS[number % len(COLOURS)], THICKNESS / count
    offset = (number - (count - 1) / 2) * thickness
    points = series.points
    axes.barh(
        [p.x + offset for p in points],
        [p.mean - CHANCE for p in points],
        height=0.9 * thickness,
        left=CHANCE,
        color=colour,
        label=protocol_label(series.protocol),
    )
    axes.errorbar(
        [p.mean for p in points],
        [p.x + offset for p in points],
        xerr=[p.std or 0.0 for p in points],
        color="black",
        linestyle="none",
        linewidth=1.2,
    )
    printed = [(p.published, p.x, p.published_std) for p in points if p.published is not None]
    if printed:
        axes.errorbar(
            [mean for mean, _, _ in printed],
            [x + offset for _, x, _ in printed],
            xerr=[std or 0.0 for _, _, std in printed],
            color="black", linewidth=1.2, marker="D", markersize=5, markerfacecolor="white",
            linestyle="none", label="_published",
        )  # fmt: skip
    for p in points:
        if p.n < most:
            axes.annotate(
                f"n={p.n}", (p.mean + (p.std or 0.0), p.x + offset), xytext=(4, -3),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
