"""The page of the results: what it is made of, its data, and equal bytes for equal results."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_cases import FACTS, FAILED, MACHINE, REASON, ROOT, SKIPPED, Site, data_of, do, make_page
from table_cases import cells_of, request_of, runs_of, summary_of

from osad.audit.shards import placed
from osad.core.errors import ConfigError, DataError
from osad.core.files import read_csv, sha256_file
from osad.data.splits import SplitRow, read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.scores import ScoredImage
from osad.pipeline.fingerprint import code_digests
from osad.pipeline.jobs import jobs_of, makers
from osad.pipeline.steps import report_cell, report_page
from osad.report import curves, gallery, wrong
from osad.report.bench import check_bench
from osad.report.cell import standings_of
from osad.report.page import dataset_order, row_values
from osad.report.scripts import script

MEAN = "elpv/all/general-m10/dpdl"
SPLIT = "results/splits/{}.csv"
SHARED = "elpv/all/normal-m0/patchcore"
SKIPPED_CELL, FAILED_CELL = (str(run).rpartition("/")[0] for run in (SKIPPED[0], FAILED))


# --- curves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "labels", "fpr", "tpr", "precision"), [
    # From the highest score: anomalous, normal, anomalous, normal.
    ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], [0, 0, 500, 500, 1000], [0, 500, 500, 1000, 1000],
     [1000, 1000, 500, 667, 500]),
    # Equal scores are one threshold.
    ([1.0, 1.0, 1.0, 0.0], [1, 0, 0, 0], [0, 667, 1000], [0, 1000, 1000], [333, 333, 250]),
])  # fmt: skip
def test_a_curve_goes_through_every_threshold(scores, labels, fpr, tpr, precision):
    assert curves.curve(scores, labels) == {"fpr": fpr, "tpr": tpr, "precision": precision}
    for value in (0, 1):  # Without both classes there is none.
        assert curves.curve(scores, [value] * 4) is None


def test_a_long_curve_is_thinned_but_keeps_its_ends():
    scores = np.arange(2000.0)
    curve = curves.curve(scores, scores.astype(int) % 2)
    points = list(zip(curve["fpr"], curve["tpr"], strict=True))
    assert len(points) <= curves.POINTS
    assert (points[0], points[-1]) == ((0, 0), (1000, 1000))
    # Every second image is anomalous, so the curve is the diagonal.
    assert max(abs(x - y) for x, y in points) <= 1


def test_histograms_share_their_bars_and_count_every_image():
    bars = curves.histogram([([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1]), ([1.5], [1])])
    assert (bars["low"], bars["high"]) == (0.0, 3.0)
    assert [sum(counts) for counts in bars["normal"]] == [2, 0]
    assert [sum(counts) for counts in bars["anomalous"]] == [2, 1]
    # 30 bars over [0, 3]: 1.5 begins the 16th, 3 belongs to the last.
    assert bars["anomalous"][1].index(1) == 15
    assert bars["anomalous"][0][29] == bars["normal"][0][0] == bars["normal"][0][10] == 1
    equal = curves.histogram([([2.0, 2.0], [0, 1])])
    assert (equal["low"], equal["high"]) == (1.5, 2.5)
    assert curves.histogram([]) is curves.histogram([([], [])]) is None


# --- the most wrong images --------------------------------------------------------------------


def scored(**scores: tuple[int, float]) -> list[ScoredImage]:
    """Return images by path: label and score of each."""
    return [ScoredImage(path, "", label, "", score) for path, (label, score) in scores.items()]


def shown(images: list[wrong.Ranked]) -> list[object]:
    return [(one.image.path, pytest.approx(one.standing)) for one in images]


def test_the_most_wrong_images_are_found_by_mean_standing():
    runs = {
        0: scored(a=(0, 9.0), b=(0, 1.0), c=(1, 2.0), d=(1, 5.0)),
        1: scored(a=(0, 0.2), b=(0, 0.1), c=(1, 0.4)),
    }
    ranked = wrong.rank(runs)
    alarms, missed = wrong.most_wrong(ranked)
    # Standings of seed 0: a 7/8, b 1/8, c 3/8, d 5/8; of seed 1: a 3/6, b 1/6, c 5/6.
    assert shown(alarms) == [("a", (7 / 8 + 3 / 6) / 2), ("b", (1 / 8 + 1 / 6) / 2)]
    assert shown(missed) == [("c", (3 / 8 + 5 / 6) / 2), ("d", 5 / 8)]
    assert missed[1].scores == {0: 5.0}
    assert [one.image.path for one in wrong.most_wrong(ranked, count=1)[0]] == ["a"]
    assert wrong.most_wrong(wrong.rank({})) == ([], [])
    # Equal standings are in the order of paths.
    equal = wrong.most_wrong(wrong.rank({0: scored(b=(0, 1.0), a=(0, 1.0))}))
    assert shown(equal[0]) == [("a", 0.5), ("b", 0.5)]


def test_heat_maps_have_8_bits_a_position():
    maps = np.arange(2000, dtype=np.float32).reshape(125, 4, 4)
    limits = wrong.heat_limits(maps)
    assert limits == (1799.0, 1997.0)
    heat = wrong.heat(np.array([[0, 1799], [1898, 3000]], dtype=np.float32), limits)
    assert (heat["height"], heat["width"]) == (2, 2)
    assert list(base64.b64decode(str(heat["bytes"]))) == [0, 0, 128, 255]
    flat = wrong.heat(np.ones((1, 1), dtype=np.float32), (1.0, 1.0))
    assert base64.b64decode(str(flat["bytes"])) == b"\0"


def test_a_thumbnail_is_small_and_keeps_its_shape():
    image = Image.new("RGB", (600, 300), (200, 10, 10))
    text = wrong.thumbnail(image)
    assert text == wrong.thumbnail(image)
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as small:
        assert (small.format, small.size) == ("WEBP", (wrong.SIDE, wrong.SIDE // 2))


# --- the images that all methods show -------------------------------------------------------


def test_a_gallery_is_tested_by_every_seed_and_classes_take_turns():
    def split(*names: str) -> list[SplitRow]:
        """Return test images by class and digest: ``x3``."""
        return [SplitRow(n, n[1:], "test", int(n[0] != "g"), {"g": "good"}.get(n[0], n[0]))
                for n in names]  # fmt: skip

    first = split("x1", "x2", "x3", "y9", "g5", "g4", "g3", "g2", "g1")
    seen = [dataclasses.replace(row, role="train_anomaly") for row in split("x1")]
    paths = [row.path for row in gallery.chosen([first, [*seen, *split("g0"), *first[1:]]])]
    assert paths == ["x2", "y9", "x3", "g1", "g2", "g3", "g4"]
    assert gallery.chosen([first, []]) == gallery.chosen([]) == []
    many = gallery.chosen([split(*(f"{kind}{number}" for kind in "abc" for number in range(9)))])
    assert [row.path for row in many] == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2"]


def test_standings_are_of_images_that_can_be_told_apart():
    ranked = wrong.rank({0: scored(a=(0, 0.1), b=(1, 0.2)), 1: scored(a=(0, 0.4), b=(1, 0.3))})
    found = standings_of(ranked)
    assert found["labels"] == "01"
    # One of two places each: a 1/4 and 3/4, b 3/4 and 1/4.
    assert base64.b64decode(found["standings"]) == (500).to_bytes(2, "little") * 2
    others = standings_of(wrong.rank({0: scored(a=(0, 0.1), c=(1, 0.2))}))
    assert others["images"] != found["images"]


# --- scripts and data ---------------------------------------------------------------------------


def test_a_script_holds_its_value():
    value = {"b": [1, 0.1, None], "a": "</script> \u2028 ü"}
    text = script("page", value)
    assert text.startswith('osad.page({"a":')
    assert data_of(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        script("page", float("nan"))


def test_rows_have_their_ranks_and_data_sets_are_in_order():
    place = "elpv/all/general-m10"
    runs = runs_of(place, dpdl=0.8461, dra=0.8461, patchcore=0.7, true_labels=1.0)
    runs |= runs_of("elpv/all/general-m1", dra=0.5)
    request, summary = request_of(), summary_of(cells_of(runs))
    values = {row["fields"][12]: row for row in row_values(summary, request)}
    assert {cell: (row["rank"], row["of"]) for cell, row in values.items()} == {
        f"{place}/dpdl": (1, 3), f"{place}/dra": (1, 3), f"{place}/patchcore": (2, 3),
        f"{place}/true_labels": (0, 0), "elpv/all/general-m1/dra": (1, 1),
    }  # fmt: skip
    first, second = values[f"{place}/dra"]["printed"][1:]
    assert first.startswith("0.843 ± 0.002 (AHL CVPR2024")
    assert second.startswith("0.821 ± 0.028 (Qsco")
    assert values[f"{place}/dpdl"]["fields"][7] == "0.8461"
    assert values[f"{place}/dpdl"]["difference"] == "-0.091"
    assert values[f"{place}/true_labels"]["difference"] == ""
    # Data sets are in the papers' order.
    cells = cells_of({f"{name}/all/general-m10/dra/s0": 0.5 for name in ("mine", "elpv", "sdd")})
    assert dataset_order(summary_of(cells)) == ["sdd", "elpv", "mine"]


def test_line_separators_and_quotes_in_a_source_do_not_divide_a_row():
    source = 'A "paper"\u2028of\nseveral\x85lines, Table 1'
    summary = summary_of(cells_of(runs_of("elpv/all/general-m10", dra=0.5, dpdl=0.6)))
    rows = row_values(summary.assign(published_source=source), request_of())
    assert [row["fields"][11] for row in rows] == [source] * 2
    assert {len(row["fields"]) for row in rows} == {len(summary.columns)}


def test_measured_times_are_checked():
    numbers = {"cell_s": 2.25, "cpu_s": 4, "peak_mb": 100.06}
    value = {"machine": "m", "cells": {"dpdl": {**numbers, "per": "seed"}}}
    assert check_bench(value, request_of(), where="b.json")["rows"] == [
        {
            "id": "dpdl",
            "method": "DPDL",
            "cell_s": "2.2",
            "cpu_s": "4.0",
            "peak_mb": "100.1",
            "per": "seed",
        }
    ]
    values: list[Any] = [[], {"machine": "m"}, {"machine": "m", "cells": {"dpdl": {"cell_s": "1"}}}]
    for damaged in values:
        with pytest.raises(DataError, match=r"b\.json: .*measure again"):
            check_bench(damaged, request_of(), where="b.json")


# --- targets ------------------------------------------------------------------------------------


def test_page_and_cells_are_made_again_when_what_they_show_changes(site: Site):
    (page,), (assets,) = jobs_of(site.rules.report_page), jobs_of(site.rules.report_assets)
    assert "src/osad/report/templates/index.html.j2" in page.inputs
    assert page.params["grid"]["report"]["methods"].keys() == {*site.grid.params.methods}
    assert "src/osad/report/assets/style.css" in assets.inputs
    jobs = makers([*jobs_of(site.rules.report_cell)])
    control, drawn = "elpv/all/general-m1/random", "elpv/all/normal-m0/random"
    for mean, run, options in (
        (MEAN, MEAN, "--maps"),
        ("elpv/all/general-m1/patchcore", SHARED, f"--maps --fitted {SHARED}"),
        (control, drawn, f"--fitted {drawn}"),
    ):
        job = jobs[f"results/report/cells/{mean}.js"]
        assert job.inputs[:5] == (
            SPLIT.format(f"elpv/all/{mean.split('/')[2]}/s0"),
            f"results/metrics/{mean}/s0.json",
            f"results/checkpoints/{run}/s0.safetensors",
            f"results/scores/{run}/s0.csv",
            f"results/maps/{run}/s0.safetensors",
        )
        assert job.inputs[10:] == ("data/raw/elpv/SOURCE.json",)
        assert f"--results results --seeds 0 1 {options} --output".replace("  ", " ") in job.command


def test_the_ledger_keeps_the_lines_of_a_data_set_together():
    shards = {
        "results/report/cells/elpv/all/general-m10/dpdl.no_dfl.js": "elpv",
        "results/smoke/report/images/elpv/all/general-m10/dpdl.js": "elpv",
        "results/report/manifests/mvtec/carpet.js": "mvtec",
        "results/report/gallery/mvtec/carpet.js": "mvtec",
        "results/report/assets/style.css": "_shared",
        "results/scores/report/cells/general-m10/dra/s0.csv": "report",
    }
    assert {path: placed(path)[1][0] for path in shards} == shards


def test_vendored_files_are_as_published():
    folder = ROOT / "src/osad/report/assets"
    listing = (folder / "VENDORED.txt").read_text(encoding="utf-8")
    stated = re.findall(r"^(\S+\.js) .*\n\s+sha256 ([0-9a-f]{64})", listing, re.MULTILINE)
    assert [name for name, _ in stated] == ["d3.min.js", "plot.min.js"]
    for name, digest in stated:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert (folder / name.replace(".min.js", ".LICENSE.txt")).is_file()


# --- the files that the steps write -------------------------------------------------------------


def read(site: Site, name: str) -> dict:
    return data_of((site.root / "results/report" / name).read_text(encoding="utf-8"))


def test_the_data_are_the_summary(site: Site):
    page = read(site, "data.js")
    rows = read_csv(site.root / "results/tables/summary.csv", page["columns"])
    assert [row["fields"] for row in page["rows"]] == [list(row.values()) for row in rows]
    statuses = {name: status for name, (status, _) in page["problems"].items()}
    assert statuses == {str(FAILED): "failed", **{str(run): "skipped" for run in SKIPPED}}
    assert page["problems"][str(FAILED)][1] == f"run: {REASON}"
    assert page["absent"] == [SKIPPED_CELL]
    weights = site.grid.params.features.first.weights
    assert page["files"][weights] == sha256_file(site.root / weights)
    # Digests of the code, of each module that a method names.
    module = "osad.methods.dpdl.method"
    assert page["code"][module] == code_digests([module], ROOT / "src")[module]
    assert module in page["methods"]["dpdl"]["modules"]
    assert module not in page["methods"]["random"]["modules"]


def test_a_cell_has_its_numbers_and_digests(site: Site):
    value = read(site, f"cells/{MEAN}.js")
    rows = {row["cell"]: row for row in read_csv(site.root / "results/tables/cells.csv", ["cell"])}
    for run in value["runs"]:
        row = rows[f"{MEAN}/s{run['seed']}"]
        assert run["metrics"] == {name: row[name] for name in run["metrics"]}
        assert run["digests"]["scores"] == row["scores_sha256"]
        path = site.root / f"results/maps/{MEAN}/s{run['seed']}.safetensors"
        assert run["digests"]["maps"] == sha256_file(path)
        assert run["environment"] == FACTS
    assert [run["seed"] for run in value["runs"]] == [0, 1]
    failed = read(site, f"cells/{FAILED_CELL}.js")
    assert [run["seed"] for run in failed["runs"]] == [0]


def test_a_cell_of_a_shared_run_shows_its_own_test_images_and_the_run_s_digests(site: Site):
    mean = "elpv/all/hard-mono-m1/patchcore"
    value = read(site, f"cells/{mean}.js")
    assert (value["fitted"], value["upstream"]) == (SHARED, "")
    for run in value["runs"]:
        for kind, cell, end in (
            ("metrics", mean, "json"), ("scores", SHARED, "csv"),
            ("checkpoints", SHARED, "safetensors"), ("maps", SHARED, "safetensors"),
        ):  # fmt: skip
            path = site.root / f"results/{kind}/{cell}/s{run['seed']}.{end}"
            assert run["digests"][kind] == sha256_file(path)
    counted = [sum(counts) for counts in value["histogram"]["anomalous"]]
    split = read_split(site.root / SPLIT.format("elpv/all/hard-mono-m1/s0"))
    assert counted == [sum(row.role == "test" and row.label for row in split)] * 2
    assert all("heat" in one for one in read(site, f"images/{mean}.js")["missed"])


def test_pictures_are_of_the_images_with_their_maps(site: Site):
    value = read(site, f"images/{MEAN}.js")
    assert len(value["alarms"]) == len(value["missed"]) == wrong.COUNT
    for one in value["alarms"]:
        assert one["class"] == "good"
        assert one["picture"].startswith("data:image/webp;base64,")
        assert len(base64.b64decode(one["heat"]["bytes"])) == 16
        assert f"s{one['heat']['seed']}" in one["scores"]
    for one in [*value["alarms"], *value["missed"]]:
        seed = one["heat"]["seed"]
        maps = anomaly_maps.read(site.root / f"results/maps/{MEAN}/s{seed}.safetensors")
        split = read_split(site.root / SPLIT.format(f"{MEAN.rpartition('/')[0]}/s{seed}"))
        normal = [row.path for row in split if row.role == "test" and not row.label]
        limits = wrong.heat_limits(maps.select(normal).maps)
        assert one["heat"] == {
            **wrong.heat(maps.select([one["path"]]).maps[0], limits),
            "seed": seed,
        }
    assert not any("heat" in one for one in read(site, f"images/{MEAN[:-4]}random.js")["missed"])


def test_all_methods_of_a_place_show_the_same_images(site: Site):
    shared = read(site, "gallery/elpv/all.js")
    paths = shared["places"]["general-m10"]
    assert len(paths) == gallery.NORMAL + gallery.ANOMALOUS
    assert {*paths} <= {*shared["pictures"]}
    for method in ("dpdl", "patchcore", "random"):
        value = read(site, f"images/elpv/all/general-m10/{method}.js")
        assert [one["path"] for one in value["common"]] == paths
        assert all(len(one["scores"]) == 2 for one in value["common"])
        assert all(("heat" in one) == (method != "random") for one in value["common"])
    ours, others = (read(site, f"images/elpv/all/{name}.js")["all"]
                    for name in ("general-m10/dpdl", "general-m10/random"))  # fmt: skip
    assert (ours["images"], ours["labels"]) == (others["images"], others["labels"])
    assert ours["standings"] != others["standings"]
    # A run that failed leaves the gallery as it is.
    failed = [one["path"] for one in read(site, f"images/{FAILED_CELL}.js")["common"]]
    assert failed == shared["places"]["general-m1"]


def test_the_list_of_images_has_every_role(site: Site):
    value, split = read(site, "manifests/mine/all.js"), SPLIT.format("mine/all/hard-dent-m10/s1")
    assert len(value["images"]) == 42
    digest, roles = value["splits"][split]
    assert digest == sha256_file(site.root / split)
    assert {letter: roles.count(letter) for letter in "nat-"} == {"n": 8, "a": 10, "t": 21, "-": 3}


def test_the_page_says_what_is_whose_and_how_to_measure(site: Site, tmp_path, monkeypatch):
    text = site.page.read_text(encoding="utf-8")
    for part in ("Published: image-level training of ResNet-18", MACHINE,
                 "loss is nan at step 3 &lt;b&gt;&amp;", '<img src="figures/all.svg"'):  # fmt: skip
        assert part in text
    assert (site.root / "results/report/figures/all.svg").is_file()
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    # A page without measured times.
    monkeypatch.chdir(site.root)
    (job,) = jobs_of(site.rules.report_page)
    do(job, "--partial", "--bench", "--output", str(tmp_path))
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Not measured" in text
    assert MACHINE not in text


@pytest.fixture
def copy(site: Site, tmp_path: Path, monkeypatch) -> Path:
    """A copy of the site that is the current directory."""
    monkeypatch.chdir(shutil.copytree(site.root, tmp_path / "copy", symlinks=True))
    return tmp_path / "copy"


def test_equal_results_give_equal_bytes(site: Site, copy: Path):
    shutil.rmtree(copy / "results/report")
    make_page(site.rules)

    def digests(root: Path) -> dict[str, str]:
        files = [path for path in (root / "results/report").rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): sha256_file(path) for path in files}

    pages = digests(site.root)
    assert digests(copy) == pages
    rules = ("report_images", "report_cell", "report_assets", "report_page")
    files = {path for name in rules for path in getattr(site.rules, name).files}
    assert {*pages} == {path for path in files if SKIPPED_CELL not in path}


def test_a_changed_image_a_missing_run_and_a_grid_without_its_report_are_refused(site, copy):
    path = read(site, f"images/{MEAN}.js")["alarms"][0]["path"]
    Image.new("RGB", (8, 8)).save(path)
    options = ["--results", "results", "--seeds", "0", "1", "--output", "a.js", "--images", "b.js"]
    with pytest.raises(DataError, match=f"{path}: its content has changed"):
        report_cell.main(["--cell", MEAN, *options])
    with pytest.raises(DataError, match=r"metrics/.*s1\.json: cannot be read"):
        report_cell.main(["--cell", FAILED_CELL, *options])
    options = [
        "--cells",
        "c",
        "--comparison",
        "m",
        "--published",
        "p",
        "--lock",
        "",
        "--output",
        "o",
    ]
    with pytest.raises(ConfigError, match="expected an object with report"):
        report_page.main(["--grid", "{}", "--output", "o", *options])


def test_a_source_may_hold_what_ends_lines_elsewhere():
    summary = summary_of(cells_of(runs_of("elpv/all/general-m10", dra=0.5)))
    source = "A.\u2028\x85B."
    (row,) = row_values(summary.assign(published_source=source), request_of())
    assert source in row["fields"]


def test_the_page_of_3000_runs_stays_below_10_mb(site: Site):
    """Measured on this page, whose cells are as large as any but for more seeds and heads."""
    folder = site.root / "results/report"
    fixed = sum(path.stat().st_size for path in (folder / "assets").iterdir())
    run = max(
        len(json.dumps(one, separators=(",", ":")))
        for path in (folder / "cells").rglob("*.js")
        for one in read(site, path.relative_to(folder).as_posix())["runs"]
    )
    # 48 points of three numbers of up to four digits, where the small test sets have fewer.
    run += 3 * 5 * curves.POINTS + 2 * 5 * curves.BINS
    row = max(len(json.dumps(one, ensure_ascii=False)) for one in read(site, "data.js")["rows"])
    assert fixed + 3000 * run + 600 * 1.5 * row < 10e6
