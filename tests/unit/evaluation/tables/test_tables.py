"""Rows of runs and summaries, and the check of the controls."""

import pandas as pd
import pytest
from table_cases import Outcome, bad, cells_of, metrics, summary_of

from osad.core.errors import DataError
from osad.evaluation.tables import cells as cell_table
from osad.evaluation.tables import summary as summary_table
from osad.evaluation.tables.cells import check_controls, check_metrics
from osad.evaluation.tables.summary import metrics_tree, read_summary

# cells.csv


def test_columns_are_the_public_ones() -> None:
    assert ",".join(cell_table.COLUMNS) == (
        "dataset,category,setting,shots,known_class,method,seed,auroc,average_precision,"
        "pixel_auroc,aupro,n_train_normal,n_train_anomaly,n_test_normal,n_test_anomaly,backbone,"
        "cell,scores_sha256,status,reason"
    )
    assert ",".join(summary_table.COLUMNS) == (
        "dataset,category,setting,shots,known_class,method,n_seeds,auroc_mean,auroc_std,"
        "published_mean,published_std,published_source,cell"
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
    found = cell_table.read_frame(tmp_path / "cells.csv", cell_table.COLUMNS)
    pd.testing.assert_frame_equal(found, cells)


def test_rows_are_sorted_by_facets_and_grid_order() -> None:
    names = [
        "aitex/all/general-m10/dpdl/s0",
        "elpv/all/general-m10/dpdl/s0",
        "elpv/all/general-m10/dpdl/s2",
        "elpv/all/general-m10/dpdl/s10",
        "elpv/all/general-m10/dra/s0",
        "elpv/all/general-m10/dpdl.no_dpl/s0",
        "elpv/all/general-m10/constant/s0",
        "elpv/all/general-m1/dpdl/s0",
        "elpv/all/hard-mono-m10/dpdl/s0",
        "elpv/all/hard-poly-m10/dpdl/s0",
        "elpv/all/normal-m0/dpdl/s0",
    ]
    assert list(cells_of(dict.fromkeys(sorted(names), 0.5)).cell) == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auroc", 1.1),
        ("auroc", "0.5"),
        ("aupro", float("nan")),
        ("n_test_normal", -1),
        ("n_test_normal", 1.5),
        ("n_test_anomaly", None),
        ("scores_sha256", "ab"),
    ],
)
def test_wrong_metrics_are_refused(name: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"m\.json: {name} is"):
        check_metrics({**metrics(0.5), name: value}, where="m.json")
    with pytest.raises(DataError, match=r"m\.json: is not an object"):
        check_metrics([1], where="m.json")


# summary.csv


def test_mean_and_standard_deviation_over_seeds() -> None:
    place = "elpv/all/general-m10"
    summary = summary_of(
        cells_of(
            {
                f"{place}/dra/s0": 0.8,
                f"{place}/dra/s1": 0.9,
                f"{place}/dra/s2": 0.85,
                f"{place}/dra/s3": bad("failed", "x"),
                f"{place}/dpdl/s0": 0.7,
                f"{place}/patchcore/s0": bad("skipped", "x"),
            }
        )
    )
    dra = summary.loc[f"{place}/dra"]
    # Deviations -0.05, 0.05, 0: variance 0.005 / 2.
    assert (dra.n_seeds, dra.auroc_mean) == (3, pytest.approx(0.85, abs=1e-15))
    assert dra.auroc_std == pytest.approx(0.05, abs=1e-15)
    assert (dra.published_mean, dra.published_std) == (0.845, 0.013)
    one, none = summary.loc[f"{place}/dpdl"], summary.loc[f"{place}/patchcore"]
    assert (one.n_seeds, one.auroc_mean, pd.isna(one.auroc_std)) == (1, 0.7, True)
    assert (none.n_seeds, pd.isna(none.auroc_mean), pd.isna(none.auroc_std)) == (0, True, True)


def test_hard_mean_averages_known_classes_within_each_seed() -> None:
    mono, poly = [0.6, 0.7, 0.9], [0.8, 0.7, 0.5]
    runs: dict[str, Outcome] = {"mvtec/carpet/hard-color-m10/dpdl/s0": 0.1}
    for seed in range(3):
        runs[f"elpv/all/hard-mono-m10/dpdl/s{seed}"] = mono[seed]
        runs[f"elpv/all/hard-poly-m10/dpdl/s{seed}"] = poly[seed]
    runs["elpv/all/hard-poly-m10/dpdl/s2"] = bad("failed", "x")
    runs["elpv/all/hard-poly-m10/dra/s0"] = 0.9
    summary = summary_of(cells_of(runs))
    mean = summary.loc["elpv/all/hard-mean-m10/dpdl"]
    # Seeds 0 and 1 have both classes, each with the average 0.7.
    assert (mean.known_class, mean.n_seeds) == ("mean", 2)
    assert mean.auroc_mean == pytest.approx(0.7, abs=1e-15)
    assert mean.auroc_std == pytest.approx(0, abs=1e-15)
    assert (mean.published_mean, mean.published_std) == (0.818, 0.003)
    assert mean.published_source == "DPDL CVPR2025 (arXiv 2502.20981), Table 2"
    # A method that lacks a part has no average, nor has a single part.
    assert summary.loc["elpv/all/hard-mean-m10/dra"].n_seeds == 0
    assert list(summary.cell[-3:]) == [
        "elpv/all/hard-mean-m10/dpdl", "elpv/all/hard-mean-m10/dra",
        "mvtec/carpet/hard-color-m10/dpdl",
    ]  # fmt: skip


MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush "
    "transistor wood zipper"
).split()


def test_category_mean_beside_the_printed_mean() -> None:
    runs: dict[str, Outcome] = {
        f"mvtec/{name}/general-m10/dra/s{seed}": 0.5 + number / 100 + seed / 10
        for number, name in enumerate(MVTEC)
        for seed in (0, 1)
    }
    mean = summary_of(cells_of(runs)).loc["mvtec/mean/general-m10/dra"]
    # Seed 0: 0.5 + 7/100; seed 1: 0.1 more; deviations ±0.05: variance 0.005.
    assert mean.n_seeds == 2
    assert mean.auroc_mean == pytest.approx(0.62, abs=1e-15)
    assert mean.auroc_std == pytest.approx(0.005**0.5, abs=1e-15)
    assert mean.published_mean == 0.959

    some = {name: value for name, value in runs.items() if "/screw/" not in name}
    mean = summary_of(cells_of(some)).loc["mvtec/mean/general-m10/dra"]
    assert (mean.n_seeds, pd.isna(mean.published_mean), mean.published_source) == (2, True, "")


def test_hard_setting_has_no_average_over_categories() -> None:
    names = [
        f"mvtec/{place}-m10/dpdl/s0"
        for place in ("carpet/hard-color", "carpet/hard-cut", "metal_nut/hard-bent")
    ]
    summary = summary_of(cells_of(dict.fromkeys(names, 0.5)))
    assert "mvtec/carpet/hard-mean-m10/dpdl" in summary.index
    assert "mean" not in set(summary.category)


def test_metrics_tree_has_only_numbers() -> None:
    cells = cells_of(
        {
            "elpv/all/general-m10/dpdl.no_dpl/s0": 0.5,
            "elpv/all/general-m10/dra/s0": 0.5,
            "elpv/all/general-m10/dra/s1": 0.5,
            "elpv/all/general-m1/dra/s1": bad("failed", "x"),
        }
    )
    of_protocol = {
        "dpdl.no_dpl": {"auroc_mean": 0.5}, "dra": {"auroc_mean": 0.5, "auroc_std": 0.0},
    }  # fmt: skip
    assert metrics_tree(summary_of(cells)) == {"elpv": {"all": {"general-m10": of_protocol}}}


def test_a_damaged_summary_is_named(tmp_path) -> None:
    path = tmp_path / "summary.csv"
    with pytest.raises(DataError, match=r"summary\.csv: cannot be read"):
        read_summary(path)
    path.write_text("dataset,method\nelpv,dra\n")
    with pytest.raises(DataError, match=r"summary\.csv: cannot be read \(.*category"):
        read_summary(path)


# Controls


@pytest.mark.parametrize(
    ("method", "auroc", "is_wrong"),
    [
        ("true_labels", 1.0, False),
        ("true_labels", 1 - 1e-12, True),
        ("constant", 0.5, False),
        ("constant", 0.5 + 1e-12, True),
        ("random", 0.579, False),
        ("random", 0.421, False),
        ("random", 0.581, True),
        ("random", 0.419, True),
        ("random", None, True),
        ("dra", 0.1, False),
    ],
)
def test_controls(method: str, auroc: float | None, is_wrong: bool) -> None:
    name = f"elpv/all/general-m10/{method}/s0"
    runs = {name: auroc, f"elpv/all/general-m10/{method}/s1": bad("failed", "x")}
    messages = check_controls(cells_of(runs))
    assert len(messages) == is_wrong
    assert all(message.startswith(f"{name}: ") for message in messages)
