"""The page of the results: what it is made of, its data, and equal bytes for equal results."""

import base64
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_cases import FACTS, FAILED, MACHINE, REASON, ROOT, SKIPPED, Site, do, make_page
from table_cases import cells_of, request_of, summary_of

from osad.audit import ledger
from osad.core.errors import ConfigError, DataError
from osad.core.files import read_csv, sha256_file
from osad.data.splits import read_split
from osad.evaluation.scores import ScoredImage
from osad.pipeline.fingerprint import code_digests
from osad.pipeline.jobs import jobs_of, makers
from osad.pipeline.steps import report_cell, report_page
from osad.report import curves, wrong
from osad.report.bench import check_bench
from osad.report.page import dataset_order, ranks, row_values
from osad.report.scripts import script, value_of

MEAN = "elpv/all/general-m10/dpdl"


# --- curves ---------------------------------------------------------------------------------


def test_a_curve_goes_through_every_threshold():
    # From the highest score: anomalous, normal, anomalous, normal.
    found = curves.curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    assert found == {
        "fpr": [0, 0, 500, 500, 1000],
        "tpr": [0, 500, 500, 1000, 1000],
        "precision": [1000, 1000, 500, 667, 500],
    }


def test_equal_scores_are_one_threshold():
    found = curves.curve([1.0, 1.0, 1.0, 0.0], [1, 0, 0, 0])
    assert found == {"fpr": [0, 667, 1000], "tpr": [0, 1000, 1000], "precision": [333, 333, 250]}


def test_without_both_classes_there_is_no_curve():
    assert curves.curve([1.0, 2.0], [1, 1]) is None
    assert curves.curve([1.0, 2.0], [0, 0]) is None


def test_a_long_curve_is_thinned_but_keeps_its_ends():
    scores = np.arange(2000.0)
    found = curves.curve(scores, scores.astype(int) % 2)
    assert found is not None
    assert len(found["fpr"]) <= curves.POINTS
    assert (found["fpr"][0], found["tpr"][0]) == (0, 0)
    assert (found["fpr"][-1], found["tpr"][-1]) == (1000, 1000)
    # Every second image is anomalous, so the curve is the diagonal.
    assert max(abs(x - y) for x, y in zip(found["fpr"], found["tpr"], strict=True)) <= 1


def test_histograms_share_their_bars_and_count_every_image():
    found = curves.histogram([([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1]), ([1.5], [1])])
    assert found is not None
    assert (found["low"], found["high"]) == (0.0, 3.0)
    assert [sum(counts) for counts in found["normal"]] == [2, 0]
    assert [sum(counts) for counts in found["anomalous"]] == [2, 1]
    # 30 bars over [0, 3]: 1.5 begins the 16th, 3 belongs to the last.
    assert found["anomalous"][1].index(1) == 15
    assert found["anomalous"][0][29] == 1
    assert found["normal"][0][0] == found["normal"][0][10] == 1


def test_a_histogram_of_equal_or_no_scores():
    found = curves.histogram([([2.0, 2.0], [0, 1])])
    assert found is not None
    assert (found["low"], found["high"]) == (1.5, 2.5)
    assert curves.histogram([]) is None
    assert curves.histogram([([], [])]) is None


# --- the most wrong images --------------------------------------------------------------------


def scored(path: str, label: int, score: float) -> ScoredImage:
    return ScoredImage(path, "0" * 64, label, "dent" if label else "good", score)


def test_the_most_wrong_images_are_found_by_mean_standing():
    runs = {
        0: [scored("a", 0, 9.0), scored("b", 0, 1.0), scored("c", 1, 2.0), scored("d", 1, 5.0)],
        1: [scored("a", 0, 0.2), scored("b", 0, 0.1), scored("c", 1, 0.4)],
    }
    alarms, missed = wrong.most_wrong(runs)
    # Standings of seed 0: a 7/8, b 1/8, c 3/8, d 5/8; of seed 1: a 3/6, b 1/6, c 5/6.
    assert [(one.image.path, pytest.approx(one.standing)) for one in alarms] == [
        ("a", (7 / 8 + 3 / 6) / 2), ("b", (1 / 8 + 1 / 6) / 2),
    ]  # fmt: skip
    assert [(one.image.path, pytest.approx(one.standing)) for one in missed] == [
        ("c", (3 / 8 + 5 / 6) / 2), ("d", 5 / 8),
    ]  # fmt: skip
    assert missed[1].scores == {0: 5.0}
    assert [one.image.path for one in wrong.most_wrong(runs, count=1)[0]] == ["a"]
    assert wrong.most_wrong({}) == ([], [])


def test_equal_standings_are_in_the_order_of_paths():
    alarms, _ = wrong.most_wrong({0: [scored("b", 0, 1.0), scored("a", 0, 1.0)]})
    assert [(one.image.path, one.standing) for one in alarms] == [("a", 0.5), ("b", 0.5)]


def test_heat_maps_have_8_bits_a_position():
    maps = np.arange(2000, dtype=np.float32).reshape(125, 4, 4)
    limits = wrong.heat_limits(maps)
    assert limits == (19.0, 1997.0)
    found = wrong.heat(np.array([[0, 19], [1008, 3000]], dtype=np.float32), limits)
    assert (found["height"], found["width"]) == (2, 2)
    assert list(base64.b64decode(str(found["bytes"]))) == [0, 0, 128, 255]
    flat = wrong.heat(np.ones((1, 1), dtype=np.float32), (1.0, 1.0))
    assert base64.b64decode(str(flat["bytes"])) == b"\0"


def test_a_thumbnail_is_small_and_keeps_its_shape():
    image = Image.new("RGB", (600, 300), (200, 10, 10))
    text = wrong.thumbnail(image)
    assert text == wrong.thumbnail(image)
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as small:
        assert (small.format, small.size) == ("WEBP", (wrong.SIDE, wrong.SIDE // 2))


# --- scripts and data ---------------------------------------------------------------------------


def test_a_script_holds_its_value():
    value = {"b": [1, 0.1, None], "a": "</script> \u2028 ü"}
    text = script("page", value)
    assert text.startswith('osad.page({"a":')
    assert value_of(text, where="x.js") == value
    with pytest.raises(DataError, match=r"x\.js: is not a script with data"):
        value_of("alert(1)", where="x.js")
    with pytest.raises(ValueError, match="not JSON compliant"):
        script("page", float("nan"))


def test_ranks_compare_printed_means_and_leave_controls_out():
    place = "elpv/all/general-m10"
    outcomes = {
        f"{place}/dpdl/s0": 0.8461,
        f"{place}/dra/s0": 0.8459,
        f"{place}/patchcore/s0": 0.7,
        f"{place}/true_labels/s0": 1.0,
        "elpv/all/general-m1/dra/s0": 0.5,
    }
    request, summary = request_of(), summary_of(cells_of(outcomes))
    found = ranks(summary, request.controls)
    assert {row.Index: (row.rank, row.of) for row in found.itertuples()} == {
        f"{place}/dpdl": (1, 3),
        f"{place}/dra": (1, 3),
        f"{place}/patchcore": (2, 3),
        f"{place}/true_labels": (0, 0),
        "elpv/all/general-m1/dra": (1, 1),
    }
    values = {row["fields"][-1]: row for row in row_values(summary, request)}
    assert values[f"{place}/dpdl"]["fields"][7] == "0.8461"
    assert values[f"{place}/dpdl"]["difference"] == "-0.091"
    assert values[f"{place}/true_labels"]["difference"] == ""


def test_data_sets_are_in_the_papers_order():
    cells = cells_of({f"{name}/all/general-m10/dra/s0": 0.5 for name in ("mine", "elpv", "sdd")})
    assert dataset_order(summary_of(cells)) == ["sdd", "elpv", "mine"]


def test_measured_times_are_checked():
    numbers = {"run_s": 2.25, "cpu_s": 4, "peak_mb": 100.06}
    value = {"machine": "m", "cells": {"dpdl": {**numbers, "per": "seed"}}}
    assert check_bench(value, request_of(), where="b.json")["rows"] == [
        {"method": "DPDL", "run_s": "2.2", "cpu_s": "4.0", "peak_mb": "100.1", "per": "seed"}
    ]
    for wrong_value in ([], {"machine": "m"}, {"machine": "m", "cells": {"dpdl": {"run_s": "1"}}}):
        with pytest.raises(DataError, match=r"b\.json: .*measure again"):
            check_bench(wrong_value, request_of(), where="b.json")


# --- targets ------------------------------------------------------------------------------------


def test_the_page_depends_on_its_templates_assets_and_methods(site: Site):
    (page,), (assets,) = jobs_of(site.rules.report_page), jobs_of(site.rules.report_assets)
    assert "src/osad/report/templates/index.html.j2" in page.inputs
    assert page.params["grid"]["report"]["methods"].keys() == {*site.grid.params.methods}
    assert "src/osad/report/assets/style.css" in assets.inputs


def test_a_cell_is_made_from_the_files_of_its_runs(site: Site):
    jobs = makers([*jobs_of(site.rules.report_cell)])
    shared = "elpv/all/normal-m0/patchcore"
    for mean, run, options in (
        (MEAN, MEAN, ["--maps"]),
        ("elpv/all/general-m1/patchcore", shared, ["--maps", "--fitted", shared]),
        ("elpv/all/general-m1/random", "elpv/all/general-m1/random", []),
    ):
        job = jobs[f"results/report/cells/{mean}.js"]
        assert job.inputs[:5] == (
            f"results/splits/elpv/all/{mean.split('/')[2]}/s0.csv",
            f"results/metrics/{mean}/s0.json",
            f"results/checkpoints/{run}/s0.safetensors",
            f"results/scores/{run}/s0.csv",
            f"results/maps/{run}/s0.safetensors",
        )
        assert job.inputs[-1] == "data/raw/elpv/SOURCE.json"
        assert len(job.inputs) == 5 * 2 + 1
        command = " ".join(["--results results --seeds 0 1", *options, "--output"])
        assert command in job.command


@pytest.mark.parametrize(
    ("path", "shard"),
    [
        ("results/report/cells/elpv/all/general-m10/dpdl.no_dfl.js", "elpv"),
        ("results/smoke/report/images/elpv/all/general-m10/dpdl.js", "elpv"),
        ("results/report/manifests/mvtec/carpet.js", "mvtec"),
        ("results/report/assets/style.css", "_shared"),
        ("results/report/index.html", "_shared"),
        ("results/scores/report/cells/general-m10/dra/s0.csv", "report"),
    ],
)
def test_the_ledger_keeps_the_lines_of_a_data_set_together(path, shard):
    assert ledger.shard(path) == shard


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
    path = site.root / "results/report" / name
    return value_of(path.read_text(encoding="utf-8"), where=name)


def test_the_data_are_the_summary(site: Site):
    page = read(site, "data.js")
    rows = read_csv(site.root / "results/tables/summary.csv", page["columns"])
    assert [row["fields"] for row in page["rows"]] == [list(row.values()) for row in rows]
    assert page["problems"] == {
        str(FAILED): ["failed", f"run: {REASON}"],
        **{str(run): ["skipped", page["problems"][str(run)][1]] for run in SKIPPED},
    }
    assert page["absent"] == [str(SKIPPED[0]).rpartition("/")[0]]
    weights = site.grid.weights
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
    failed = read(site, f"cells/{str(FAILED).rpartition('/')[0]}.js")
    assert [run["seed"] for run in failed["runs"]] == [0]


def test_a_cell_of_a_shared_run_shows_its_own_test_images_and_the_run_s_digests(site: Site):
    mean, shared = "elpv/all/hard-mono-m1/patchcore", "elpv/all/normal-m0/patchcore"
    value = read(site, f"cells/{mean}.js")
    assert (value["fitted"], value["upstream"]) == (shared, "")
    for run in value["runs"]:
        for kind, path in (
            ("metrics", f"metrics/{mean}/s{run['seed']}.json"),
            ("scores", f"scores/{shared}/s{run['seed']}.csv"),
            ("checkpoints", f"checkpoints/{shared}/s{run['seed']}.safetensors"),
            ("maps", f"maps/{shared}/s{run['seed']}.safetensors"),
        ):
            assert run["digests"][kind] == sha256_file(site.root / "results" / path)
    counted = [sum(counts) for counts in value["histogram"]["anomalous"]]
    split = read_split(site.root / "results/splits/elpv/all/hard-mono-m1/s0.csv")
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
    assert not any("heat" in one for one in read(site, f"images/{MEAN[:-4]}random.js")["missed"])


def test_the_list_of_images_has_every_role(site: Site):
    value = read(site, "manifests/mine/all.js")
    assert len(value["images"]) == 42
    digest, roles = value["splits"]["results/splits/mine/all/hard-dent-m10/s1.csv"]
    assert digest == sha256_file(site.root / "results/splits/mine/all/hard-dent-m10/s1.csv")
    assert {letter: roles.count(letter) for letter in "nat-"} == {"n": 8, "a": 10, "t": 21, "-": 3}


def test_the_page_says_what_is_whose(site: Site):
    text = site.page.read_text(encoding="utf-8")
    assert "Published: image-level training of ResNet-18" in text
    assert MACHINE in text
    assert "loss is nan at step 3 &lt;b&gt;&amp;" in text
    assert '<img src="figures/all.svg"' in text
    assert (site.root / "results/report/figures/all.svg").is_file()
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)


def test_a_page_without_measured_times_says_how_to_measure(site: Site, tmp_path, monkeypatch):
    monkeypatch.chdir(site.root)
    (job,) = jobs_of(site.rules.report_page)
    do(job, "--partial", "--bench", "--output", str(tmp_path))
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Not measured" in text
    assert MACHINE not in text


def test_equal_results_give_equal_bytes(site: Site, tmp_path: Path, monkeypatch):
    shutil.copytree(site.root, tmp_path / "copy", symlinks=True)
    shutil.rmtree(tmp_path / "copy/results/report")
    monkeypatch.chdir(tmp_path / "copy")
    make_page(site.rules)

    def digests(root: Path) -> dict[str, str]:
        files = [path for path in (root / "results/report").rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): sha256_file(path) for path in files}

    assert digests(tmp_path / "copy") == digests(site.root)
    rules = ("report_images", "report_cell", "report_assets", "report_page")
    made = {path for name in rules for path in getattr(site.rules, name).files}
    assert {*digests(site.root)} == {
        path for path in made if str(SKIPPED[0]).rpartition("/")[0] not in path
    }


def test_a_changed_image_is_refused(site: Site, tmp_path: Path, monkeypatch):
    shutil.copytree(site.root, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    path = read(site, f"images/{MEAN}.js")["alarms"][0]["path"]
    Image.new("RGB", (8, 8)).save(path)
    options = ["--cell", MEAN, "--results", "results", "--seeds", "0", "1", "--maps"]
    with pytest.raises(DataError, match=f"{path}: its content has changed"):
        report_cell.main([*options, "--output", "a.js", "--images", "b.js"])


def test_a_missing_run_is_refused_unless_partial(site: Site, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(site.root)
    cell, _, _ = str(FAILED).rpartition("/")
    options = ["--cell", cell, "--results", "results", "--seeds", "0", "1", "--maps"]
    files = ["--output", str(tmp_path / "a"), "--images", str(tmp_path / "b")]
    with pytest.raises(DataError, match=r"metrics/.*s1\.json: cannot be read"):
        report_cell.main([*options, *files])


def test_a_grid_without_what_the_page_says_of_methods_is_refused():
    options = ["--cells", "c", "--published", "p", "--lock", "", "--output", "o"]
    with pytest.raises(ConfigError, match="expected an object with report"):
        report_page.main(["--grid", "{}", *options])


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
    run += 3 * 5 * curves.POINTS
    row = max(len(json.dumps(one, ensure_ascii=False)) for one in read(site, "data.js")["rows"])
    bars = 2 * 5 * curves.BINS
    assert fixed + 3000 * (run + bars) + 600 * 1.5 * row < 10e6
