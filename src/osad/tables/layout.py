"""Arrange the papers' tables: data sets in rows, methods in columns, one block a shot count.

The layout is that of DPDL's Tables 1 (general setting) and 2 (hard setting), with a row for each
known class, and a third table for training on normal images only. What is built here is text
without markup; `osad.tables.markdown` and `osad.tables.latex` write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osad import published
from osad.tables.cells import CellRow
from osad.tables.footers import footers, method_title
from osad.tables.request import MEAN, Request
from osad.tables.summary import Group, SummaryRow, group_of

TITLES = {
    "general": "General setting: image-level AUROC, seen anomalies of any defect class",
    "hard": "Hard setting: image-level AUROC on unseen defect classes, by the known class",
    "normal": "Normal setting: image-level AUROC, trained on normal images only",
}
"""Title of each table; the keys are the settings and the names of the files."""

ABSENT = "-"
PART_MISSING = "not every part of this average has a result"


@dataclass(frozen=True)
class Entry:
    """One entry of a table.

    Attributes:
        ours: mean and standard deviation, ``n/a``, or a dash where the grid has no such cell.
        published: the printed number; empty where there is none.
        best: whether ours is the best of the row's methods.
        note: number of the reason why runs are missing; 0: none.
    """

    ours: str
    published: str = ""
    best: bool = False
    note: int = 0


@dataclass(frozen=True)
class Line:
    """One row of a table: a data set, a category or a known class."""

    label: str
    entries: tuple[Entry, ...]
    is_average: bool

    @property
    def has_published(self) -> bool:
        """Return whether any entry has a printed number."""
        return any(entry.published for entry in self.entries)


@dataclass(frozen=True)
class Block:
    """Rows and columns under one title."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table with its footers.

    Attributes:
        name: name of the setting.
        title: caption.
        blocks: blocks of methods, then blocks of controls; none if the grid lacks the setting.
        reasons: why runs are missing; entry ``note`` k refers to ``reasons[k - 1]``.
        footers: further lines.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    reasons: tuple[str, ...]
    footers: tuple[str, ...]


def number_text(mean: float | None, std: float | None) -> str:
    """Return a mean with its standard deviation, with 3 decimals; empty without a mean.

    Example:
        >>> number_text(0.845, 0.0134), number_text(0.916, None)
        ('0.845 ± 0.013', '0.916')
    """
    if mean is None:
        return ""
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"


def line_label(row: SummaryRow, request: Request) -> str:
    """Return the label of a row, for example ``MVTec AD / carpet: color``."""
    info = request.datasets.get(row.dataset)
    label = info.title if info else published.DATASETS.get(row.dataset, row.dataset)
    if row.category != "all":
        label += f" / {row.category}"
    return f"{label}: {row.known_class}" if row.known_class else label


class _Reasons:
    """Numbers the distinct reasons of a table in the order in which they are met."""

    def __init__(self, cells: Sequence[CellRow]) -> None:
        self.numbers: dict[str, int] = {}
        self._of: dict[Group, dict[str, None]] = {}
        for row in cells:
            if row.status != "ok":
                self._of.setdefault(group_of(row), {})[f"{row.status}: {row.reason}"] = None

    def note(self, row: SummaryRow, n_seeds: int) -> int:
        """Return the number of the reason why a row lacks runs, 0 if it lacks none."""
        texts = list(self._of.get(group_of(row), {}))
        if MEAN in (row.category, row.known_class) and row.n_seeds < n_seeds:
            texts = [PART_MISSING]
        if not texts:
            return 0
        return self.numbers.setdefault("; ".join(texts), len(self.numbers) + 1)


def _entry(row: SummaryRow, *, reasons: _Reasons, n_seeds: int, best: str) -> Entry:
    ours = number_text(row.auroc_mean, row.auroc_std) or "n/a"
    is_best = row.auroc_mean is not None and f"{row.auroc_mean:.3f}" == best
    if 0 < row.n_seeds < n_seeds:
        ours += f" (n={row.n_seeds})"
    printed = number_text(row.published_mean, row.published_std)
    return Entry(ours, printed, is_best, reasons.note(row, n_seeds))


def _lines(
    rows: Sequence[SummaryRow],
    methods: Sequence[str],
    *,
    reasons: _Reasons,
    request: Request,
    mark_best: bool,
) -> tuple[Line, ...]:
    grouped: dict[tuple[str, str, str], dict[str, SummaryRow]] = {}
    for row in rows:
        if row.method in methods:
            place = (row.dataset, row.category, row.known_class)
            grouped.setdefault(place, {})[row.method] = row
    n_seeds = max((row.n_seeds for row in rows), default=0)
    lines = []
    for of_method in grouped.values():
        means = [row.auroc_mean for row in of_method.values() if row.auroc_mean is not None]
        # Equal in print is equally good: the third decimal is beyond the spread over seeds.
        best = f"{max(means):.3f}" if mark_best and len(means) > 1 else ""
        entries = tuple(
            _entry(of_method[method], reasons=reasons, n_seeds=n_seeds, best=best)
            if method in of_method
            else Entry(ABSENT)
            for method in methods
        )
        first = next(iter(of_method.values()))
        is_average = MEAN in (first.category, first.known_class)
        lines.append(Line(line_label(first, request), entries, is_average))
    return tuple(lines)


def build_table(
    setting: str, summary: Sequence[SummaryRow], *, cells: Sequence[CellRow], request: Request
) -> Table:
    """Build the table of one setting.

    Args:
        setting: ``general``, ``hard`` or ``normal``.
        summary: all rows of ``summary.csv``, in their order.
        cells: all rows of ``cells.csv``.
        request: order of methods, controls, and texts.
    """
    papers_order = {name: number for number, name in enumerate(published.DATASETS)}
    rows = sorted(
        (row for row in summary if row.setting == setting),
        key=lambda row: papers_order.get(row.dataset, len(papers_order)),
    )
    used = {row.method for row in rows}
    reasons = _Reasons(cells)
    blocks = []
    for is_control in (False, True):
        methods = [
            m for m in request.methods if m in used and (m in request.controls) == is_control
        ]
        for shots in sorted({row.shots for row in rows}, reverse=True):
            of_shots = [row for row in rows if row.shots == shots]
            lines = _lines(
                of_shots, methods, reasons=reasons, request=request, mark_best=not is_control
            )
            if lines:
                title = _block_title(shots, is_control=is_control)
                blocks.append(Block(title, tuple(map(method_title, methods)), lines))
    ours = [row for row in cells if row.setting == setting]
    notes = (
        footers(setting, rows, cells=ours, request=request)
        if rows
        else ("The grid has no such cell.",)
    )
    return Table(setting, TITLES[setting], tuple(blocks), tuple(reasons.numbers), notes)


def _block_title(shots: int, *, is_control: bool) -> str:
    seen = f"M = {shots} labelled anomal{'y' if shots == 1 else 'ies'}" if shots else "M = 0"
    return f"Controls, {seen}" if is_control else seen


def build_tables(
    summary: Sequence[SummaryRow], cells: Sequence[CellRow], *, request: Request
) -> dict[str, Table]:
    """Build the tables of all settings, by name; a setting without cells has no blocks."""
    return {name: build_table(name, summary, cells=cells, request=request) for name in TITLES}
