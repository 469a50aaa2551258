"""Numbers that the papers print, found by the names that this benchmark uses.

The papers contradict each other in places (a baseline's value is often copied with a slip), so
each method's numbers come from its own paper first; see `place` and `CAVEATS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.errors import DataError
from osad.core.files import read_csv
from osad.core.lazy import lazy
from osad.evaluation.tables.cells import FACETS, number_text

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

COLUMNS = (
    "source", "table", "dataset", "subset", "setting", "shots", "method", "metric", "mean", "std",
)  # fmt: skip
VALUES = ("published_mean", "published_std", "published_source")
"""Of a place: the number that stands beside ours, and its source."""
RANGE = ("published_lowest", "published_highest", "published_all")
"""Of a place: the ends of what several papers print, and all of it with the sources."""

DATASETS = {
    "MVTec AD": "mvtec",
    "Optical": "optical",
    "SDD": "sdd",
    "AITEX": "aitex",
    "ELPV": "elpv",
    "Mastcam": "mastcam",
    "Hyper-Kvasir": "hyperkvasir",
    "BrainMRI": "brainmri",
    "HeadCT": "headct",
    "VisA": "visa",
    "MPDD": "mpdd",
    "MVTec LOCO": "mvtec_loco",
    "MVTec 3D-AD": "mvtec_3d",
}
"""Our id of each printed data set, in the order of the papers' tables."""

FALLBACK = ("DRA", "AHL", "DPDL", "MPFM")
"""First words of the sources that are asked after a method's own paper, in this order."""

CAVEATS = (
    (("ahl", "ahl.devnet"),
     "AHL: values of the AHL paper; the AHL column of later papers takes the better of AHL(DRA) "
     "and AHL(DevNet) for each data set."),
    (("devnet", "flos"),
     "DevNet, FLOS: values of the DRA paper; the DPDL paper's MVTec AD means at M=1 (0.780, 0.755) "
     "are not the means of its own classes."),
    (("devnet",),
     "DevNet, ELPV at M=1: the DRA paper prints 0.514, the AHL paper 0.810; which "
     "one stands beside ours decides what the comparison says."),
    (("dra",),
     "DRA: the values of the Qsco paper, which ran it again, are quoted at second hand, not "
     "checked against the paper."),
    (("mlep",),
     "MLEP: values of the DRA paper; the AHL paper prints 0.783 for SDD (M=10) where the DRA paper "
     "prints 0.983, and DRA's values in its MLEP column of the hard setting."),
    (("mpfm",), "MPFM: quoted at second hand, not checked against the paper."),
    (("wt_flow",), "WT-Flow: quoted at second hand, not checked against the paper."),
    (("flow_mismatching",),
     "Flow Mismatching: quoted at second hand, not checked against the paper."),
)  # fmt: skip
"""What a reader must know about the published numbers of some methods."""

CLASS_ALIASES = {
    "metal": "metal_contamination",
    "barretts_short_seg": "barretts_short_segment",
}
"""Printed abbreviations of defect classes."""

PARTS = {
    ("general", "mvtec", "mean"): 15,
    ("normal", "mvtec", "mean"): 15,
    ("normal", "visa", "mean"): 12,
    ("normal", "mpdd", "mean"): 6,
    ("normal", "mvtec_loco", "mean"): 5,
    ("normal", "mvtec_3d", "mean"): 10,
    ("hard", "mvtec", "carpet"): 5,
    ("hard", "mvtec", "metal_nut"): 4,
    ("hard", "aitex", "all"): 6,
    ("hard", "elpv", "all"): 2,
    ("hard", "mastcam", "all"): 9,
    ("hard", "hyperkvasir", "all"): 4,
}
"""How many categories (or known classes, in the hard setting) a printed mean covers."""


def normalise_class(name: str) -> str:
    """Return a defect class's name in lower case with ``_`` and without abbreviations.

    Example:
        >>> normalise_class("weft crack"), normalise_class("barretts-short-seg")
        ('weft_crack', 'barretts_short_segment')
    """
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower())
    return CLASS_ALIASES.get(plain, plain)


def _number(text: str, fail: Callable[[str], DataError]) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text):  # Decimal takes other digits and _.
        raise fail("is not a number of at least 0, written with digits and a point")
    return Decimal(text)


def parse_row(row: Mapping[str, str], *, where: str) -> dict[str, Any]:
    """Validate one row of a file of published numbers.

    Areas under curves printed in percent (above 1.5) are converted to [0, 1] in decimal
    arithmetic, so that 99.05 becomes 0.9905 exactly as written.

    Raises:
        DataError: a field is empty or not a number, or an area is outside [0, 1].
    """

    def fail(column: str, problem: str) -> DataError:
        return DataError(f"{where}: {column} {row[column][:40]!r} {problem}; correct the file")

    for column in ("source", "table", "dataset", "method", "metric"):
        if not row[column].strip():
            raise fail(column, "is empty")
        if column in ("source", "table") and "; " in row[column]:
            raise fail(column, "has '; ', which stands between sources")
    if row["setting"] not in ("general", "hard", "unsupervised"):
        raise fail("setting", "is not general, hard or unsupervised")
    if not re.fullmatch("[0-9]{1,9}", row["shots"]):
        raise fail("shots", "is not a whole number")
    numbers = {}
    for column in ("mean", "std"):
        if row[column] or column == "mean":
            numbers[column] = _number(row[column], partial(fail, column))
    if re.search(r"AU(ROC|PRO|C|-ROC)\b", row["metric"]):
        if numbers["mean"] > Decimal("1.5"):
            numbers = {column: value / 100 for column, value in numbers.items()}
        if numbers["mean"] > 1:
            raise fail("mean", "is neither a fraction nor a percentage")
    values = {column: float(value) for column, value in numbers.items()}
    return {**row, "shots": int(row["shots"]), "std": None, **values}


def load(folder: Path | str) -> pd.DataFrame:
    """Read all files of published numbers in a folder, in the order of their names.

    Returns:
        The columns `COLUMNS`, empty texts where nothing is printed; areas under curves in [0, 1].

    Raises:
        DataError: there is no such file, or one is damaged.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise DataError(f"{folder}: no file of published numbers (*.csv); restore the folder")
    rows = [
        parse_row(row, where=f"{path}, line {number}")
        for path in files
        for number, row in enumerate(read_csv(path, COLUMNS), start=2)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"mean": "float64", "std": "float64"})


def place(rows: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return the image-level AUROCs of methods that we have, one for each place.

    Of several, that of the method's own paper is taken, which is the one named as the method is;
    then those of `FALLBACK`; inside a source the first, which is in the main table. Data sets
    without categories have the category ``all``; in the hard setting MVTec AD's subsets are
    printed as ``carpet:color``.

    Returns:
        The facets of a table cell, its known class as `normalise_class` has it, `VALUES` and
        `RANGE`: all that is printed of the place, equal numbers together, in the same order.
    """
    # A variant that is trained on images stands beside the same numbers as its method.
    ids: dict[str, list[str]] = {}
    for method, title in titles.items():
        ids.setdefault(title.removesuffix(" (images)"), []).append(method)
    rows = rows[rows.metric.str.startswith("image AUROC")]
    parts = rows.subset.str.rpartition(":").where(rows.setting == "hard", "")
    placed = pd.DataFrame(
        {
            "dataset": rows.dataset.map(DATASETS),
            "category": parts[0].where(rows.setting == "hard", rows.subset).replace("", "all"),
            "setting": rows.setting.replace("unsupervised", "normal"),
            "shots": rows.shots,
            "known_class": parts[2].map(normalise_class),
            "method": rows.method.map(ids),
            "published_mean": rows["mean"],
            "published_std": rows["std"],
            "published_source": [
                # Where a source has one table, its name holds it.
                row.source if row.table in row.source else f"{row.source}, {row.table}"
                for row in rows.itertuples()
            ],
            "paper": rows.source,
            "rank": [_rank(row.method, row.source) for row in rows.itertuples()],
        }
    )
    placed = placed.dropna(subset=["dataset", "method"]).explode("method", ignore_index=True)
    placed = placed.sort_values("rank", kind="stable")
    pairs = zip(placed.published_mean, placed.published_std, strict=True)
    # Text also where nothing is printed of the methods that we have.
    placed["text"] = pd.Series([number_text(*p) for p in pairs], index=placed.index, dtype=str)
    # A paper that prints a number twice, in its main table and its appendix, is one source.
    once = placed.drop_duplicates([*FACETS, "text", "paper"])
    sources = once.groupby([*FACETS, "text"], sort=False).published_source.agg(" / ".join)
    every = (sources.index.get_level_values("text") + " (" + sources + ")").groupby([*FACETS])
    values = placed.groupby([*FACETS]).published_mean
    ranges = pd.concat([values.min(), values.max(), every.agg("; ".join)], axis=1, keys=[*RANGE])
    chosen = placed.drop_duplicates([*FACETS])[[*FACETS, *VALUES]]
    return chosen.merge(ranges.reset_index(), on=[*FACETS])


def _rank(method: str, source: str) -> int:
    own = re.split(r"[\[(]", method)[0]
    order = (own, *FALLBACK)
    named = [number for number, name in enumerate(order) if source.startswith(f"{name} ")]
    return named[0] if named else len(order)


def beside(summary: pd.DataFrame, placed: pd.DataFrame) -> pd.DataFrame:
    """Add `VALUES` and `RANGE` to rows of the summary, missing where the papers have no number.

    Args:
        summary: facets of table cells, and ``parts``: for a mean, how many categories or known
            classes it covers here. A mean over another number of them than the printed one must
            not stand beside it.
        placed: from `place`.
    """
    keys = summary.assign(known_class=summary.known_class.map(normalise_class))
    values = keys.merge(placed, on=[*FACETS], how="left")[[*VALUES, *RANGE]]
    values.index = summary.index
    printed = summary[["setting", "dataset", "category"]].apply(tuple, axis=1).map(PARTS)
    same = printed.isna() | summary.parts.isna() | (printed == summary.parts)
    values = values.where(same)
    return summary.assign(**values.fillna({"published_source": "", "published_all": ""}))
