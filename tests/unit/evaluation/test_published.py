"""Published numbers: every one has a place or a reason, our names for them, contradictions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from table_cases import FOLDER

from osad.core.cells import Protocol
from osad.core.errors import DataError
from osad.core.files import csv_text
from osad.data import registry as data_registry
from osad.evaluation import published
from osad.evaluation.published import COLUMNS, PARTS, load, place
from osad.evaluation.tables.cells import FACETS
from osad.methods import registry as method_registry

DRA = "DRA CVPR2022 (arXiv 2203.14506), Table {}"
AHL = "AHL CVPR2024 (arXiv 2310.12790), Table {}"
DPDL = "DPDL CVPR2025 (arXiv 2502.20981), Table {}"
MPFM = "MPFM ICML2026 (arXiv 2605.02438), quoted from a third-party reading note, {}"
WT = "WT-Flow arXiv 2508.05461v3, quoted from a benchmark aggregator page"
MISMATCH = "Flow Mismatching arXiv 2605.23070, quoted from a benchmark aggregator page"
SPECS = {spec.name: spec for spec in method_registry.all_specs()}
TITLES = {name: spec.title for name, spec in SPECS.items() if not spec.on_images}
LEFT_OUT = {
    "KDAD": "not among the methods here",
    "Qsco": "not among the methods here",
    "AHL": "the better of AHL(DRA) and AHL(DevNet) for each data set, so neither of the two",
    "FS-DRA (fully supervised)": "trained on anomalies of all classes, which no protocol here is",
    "DPDL[Mn+Ma+Mr]": "DPDL itself, printed a second time in its Table 3",
    "WT-Flow (same backbone as Flow Mismatching)": "run by others on another backbone",
}
"""Printed methods that have no place in this benchmark, and why."""
KNOWN = {
    ("mvtec", "carpet"): "color cut hole metal_contamination thread",
    ("mvtec", "metal_nut"): "bent color flip scratch",
    ("aitex", "all"): "broken_end broken_pick cut_selvage fuzzyball nep weft_crack",
    ("elpv", "all"): "mono poly",
    ("mastcam", "all"): "bedrock broken_rock drill_hole drt dump_pile float meteorite scuff veins",
    ("hyperkvasir", "all"): "barretts barretts_short_segment esophagitis_a esophagitis_b_d",
}
"""Known classes of the hard setting (DRA, Table 2)."""


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return load(FOLDER)


@pytest.fixture(scope="module")
def placed(rows: pd.DataFrame) -> pd.DataFrame:
    return place(rows, TITLES)


def find(
    placed: pd.DataFrame, where: str, method: str, parts: float | None = None,
    columns: Sequence[str] = published.VALUES,
) -> list[object]:  # fmt: skip
    """Return mean, deviation and source of a place; None for what is missing."""
    dataset, category, setting, shots, known = where.split()
    values = (dataset, category, setting, int(shots), known.replace("-", ""), method)
    row = pd.DataFrame([values], columns=FACETS).assign(parts=parts or float("nan"))
    printed = published.beside(row, placed)[[*columns]]
    return printed.astype(object).where(printed.notna(), None).iloc[0].tolist()


@pytest.mark.parametrize(("where", "method", "mean", "std", "source"), [
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
    ("hyperkvasir all hard 10 barretts_short_segment", "devnet", 0.799, 0.036, DRA.format(2)),
    # Contradictions: the method's own paper wins over a slip in a later one.
    ("sdd all general 10 -", "mlep", 0.983, 0.013, DRA.format(1)),
    ("mvtec mean general 1 -", "devnet", 0.794, 0.014, DRA.format(1)),
    ("headct all general 10 -", "ahl", 0.993, 0.002, AHL.format(1)),
    ("mvtec metal_nut hard 10 mean", "dpdl", 0.978, 0.002, DPDL.format(2)),
    ("elpv all general 10 -", "dpdl.no_dpl", None, None, ""),
    ("elpv all general 10 -", "mahalanobis", None, None, ""),
    ("elpv all general 10 -", "patchcore", None, None, ""),
    ("elpv all normal 0 -", "dpdl", None, None, ""),
    ("elpv all general 5 -", "dra", None, None, ""),
    ("elpv mono general 10 -", "dra", None, None, ""),
    ("mvtec metal_nut hard 10 scratch", "dpdl", None, None, ""),  # Table 6 is cut off there.
    ("mpdd mean normal 0 -", "wt_flow", None, None, ""),  # Printed as a pixel AUROC.
    ("mine all general 10 -", "dra", None, None, ""),
])  # fmt: skip
def test_printed_numbers(placed, where, method, mean, std, source) -> None:
    assert find(placed, where, method) == [mean, std, source]


def test_all_that_is_printed_of_a_place_stands_with_its_sources(placed: pd.DataFrame) -> None:
    where, columns = "elpv all general 1 -", published.RANGE
    # Equal numbers stand together; a paper's second table (DPDL's 5, AHL's 7) is no other source.
    twice = f"0.514 ± 0.076 ({DRA.format(1)} / {DPDL.format(1)}); 0.810 ± 0.024 ({AHL.format(1)})"
    assert find(placed, where, "devnet", columns=columns) == [0.514, 0.81, twice]
    low, high, text = find(placed, where, "dra", columns=columns)
    qsco = "0.626 ± 0.074 (Qsco (arXiv 2405.16368), quoted at second hand, Table 2)"
    assert (low, high, str(text).endswith(f"; {qsco}")) == (0.626, 0.676, True)
    # Neither form of AHL takes in the AHL columns of other papers, the better of the two.
    for method, value in (("ahl", "0.723 ± 0.008"), ("ahl.devnet", "0.828 ± 0.005")):
        text = f"{value} ({AHL.format(1)})"
        assert find(placed, where, method, columns=columns)[2] == text
    assert find(placed, where, "mahalanobis", columns=columns) == [None, None, ""]
    assert find(placed, "aitex all hard 10 mean", "dra", parts=5, columns=columns) == [
        None, None, "",
    ]  # fmt: skip


def test_means_are_printed_over_all_parts_and_stand_beside_no_other(placed: pd.DataFrame) -> None:
    for where, n_parts in (("aitex all hard 10 mean", 6), ("mvtec mean general 10 -", 15)):
        assert find(placed, where, "dra", parts=n_parts)[0] is not None
        assert find(placed, where, "dra", parts=n_parts - 1) == [None, None, ""]
    of_dra = placed[(placed.method == "dra") & (placed.shots == 10)]
    for (setting, dataset, category), n_parts in PARTS.items():
        rows = of_dra[(of_dra.dataset == dataset) & (of_dra.setting == setting)]
        names = rows.known_class[rows.category == category] if setting == "hard" else rows.category
        if setting != "normal":  # Only means are printed.
            assert len(set(names) - {"mean"}) == n_parts, (setting, dataset, category)
        spec = data_registry.get(dataset)
        parts = spec.known_classes(category) if setting == "hard" else spec.categories
        assert len(parts) == n_parts, dataset
    # Rounded class values: their mean may differ from the printed mean by one in the last digit.
    rows = of_dra[(of_dra.dataset == "aitex") & (of_dra.setting == "hard")]
    means = rows.set_index("known_class").published_mean
    assert means.drop("mean").mean() == pytest.approx(means["mean"], abs=1.1e-3)


def test_every_row_has_a_place_or_a_reason(rows: pd.DataFrame, placed: pd.DataFrame) -> None:
    image = rows[rows.metric.str.startswith("image AUROC")]
    assert (len(rows), len(placed)) == (1981, 830)
    assert image["mean"].between(0.3, 1).all()
    assert set(image.dataset) <= set(published.DATASETS)
    assert len({*TITLES.values(), *LEFT_OUT}) == len(TITLES) + len(LEFT_OUT)
    unknown = image[~image.method.isin(TITLES.values())]
    assert set(unknown.method) <= set(LEFT_OUT)
    of_papers = image[image.source.str.startswith(("DPDL ", "DRA ", "AHL "))]
    assert len(of_papers) == 697 + 660 + 581
    # KDAD: DRA's Tables 1 and 2; AHL's Table 4.
    assert Counter(of_papers.method[of_papers.index.isin(unknown.index)]) == {
        "KDAD": 60 + 9, "AHL": 96, "FS-DRA (fully supervised)": 9, "DPDL[Mn+Ma+Mr]": 6,
    }  # fmt: skip


def test_every_place_is_a_cell_of_this_benchmark(placed: pd.DataFrame) -> None:
    categories = {*data_registry.get("mvtec").categories, "mean"}
    for row in placed.itertuples():
        if row.setting == "hard":
            known = KNOWN[row.dataset, row.category].split()
            assert row.known_class in (*known, "mean"), row
        elif row.setting == "general":
            assert row.category in (categories if row.dataset == "mvtec" else {"all"}), row
        protocol = Protocol(row.setting, row.shots, row.known_class)
        assert Protocol.parse(str(protocol)) == protocol
        assert row.setting in SPECS[row.method].settings, row
        assert row.shots in (0, 1, 10)
    for (dataset, category), classes in KNOWN.items():
        named = map(published.normalise_class, data_registry.get(dataset).known_classes(category))
        assert set(named) == set(classes.split()), dataset
    for dataset in ("optical", "sdd", "brainmri", "headct"):
        assert data_registry.get(dataset).single_class("all")
    rows = placed[(placed.dataset == "mvtec") & (placed.setting == "general")]
    for method in ("dpdl", "dra", "ahl", "ahl.devnet", "devnet", "flos", "saoe", "mlep"):
        for shots in (10, 1):
            printed = rows.category[(rows.method == method) & (rows.shots == shots)]
            assert {*printed} >= categories - {"mean"}


def test_normalise_class() -> None:
    ours = {
        "Broken_end": "broken_end", "cut selvage": "cut_selvage", "drill-hole": "drill_hole",
        "esophagitis-b-d": "esophagitis_b_d", "metal": "metal_contamination",
        "barretts-short-seg": "barretts_short_segment", "": "",
    }  # fmt: skip
    assert {name: published.normalise_class(name) for name in ours} == ours


GOOD = {
    "source": "DRA x", "table": "Table 1", "dataset": "ELPV", "subset": "", "setting": "general",
    "shots": "10", "method": "DRA", "metric": "image AUROC", "mean": "0.5", "std": "0.1",
}  # fmt: skip


@pytest.mark.parametrize(("column", "value"), [
    ("source", " "), ("method", ""), ("setting", "easy"), ("shots", "-1"), ("shots", "ten"),
    ("mean", ""), ("mean", "x"), ("mean", "nan"), ("mean", "-0.1"), ("mean", "1.2"),
    ("mean", "101"), ("std", "inf"), ("std", "-1"), ("source", "A 1; B 2"), ("table", "1; 2"),
    ("mean", "0_5"), ("mean", "0.\u0665"), ("shots", "\u0661"), ("mean", "1e400"),
    ("shots", "9" * 5000),
])  # fmt: skip
def test_a_wrong_row_is_refused_with_file_and_line(tmp_path: Path, column: str, value: str) -> None:
    with pytest.raises(DataError, match="no file of published numbers"):
        load(tmp_path)
    (tmp_path / "a.csv").write_text(csv_text(COLUMNS, [GOOD, {**GOOD, column: value}]))
    with pytest.raises(DataError, match=rf"a\.csv, line 3: {column} '{value[:40]}'"):
        load(tmp_path)


def test_percentages_become_fractions(tmp_path: Path) -> None:
    changes = {"mean": "99.05", "std": "0.7"}, {"metric": "FPS", "mean": "15.92", "std": ""}
    (tmp_path / "a.csv").write_text(csv_text(COLUMNS, [GOOD | change for change in changes]))
    rows = load(tmp_path)
    assert rows["mean"].tolist() == [0.9905, 15.92]
    assert rows["std"].fillna(0).tolist() == [0.007, 0]


def test_sources_are_asked_in_order(tmp_path: Path) -> None:
    rows = []
    for number, paper in enumerate(("Blog", "MPFM", "DPDL", "AHL", "DRA", "FLOS")):
        rows.append({**GOOD, "method": "FLOS", "source": f"{paper} 2020", "mean": f"0.{number}"})
        (tmp_path / "a.csv").write_text(csv_text(COLUMNS, rows))
        assert place(load(tmp_path), TITLES).published_mean.tolist() == [number / 10]


def test_variants_trained_on_images_stand_beside_the_numbers_of_their_method(rows) -> None:
    titles = {"dra": "DRA", "dra.images": SPECS["dra.images"].title}
    titles["ahl.devnet_images"] = SPECS["ahl.devnet_images"].title
    placed = place(rows, titles).set_index("method")
    mine, trained = (placed.loc[name].reset_index(drop=True) for name in ("dra", "dra.images"))
    assert len(mine) > 100
    pd.testing.assert_frame_equal(mine, trained)
    assert len(placed.loc["ahl.devnet_images"]) > 20


def test_a_grid_of_methods_that_nobody_has_printed_has_no_published_values(rows) -> None:
    placed = place(rows, {"mine": "My Own"})
    assert len(placed) == 0
    assert {*FACETS, *published.VALUES, *published.RANGE} <= {*placed.columns}
