"""Rows of runs and summaries, and the check of the controls."""

from typing import Any

import pandas as pd
import pytest
from table_cases import Outcome, bad, cells_of, metrics, runs_of, summary_of

from osad.core.cells import Cell
from osad.core.errors import DataError
from osad.evaluation.tables import cells as cell_table
from osad.evaluation.tables import summary as summary_table
from osad.evaluation.tables.cells import KINDS, check_controls, check_metrics

PLACE = "elpv/all/general-m10"

# cells.csv


def test_columns_are_the_public_ones() -> None:
    assert ",".join(cell_table.COLUMNS) == (
        "dataset,category,setting,shots,known_class,method,seed,auroc,average_precision,"
        "pixel_auroc,aupro,n_train_normal,n_train_anomaly,n_test_normal,n_test_anomaly,backbone,"
        "cell,scores_sha256,status,reason"
    )
    assert ",".join(summary_table.COLUMNS) == (
        "dataset,category,setting,shots,known_class,method,n_seeds,auroc_mean,auroc_std,"
        "published_mean,published_std,published_source,cell,best,difference_to_best,seeds_low,"
        "seeds_high,images_low,images_high,rank,difference_to_published,to_published_low,"
        "to_published_high,published_lowest,published_highest,published_all"
    )


def test_rows_have_numbers_only_when_ok_and_come_back_as_they_were(tmp_path) -> None:
    cells = cells_of(
        {
            "elpv/all/hard-mono-m10/dra/s1": 0.1 + 0.2,
            "elpv/all/general-m1/dra/s0": bad("failed", "train: loss is\n  nan, see log"),
            "elpv/all/normal-m0/dra/s0": 1,
        }
    )
    cell_table.write_frame(tmp_path / "cells.csv", cells)
    assert (tmp_path / "cells.csv").read_text().splitlines()[1:] == [
        'elpv,all,general,1,,dra,0,,,,,,,,,lite0,elpv/all/general-m1/dra/s0,,failed,"train: loss '
        'is nan, see log"',
        "elpv,all,hard,10,mono,dra,1,0.30000000000000004,0.9,,,1131,10,377,705,lite0,"
        f"elpv/all/hard-mono-m10/dra/s1,{'ab' * 32},ok,",
        "elpv,all,normal,0,,dra,0,1.0,0.9,,,1131,10,377,705,lite0,elpv/all/normal-m0/dra/s0,"
        f"{'ab' * 32},ok,",
    ]
    back = cell_table.read_frame(tmp_path / "cells.csv", cell_table.COLUMNS)
    pd.testing.assert_frame_equal(back, cells)


def test_rows_are_sorted_by_facets_and_grid_order() -> None:
    names = [
        "aitex/all/general-m10/dpdl/s0",
        *(f"{PLACE}/dpdl/s{seed}" for seed in (0, 2, 10)),
        *(f"{PLACE}/{name}/s0" for name in ("dra", "dpdl.no_dpl", "constant")),
        *(
            f"elpv/all/{protocol}/dpdl/s0"
            for protocol in ("general-m1", "hard-mono-m10", "hard-poly-m10", "normal-m0")
        ),
    ]
    assert list(cells_of(dict.fromkeys(sorted(names), 0.5)).cell) == names


@pytest.mark.parametrize(("name", "value"), [
    ("auroc", 1.1), ("auroc", "0.5"), ("aupro", float("nan")), ("n_test_normal", -1),
    ("n_test_normal", 1.5), ("n_test_anomaly", None), ("scores_sha256", "ab"),
])  # fmt: skip
def test_wrong_metrics_are_refused(name: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"m\.json: {name} is"):
        check_metrics({**metrics(0.5), name: value}, where="m.json")
    with pytest.raises(DataError, match=r"m\.json: is not an object"):
        check_metrics([1], where="m.json")


@pytest.mark.parametrize("heads", [[], {"a": 0.5}, {"a": {}}])
def test_wrong_heads_are_refused(heads: object) -> None:
    with pytest.raises(DataError, match=r"m\.json: heads is"):
        check_metrics({**metrics(0.5), "heads": heads}, where="m.json")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("auroc", text) for text in ("nan", "inf", "7.5", "-3", "-0.1", "1e999", "0x1", "1,0")),
        ("n_test_normal", "-1"), ("n_test_normal", "1.5"), ("n_test_normal", "9" * 30),
        ("seed", "-1"), ("seed", ""), ("seed", "9" * 5000),
    ],
)  # fmt: skip
def test_numbers_that_no_table_prints_are_refused(tmp_path, column, text) -> None:
    path = tmp_path / "cells.csv"
    cells = cells_of({"elpv/all/normal-m0/patchcore/s0": 0.5}).astype(str).replace("nan", "")
    cell_table.write_frame(path, cells)
    assert cell_table.read_frame(path, cell_table.COLUMNS).auroc.tolist() == [0.5]
    cell_table.write_frame(path, cells.assign(**{column: text}))
    with pytest.raises(DataError, match=rf"cells\.csv, (line 2: {column}|column {column}:)"):
        cell_table.read_frame(path, cell_table.COLUMNS)


# summary.csv and rates.csv


def numbers(row: pd.Series) -> list[object]:
    """Return the number of seeds, mean and deviation of ours and as printed; None without one."""
    names = ["n_seeds", "auroc_mean", "auroc_std", "published_mean", "published_std"]
    return [None if pd.isna(value) else value for value in row[names]]


def near(value: float) -> object:
    return pytest.approx(value, abs=1e-15)


def test_mean_and_standard_deviation_over_seeds() -> None:
    dra: list[Any] = [0.8, 0.9, 0.85, bad("failed", "x")]
    runs = runs_of(PLACE, dra=dra, dpdl=0.7, patchcore=bad("skipped", "x"))
    summary = summary_of(cells_of(runs))
    # Deviations -0.05, 0.05, 0: variance 0.005 / 2.
    assert numbers(summary.loc[f"{PLACE}/dra"]) == [3, near(0.85), near(0.05), 0.845, 0.013]
    assert numbers(summary.loc[f"{PLACE}/dpdl"])[:3] == [1, 0.7, None]
    assert numbers(summary.loc[f"{PLACE}/patchcore"])[:3] == [0, None, None]


def test_every_rate_has_mean_and_standard_deviation_over_seeds() -> None:
    outcomes: dict[str, Any] = runs_of(
        PLACE, dra=[metrics(0.8, aupro=0.25), metrics(0.9), bad("failed", "x")], dpdl=metrics(None)
    )
    rates = summary_table.rate_frame({Cell.parse(name): value for name, value in outcomes.items()})
    assert [*rates.columns] == ["cell", "metric", "mean", "std", "n"]
    # Deviations ±0.05: variance 0.005. Counts are no rates, nor is what a cell does not have.
    assert rates.astype(object).where(rates.notna(), None).to_numpy().tolist() == [
        [f"{PLACE}/dra", "aupro", 0.25, None, 1],
        [f"{PLACE}/dra", "auroc", near(0.85), near(0.005**0.5), 2],
        [f"{PLACE}/dra", "average_precision", 0.9, 0.0, 2],
        [f"{PLACE}/dpdl", "average_precision", 0.9, None, 1],
    ]


def test_hard_mean_averages_known_classes_within_each_seed() -> None:
    runs = runs_of("mvtec/carpet/hard-color-m10", dpdl=0.1)
    runs |= runs_of("elpv/all/hard-mono-m10", dpdl=[0.6, 0.7, 0.9])
    runs |= runs_of("elpv/all/hard-poly-m10", dpdl=[0.8, 0.7, bad("failed", "x")], dra=0.9)
    summary = summary_of(cells_of(runs))
    mean = summary.loc["elpv/all/hard-mean-m10/dpdl"]
    # Seeds 0 and 1 have both classes, each with the average 0.7.
    assert numbers(mean) == [2, near(0.7), near(0), 0.818, 0.003]
    assert mean.known_class == "mean"
    assert mean.published_source == "DPDL CVPR2025 (arXiv 2502.20981), Table 2"
    # A method that lacks a part has no average, nor has a single part.
    assert summary.loc["elpv/all/hard-mean-m10/dra"].n_seeds == 0
    assert list(summary.cell[-3:]) == [
        "elpv/all/hard-mean-m10/dpdl", "elpv/all/hard-mean-m10/dra",
        "mvtec/carpet/hard-color-m10/dpdl",
    ]  # fmt: skip


MVTEC = [
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill",
    "screw", "tile", "toothbrush", "transistor", "wood", "zipper",
]  # fmt: skip


def test_category_mean_beside_the_printed_mean() -> None:
    runs: dict[str, Outcome] = {}
    for number, name in enumerate(MVTEC):
        rising = 0.5 + number / 100
        runs |= runs_of(f"mvtec/{name}/general-m10", dra=[rising, rising + 0.1])
    mean = summary_of(cells_of(runs)).loc["mvtec/mean/general-m10/dra"]
    # Seed 0: 0.5 + 7/100; seed 1: 0.1 more; deviations ±0.05: variance 0.005.
    assert numbers(mean)[:4] == [2, near(0.62), near(0.005**0.5), 0.959]

    some = {name: value for name, value in runs.items() if "/screw/" not in name}
    mean = summary_of(cells_of(some)).loc["mvtec/mean/general-m10/dra"]
    assert (numbers(mean)[3], mean.n_seeds, mean.published_source) == (None, 2, "")


def test_hard_setting_has_no_average_over_categories() -> None:
    parts = ("carpet/hard-color", "carpet/hard-cut", "metal_nut/hard-bent")
    summary = summary_of(cells_of({f"mvtec/{part}-m10/dpdl/s0": 0.5 for part in parts}))
    assert "mvtec/carpet/hard-mean-m10/dpdl" in summary.index
    assert "mean" not in set(summary.category)


def test_metrics_tree_has_only_numbers() -> None:
    outcomes: dict[str, Any] = {"dpdl.no_dpl": 0.5, "dra": [0.5, 0.5]}
    runs = runs_of(PLACE, **outcomes)
    runs |= runs_of("elpv/all/general-m1", dra=bad("failed", "x"))
    of_protocol = {
        "dpdl.no_dpl": {"auroc_mean": 0.5}, "dra": {"auroc_mean": 0.5, "auroc_std": 0.0},
    }  # fmt: skip
    tree = summary_table.metrics_tree(summary_of(cells_of(runs)))
    assert tree == {"elpv": {"all": {"general-m10": of_protocol}}}


def test_a_damaged_summary_is_named(tmp_path) -> None:
    path = tmp_path / "summary.csv"
    with pytest.raises(DataError, match=r"summary\.csv: cannot be read"):
        summary_table.read_summary(path)
    path.write_text("dataset,method\nelpv,dra\n")
    with pytest.raises(DataError, match=r"summary\.csv: column 'category' is missing"):
        summary_table.read_summary(path)
    columns = ",".join(summary_table.COLUMNS)
    values = ["1" if name in KINDS else "x" for name in summary_table.COLUMNS]
    for header, row, message in (
        (f"{columns},auroc_mean", [*values, "0.9"], "column 'auroc_mean' is there twice"),
        (columns, [*values, "1"], "line 2: wrong number of fields"),
        (columns, [v if v == "x" else "9" * 30 for v in values], ", (line 2|column).*"),
    ):
        path.write_text(f"{header}\n{','.join(row)}\n")
        with pytest.raises(DataError, match=rf"summary\.csv.*{message}"):
            summary_table.read_summary(path)
    path.write_text(f"{columns}\n{','.join(values)}\n")
    assert summary_table.read_summary(path).auroc_mean.tolist() == [1.0]


# Controls


@pytest.mark.parametrize(("method", "auroc", "is_wrong"), [
    ("true_labels", 1.0, False), ("true_labels", 1 - 1e-12, True), ("constant", 0.5, False),
    ("constant", 0.5 + 1e-12, True), ("random", 0.579, False), ("random", 0.421, False),
    ("random", 0.581, True), ("random", 0.419, True), ("random", None, True),
    ("dra", 0.1, False),
])  # fmt: skip
def test_controls(method: str, auroc: float | None, is_wrong: bool) -> None:
    outcomes: dict[str, Any] = {method: [auroc, bad("failed", "x")]}
    cells = cells_of(runs_of(PLACE, **outcomes))
    messages = check_controls(cells)
    assert len(messages) == is_wrong
    assert all(message.startswith(f"{PLACE}/{method}/s0: ") for message in messages)
