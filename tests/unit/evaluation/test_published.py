"""Published numbers: the files of the repository, our names for them, and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from osad.core.errors import DataError
from osad.core.files import csv_text
from osad.evaluation import published
from osad.evaluation.published import (
    COLUMNS,
    Key,
    Published,
    index,
    load,
    lookup,
    normalise_class,
    place,
)

FOLDER = Path(__file__).parents[3] / "data/published"

DRA = "DRA CVPR2022 (arXiv 2203.14506), Table {}"
AHL = "AHL CVPR2024 (arXiv 2310.12790), Table {}"
DPDL = "DPDL CVPR2025 (arXiv 2502.20981), Table {}"
MPFM = "MPFM ICML2026 (arXiv 2605.02438), quoted from a third-party reading note, {}"
WT = "WT-Flow arXiv 2508.05461v3, quoted from a benchmark aggregator page"
MISMATCH = "Flow Mismatching arXiv 2605.23070, quoted from a benchmark aggregator page"


@pytest.fixture(scope="module")
def table() -> dict[Key, Published]:
    return index(load(FOLDER))


def find(
    table: dict[Key, Published], place: str, method: str, parts: int | None = None
) -> Published | None:
    dataset, category, setting, shots, known_class = place.split()
    return lookup(
        table,
        dataset=dataset,
        category=category,
        setting=setting,
        shots=int(shots),
        known_class="" if known_class == "-" else known_class,
        method=method,
        parts=parts,
    )


@pytest.mark.parametrize(
    ("place", "method", "mean", "std", "source"),
    [
        ("elpv all general 10 -", "dra", 0.845, 0.013, DRA.format(1)),
        ("elpv all hard 10 mono", "devnet", 0.599, 0.040, DRA.format(2)),
        ("elpv all hard 10 mean", "dpdl", 0.818, 0.003, DPDL.format(2)),
        ("elpv all hard 10 mean", "dra", 0.766, 0.029, DRA.format(2)),
        ("elpv all normal 0 -", "patchcore", 0.916, None, AHL.format(4)),
        ("elpv all general 1 -", "dpdl", 0.897, 0.002, DPDL.format(1)),
        ("elpv all general 1 -", "ahl", 0.723, 0.008, AHL.format(1)),
        ("elpv all general 1 -", "ahl.devnet", 0.828, 0.005, AHL.format(1)),
        ("mvtec mean normal 0 -", "patchcore", 0.992, None, AHL.format(4)),
        ("mvtec carpet general 10 -", "devnet", 0.867, 0.040, DRA.format(1)),
        ("mvtec mean general 10 -", "mpfm", 0.982, 0.003, MPFM.format("main table (general)")),
        ("optical all general 10 -", "mpfm", 0.992, 0.002, MPFM.format("main table (general)")),
        ("mvtec mean normal 0 -", "wt_flow", 0.9905, None, WT),
        ("mvtec_3d mean normal 0 -", "wt_flow", 0.851, None, WT),
        ("mvtec mean normal 0 -", "flow_mismatching", 0.987, None, MISMATCH),
        ("visa mean normal 0 -", "flow_mismatching", 0.98, None, MISMATCH),
        # Printed "metal", "weft crack", "barretts-short-seg".
        ("mvtec carpet hard 10 metal_contamination", "dpdl", 0.938, 0.005, DPDL.format(6)),
        ("aitex all hard 10 weft_crack", "dra", 0.717, 0.072, DRA.format(2)),
        # Contradictions: the method's own paper wins over a slip in a later one.
        ("sdd all general 10 -", "mlep", 0.983, 0.013, DRA.format(1)),
        ("mvtec mean general 1 -", "devnet", 0.794, 0.014, DRA.format(1)),
        ("headct all general 10 -", "ahl", 0.993, 0.002, AHL.format(1)),
        ("mvtec metal_nut hard 10 mean", "dpdl", 0.978, 0.002, DPDL.format(2)),
    ],
)
def test_printed_numbers(
    table: dict[Key, Published],
    place: str,
    method: str,
    mean: float,
    std: float | None,
    source: str,
) -> None:
    found = find(table, place, method)
    assert found is not None
    assert (found.mean, found.std, found.citation) == (mean, std, source)


@pytest.mark.parametrize("known", ["barretts_short_segment", "barretts-short-segment"])
def test_hyphens_and_underscores_name_the_same_class(
    table: dict[Key, Published], known: str
) -> None:
    found = find(table, f"hyperkvasir all hard 10 {known}", "devnet")
    assert found is not None
    assert found.subset == "barretts-short-seg"


@pytest.mark.parametrize(
    ("place", "method"),
    [
        ("elpv all general 10 -", "dpdl.no_dpl"),
        ("elpv all general 10 -", "mahalanobis"),
        ("elpv all general 10 -", "true_labels"),
        ("elpv all general 10 -", "patchcore"),
        ("elpv all normal 0 -", "dpdl"),
        ("elpv all general 5 -", "dra"),
        ("elpv mono general 10 -", "dra"),
        ("mvtec metal_nut hard 10 scratch", "dpdl"),  # Table 6 is cut off there.
        ("mpdd mean normal 0 -", "wt_flow"),  # Printed as a pixel AUROC.
        ("mine all general 10 -", "dra"),
    ],
)
def test_no_number_where_none_is_printed(
    table: dict[Key, Published], place: str, method: str
) -> None:
    assert find(table, place, method) is None


def test_a_mean_over_other_parts_has_no_printed_number(table: dict[Key, Published]) -> None:
    assert find(table, "aitex all hard 10 mean", "dra", parts=6) is not None
    assert find(table, "aitex all hard 10 mean", "dra", parts=2) is None
    assert find(table, "mvtec mean general 10 -", "dra", parts=15) is not None
    assert find(table, "mvtec mean general 10 -", "dra", parts=3) is None


def test_the_numbers_of_parts_are_those_of_the_printed_rows(table: dict[Key, Published]) -> None:
    for (setting, dataset, category), n_parts in published.PARTS.items():
        if setting == "normal":  # Only means are printed.
            continue
        rows = [k for k in table if (k.dataset, k.setting, k.shots) == (dataset, setting, 10)]
        names = {
            key.known_class if setting == "hard" else key.category
            for key in rows
            if key.method == "dra" and (setting != "hard" or key.category == category)
        }
        assert len(names - {"mean"}) == n_parts, (setting, dataset, category)


def test_printed_class_means_agree_with_printed_means(table: dict[Key, Published]) -> None:
    # Rounded class values: their mean may differ from the printed mean by one in the last digit.
    known = [
        key.known_class
        for key in table
        if (key.dataset, key.setting, key.shots, key.method) == ("aitex", "hard", 10, "dra")
    ]
    values = [find(table, f"aitex all hard 10 {name}", "dra") for name in known if name != "mean"]
    mean = find(table, "aitex all hard 10 mean", "dra")
    assert mean is not None
    assert sum(value.mean for value in values if value) / 6 == pytest.approx(mean.mean, abs=1.1e-3)


def test_every_image_auroc_of_a_known_method_is_placed_in_the_unit_interval() -> None:
    rows = load(FOLDER)
    assert len(rows) == 1962
    placed = [row for row in rows if place(row)]
    assert len(placed) > 1500
    assert all(0.3 < row.mean <= 1 for row in placed)
    other = {row.metric for row in rows if not row.metric.startswith("image AUROC")}
    assert {"FPS", "flow latency per image (ms)"} < other


@pytest.mark.parametrize(
    ("printed", "ours"),
    [
        ("Broken_end", "broken_end"),
        ("cut selvage", "cut_selvage"),
        ("drill-hole", "drill_hole"),
        ("esophagitis-b-d", "esophagitis_b_d"),
        ("metal", "metal_contamination"),
        ("barretts-short-seg", "barretts_short_segment"),
        ("", ""),
    ],
)
def test_normalise_class(printed: str, ours: str) -> None:
    assert normalise_class(printed) == ours


GOOD = {
    "source": "DRA x", "table": "Table 1", "dataset": "ELPV", "subset": "", "setting": "general",
    "shots": "10", "method": "DRA", "metric": "image AUROC", "mean": "0.5", "std": "0.1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("source", " "), ("method", ""), ("setting", "easy"), ("shots", "-1"), ("shots", "ten"),
        ("mean", ""), ("mean", "x"), ("mean", "nan"), ("mean", "-0.1"), ("mean", "1.2"),
        ("mean", "101"), ("std", "inf"), ("std", "-1"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_file_and_line(tmp_path: Path, column: str, value: str) -> None:
    (tmp_path / "a.csv").write_text(csv_text(COLUMNS, [GOOD, {**GOOD, column: value}]))
    with pytest.raises(DataError, match=rf"a\.csv, line 3: {column} '{value}'"):
        load(tmp_path)


def test_percentages_become_fractions(tmp_path: Path) -> None:
    row = {**GOOD, "mean": "99.05", "std": "0.7"}
    speed = {**GOOD, "metric": "FPS", "mean": "15.92", "std": ""}
    (tmp_path / "a.csv").write_text(csv_text(COLUMNS, [row, speed]))
    first, second = load(tmp_path)
    assert (first.mean, first.std) == (0.9905, 0.007)
    assert (second.mean, second.std) == (15.92, None)


def test_sources_are_asked_in_order(tmp_path: Path) -> None:
    rows = [
        {**GOOD, "source": f"{paper} 2020", "mean": mean}
        for paper, mean in [("Blog", "0.9"), ("MPFM", "0.8"), ("DPDL", "0.7"), ("AHL", "0.6")]
    ]
    for count, expected in [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)]:
        (tmp_path / "a.csv").write_text(csv_text(COLUMNS, rows[:count]))
        [found] = index(load(tmp_path)).values()
        assert found.mean == expected


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of published numbers"):
        load(tmp_path)
