"""The step that collects metrics and writes all tables."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from pathlib import Path

import pytest
from table_cases import FOLDER, metrics, request_value

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import sha256_bytes
from osad.data.fetch.original import MissingData
from osad.pipeline.steps import cells, tables
from osad.pipeline.steps.cells import NOT_RUN

CELLS = [
    f"elpv/all/general-m10/{method}/s{seed}"
    for method in ("dra", "true_labels", "random", "constant")
    for seed in (0, 1)
]
AUROCS = {"dra": 0.8, "true_labels": 1.0, "random": 0.51, "constant": 0.5}
OUTPUTS = {
    "cells.csv", "summary.csv", "metrics.json", "general.md", "general.tex", "hard.md", "hard.tex",
    "normal.md", "normal.tex",
}  # fmt: skip


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Make the results of a small grid and the request for its tables."""
    folder = tmp_path / "results"
    for name in CELLS:
        scores = f"path,score\n{name},1\n"
        write(folder / "scores" / f"{name}.csv", scores)
        value = metrics(
            AUROCS[Cell.parse(name).method] if name.endswith("s0") else
            {**AUROCS, "dra": 0.9}[Cell.parse(name).method],
            scores_sha256=sha256_bytes(scores.encode()),
        )  # fmt: skip
        write(folder / "metrics" / f"{name}.json", json.dumps(value))
    write(tmp_path / "request.json", json.dumps(request_value(CELLS, results=str(folder))))
    return folder


def make(source: list[str], folder: Path, *options: str) -> None:
    file = str(folder / "cells.csv")
    assert cells.main([*source, "--output", file, *options]) == [Path(file)]
    inputs = ["--cells", file, "--published", str(FOLDER)]
    written = tables.main([*source, *inputs, "--output", str(folder)])
    assert {path.name for path in written} == OUTPUTS - {"cells.csv"}


def run_step(results: Path, *options: str, output: str = "tables") -> Path:
    folder = results.parent / output
    make(["--request", str(results.parent / "request.json")], folder, *options)
    return folder


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return {row["cell"]: row for row in rows}


def change_metrics(results: Path, name: str, **changes: object) -> None:
    path = results / "metrics" / f"{name}.json"
    write(path, json.dumps({**json.loads(path.read_text()), **changes}))


def test_step_writes_all_tables(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_step(results)
    assert {path.name for path in folder.iterdir()} == OUTPUTS
    dra = read_rows(folder / "summary.csv")["elpv/all/general-m10/dra"]
    assert dra["auroc_mean"] == repr(statistics.fmean([0.8, 0.9]))
    assert dra["auroc_std"] == repr(statistics.stdev([0.8, 0.9]))
    assert (dra["n_seeds"], dra["published_mean"], dra["published_std"]) == ("2", "0.845", "0.013")
    cells = read_rows(folder / "cells.csv")
    assert list(cells) == CELLS
    assert {row["status"] for row in cells.values()} == {"ok"}
    tree = json.loads((folder / "metrics.json").read_text())
    assert tree["elpv"]["all"]["general-m10"]["constant"] == {"auroc_mean": 0.5, "auroc_std": 0.0}
    assert re.search(
        r"general-m10/dra +2 +0\.850 ± 0\.071 +0\.845 ± 0\.013", capsys.readouterr().out
    )
    for path in folder.iterdir():
        assert str(results.parent) not in path.read_text(encoding="utf-8")


def test_step_gives_equal_bytes_for_another_order_of_cells(results: Path) -> None:
    first = run_step(results, output="first")
    value = request_value(CELLS[::-1], results=str(results))
    write(results.parent / "request.json", json.dumps(value))
    second = run_step(results, output="second")
    for name in OUTPUTS:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_wrong_control_stops_before_anything_is_written(results: Path) -> None:
    change_metrics(results, CELLS[2], auroc=0.999)
    with pytest.raises(CheckError, match=r"true_labels/s0: AUROC is 0\.999, must be 1\.0"):
        run_step(results)
    assert not (results.parent / "tables").exists()


def test_a_wrong_control_is_shown_in_partial_tables(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_metrics(results, CELLS[2], auroc=0.999)
    folder = run_step(results, "--partial")
    assert "warning: control elpv/all/general-m10/true_labels/s0" in capsys.readouterr().err
    assert "WRONG CONTROL" in (folder / "general.md").read_text(encoding="utf-8")


def test_metrics_of_other_scores_are_refused(results: Path) -> None:
    write(results / "scores" / f"{CELLS[1]}.csv", "changed\n")
    with pytest.raises(CheckError, match=rf"{CELLS[1]}\.json: not computed from"):
        run_step(results)
    (results / "scores" / f"{CELLS[1]}.csv").unlink()
    with pytest.raises(DataError, match=rf"{CELLS[1]}\.csv: cannot be read"):
        run_step(results)


def test_missing_metrics_are_an_error_without_partial(results: Path) -> None:
    (results / "metrics" / f"{CELLS[0]}.json").unlink()
    with pytest.raises(DataError, match=rf"{CELLS[0]}\.json: is missing; run the cell"):
        run_step(results)
    record = json.dumps({"step": "train", "reason": "loss is nan"})
    write(results / "failures" / f"{CELLS[0]}.json", record)
    with pytest.raises(DataError, match=r"is missing \(train: loss is nan\)"):
        run_step(results)


@pytest.mark.parametrize(
    ("records", "status", "reason"),
    [
        ([], "skipped", NOT_RUN),
        ([f"{CELLS[0]}.json"], "failed", "first: why"),
        (["splits/elpv/all/general-m10/s0.json"], "failed", "first: why"),
        (["features/elpv/all/plain.json"], "failed", "first: why"),
        ([f"{CELLS[0]}.json", "features/elpv/all/plain.json"], "failed", "first: why"),
        (["splits/elpv/all/general-m10/s1.json"], "skipped", NOT_RUN),
    ],
)
def test_partial_tables_give_the_reason(
    results: Path, records: list[str], status: str, reason: str
) -> None:
    (results / "metrics" / f"{CELLS[0]}.json").unlink()
    for step, record in zip(("first", "second"), records, strict=False):
        value = {"step": step, "reason": "why", "error": "DataError"}
        write(results / "failures" / record, json.dumps(value))
    folder = run_step(results, "--partial")
    row = read_rows(folder / "cells.csv")[CELLS[0]]
    assert (row["status"], row["reason"], row["auroc"]) == (status, reason, "")
    summary = read_rows(folder / "summary.csv")["elpv/all/general-m10/dra"]
    assert (summary["n_seeds"], summary["auroc_mean"], summary["auroc_std"]) == ("1", "0.9", "")
    assert f"- [1] {status}: {reason}" in (folder / "general.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("record", "status", "reason"),
    [
        ("weights.json", "failed", "first: why"),
        ("fetch/elpv.json", "failed", "first: why"),
        ("fetch/sdd.json", "skipped", NOT_RUN),
    ],
)
def test_failures_of_what_all_grids_share_are_the_reason_too(
    results: Path, monkeypatch: pytest.MonkeyPatch, record: str, status: str, reason: str
) -> None:
    (results / "metrics" / f"{CELLS[0]}.json").unlink()
    monkeypatch.setattr(cells, "DATA_FAILURES", results / "shared")
    value = {"step": "first", "reason": "why", "error": "DataError"}
    write(results / "shared" / record, json.dumps(value))
    row = read_rows(run_step(results, "--partial") / "cells.csv")[CELLS[0]]
    assert (row["status"], row["reason"]) == (status, reason)


def test_the_names_of_missing_data_and_of_the_place_of_its_record_are_the_fetch_s_own() -> None:
    assert cells.MISSING_DATA == MissingData.__name__
    rules = (Path(__file__).parents[4] / "workflow/rules/data.smk").read_text(encoding="utf-8")
    assert f"--failure {cells.DATA_FAILURES}/fetch/{{wildcards.dataset}}.json" in rules
    assert f"--failure {cells.DATA_FAILURES}/weights.json" in rules


def test_cells_of_a_data_set_that_a_person_has_to_get_are_skipped(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (results / "metrics" / f"{CELLS[0]}.json").unlink()
    monkeypatch.setattr(cells, "DATA_FAILURES", results / "shared")
    missing = {"step": "fetch", "reason": "get it there", "error": "MissingData"}
    write(results / "shared/fetch/elpv.json", json.dumps(missing))
    offline = {"step": "weights", "reason": "no network", "error": "DataError"}
    write(results / "shared/weights.json", json.dumps(offline))
    folder = run_step(results, "--partial")
    row = read_rows(folder / "cells.csv")[CELLS[0]]
    assert (row["status"], row["reason"]) == ("skipped", "fetch: get it there")
    assert "- [1] skipped: fetch: get it there" in (folder / "general.md").read_text("utf-8")


def test_a_damaged_record_of_a_failure_is_an_error(results: Path) -> None:
    (results / "metrics" / f"{CELLS[0]}.json").unlink()
    write(results / "failures" / f"{CELLS[0]}.json", '{"step": "train"}')
    with pytest.raises(DataError, match="is not a record of a failure"):
        run_step(results, "--partial")


def test_a_grid_as_text_or_file_gives_the_same_bytes_as_its_cells(results: Path) -> None:
    request = json.loads((results.parent / "request.json").read_text())
    grid = {name: request[name] for name in ("results", "notes", "datasets")} | {
        "seeds": [0, 1],
        "protocols": {"elpv/all": ["general-m10"]},
        "methods": [
            {
                "name": name,
                "settings": ["general"],
                "control": name != "dra",
                "backbone": "lite0",
            }
            for name in AUROCS
        ],
    }
    expected = run_step(results)
    write(results.parent / "grid.json", json.dumps(grid))
    for number, source in enumerate([json.dumps(grid), str(results.parent / "grid.json")]):
        folder = results.parent / f"grid{number}"
        make(["--grid", source], folder)
        for name in OUTPUTS:
            assert (folder / name).read_bytes() == (expected / name).read_bytes()


def test_a_grid_that_is_not_json_is_refused(results: Path) -> None:
    for source, error in [("{nonsense", ConfigError), (str(results / "none.json"), DataError)]:
        with pytest.raises(error):
            make(["--grid", source], results)


def test_cells_of_another_grid_are_refused(results: Path) -> None:
    folder = run_step(results)
    value = request_value(CELLS[:-1], results=str(results))
    write(results.parent / "request.json", json.dumps(value))
    source = ["--request", str(results.parent / "request.json"), "--published", str(FOLDER)]
    inputs = ["--cells", str(folder / "cells.csv"), "--output", str(folder)]
    with pytest.raises(DataError, match=r"cells\.csv: holds the cells of another grid"):
        tables.main([*source, *inputs])


def test_a_number_that_is_none_is_named_with_its_line(results: Path) -> None:
    file = run_step(results) / "cells.csv"
    file.write_text(file.read_text().replace("0.9", "nine", 1))
    source = ["--request", str(results.parent / "request.json"), "--published", str(FOLDER)]
    with pytest.raises(DataError, match=r"cells\.csv, line 2: could not convert"):
        tables.main([*source, "--cells", str(file), "--output", str(results)])
