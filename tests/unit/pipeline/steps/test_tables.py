"""The steps that collect metrics and write all tables."""

import json
import re
import statistics
from pathlib import Path

import pytest
from table_cases import FOLDER, TITLES, bad, compared_of, grid_value, method, metrics

from osad.core.cells import Cell
from osad.core.errors import CheckError, DataError
from osad.core.files import read_csv, sha256_bytes
from osad.evaluation.tables.cells import NO_ANOMALY, read_cells, write_frame
from osad.evaluation.tables.request import read_grid
from osad.methods import registry
from osad.pipeline.steps import cells, tables
from osad.pipeline.steps.cells import NOT_RUN

ROOT = Path(__file__).parents[4]
AUROCS = {"dra": 0.8, "true_labels": 1.0, "random": 0.51, "constant": 0.5}
CELLS = [f"elpv/all/general-m10/{name}/s{seed}" for name in AUROCS for seed in (0, 1)]
TABLES = {f"{name}.{kind}" for name in ("general", "hard", "normal") for kind in ("md", "tex")}
OUTPUTS = {"summary.csv", "metrics.json", *TABLES}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def grid(results: Path, *methods: str) -> str:
    chosen = [method(name, normal_only=name == "patchcore") for name in methods or AUROCS]
    return json.dumps(grid_value(results=str(results), methods=chosen))


def write_cell(results: Path, cell: str, auroc: float | None, *, run: str, **more: object) -> None:
    scores = f"path,score\n{run},1\n"
    write(results / "scores" / f"{run}.csv", scores)
    value = metrics(auroc, scores_sha256=sha256_bytes(scores.encode()), **more)
    write(results / "metrics" / f"{cell}.json", json.dumps(value))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Make the results of a small grid."""
    for name in CELLS:
        auroc = 0.9 if name.endswith("dra/s1") else AUROCS[Cell.parse(name).method]
        write_cell(tmp_path / "results", name, auroc, run=name)
    return tmp_path / "results"


def make(source: str, folder: Path, *options: str) -> Path:
    file, rates = folder / "cells.csv", folder / "rates.csv"
    outputs = ["--output", str(file), "--rates", str(rates)]
    assert cells.main(["--grid", source, *outputs, *options]) == [file, rates]
    request, _ = read_grid(source)
    compared = folder / "comparison.csv"
    write_frame(compared, compared_of(read_cells(file, request), request))
    inputs = ["--cells", str(file), "--comparison", str(compared), "--published", str(FOLDER)]
    written = tables.main(["--grid", source, *inputs, "--output", str(folder)])
    assert {path.name for path in written} == OUTPUTS
    return folder


def run_steps(results: Path, *options: str) -> Path:
    return make(grid(results), results.parent / "tables", *options)


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    return {row["cell"]: row for row in read_csv(path, ["cell"])}


def test_the_steps_write_all_tables(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_steps(results)
    assert {path.name for path in folder.iterdir()} == OUTPUTS | {
        "cells.csv", "rates.csv", "comparison.csv",
    }  # fmt: skip
    dra = read_rows(folder / "summary.csv")["elpv/all/general-m10/dra"]
    mean, std = repr(statistics.fmean([0.8, 0.9])), repr(statistics.stdev([0.8, 0.9]))
    assert (dra["n_seeds"], dra["auroc_mean"], dra["auroc_std"]) == ("2", mean, std)
    assert (dra["published_mean"], dra["published_std"]) == ("0.845", "0.013")
    rates = (folder / "rates.csv").read_text().splitlines()
    assert rates[0] == "cell,metric,mean,std,n"
    assert f"elpv/all/general-m10/dra,auroc,{mean},{std},2" in rates
    rows = read_rows(folder / "cells.csv")
    assert list(rows) == CELLS
    assert {row["status"] for row in rows.values()} == {"ok"}
    tree = json.loads((folder / "metrics.json").read_text())
    assert tree["elpv"]["all"]["general-m10"]["constant"] == {"auroc_mean": 0.5, "auroc_std": 0.0}
    printed = capsys.readouterr().out
    assert re.search(r"general-m10/dra +2 +0\.850 ± 0\.071 +0\.845 ± 0\.013", printed)
    for path in folder.iterdir():
        assert str(results.parent) not in path.read_text(encoding="utf-8")


def test_the_committed_summary_follows_from_the_committed_cells(tmp_path: Path) -> None:
    folder = ROOT / "results/tables"
    runs = read_rows(folder / "cells.csv").values()
    protocols: dict[str, dict[str, None]] = {}
    for run in runs:
        dataset, category, protocol, _, _ = run["cell"].split("/")
        protocols.setdefault(f"{dataset}/{category}", {})[protocol] = None
    specs = [registry.get(name) for name in dict.fromkeys(run["method"] for run in runs)]
    titles = [method(s.name, title=s.title, settings=s.settings, control=s.control) for s in specs]
    seeds = sorted({int(run["seed"]) for run in runs})
    source = json.dumps(grid_value(protocols=protocols, methods=titles, seeds=seeds), default=list)
    inputs = ["--cells", str(folder / "cells.csv"), "--published", str(FOLDER)]
    inputs += ["--comparison", str(folder / "comparison.csv")]
    tables.main(["--grid", source, *inputs, "--output", str(tmp_path)])
    for name in ("summary.csv", "metrics.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_grid_in_a_file_or_another_order_gives_the_same_bytes(results: Path) -> None:
    expected = run_steps(results)
    value = json.loads(grid(results))
    value["seeds"].reverse()
    write(results.parent / "grid.json", json.dumps(value))
    again = make(str(results.parent / "grid.json"), results.parent / "second")
    for path in expected.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    with pytest.raises(DataError, match=r"none\.json"):
        make(str(results / "none.json"), results)


def test_a_wrong_control_stops_before_anything_is_written_unless_partial(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cell(results, CELLS[2], 0.999, run=CELLS[2])
    with pytest.raises(CheckError, match=r"true_labels/s0: AUROC is 0\.999, must be 1\.0"):
        run_steps(results)
    assert not (results.parent / "tables").exists()
    folder = run_steps(results, "--partial")
    assert "warning: control elpv/all/general-m10/true_labels/s0" in capsys.readouterr().err
    assert "WRONG CONTROL" in (folder / "general.md").read_text(encoding="utf-8")


def test_without_anomalous_test_images_the_tables_say_so(results: Path) -> None:
    """The controls then prove nothing, and are not wrong."""
    none = {"average_precision": None, "n_test_anomaly": 0}
    for name in CELLS:
        write_cell(results, name, None, run=name, **none)
    folder = run_steps(results)
    rows = read_rows(folder / "cells.csv").values()
    assert {(row["status"], row["auroc"], row["reason"]) for row in rows} == {
        ("ok", "", NO_ANOMALY)
    }
    assert f"- [1] {NO_ANOMALY}\n" in (folder / "general.md").read_text(encoding="utf-8")
    assert json.loads((folder / "metrics.json").read_text()) == {}
    assert (folder / "rates.csv").read_text() == "cell,metric,mean,std,n\n"


def test_metrics_of_other_scores_are_refused(results: Path) -> None:
    scores = results / "scores" / f"{CELLS[1]}.csv"
    write(scores, "changed\n")
    with pytest.raises(CheckError, match=rf"{CELLS[1]}\.json: not computed from"):
        run_steps(results)
    scores.unlink()
    with pytest.raises(DataError, match=rf"{CELLS[1]}\.csv: cannot be read"):
        run_steps(results)


def test_the_scores_of_a_method_of_normals_alone_are_those_of_its_one_run(results: Path) -> None:
    for seed in (0, 1):
        cell = f"elpv/all/general-m10/patchcore/s{seed}"
        write_cell(results, cell, 0.7, run=cell.replace("general-m10", "normal-m0"))
    folder = make(grid(results, *AUROCS, "patchcore"), results.parent / "tables")
    assert read_rows(folder / "cells.csv")[cell]["auroc"] == "0.7"


@pytest.mark.parametrize(("failures", "status", "reason"), [
    (None, "skipped", NOT_RUN),
    ({CELLS[1]: bad("failed", "run: why")}, "skipped", NOT_RUN),
    ({CELLS[0]: bad("failed", "run: loss is\n nan")}, "failed", "run: loss is nan"),
    ({CELLS[0]: bad("skipped", "fetch: get it")}, "skipped", "fetch: get it"),
])  # fmt: skip
def test_partial_tables_give_the_reason(results: Path, failures, status, reason) -> None:
    (results / "metrics" / f"{CELLS[0]}.json").unlink()
    with pytest.raises(DataError, match=rf"{CELLS[0]}\.json: is missing; run the cell"):
        run_steps(results)
    listed = results.parent / "failures.json"
    write(listed, json.dumps(failures))
    options = ["--failures", str(listed)] if failures else []
    folder = run_steps(results, "--partial", *options)
    row = read_rows(folder / "cells.csv")[CELLS[0]]
    assert (row["status"], row["reason"], row["auroc"]) == (status, reason, "")
    summary = read_rows(folder / "summary.csv")["elpv/all/general-m10/dra"]
    assert (summary["n_seeds"], summary["auroc_mean"], summary["auroc_std"]) == ("1", "0.9", "")
    assert f"- [1] {status}: {reason}" in (folder / "general.md").read_text(encoding="utf-8")


def test_cells_that_are_of_another_grid_or_no_numbers_are_refused(results: Path) -> None:
    file = run_steps(results) / "cells.csv"
    compared = file.with_name("comparison.csv")
    inputs = ["--cells", str(file), "--published", str(FOLDER), "--output", str(results)]
    inputs += ["--comparison", str(compared)]
    with pytest.raises(DataError, match=r"cells\.csv: holds the cells of another grid"):
        tables.main(["--grid", grid(results, *TITLES), *inputs])
    lines = compared.read_text().splitlines(keepends=True)
    compared.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match=r"comparison\.csv: holds the cells of another grid"):
        tables.main(["--grid", grid(results), *inputs])
    file.write_text(file.read_text().replace("0.9", "nine", 1))
    with pytest.raises(DataError, match=r"cells\.csv, column average_precision: .*'nine'"):
        tables.main(["--grid", grid(results), *inputs])
