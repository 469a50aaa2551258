"""Arrange the papers' tables: data sets in rows, methods in columns, one block a shot count.

The layout is that of DPDL's Tables 1 (general setting) and 2 (hard setting), with a row for each
known class, and a third table for training on normal images only. Grids of variants (ablations,
sensitivity) have too many columns for it: there methods are rows and protocols columns, one block
a data set, as in DPDL's Table 3. What is built here is text without markup;
`osad.evaluation.tables.markdown` and `osad.evaluation.tables.latex` write it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from osad.evaluation import published
from osad.evaluation.tables.cells import CellRow
from osad.evaluation.tables.footers import differences_text, footers, method_title
from osad.evaluation.tables.request import MEAN, Request
from osad.evaluation.tables.summary import Group, SummaryRow, group_of

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
    """One row of a table: a data set, a category or a known class, or a method."""

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
        best = _best(of_method) if mark_best else ""
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


def methods_in_rows(methods: Sequence[str], controls: Sequence[str]) -> bool:
    """Return whether a table has methods in rows: when most are variants of other methods.

    Example:
        >>> methods_in_rows(["dpdl", "dpdl.c8", "dpdl.c64", "random"], ["random"])
        True
    """
    competing = [method for method in methods if method not in controls]
    return 2 * sum("." in method for method in competing) > len(competing)


def _blocks_of_methods(
    rows: Sequence[SummaryRow], methods: Sequence[str], *, reasons: _Reasons, request: Request
) -> list[Block]:
    """Return one block for each data set and category; its lines are methods."""
    found: dict[tuple[str, str], dict[tuple[int, str], dict[str, SummaryRow]]] = {}
    for row in rows:
        if row.method in methods:
            columns = found.setdefault((row.dataset, row.category), {})
            columns.setdefault((row.shots, row.known_class), {})[row.method] = row
    n_seeds = max((row.n_seeds for row in rows), default=0)
    are_controls = all(method in request.controls for method in methods)
    blocks = []
    for columns in found.values():
        best = {place: "" if are_controls else _best(column) for place, column in columns.items()}
        lines = []
        for method in methods:
            entries = tuple(
                _entry(column[method], reasons=reasons, n_seeds=n_seeds, best=best[place])
                if method in column
                else Entry(ABSENT)
                for place, column in columns.items()
            )
            changes = differences_text(request.changes.get(method, {}))
            label = f"{method_title(method)}: {changes}" if changes else method_title(method)
            lines.append(Line(label, entries, is_average=False))
        titles = tuple(_shots(shots) + (f", {known}" if known else "") for shots, known in columns)
        first = next(iter(next(iter(columns.values())).values()))
        title = line_label(dataclasses.replace(first, known_class=""), request)
        title = f"Controls, {title}" if are_controls else title
        blocks.append(Block(title, titles, tuple(lines)))
    return blocks


def _best(rows: Mapping[str, SummaryRow]) -> str:
    """Return the best mean as printed; empty where there is nothing to compare."""
    # Equal in print is equally good: the third decimal is beyond the spread over seeds.
    means = [row.auroc_mean for row in rows.values() if row.auroc_mean is not None]
    return f"{max(means):.3f}" if len(means) > 1 else ""


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
    in_rows = methods_in_rows([m for m in request.methods if m in used], request.controls)
    blocks: list[Block] = []
    for is_control in (False, True):
        methods = [
            m for m in request.methods if m in used and (m in request.controls) == is_control
        ]
        if in_rows:
            blocks += _blocks_of_methods(rows, methods, reasons=reasons, request=request)
            continue
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
        footers(setting, rows, cells=ours, request=request, methods_in_rows=in_rows)
        if rows
        else ("The grid has no such cell.",)
    )
    return Table(setting, TITLES[setting], tuple(blocks), tuple(reasons.numbers), notes)


def _block_title(shots: int, *, is_control: bool) -> str:
    return f"Controls, {_shots(shots)}" if is_control else _shots(shots)


def _shots(shots: int) -> str:
    return f"M = {shots} labelled anomal{'y' if shots == 1 else 'ies'}" if shots else "M = 0"


def build_tables(
    summary: Sequence[SummaryRow], cells: Sequence[CellRow], *, request: Request
) -> dict[str, Table]:
    """Build the tables of all settings, by name; a setting without cells has no blocks."""
    return {name: build_table(name, summary, cells=cells, request=request) for name in TITLES}
