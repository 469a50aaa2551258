"""Every printed number of DPDL, DRA and AHL has a place, or a reason why it has none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from table_cases import metrics, request_value

from osad.core.cells import Protocol
from osad.data import registry as data_registry
from osad.evaluation.published import (
    DATASETS,
    LEFT_OUT,
    METHODS,
    PARTS,
    Key,
    Published,
    index,
    left_out,
    load,
    normalise_class,
    place,
)
from osad.evaluation.tables.cells import Outcome, cell_rows, ok
from osad.evaluation.tables.layout import build_tables
from osad.evaluation.tables.markdown import markdown
from osad.evaluation.tables.request import parse_request
from osad.evaluation.tables.summary import summary_rows
from osad.methods import registry as method_registry

FOLDER = Path(__file__).parents[3] / "data/published"
PAPERS = ("DPDL ", "DRA ", "AHL ")
SINGLE = ("optical", "sdd", "brainmri", "headct")
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
def rows() -> list[Published]:
    return load(FOLDER)


def of_papers(rows: list[Published]) -> list[Published]:
    return [row for row in rows if row.source.startswith(PAPERS)]


def test_every_row_has_a_place_or_a_reason(rows):
    found = of_papers(rows)
    assert len(found) == 697 + 660 + 581
    without = Counter(row.method for row in found if place(row) is None)
    assert without == {
        "KDAD": 60 + 9,  # DRA's Tables 1 and 2; AHL's Table 4.
        "AHL": 96,
        "FS-DRA (fully supervised)": 9,
        "DPDL[Mn+Ma+Mr]": 6,
    }
    for row in rows:
        assert (place(row) is None) == bool(left_out(row))
        assert "unknown" not in left_out(row), row


def test_reasons():
    row = Published("DRA x", "Table 1", "ELPV", "", "general", 10, "DRA", "image AUROC", 0.5, None)
    assert left_out(row) == ""
    for change, reason in [
        ({"method": "AHL"}, LEFT_OUT["AHL"]),
        ({"method": "DRB"}, "method 'DRB' is unknown"),
        ({"dataset": "LAG"}, "data set 'LAG' is not among those here"),
        ({"metric": "pixel AUROC"}, "pixel AUROC is not an image-level AUROC"),
    ]:
        other = Published(**{**vars(row), **change})
        assert left_out(other) == reason
        assert place(other) is None
    assert not set(LEFT_OUT) & set(METHODS.values())


def test_every_place_is_a_cell_of_this_benchmark(rows):
    methods = {spec.name: spec for spec in method_registry.all_specs()}
    categories = set(data_registry.get("mvtec").categories)
    keys = {key for row in of_papers(rows) if (key := place(row))}
    assert {key.dataset for key in keys} == set(DATASETS) - {
        "visa", "mpdd", "mvtec_loco", "mvtec_3d",
    }  # fmt: skip
    for key in keys:
        known = {*KNOWN.get((key.dataset, key.category), "").split(), "mean"}
        if key.setting == "hard":
            assert key.known_class in known, key
            assert (key.dataset, key.category) in KNOWN, key
        else:
            assert key.known_class == ""
            allowed = {*categories, "mean"} if key.dataset == "mvtec" else {"all"}
            assert key.category in allowed, key
        protocol = Protocol(key.setting, key.shots, key.known_class)
        assert Protocol.parse(str(protocol)) == protocol
        assert key.setting in methods[key.method].settings, key
        assert key.shots == (0 if key.setting == "normal" else key.shots)
        assert key.shots in (0, 1, 10)


def test_the_known_classes_are_those_of_the_data_sets():
    for (dataset, category), classes in KNOWN.items():
        if dataset not in data_registry.names():
            continue
        spec = data_registry.get(dataset)
        found = {normalise_class(name) for name in spec.known_classes(category)}
        assert found == set(classes.split()), dataset
    for dataset in set(SINGLE) & set(data_registry.names()):
        assert data_registry.get(dataset).single_class("all")


def test_every_category_of_mvtec_has_printed_numbers(rows):
    table = index(rows)
    for category in data_registry.get("mvtec").categories:
        for shots in (10, 1):
            for method in ("dpdl", "dra", "ahl", "ahl.devnet", "devnet", "flos", "saoe", "mlep"):
                assert Key("mvtec", category, "general", shots, "", method) in table


def test_printed_means_cover_all_categories():
    for (setting, dataset, category), n_parts in PARTS.items():
        if dataset not in data_registry.names():
            continue
        spec = data_registry.get(dataset)
        parts = spec.known_classes(category) if setting == "hard" else spec.categories
        assert len(parts) == n_parts, dataset


def test_a_table_of_all_categories_ends_with_their_mean_beside_the_printed_one(rows):
    categories = data_registry.get("mvtec").categories
    runs: dict[str, float | Outcome] = {}
    for number, category in enumerate(categories):
        for seed in (0, 1):
            runs[f"mvtec/{category}/general-m10/dra/s{seed}"] = 0.5 + 0.02 * number + 0.1 * seed
            runs[f"mvtec/{category}/general-m10/dpdl/s{seed}"] = 0.75
    runs["mvtec/wood/general-m10/dpdl/s1"] = Outcome("skipped", "no images")
    request = parse_request(request_value(list(runs)), where="request.json")
    outcomes = {
        cell: value
        if isinstance(value := runs[str(cell)], Outcome)
        else ok(metrics(value), where="metrics.json")
        for cell, _ in request.cells
    }
    cells = cell_rows(request.cells, outcomes, methods=request.methods)
    summary = summary_rows(cells, table=index(rows), methods=request.methods)
    of_mean = {row.method: row for row in summary if row.category == "mean"}
    # 0.5 + 0.02 * (0 + ... + 14) / 15 = 0.64, and 0.74 with seed 1: deviation 0.1 / sqrt(2).
    assert of_mean["dra"].auroc_mean == pytest.approx(0.69)
    assert of_mean["dra"].auroc_std == pytest.approx(0.0707106781)
    assert (of_mean["dra"].published_mean, of_mean["dra"].published_std) == (0.959, 0.003)
    assert (of_mean["dpdl"].auroc_mean, of_mean["dpdl"].n_seeds) == (0.75, 1)
    assert of_mean["dra"].cell == "mvtec/mean/general-m10/dra"
    general = build_tables(summary, cells, request=request)["general"]
    labels = [line.label for line in general.blocks[0].lines]
    assert labels == [f"MVTec AD / {name}" for name in (*sorted(categories), "mean")]
    lines = markdown(general).splitlines()
    row = next(n for n, line in enumerate(lines) if "MVTec AD / mean" in line)
    ours = "| *MVTec AD / mean* | ours | **0.750 (n=1)** [2] | 0.690 ± 0.071 |"
    assert lines[row] == ours
    assert lines[row + 1] == "|  | published | 0.977 ± 0.002 | 0.959 ± 0.003 |"
