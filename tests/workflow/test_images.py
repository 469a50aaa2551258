"""A grid whose methods are trained on images: equal bytes, audit, prediction, and failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import Any

import pytest
from projects import SMALL, Project, params

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.long]

STEPS = {"epochs": 1, "iterations": 2, "batch": 6}
CELL = "tiny/all/general-m10/dra.images/s0"
LONG = "tiny/all/general-m10/devnet.images/s0"
HEADS = "tiny/all/general-m10/dpdl.images/s0"
FAILED = "tiny/all/general-m10/flos.images/s0"
LARGE = "tiny/all/general-m10/mlep.images/s0"


def grid() -> dict[str, Any]:
    """Return one split, a method of each kind, and two that fail: not finite, and too large."""
    own = {
        "dra.images": STEPS | {"residual_width": 8},
        "ahl.images": {"epochs": 1, "batch": 9, "views": 1},
        "dpdl.images": STEPS | {"codebook_samples": 50, "prototypes": 4, "keep": "heads"},
        "devnet.images": STEPS | {"epochs": 4},
        "flos.images": STEPS | {"lr": 1e30, "epochs": 3},
        "mlep.images": STEPS | {"batch": 600_000},
    }
    return params(**SMALL, methods=[*own]) | {"methods": own, "figures": []}


def test_methods_trained_on_images_from_the_images_to_a_prediction(fresh: Project) -> None:
    fresh.write_params(grid())
    fresh.run("git", "init", "--quiet").check()
    fresh.commit("A grid")
    assert fresh.snakemake(cores=2).code != 0  # Two runs fail, the others go on.
    rows = fresh.cell_rows()
    states = {cell: row["status"] for cell, row in rows.items()}
    assert states.pop(FAILED) == "failed"
    assert "run: loss is" in rows[FAILED]["reason"]
    assert states.pop(LARGE) == "failed"
    assert "run: a step on 600000 images of 64 x 64 pixels: needs" in rows[LARGE]["reason"]
    assert len(states) == 4
    assert {*states.values()} == {"ok"}
    packs = (fresh.root / "results/features").rglob("*.safetensors")
    names = sorted(path.stem for path in packs)
    assert names == ["images", "masks"]  # Nothing of a frozen backbone is cached.
    assert not [*(fresh.root / ".osad/training").rglob("*.safetensors")]
    log = (fresh.root / f"results/logs/run/{LONG}.log").read_text(encoding="utf-8")
    assert "training: epoch 4/4, " in log

    # An interruption after the first epoch, then one core and no fork server: equal bytes.
    before = fresh.outputs()
    mine = {path: digest for path, digest in before.items() if LONG in path}
    kept = fresh.root / f".osad/training/results/checkpoints/{LONG}.safetensors"
    target = f"results/scores/{LONG}.csv"
    for path in mine:
        (fresh.root / path).unlink()
    command = ["snakemake", target, "--cores", "1"]
    environment = fresh.environment() | {"OSAD_FORK_SERVER": "0"}
    process = subprocess.Popen(
        command, cwd=fresh.root, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not kept.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while [*fresh.processes()]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert kept.exists()
    shutil.rmtree(fresh.root / ".snakemake/locks", ignore_errors=True)
    outcome = fresh.snakemake(target, "--rerun-incomplete", cores=1, server=False).check()
    assert "training: goes on after epoch" in outcome.output
    assert not kept.exists()
    fresh.snakemake("metrics_all", cores=1)
    after = fresh.outputs()
    assert {path: after.get(path) for path in mine} == mine

    fresh.run("osad", "audit", "record").check()
    told = fresh.run("osad", "audit", "explain", CELL).check().output
    assert "tf_efficientnet_lite0-64/images.safetensors" in told
    assert "efficientnet-lite0-57934424.pth" in told
    outcome = fresh.run("osad", "audit", "verify", CELL, HEADS, "--rebuild").check()
    assert f"equal: results/scores/{HEADS}.csv" in outcome.output

    images = "data/raw/tiny/test/dent"
    fresh.run("osad", "predict", CELL, images, "--output", "out").check()
    run, found = (
        {row["sha256"]: row["score"] for row in fresh.rows(path)}
        for path in (f"results/scores/{CELL}.csv", "out/scores.csv")
    )
    known = found.keys() & run.keys()
    assert known
    assert {digest: found[digest] for digest in known} == {digest: run[digest] for digest in known}
    assert [*(fresh.root / "out/maps").rglob("*.png")]
    outcome = fresh.run("osad", "predict", HEADS, images, "--output", "none")
    assert outcome.code == 2
    outcome.refused("holds the heads alone", "set the method's hyper-parameter keep to all")
