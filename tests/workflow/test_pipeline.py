"""A complete run: its files, its numbers, and that its bytes depend on nothing but the inputs."""

from __future__ import annotations

import html
import json
import re
import socket
import sys

import expected
import pytest
import yaml
from auditing import audit
from projects import (
    HOST,
    IMAGES,
    METHODS,
    PARAMS,
    PLAIN_METHODS,
    PROTOCOLS,
    ROOT,
    SEEDS,
    SMALL,
    USER,
    Outcome,
    Project,
    cells,
    params,
    run_of,
)

from osad.core.files import read_metadata

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")

COLUMNS = (
    "dataset,category,setting,shots,known_class,method,seed,auroc,average_precision,pixel_auroc,"
    "aupro,n_train_normal,n_train_anomaly,n_test_normal,n_test_anomaly,backbone,cell,"
    "scores_sha256,status,reason"
)
SUMMARY_COLUMNS = (
    "dataset,category,setting,shots,known_class,method,n_seeds,auroc_mean,auroc_std,"
    "published_mean,published_std,published_source,cell,best,difference_to_best,seeds_low,"
    "seeds_high,images_low,images_high,rank,difference_to_published,to_published_low,"
    "to_published_high,published_lowest,published_highest,published_all"
)
ASSETS = "src/osad/report/assets"
LEDGER = ["tiny.jsonl", "_shared.jsonl", "commands.json", "code.json", "SHA256SUMS"]
RUNS = {run_of(cell) for cell in cells()}
TABLES = ["general.md", "general.tex", "hard.md", "hard.tex", "normal.md", "normal.tex"]
ORDER = [
    "general-m10", "general-m1", "hard-dent-m10", "hard-scratch-m10", "hard-dent-m1",
    "hard-scratch-m1", "normal-m0",
]  # fmt: skip
"""Protocols as in the tables: by setting, then most shots first, then known class."""
TEST_ANOMALIES = {"general": 17, "hard-dent": 14, "hard-scratch": 13, "normal": 27}
"""By protocol without its shots: 27 less the 10 removed, the other class, and all."""


HOSTILE = "Two\nlines\u2028{a} ${b} $(touch hacked) `touch hacked` \\ | <b> & \"q\" 's' =1 # --"


def test_texts_of_any_characters_reach_every_file(fresh: Project) -> None:
    photos = fresh.root / "my photos {x} $HOME 'q'"
    (fresh.root / "photos").rename(photos)
    changed = params(**SMALL, methods=["constant", "true_labels"])
    changed["datasets"]["tiny"] |= dict.fromkeys(("title", "citation", "licence"), HOSTILE)
    changed["datasets"]["tiny"]["raw_path"] = photos.name
    changed["figures"] = [{"name": "a", "title": HOSTILE, "kind": "bar", "methods": ["constant"],
                           "protocols": "general"}]  # fmt: skip
    fresh.write_params(changed)
    fresh.snakemake("--cores", "2").check()
    assert not (fresh.root / "hacked").exists()
    tables, page = fresh.root / "results/tables", fresh.root / "results/report"
    line = (
        r"Two lines {a} \${b} \$(touch hacked) \`touch hacked\` \\ \| \<b> & "
        + "\"q\" 's' =1 \\# --"
    )
    text = (tables / "general.md").read_text(encoding="utf-8")
    assert f"\n- Data: {line}: {line}; {line}\n" in text
    assert f"\n| {line} | ours | 0.500 | 1.000 |\n" in text
    shown = html.unescape((page / "index.html").read_text(encoding="utf-8"))
    assert HOSTILE in shown
    assert "| <b> &" not in (page / "index.html").read_text(encoding="utf-8")
    assert json.dumps(HOSTILE, ensure_ascii=False)[1:-1] in (page / "data.js").read_text("utf-8")
    assert set(fresh.jobs_done("--dry-run")) == set()
    audit(fresh, "verify", "--all").check()


def test_the_copy_imports_its_own_sources(finished: Project) -> None:
    command = (sys.executable, "-c", "import osad; print(osad.__file__)")
    found = finished.run(*command).check().output.strip()
    assert found == str(finished.root / "src/osad/__init__.py")


def test_a_run_makes_exactly_the_files_of_the_grid(finished: Project) -> None:
    folder = "results/features/tiny/all"
    packs = ("plain", "rotated", "pseudo", "cutmix", "draem")
    wanted = {
        "data/manifests/tiny.csv",
        "data/raw/tiny/SOURCE.json",
        "data/weights/efficientnet-lite0-57934424.pth",
        f"{folder}/pixels.safetensors",
        f"{folder}/masks.safetensors",
        *(f"{folder}/tf_efficientnet_lite0-64/{pack}.safetensors" for pack in packs),
        *(f"results/splits/tiny/all/{name}/s{seed}.csv" for name in PROTOCOLS for seed in SEEDS),
        *(f"results/checkpoints/{run}.safetensors" for run in RUNS),
        *(f"results/scores/{run}.csv" for run in RUNS),
        *(f"results/maps/{run}.safetensors" for run in RUNS),
        *(f"results/metrics/{cell}.json" for cell in cells()),
        *(f"results/tables/{name}" for name in TABLES),
        *(f"results/tables/{name}.csv" for name in ("cells", "rates", "comparison", "summary")),
        "results/tables/metrics.json",
        *(f"results/figures/methods.{kind}" for kind in ("svg", "png", "pdf")),
        "results/report/index.html",
        "results/report/data.js",
        "results/report/figures/methods.svg",
        "results/report/manifests/tiny/all.js",
        "results/report/gallery/tiny/all.js",
        *(f"results/report/assets/{path.name}" for path in (ROOT / ASSETS).iterdir()),
        *(
            f"results/report/{kind}/{cell.rpartition('/')[0]}.js"
            for kind in ("cells", "images")
            for cell in cells()
        ),
        *(f"provenance/{name}" for name in LEDGER),
        *(
            f"data/raw/tiny/{name}/{number:03}.png"
            for name, count in IMAGES.items()
            for number in range(count)
        ),
    }
    assert set(finished.outputs()) == wanted


def test_cells_have_the_columns_counts_and_order_of_the_contract(finished: Project) -> None:
    text = (finished.root / "results/tables/cells.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == COLUMNS
    rows = finished.rows("results/tables/cells.csv")
    assert [row["cell"] for row in rows] == [
        cell
        for protocol in ORDER
        for method in METHODS
        for seed in SEEDS
        if (cell := f"tiny/all/{protocol}/{method}/s{seed}") in cells()
    ]
    for row in rows:
        protocol, shots = row["cell"].split("/")[2].rsplit("-m", 1)
        setting, _, known_class = protocol.partition("-")
        assert (row["status"], row["reason"]) == ("ok", "")
        assert (row["setting"], row["known_class"], row["shots"]) == (setting, known_class, shots)
        counts = [row[f"n_{name}"] for name in ("train_normal", "train_anomaly", "test_normal")]
        assert counts == ["24", shots, "8"]
        assert row["n_test_anomaly"] == str(TEST_ANOMALIES[protocol])
        assert 0 <= float(row["auroc"]) <= 1
        assert 0 < float(row["average_precision"]) <= 1
        assert row["auroc"] == repr(float(row["auroc"]))


def test_cells_name_the_scores_they_come_from(finished: Project) -> None:
    outputs = finished.outputs()
    for cell, row in finished.cell_rows().items():
        assert row["scores_sha256"] == outputs[f"results/scores/{run_of(cell)}.csv"]


def test_controls_prove_labels_and_scoring(finished: Project) -> None:
    values: dict[str, set[str]] = {}
    for row in finished.cell_rows().values():
        values.setdefault(row["method"], set()).add(row["auroc"])
    assert values["true_labels"] == {"1.0"}
    assert values["constant"] == {"0.5"}
    # 14 drawings, each within four standard errors of the smallest test set (8 and 13 images).
    assert all(abs(float(value) - 0.5) < 0.54 for value in values["random"])
    assert len(values["random"]) > 4
    # Dark and bright spots on grey move the mean of the pixels: seen without any network.
    assert min(float(value) for value in values["mean_intensity"]) > 0.9


def test_the_summary_has_one_row_for_each_mean(finished: Project) -> None:
    path = "results/tables/summary.csv"
    assert (finished.root / path).read_text(encoding="utf-8").splitlines()[0] == SUMMARY_COLUMNS
    rows = {row["cell"]: row for row in finished.rows(path)}
    assert cells() <= {f"{cell}/s{seed}" for cell in rows for seed in SEEDS}
    values = [
        float(finished.cell_rows()[f"tiny/all/general-m1/random/s{seed}"]["auroc"])
        for seed in SEEDS
    ]
    row = rows["tiny/all/general-m1/random"]
    assert row["n_seeds"] == "2"
    assert float(row["auroc_mean"]) == pytest.approx(sum(values) / 2, abs=1e-12)
    assert float(row["auroc_std"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-12)
    assert (row["published_mean"], row["published_source"]) == ("", "")


def split(project: Project, protocol: str, seed: int, role: str) -> dict[str, str]:
    """Return path and class of the images of a role."""
    rows = project.rows(f"results/splits/tiny/all/{protocol}/s{seed}.csv")
    return {row["path"]: row["class"] for row in rows if row["role"] == role}


@pytest.mark.parametrize("seed", SEEDS)
def test_splits_are_nested_and_share_their_test_sets(finished: Project, seed: int) -> None:
    for setting in ("general", "hard-dent", "hard-scratch"):
        ten = split(finished, f"{setting}-m10", seed, "train_anomaly")
        one = split(finished, f"{setting}-m1", seed, "train_anomaly")
        assert (len(ten), len(one)) == (10, 1)
        assert one.items() <= ten.items()
        tests = [split(finished, f"{setting}-m{shots}", seed, "test") for shots in (10, 1)]
        assert tests[0] == tests[1]
        assert not tests[0].keys() & ten.keys()
    assert set(split(finished, "hard-dent-m10", seed, "train_anomaly").values()) == {"dent"}
    assert set(split(finished, "hard-dent-m10", seed, "test").values()) == {"good", "scratch"}
    general = [split(finished, "general-m10", number, "train_anomaly") for number in SEEDS]
    assert general[0] != general[1]


def test_a_second_run_has_nothing_to_do(finished: Project) -> None:
    before = finished.outputs()
    assert "Nothing to be done" in finished.snakemake().check().output
    assert finished.outputs() == before


@linux_only
def test_the_fork_server_serves_and_ends_with_the_run(
    finished_run: tuple[Project, Outcome], plain_run: tuple[Project, Outcome]
) -> None:
    assert finished_run[1].server_seen
    assert not plain_run[1].server_seen
    assert finished_run[1].left == plain_run[1].left == ()


def test_bytes_depend_neither_on_cores_nor_on_the_server_nor_on_other_cells(
    plain_run: tuple[Project, Outcome], project: Project
) -> None:
    """Compare 1 core and plain processes with 4 cores, the fork server and a larger grid."""
    plain = plain_run[0].outputs()
    whole = project.outputs()
    of_grid = ("results/tables/", "results/figures/", "results/report/", "provenance/")
    common = {path for path in plain if not path.startswith(of_grid)}
    assert {path: whole.get(path) for path in common} == {path: plain[path] for path in common}
    # Nor does what a job is told to have run, by which an interrupted training may go on.
    receipts = [*(plain_run[0].root / ".osad/runs/results/checkpoints").rglob("*.json")]
    for receipt in receipts:
        other = project.root / receipt.relative_to(plain_run[0].root)
        ran = [json.loads(path.read_text(encoding="utf-8"))["code"] for path in (receipt, other)]
        assert ran[0] == ran[1], receipt
    assert receipts
    # Of the larger grid, only what shows all seeds or cells is made anew for the smaller one.
    project.write_params(params(**SMALL, methods=PLAIN_METHODS))
    shown = expected.report_cells(cells(methods=PLAIN_METHODS, protocols=["general-m10"]))
    assert project.dry_run() == expected.plan(expected.TABLES | expected.REPORT_IMAGES | shown)
    project.snakemake(cores=4).check()
    small = project.outputs()
    assert {path: small.get(path) for path in plain} == plain


def own_words() -> set[str]:
    """Return words that outputs may have for reasons of their own."""
    text = yaml.safe_dump(PARAMS) + " ".join(IMAGES)
    return set(re.findall(r"\w+", text))


def test_outputs_tell_nothing_of_the_machine(finished: Project) -> None:
    forbidden = {str(finished.root), str(finished.root.parent), str(ROOT), sys.prefix, USER, HOST}
    host = re.compile(rf"(?<!\w){re.escape(socket.gethostname())}(?!\w)")
    time = re.compile(r"\b20[0-9]{2}-[01][0-9]-[0-3][0-9]\b|\b[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\b")
    absolute = re.compile(r"""(?:^|[\s"',=(])/(?:home|tmp|root|usr|var|work|Users|opt|mnt)/""")
    texts = {}
    for name in finished.outputs():
        path = finished.root / name
        if path.suffix == ".safetensors":
            texts[name] = repr(read_metadata(path))
        elif name.startswith("results/report/assets/"):
            # Copied from the sources; minified scripts have names as short as a host's.
            assert path.read_bytes() == (finished.root / ASSETS / path.name).read_bytes()
        elif path.suffix not in (".png", ".pdf", ".pth"):
            texts[name] = path.read_text(encoding="utf-8")
    packs = len(expected.NETWORK_JOBS) + 2  # pixel statistics and masks
    assert sum(n.endswith(".safetensors") for n in texts) == 2 * len(RUNS) + packs
    for name, text in texts.items():
        assert not [word for word in forbidden if word in text], name
        assert not time.search(text), name
        assert not absolute.search(text), name
        assert socket.gethostname() in own_words() or not host.search(text), name
