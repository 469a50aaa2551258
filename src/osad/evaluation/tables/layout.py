"""Arrange the papers' tables: data sets in rows, methods in columns, one block a shot count.

The layout is that of DPDL's Tables 1 (general setting) and 2 (hard setting), with a row for each
known class, and a third table for training on normal images only. Grids of variants (ablations,
sensitivity) have too many columns for it: there methods are rows and protocols columns, one block
a data set, as in DPDL's Table 3. What is built here is text without markup;
`osad.evaluation.tables.markup` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.evaluation import published
from osad.evaluation.tables.cells import FACETS, number_text
from osad.evaluation.tables.footers import differences_text, footers
from osad.evaluation.tables.request import MEAN, Request

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

TITLES = {
    "general": "General setting: image-level AUROC, seen anomalies of any defect class",
    "hard": "Hard setting: image-level AUROC on unseen defect classes, by the known class",
    "normal": "Normal setting: image-level AUROC, trained on normal images only",
}
"""Title of each table; the keys are the settings and the names of the files."""

PART_MISSING = "not every part of this average has a result"


@dataclass(frozen=True)
class Block:
    """Rows and columns under one title.

    Attributes:
        title: what all of it has in common.
        lines: label of each row (a place or a method) by its key.
        averages: keys of the rows that are averages.
        columns: label of each column (a method or a protocol) by its key.
        entries: a row each: ``line`` and ``column`` (their keys); as text ``ours`` (mean and
            standard deviation, or ``n/a``), ``to_best`` (see `to_best_texts`), ``published`` and
            ``range`` (empty without a number, or with one only); ``best``, whether ours is the
            best of several methods in its place or not distinguishable from it; and ``note``, the
            number of the reason why runs are missing, 0 for none. What the grid has no cell of
            has none.
    """

    title: str
    lines: Mapping[str, str]
    averages: frozenset[str]
    columns: Mapping[str, str]
    entries: pd.DataFrame


@dataclass(frozen=True)
class Table:
    """A table with its footers.

    Attributes:
        name: name of the setting.
        title: caption.
        blocks: blocks of methods, then blocks of controls; none if the grid lacks the setting.
        reasons: why runs are missing; ``note`` k refers to ``reasons[k - 1]``.
        footers: further lines.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    reasons: tuple[str, ...]
    footers: tuple[str, ...]


def texts(rows: pd.DataFrame, kind: str) -> pd.Series:
    """Return the numbers of the summary as text (see `number_text`); kind: auroc or published."""
    pairs = zip(rows[f"{kind}_mean"], rows[f"{kind}_std"], strict=True)
    return pd.Series([number_text(*pair) for pair in pairs], index=rows.index, dtype=str)


def to_best_texts(rows: pd.DataFrame) -> pd.Series:
    """Return the differences to the best as text, with an interval that covers both intervals.

    It has 0 in it just where one of the two has. The best itself is told by name; the text is empty
    where nothing is compared, as with a single method in a place.
    """
    low = rows[["seeds_low", "images_low"]].min(axis=1)
    high = rows[["seeds_high", "images_high"]].max(axis=1)
    known = rows[["difference_to_best"]].assign(low=low, high=high).dropna()
    texts = [f"{row[1]:+.3f} [{row[2]:+.3f}, {row[3]:+.3f}]" for row in known.itertuples()]
    compared = pd.Series(texts, index=known.index, dtype=str).str.replace("-", "\N{MINUS SIGN}")
    best = (rows.method == rows.best) & (rivals(rows) > 1)
    return compared.reindex(rows.index).where(~best, "best").fillna("")


def rivals(rows: pd.DataFrame) -> pd.Series:
    """Return how many methods compete in the place of each row of the summary."""
    return rows.groupby([*FACETS[:-1]])["rank"].transform("count")


def place_label(request: Request, dataset: str, category: str, known_class: str = "") -> str:
    """Return the label of a place, for example ``MVTec AD / carpet: color``."""
    label = request.datasets[dataset].title
    if category != "all":
        label += f" / {category}"
    return f"{label}: {known_class}" if known_class else label


def papers_order(datasets: pd.Series) -> pd.Series:
    """Return the place of each data set in the order of the papers' tables, others last."""
    order = {name: number for number, name in enumerate(published.DATASETS.values())}
    return datasets.map(order).fillna(len(order))


def methods_in_rows(methods: Iterable[str], controls: Iterable[str]) -> bool:
    """Return whether a table has methods in rows: when most are variants of other methods.

    Example:
        >>> methods_in_rows(["dpdl", "dpdl.c8", "dpdl.c64", "random"], ["random"])
        True
    """
    competing = [method for method in methods if method not in set(controls)]
    return 2 * sum("." in method for method in competing) > len(competing)


def build_table(
    setting: str, summary: pd.DataFrame, *, cells: pd.DataFrame, request: Request
) -> Table:
    """Build the table of one setting from all rows of ``summary.csv`` and ``cells.csv``."""
    rows = summary[summary.setting == setting]
    if rows.empty:
        return Table(setting, TITLES[setting], (), (), ("The grid has no such cell.",))
    rows = rows.sort_values("dataset", key=papers_order, kind="stable", ignore_index=True)
    used = [method for method in request.methods if method in set(rows.method)]
    in_rows = methods_in_rows(used, request.controls)
    rows = _entries(rows, cells, request, in_rows=in_rows)
    blocks = _by_place(rows, used, request) if in_rows else _by_shots(rows, used, request)
    # Reasons are numbered in the order in which a reader meets them.
    reasons: dict[str, int] = {}
    for block in blocks:
        block.entries["note"] = [
            reasons.setdefault(reason, len(reasons) + 1) if reason else 0
            for reason in block.entries.reason
        ]
    below = footers(setting, rows, request=request, methods_in_rows=in_rows)
    return Table(setting, TITLES[setting], tuple(blocks), tuple(reasons), below)


def build_tables(
    summary: pd.DataFrame, cells: pd.DataFrame, *, request: Request
) -> dict[str, Table]:
    """Build the tables of all settings, by name; a setting without cells has no blocks."""
    return {name: build_table(name, summary, cells=cells, request=request) for name in TITLES}


def _entries(
    rows: pd.DataFrame, cells: pd.DataFrame, request: Request, *, in_rows: bool
) -> pd.DataFrame:
    """Add to rows of the summary what is printed of each, and the keys of its place."""
    most = rows.n_seeds.max() if in_rows else rows.groupby("shots").n_seeds.transform("max")
    rows = rows.assign(
        control=rows.method.isin(request.controls),
        average=(rows.category == MEAN) | (rows.known_class == MEAN),
        place=rows.dataset + "/" + rows.category + "/" + rows.known_class,
        few=rows.n_seeds < most,
        ours=texts(rows, "auroc").replace("", "n/a"),
        published=texts(rows, "published"),
        best=(rows["rank"] == 1).fillna(False) & (rivals(rows) > 1),
        to_best=to_best_texts(rows),
        range=[
            f"{low:.3f}\N{EN DASH}{high:.3f}" if f"{low:.3f}" != f"{high:.3f}" else ""
            for low, high in zip(rows.published_lowest, rows.published_highest, strict=True)
        ],
    )
    some = rows.few & (rows.n_seeds > 0)
    rows["ours"] = rows.ours.where(~some, rows.ours + " (n=" + rows.n_seeds.astype(str) + ")")

    told = cells[cells.reason != ""]
    why = told.reason.where(told.status == "ok", told.status + ": " + told.reason)
    grouped = told.assign(reason=why).groupby([*FACETS])
    reasons = grouped.reason.agg(lambda texts: "; ".join(texts.unique()))
    rows = rows.merge(reasons.reset_index(), on=[*FACETS], how="left").fillna({"reason": ""})
    rows["reason"] = rows.reason.where(~(rows.average & rows.few), PART_MISSING)
    return rows


def _by_shots(rows: pd.DataFrame, methods: Iterable[str], request: Request) -> list[Block]:
    """Return one block for each number of shots; its rows are places, its columns methods."""
    blocks = []
    rows = rows.assign(most=-rows.shots, line=rows.place, column=rows.method)
    for (control, _), entries in rows.groupby(["control", "most"]):
        shots = _shots(entries.shots.iloc[0])
        lines = entries.drop_duplicates("line").set_index("line")
        blocks.append(
            Block(
                f"Controls, {shots}" if control else shots,
                {
                    row.Index: place_label(request, row.dataset, row.category, row.known_class)
                    for row in lines.itertuples()
                },
                frozenset(lines.index[lines.average]),
                {
                    name: request.title(name)
                    for name in methods
                    if (name in request.controls) == control
                },
                entries.copy(),
            )
        )
    return blocks


def _by_place(rows: pd.DataFrame, methods: Iterable[str], request: Request) -> list[Block]:
    """Return one block for each data set and category; its rows are methods."""
    blocks = []
    order = {name: number for number, name in enumerate(methods)}
    rows = rows.assign(
        line=rows.method,
        column=rows.shots.map(_shots).str.cat(rows.known_class.map(lambda k: k and f", {k}")),
        group=rows.groupby(["dataset", "category"], sort=False).ngroup(),
    )
    for (control, _), entries in rows.groupby(["control", "group"]):
        label = place_label(request, *entries.iloc[0][["dataset", "category"]])
        lines = {}
        for name in order:
            if (name in request.controls) == control:
                changes = differences_text(request.methods[name].changes)
                lines[name] = request.title(name) + (f": {changes}" if changes else "")
        blocks.append(
            Block(
                f"Controls, {label}" if control else label,
                lines,
                frozenset(),
                {name: name for name in entries.column.unique()},
                entries.sort_values("line", key=lambda names: names.map(order), kind="stable"),
            )
        )
    return blocks


def _shots(shots: int) -> str:
    return f"M = {shots} labelled anomal{'y' if shots == 1 else 'ies'}" if shots else "M = 0"
