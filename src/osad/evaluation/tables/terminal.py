"""Show the summary on a terminal, with colours and as wide as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osad.evaluation.tables.layout import number_text
from osad.evaluation.tables.summary import SummaryRow

if TYPE_CHECKING:
    from rich.table import Table


def summary_table(rows: Sequence[SummaryRow]) -> Table:
    """Return one line a table cell: seeds, ours, published, ours minus published.

    Better than published is green, worse is yellow; a cell without a result is red.

    Args:
        rows: rows of ``summary.csv``, in their order.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    for name in ("n", "ours", "published", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        difference = Text()
        if row.auroc_mean is not None and row.published_mean is not None:
            value = row.auroc_mean - row.published_mean
            difference = Text(f"{value:+.3f}", style="green" if value >= 0 else "yellow")
        ours = number_text(row.auroc_mean, row.auroc_std)
        table.add_row(
            Text(row.cell),
            Text(str(row.n_seeds)),
            Text(ours, style="bold") if ours else Text("n/a", style="red"),
            Text(number_text(row.published_mean, row.published_std)),
            difference,
        )
    return table
