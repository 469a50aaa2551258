"""What all figures share: colours, marks, sizes, and how they become bytes.

The same numbers give the same bytes: the user's own settings are not read, and no file holds a
time, a random name or the version of a library.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from osad.core.lazy import lazy
from osad.evaluation.figures.series import Panel, seeds_note
from osad.evaluation.tables.markup import one_line

if TYPE_CHECKING:
    import matplotlib as mpl
    import matplotlib.figure as mpl_figure
    from matplotlib.axes import Axes
else:
    mpl = lazy("matplotlib")
    mpl_figure = lazy("matplotlib.figure")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, which people with any colour vision can tell apart; darkest first."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
GREY = "#555555"
WIDTH = 6.4
"""Width of a panel in inches."""
TITLE_CHARACTERS, NOTE_CHARACTERS = 58, 80
"""Characters of the title and of the notes that a line above or below a panel has room for."""
TITLE_LINE = 0.22
"""Height of another line of the title, inches."""
DPI = 160
METADATA = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # Comes with matplotlib, so it is everywhere the same.
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "errorbar.capsize": 3,
    "svg.fonttype": "path",
    "svg.hashsalt": "osad",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "path.simplify": False,
    "text.parse_math": False,  # A dollar sign in a title is one.
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the settings of this module, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for name, value in SETTINGS.items():
            mpl.rcParams[name] = value  # type: ignore[index]
        yield


def new_figure(
    panels: Sequence[Panel], *, title: str, height: float
) -> tuple[mpl_figure.Figure, list[Axes]]:
    """Return an empty figure with one set of axes for each panel, side by side.

    Without panels, one empty set of axes says so. The height is that of a panel in inches.
    """
    count = max(len(panels), 1)
    lines = textwrap.wrap(one_line(title), TITLE_CHARACTERS * count)
    height += TITLE_LINE * (len(lines) - 1)
    figure = mpl_figure.Figure(figsize=(WIDTH * count, height), layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=12)
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for one, panel in zip(axes, panels, strict=False):
        one.set_title(one_line(panel.title))
    if not panels:
        axes[0].text(0.5, 0.5, "no results", ha="center", transform=axes[0].transAxes)
    return figure, axes


def add_notes(figure: mpl_figure.Figure, panels: Sequence[Panel], *, titles: Sequence[str]) -> None:
    """Write below the axes what the marks are."""
    notes = [seeds_note(panels)]
    if any(panel.points.published_mean.notna().any() for panel in panels):
        notes.append("hollow diamonds: published")
    if titles:
        notes.append(f"no result: {', '.join(titles)}")
    lines = textwrap.wrap("; ".join(notes), NOTE_CHARACTERS * max(len(panels), 1))
    figure.supxlabel("\n".join(lines), fontsize=9, color=GREY)


def figure_bytes(figure: mpl_figure.Figure, kind: str) -> bytes:
    """Return a figure, drawn in this `style`, as the bytes of an ``svg``, ``png`` or ``pdf``."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA[kind])
    return buffer.getvalue()
