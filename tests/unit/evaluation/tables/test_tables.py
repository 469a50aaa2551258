"""Rows of runs and summaries, and the check of the controls."""

from __future__ import annotations

import pytest
from table_cases import FOLDER, metrics, rows_of, summary_of

from osad.core.errors import DataError
from osad.core.files import csv_text
from osad.evaluation.published import Key, Published, index, load
from osad.evaluation.tables import cells as cell_table
from osad.evaluation.tables import summary as summary_table
from osad.evaluation.tables.cells import Outcome, ok
from osad.evaluation.tables.controls import check_controls, random_tolerance
from osad.evaluation.tables.summary import metrics_tree


@pytest.fixture(scope="module")
def table() -> dict[Key, Published]:
    return index(load(FOLDER))


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


def test_rows_have_numbers_only_when_ok() -> None:
    _, rows = rows_of(
        {
            "elpv/all/hard-mono-m10/dra/s1": 0.1 + 0.2,
            "elpv/all/general-m1/dra/s0": Outcome("failed", "train: loss is\n  nan, see log"),
        }
    )
    text = csv_text(cell_table.COLUMNS, map(vars, rows))
    assert text.splitlines()[1:] == [
        'elpv,all,general,1,,dra,0,,,,,,,,,lite0,elpv/all/general-m1/dra/s0,,failed,"train: loss '
        'is nan, see log"',
        "elpv,all,hard,10,mono,dra,1,0.30000000000000004,0.9,,,1131,10,377,705,lite0,"
        f"elpv/all/hard-mono-m10/dra/s1,{'ab' * 32},ok,",
    ]


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
    _, rows = rows_of(dict.fromkeys(sorted(names), 0.5))
    assert [row.cell for row in rows] == names


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
        ok({**metrics(0.5), name: value}, where="m.json")
    with pytest.raises(DataError, match=r"m\.json: is not an object"):
        ok([1], where="m.json")


# summary.csv


def test_mean_and_standard_deviation_over_seeds() -> None:
    _, rows = rows_of(
        {
            "elpv/all/general-m10/dra/s0": 0.8,
            "elpv/all/general-m10/dra/s1": 0.9,
            "elpv/all/general-m10/dra/s2": 0.85,
            "elpv/all/general-m10/dra/s3": Outcome("failed", "x"),
            "elpv/all/general-m10/dpdl/s0": 0.7,
            "elpv/all/general-m10/patchcore/s0": Outcome("skipped", "x"),
        }
    )
    summary = summary_of(rows)
    dra = summary["elpv/all/general-m10/dra"]
    # Deviations -0.05, 0.05, 0: variance 0.005 / 2.
    assert (dra.n_seeds, dra.auroc_mean) == (3, pytest.approx(0.85, abs=1e-15))
    assert dra.auroc_std == pytest.approx(0.05, abs=1e-15)
    one = summary["elpv/all/general-m10/dpdl"]
    assert (one.n_seeds, one.auroc_mean, one.auroc_std) == (1, 0.7, None)
    none = summary["elpv/all/general-m10/patchcore"]
    assert (none.n_seeds, none.auroc_mean, none.auroc_std) == (0, None, None)


def test_hard_mean_averages_known_classes_within_each_seed(table: dict[Key, Published]) -> None:
    mono, poly = [0.6, 0.7, 0.9], [0.8, 0.7, 0.5]
    runs: dict[str, float | Outcome | None] = {}
    for seed in range(3):
        runs[f"elpv/all/hard-mono-m10/dpdl/s{seed}"] = mono[seed]
        runs[f"elpv/all/hard-poly-m10/dpdl/s{seed}"] = poly[seed]
    runs["elpv/all/hard-poly-m10/dpdl/s2"] = Outcome("failed", "x")
    _, rows = rows_of(runs)
    summary = summary_of(rows, table)
    mean = summary["elpv/all/hard-mean-m10/dpdl"]
    # Seeds 0 and 1 have both classes, each with the average 0.7.
    assert (mean.known_class, mean.n_seeds) == ("mean", 2)
    assert mean.auroc_mean == pytest.approx(0.7, abs=1e-15)
    assert mean.auroc_std == pytest.approx(0, abs=1e-15)
    assert (mean.published_mean, mean.published_std) == (0.818, 0.003)
    assert mean.published_source == "DPDL CVPR2025 (arXiv 2502.20981), Table 2"
    assert list(summary)[-1] == "elpv/all/hard-mean-m10/dpdl"


def test_a_method_without_all_parts_has_no_average() -> None:
    _, rows = rows_of(
        {
            "elpv/all/hard-mono-m10/dpdl/s0": 0.6,
            "elpv/all/hard-poly-m10/dpdl/s0": 0.8,
            "elpv/all/hard-poly-m10/dra/s0": 0.9,
        }
    )
    summary = summary_of(rows)
    assert summary["elpv/all/hard-mean-m10/dpdl"].auroc_mean == pytest.approx(0.7)
    assert summary["elpv/all/hard-mean-m10/dra"].n_seeds == 0


def test_no_average_of_a_single_part() -> None:
    _, rows = rows_of(
        {"elpv/all/hard-mono-m10/dpdl/s0": 0.6, "mvtec/carpet/general-m10/dpdl/s0": 0.6}
    )
    assert len(summary_of(rows)) == 2


MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush "
    "transistor wood zipper"
).split()


def test_category_mean_beside_the_printed_mean(table: dict[Key, Published]) -> None:
    runs: dict[str, float | Outcome | None] = {
        f"mvtec/{name}/general-m10/dra/s{seed}": 0.5 + number / 100 + seed / 10
        for number, name in enumerate(MVTEC)
        for seed in (0, 1)
    }
    _, rows = rows_of(runs)
    mean = summary_of(rows, table)["mvtec/mean/general-m10/dra"]
    # Seed 0: 0.5 + 7/100; seed 1: 0.1 more; deviations ±0.05: variance 0.005.
    assert mean.n_seeds == 2
    assert mean.auroc_mean == pytest.approx(0.62, abs=1e-15)
    assert mean.auroc_std == pytest.approx(0.005**0.5, abs=1e-15)
    assert mean.published_mean == 0.959

    _, rows = rows_of({name: value for name, value in runs.items() if "/screw/" not in name})
    mean = summary_of(rows, table)["mvtec/mean/general-m10/dra"]
    assert (mean.n_seeds, mean.published_mean) == (2, None)


def test_hard_setting_has_no_average_over_categories() -> None:
    names = [
        f"mvtec/{place}-m10/dpdl/s0"
        for place in ("carpet/hard-color", "carpet/hard-cut", "metal_nut/hard-bent")
    ]
    _, rows = rows_of(dict.fromkeys(names, 0.5))
    summary = summary_of(rows)
    assert "mvtec/carpet/hard-mean-m10/dpdl" in summary
    assert not [row for row in summary.values() if row.category == "mean"]


def test_metrics_tree_has_only_numbers() -> None:
    _, rows = rows_of(
        {
            "elpv/all/general-m10/dpdl.no_dpl/s0": 0.5,
            "elpv/all/general-m10/dra/s0": 0.5,
            "elpv/all/general-m10/dra/s1": 0.5,
            "elpv/all/general-m1/dra/s1": Outcome("failed", "x"),
        }
    )
    assert metrics_tree(summary_of(rows).values()) == {
        "elpv": {
            "all": {
                "general-m10": {
                    "dpdl.no_dpl": {"auroc_mean": 0.5},
                    "dra": {"auroc_mean": 0.5, "auroc_std": 0.0},
                }
            }
        }
    }


# Controls


def test_random_tolerance() -> None:
    # 4 * sqrt((25 + 90 + 1) / (12 * 25 * 90)), and the floor for large test sets.
    assert random_tolerance(25, 90) == pytest.approx(4 * (116 / 27000) ** 0.5)
    assert random_tolerance(377, 705) == 0.08


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
    _, rows = rows_of({name: auroc, f"elpv/all/general-m10/{method}/s1": Outcome("failed", "x")})
    messages = check_controls(rows)
    assert len(messages) == is_wrong
    assert all(message.startswith(f"{name}: ") for message in messages)
