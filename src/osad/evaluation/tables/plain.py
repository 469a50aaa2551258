"""Show the summary as plain text of fixed width, for a terminal or a log."""

from __future__ import annotations

import io
from collections.abc import Sequence

from osad.evaluation.tables.layout import number_text
from osad.evaluation.tables.summary import SummaryRow


def render_summary(rows: Sequence[SummaryRow]) -> str:
    """Return one line a table cell: number of seeds, ours, published and their difference.

    Without colours and without regard to the terminal, so that the same rows are always the same
    text.

    Args:
        rows: rows of ``summary.csv``, in their order.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("cell", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("n", "ours", "published", "ours - published"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        ours = number_text(row.auroc_mean, row.auroc_std) or "n/a"
        difference = ""
        if row.auroc_mean is not None and row.published_mean is not None:
            difference = f"{row.auroc_mean - row.published_mean:+.3f}"
        printed = number_text(row.published_mean, row.published_std)
        table.add_row(row.cell, str(row.n_seeds), ours, printed, difference)
    width = max((len(row.cell) for row in rows), default=0) + 80
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, color_system=None, force_terminal=False, markup=False,
        emoji=False, highlight=False, legacy_windows=False,
    )  # fmt: skip
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
