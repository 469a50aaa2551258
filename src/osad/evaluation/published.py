"""Numbers that the papers print, found by the names that this benchmark uses.

The papers contradict each other in places (a baseline's value is often copied with a slip), so
each method's numbers come from its own paper first; see `SOURCES` and `CAVEATS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from osad.core.errors import DataError
from osad.core.files import read_csv

COLUMNS = (
    "source", "table", "dataset", "subset", "setting", "shots", "method", "metric", "mean", "std",
)  # fmt: skip

DATASETS = {
    "mvtec": "MVTec AD",
    "optical": "Optical",
    "sdd": "SDD",
    "aitex": "AITEX",
    "elpv": "ELPV",
    "mastcam": "Mastcam",
    "hyperkvasir": "Hyper-Kvasir",
    "brainmri": "BrainMRI",
    "headct": "HeadCT",
    "visa": "VisA",
    "mpdd": "MPDD",
    "mvtec_loco": "MVTec LOCO",
    "mvtec_3d": "MVTec 3D-AD",
}
"""Printed name of each data set, in the order of the papers' tables."""

METHODS = {
    "dpdl": "DPDL",
    "dpdl.no_anomaly": "DPDL[Mn+Mr]",
    "dpdl.no_normal": "DPDL[Ma+Mr]",
    "dpdl.only_residual": "DPDL[Mr]",
    "mpfm": "MPFM",
    "wt_flow": "WT-Flow",
    "flow_mismatching": "Flow Mismatching",
    "dra": "DRA",
    "ahl": "AHL(DRA)",
    "ahl.devnet": "AHL(DevNet)",
    "devnet": "DevNet",
    "flos": "FLOS",
    "saoe": "SAOE",
    "mlep": "MLEP",
    "patchcore": "PatchCore",
}
"""Printed name of each method. Plain "AHL" in later papers is the better of two models per data
set, so it is none of ours. Variants have no printed number unless they are listed here."""

SOURCES = {
    "dpdl": "DPDL", "dpdl.no_anomaly": "DPDL", "dpdl.no_normal": "DPDL",
    "dpdl.only_residual": "DPDL", "mpfm": "MPFM",
    "wt_flow": "WT-Flow", "flow_mismatching": "Flow Mismatching", "ahl": "AHL",
    "ahl.devnet": "AHL", "patchcore": "AHL",
}  # fmt: skip
"""First word of the source that is asked first, where it is not the DRA paper."""

FALLBACK = ("DRA", "AHL", "DPDL", "MPFM")
"""Sources that are asked next, in this order."""

CAVEATS = {
    "ahl": "AHL: values of the AHL paper; the AHL column of later papers takes the better of "
    "AHL(DRA) and AHL(DevNet) for each data set.",
    "devnet": "DevNet, FLOS: values of the DRA paper; the DPDL paper's MVTec AD means at M=1 "
    "(0.780, 0.755) are not the means of its own classes.",
    "mlep": "MLEP: values of the DRA paper; the AHL paper prints 0.783 for SDD (M=10) where the "
    "DRA paper prints 0.983, and DRA's values in its MLEP column of the hard setting.",
    "mpfm": "MPFM: quoted at second hand, not checked against the paper.",
    "wt_flow": "WT-Flow: quoted at second hand, not checked against the paper.",
    "flow_mismatching": "Flow Mismatching: quoted at second hand, not checked against the paper.",
}
"""What a reader must know about the published numbers of a method."""

LEFT_OUT = {
    "KDAD": "not among the methods here",
    "AHL": "the better of AHL(DRA) and AHL(DevNet) for each data set, so neither of the two",
    "FS-DRA (fully supervised)": "trained on anomalies of all classes, which no protocol here is",
    "DPDL[Mn+Ma+Mr]": "DPDL itself, printed a second time in its Table 3",
    "WT-Flow (same backbone as Flow Mismatching)": "run by others on another backbone",
}
"""Printed methods that have no place in this benchmark, and why."""

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


@dataclass(frozen=True)
class Published:
    """One printed number.

    Attributes:
        source: the paper.
        table: where in the source.
        dataset: data set as printed.
        subset: category, known class or ``mean``, as printed.
        setting: ``general``, ``hard`` or ``unsupervised``.
        shots: number of labelled training anomalies.
        method: method as printed.
        metric: metric as printed.
        mean: value; areas under curves in [0, 1], also where they are printed in percent.
        std: standard deviation in the same unit, None where none is printed.
    """

    source: str
    table: str
    dataset: str
    subset: str
    setting: str
    shots: int
    method: str
    metric: str
    mean: float
    std: float | None

    @property
    def citation(self) -> str:
        """Return paper and table, for example ``DRA CVPR2022 (arXiv 2203.14506), Table 1``."""
        return self.source if self.table in self.source else f"{self.source}, {self.table}"


@dataclass(frozen=True)
class Key:
    """The place of a printed number in this benchmark, with a normalised known class."""

    dataset: str
    category: str
    setting: str
    shots: int
    known_class: str
    method: str


def normalise_class(name: str) -> str:
    """Return a defect class's name in lower case with ``_`` and without abbreviations.

    Example:
        >>> normalise_class("weft crack"), normalise_class("barretts-short-seg")
        ('weft_crack', 'barretts_short_segment')
    """
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower())
    return CLASS_ALIASES.get(plain, plain)


def parse_row(row: Mapping[str, str], *, where: str) -> Published:
    """Validate one row of a file of published numbers.

    Areas under curves printed in percent (above 1.5) are converted to [0, 1] in decimal
    arithmetic, so that 99.05 becomes 0.9905 exactly as written.

    Raises:
        DataError: a field is empty or not a number, or an area is outside [0, 1].
    """

    def fail(column: str, problem: str) -> DataError:
        return DataError(f"{where}: {column} {row[column]!r} {problem}; correct the file")

    for column in ("source", "table", "dataset", "method", "metric"):
        if not row[column].strip():
            raise fail(column, "is empty")
    if row["setting"] not in ("general", "hard", "unsupervised"):
        raise fail("setting", "is not general, hard or unsupervised")
    if not row["shots"].isdecimal():
        raise fail("shots", "is not a whole number")
    numbers: dict[str, Decimal | None] = {}
    for column in ("mean", "std"):
        try:
            numbers[column] = Decimal(row[column]) if row[column] or column == "mean" else None
        except InvalidOperation as error:
            raise fail(column, "is not a number") from error
    mean, std = numbers["mean"], numbers["std"]
    if mean is None or not mean.is_finite() or mean < 0:
        raise fail("mean", "is not a finite number of at least 0")
    if std is not None and not (std.is_finite() and std >= 0):
        raise fail("std", "is not a finite number of at least 0")
    if re.search(r"AU(ROC|PRO|C|-ROC)\b", row["metric"]):
        if mean > Decimal("1.5"):
            mean, std = mean / 100, None if std is None else std / 100
        if mean > 1:
            raise fail("mean", "is neither a fraction nor a percentage")
    return Published(
        **{name: row[name] for name in ("source", "table", "dataset", "subset", "setting")},
        shots=int(row["shots"]),
        method=row["method"],
        metric=row["metric"],
        mean=float(mean),
        std=None if std is None else float(std),
    )


def load(folder: Path | str) -> list[Published]:
    """Read all files of published numbers in a folder, in the order of their names.

    Args:
        folder: holds ``*.csv`` with the columns `COLUMNS`.

    Raises:
        DataError: there is no such file, or one is damaged.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise DataError(f"{folder}: no file of published numbers (*.csv); restore the folder")
    return [
        parse_row(row, where=f"{path}, line {number}")
        for path in files
        for number, row in enumerate(read_csv(path, COLUMNS), start=2)
    ]


def left_out(row: Published) -> str:
    """Return why a printed number has no place in this benchmark, empty if it has one.

    Only image-level AUROC is placed.
    """
    if not row.metric.startswith("image AUROC"):
        return f"{row.metric} is not an image-level AUROC"
    if row.dataset not in DATASETS.values():
        return f"data set {row.dataset!r} is not among those here"
    if row.method not in METHODS.values():
        return LEFT_OUT.get(row.method, f"method {row.method!r} is unknown")
    return ""


def place(row: Published) -> Key | None:
    """Return where a printed number belongs in this benchmark, None where nowhere.

    Data sets without categories have the category ``all``; in the hard setting MVTec AD's subsets
    are printed as ``carpet:color``.
    """
    if left_out(row):
        return None
    datasets = {printed: name for name, printed in DATASETS.items()}
    methods = {printed: name for name, printed in METHODS.items()}
    setting = "normal" if row.setting == "unsupervised" else row.setting
    category, known_class = row.subset or "all", ""
    if setting == "hard":
        category, _, known_class = row.subset.rpartition(":")
        category, known_class = category or "all", normalise_class(known_class)
    return Key(
        datasets[row.dataset], category, setting, row.shots, known_class, methods[row.method]
    )


def index(rows: Iterable[Published]) -> dict[Key, Published]:
    """Choose one printed number for each place: the method's own paper first.

    Next come the sources of `FALLBACK`. Inside a source the first row wins, which is the main
    table.
    """

    def rank(method: str, source: str) -> int:
        order = (SOURCES.get(method, "DRA"), *FALLBACK)
        named = [number for number, name in enumerate(order) if source.startswith(f"{name} ")]
        return named[0] if named else len(order)

    chosen: dict[Key, Published] = {}
    for row in rows:
        key = place(row)
        if key is None:
            continue
        rival = chosen.get(key)
        if rival is None or rank(key.method, row.source) < rank(key.method, rival.source):
            chosen[key] = row
    return chosen


def lookup(
    table: Mapping[Key, Published],
    *,
    dataset: str,
    category: str,
    setting: str,
    shots: int,
    known_class: str,
    method: str,
    parts: int | None = None,
) -> Published | None:
    """Return the printed number of a cell of a table, None where the papers have none.

    Args:
        table: from `index`.
        dataset: id of the data set.
        category: category, ``all`` or ``mean``.
        setting: ``general``, ``hard`` or ``normal``.
        shots: number of labelled training anomalies.
        known_class: known class or ``mean`` in the hard setting, else empty.
        method: id of the method, with its variant.
        parts: for a mean, how many categories or known classes it covers here. A mean over
            another number of them than the printed one must not stand beside it.
    """
    known = normalise_class(known_class)
    found = table.get(Key(dataset, category, setting, shots, known, method))
    expected = PARTS.get((setting, dataset, category))
    if found is None or (parts is not None and expected is not None and parts != expected):
        return None
    return found
