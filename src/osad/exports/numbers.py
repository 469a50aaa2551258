"""What every export says of a number: its row of ``cells.csv`` and the digests of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.audit import git, graph, ledger
from osad.audit.ledger import Ledger
from osad.core.cells import Cell
from osad.core.errors import CheckError, DataError
from osad.evaluation.tables.cells import COLUMNS, read_frame
from osad.pipeline.grid import Grid

if TYPE_CHECKING:
    import pandas as pd

DIGESTS = ("metrics_sha256", "checkpoint_sha256", "split_sha256", "manifest_sha256")
"""Columns that are added; the digest of the scores is among those of ``cells.csv``."""
EXPLAIN = "git checkout {commit}; osad audit explain {cell}"
"""How a reader comes from an exported number to everything that it was made of."""


@dataclass(frozen=True)
class Numbers:
    """The cells that are exported.

    Attributes:
        grid: whose they are.
        known: its ledger.
        frame: rows of ``cells.csv`` with `DIGESTS` and ``commit``, in the order of the file.
        commit: of git, with a remark where the sources have uncommitted changes.
        date: of the commit, ISO 8601.
    """

    grid: Grid
    known: Ledger
    frame: pd.DataFrame
    commit: str
    date: str

    def done(self) -> pd.DataFrame:
        """Return the rows that have an AUROC.

        Raises:
            DataError: none has.
        """
        rows = self.frame[(self.frame.status == "ok") & self.frame.auroc.notna()]
        if rows.empty:
            first = self.frame.iloc[0]
            raise DataError(
                f"{first.cell}: has no AUROC ({first.status}: {first.reason or 'none'})"
            )
        return rows


def read(grid: Grid, known: Ledger, names: Sequence[str]) -> Numbers:
    """Read the cells with the given ids, of runs or of means; all without any.

    Raises:
        CheckError: ``cells.csv`` is not what the ledger says, or names other scores than it.
        ConfigError: there is no such cell, or no commit.
        DataError: ``cells.csv`` is missing or damaged.
    """
    commit, date = git.stamp(grid.root)
    path = f"{known.results}/tables/cells.csv"
    frame = read_frame(ledger.vouched(grid.root, known, path), COLUMNS)
    cells = [Cell.parse(name) for name in frame.cell]
    if names:
        chosen = {one for name in names for one in graph.choose(cells, name, path).cells}
        frame = frame[[cell in chosen for cell in cells]].reset_index(drop=True)
        cells = [cell for cell in cells if cell in chosen]
    for row in frame.itertuples():
        made = digest(known, graph.artefact(known, "scores", Cell.parse(row.cell)))
        if row.status == "ok" and row.scores_sha256 != made:
            raise CheckError(
                f"{path}: {row.cell} is of scores {row.scores_sha256[:12]}..., the ledger has "
                f"{(made or 'none')[:12]}...; run snakemake"
            )
    columns = zip(*(_digests(known, cell) for cell in cells), strict=True)
    digests = dict(zip(DIGESTS, columns, strict=True))
    return Numbers(grid, known, frame.assign(**digests, commit=commit), commit, date)


def digest(known: Ledger, path: str) -> str | None:
    """Return the digest of a file in the ledger; None where it has no line."""
    entry = known.entries.get(path)
    return entry.sha256 if entry else None


def _digests(known: Ledger, cell: Cell) -> Iterator[str | None]:
    """Return the digests of a cell's files, in the order of `DIGESTS`."""
    yield digest(known, graph.artefact(known, "metrics", cell))
    yield digest(known, graph.artefact(known, "checkpoints", cell))
    yield digest(known, graph.split_path(known, cell))
    yield digest(known, graph.manifest(cell))
