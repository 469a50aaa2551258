"""Show the summary on a terminal, with colours and as wide as it is, or as plain text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from osad.evaluation.tables.layout import texts, to_best_texts

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def summary_table(summary: pd.DataFrame) -> Table:
    """Return one line a row of ``summary.csv``.

    It has seeds, ours (bold if not distinguishable from the best), the difference to the best with
    its interval, published, and ours minus published: better is green, worse is yellow. A cell
    without a result is red.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    for name in ("n", "ours", "to the best", "published", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    summary = summary.assign(
        ours=texts(summary, "auroc"),
        to_best=to_best_texts(summary),
        first=(summary["rank"] == 1).fillna(False),
        published=texts(summary, "published"),
        difference=summary.auroc_mean - summary.published_mean,
    )
    for row in summary.itertuples():
        colour = "green" if row.difference >= 0 else "yellow"
        known = bool(row.ours and row.published)
        table.add_row(
            Text(row.cell),
            Text(str(row.n_seeds)),
            Text(row.ours or "n/a", style="bold" if row.first else "" if row.ours else "red"),
            Text(row.to_best),
            Text(row.published),
            Text(f"{row.difference:+.3f}", style=colour) if known else Text(),
        )
    return table


def render_summary(summary: pd.DataFrame) -> str:
    """Return the same as text without colours, nothing cut off: equal rows, equal texts."""
    from rich.console import Console

    width = summary.cell.str.len().max() + 120 if len(summary) else 80
    stream = io.StringIO()
    console = Console(
        file=stream, width=int(width), color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(summary_table(summary))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
