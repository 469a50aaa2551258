"""What is said of cells without a number: the nearest failure on their way."""

from __future__ import annotations

from pathlib import Path

import pytest
from project_cases import rules_of

from osad.core.files import write_json, write_text
from osad.pipeline.failures import Failure, failures, of_cells
from osad.pipeline.jobs import jobs, makers

RULES = rules_of(
    methods=("ahl", "dra", "patchcore", "random"), seeds=(0,), shots=(1,),
    settings=("general", "normal"),
)  # fmt: skip
JOBS = jobs(RULES)
DEEP = "results/features/elpv/all/tf_efficientnet_lite0-224"
CELLS = {
    f"elpv/all/{protocol}/{method}/s0"
    for protocol, methods in (("general-m1", "ahl dra patchcore"), ("normal-m0", "patchcore"))
    for method in (*methods.split(), "random")
}


def fail(path: str, reason: str = "bad", error: str = "DataError") -> None:
    """Leave the record of the failure of the job that makes a file."""
    record = {"step": "x", "reason": reason, "error": error}
    write_json(makers(JOBS)[path].failure, record)


def told() -> dict[str, tuple[str, str]]:
    """Return status and reason by cell."""
    return {str(c): f[1:] for c, f in of_cells(RULES.grid, JOBS, failures(JOBS)).items()}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def like(*parts: str) -> set[str]:
    return {cell for cell in CELLS if any(part in cell for part in parts)}


@pytest.mark.parametrize(
    ("path", "cells"),
    [
        ("results/metrics/elpv/all/general-m1/patchcore/s0.json", like("m1/patchcore")),
        ("results/scores/elpv/all/normal-m0/patchcore/s0.csv", like("patchcore")),
        ("results/checkpoints/elpv/all/general-m1/dra/s0.safetensors", like("dra", "ahl")),
        ("results/splits/elpv/all/general-m1/s0.csv", like("general-m1")),
        ("results/splits/elpv/all/normal-m0/s0.csv", like("normal-m0", "patchcore")),
        (f"{DEEP}/cutmix.safetensors", like("ahl")),
        ("results/features/elpv/all/masks.safetensors", like("dra", "ahl", "patchcore")),
        (RULES.grid.weights, like("dra", "ahl", "patchcore")),
        ("data/manifests/elpv.csv", CELLS),
        ("results/tables/cells.csv", set()),
    ],
)
def test_a_failure_concerns_all_cells_that_depend_on_it(path, cells):
    fail(path)
    assert told() == dict.fromkeys(cells, ("failed", "x: bad"))


def test_the_nearest_failure_counts_but_missing_data_most():
    fail("results/scores/elpv/all/normal-m0/patchcore/s0.csv", "loss is nan")
    fail(f"{DEEP}/plain.safetensors", "no disk")
    assert told() == {
        cell: ("failed", "x: loss is nan" if "patchcore" in cell else "x: no disk")
        for cell in like("patchcore", "dra", "ahl")
    }
    fail("data/raw/elpv/SOURCE.json", "see page", "MissingData")
    assert told() == dict.fromkeys(CELLS, ("skipped", "x: see page"))


def test_failures_have_the_name_of_the_cell_or_of_the_file():
    scores, plain = "results/scores/elpv/all/general-m1/dra/s0.csv", f"{DEEP}/plain.safetensors"
    fail(scores, "no")
    fail(plain)
    write_text(".osad/failures/results/scores/visa/candle/x.csv.json", "of an earlier grid")
    cell = "elpv/all/general-m1/dra/s0"
    assert list(failures(JOBS).values()) == [  # In the pipeline's order.
        Failure(plain, "failed", "x: bad"), Failure(cell, "failed", "x: no"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"step": "x"}'])
def test_a_damaged_record_is_a_failure_too(text):
    path = Path(next(iter(JOBS)).failure)
    write_text(path, text)
    assert list(failures(JOBS).values()) == [
        Failure("data/raw/elpv/SOURCE.json", "failed", f"unknown; see {path}")
    ]
