"""The jobs that a change must lead to, by rule and by message."""

from __future__ import annotations

from pathlib import Path

from projects import METHODS, PROTOCOLS, SEEDS, WITH_MAPS, Project, cells, run_of

Plan = tuple[dict[str, int], set[str]]
NOTHING: Plan = ({}, set())
STEPS = ("run", "metrics")
PACKS = {
    "mean_intensity": {"pixels"},
    "mahalanobis": {"plain"},
    "patchcore": {"plain"},
    "mahalanobis_lda": {"plain"},
    "devnet": {"plain", "rotated"},
    "dra": {"plain", "rotated", "pseudo"},
    "ahl": {"plain", "rotated", "pseudo", "cutmix", "draem"},
    "dpdl": {"plain", "rotated", "pseudo"},
}
"""Feature packs by method that reads any."""
NETWORK = "tf_efficientnet_lite0-64"
NETWORK_JOBS = {
    f"pack tiny/all/{NETWORK}/{pack}" for pack in ("plain", "rotated", "pseudo", "cutmix", "draem")
}
FEATURE_JOBS = {"pixels tiny/all/pixels", "masks tiny/all/masks"} | NETWORK_JOBS
SPLITS = {f"tiny/all/{protocol}/s{seed}" for protocol in PROTOCOLS for seed in SEEDS}

TABLES = {"cells", "comparison", "table", "figure", "report_assets", "report_page"}
"""Jobs that read all cells."""
REPORT_IMAGES = {"report_images tiny/all"}
"""The job that reads the manifest and all splits."""


def jobs_of(*steps: str, of: set[str]) -> set[str]:
    """Return the messages of the jobs of some steps, one for each cell, its run, or a split."""
    return {f"{step} {run_of(name) if step == 'run' else name}" for step in steps for name in of}


def plan(jobs: set[str]) -> Plan:
    """Return what a dry run says of some jobs; their messages begin with their rules."""
    rules: dict[str, int] = {}
    for job in jobs:
        rule = job.split()[0]
        rules[rule] = rules.get(rule, 0) + 1
    return rules, jobs


def of_cells(names: set[str], *, first: str = "run") -> set[str]:
    """Return the jobs of cells from a step on, and those of tables, figures and page."""
    return jobs_of(*STEPS[STEPS.index(first) :], of=names) | report_cells(names) | TABLES


def report_cells(names: set[str]) -> set[str]:
    """Return the jobs that show cells on the page, one for all seeds."""
    return {f"report_cell {name.rpartition('/')[0]}" for name in names}


def read_by(pack: str) -> set[str]:
    """Return the cells that read a feature pack."""
    return cells(methods=[name for name in METHODS if pack in PACKS.get(name, set())])


def append(path: Path, text: str) -> None:
    """Add text to a file."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def edit_manifest(project: Project) -> None:
    """Give one image of the manifest another defect class."""
    path = project.root / "data/manifests/tiny.csv"
    text = path.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "test/dent/003.png" in line)
    edited = line.replace(",dent,", ",scratch,")
    assert edited != line
    path.write_text(text.replace(line, edited), encoding="utf-8")


ONE = "tiny/all/general-m1/dpdl/s1"
_RUN = "tiny/all/hard-scratch-m1/dpdl/s0"
_SCORED = "tiny/all/general-m10/dpdl/s0"
_MAPPED = "tiny/all/hard-scratch-m10/devnet/s1"
_BASE = "tiny/all/general-m1/dra/s0"
_SPLIT = cells(protocols=["hard-dent-m1"], seeds=[1])
_NETWORK = f"results/features/tiny/all/{NETWORK}"
_WEIGHTS = "data/weights/efficientnet-lite0-57934424.pth"
AFTER_MANIFEST = FEATURE_JOBS | REPORT_IMAGES | jobs_of("split", of=SPLITS) | of_cells(cells())
"""Jobs that read the manifest, and all that follows."""

DELETIONS: dict[str, tuple[str, set[str]]] = {
    # Cells of their own for each kind, so that many of these can be told apart in one dry run.
    "metrics": (f"results/metrics/{ONE}.json", of_cells({ONE}, first="metrics")),
    "scores": (f"results/scores/{_SCORED}.csv", of_cells({_SCORED})),
    "maps": (f"results/maps/{_MAPPED}.safetensors", of_cells({_MAPPED})),
    "checkpoint": (f"results/checkpoints/{_RUN}.safetensors", of_cells({_RUN})),
    "empty-maps": (
        "results/maps/tiny/all/general-m1/true_labels/s0.safetensors",
        of_cells({"tiny/all/general-m1/true_labels/s0"}),
    ),
    "checkpoint-of-all-protocols": (
        "results/checkpoints/tiny/all/normal-m0/patchcore/s0.safetensors",
        of_cells(cells(methods=["patchcore"], seeds=[0])),
    ),
    "checkpoint-of-a-base": (
        f"results/checkpoints/{_BASE}.safetensors",
        # AHL starts from the checkpoints of DRA.
        of_cells({_BASE, _BASE.replace("/dra/", "/ahl/")}),
    ),
    "report-cell": (
        "results/report/cells/tiny/all/general-m10/random.js",
        {"report_cell tiny/all/general-m10/random"},
    ),
    "report-images": ("results/report/manifests/tiny/all.js", REPORT_IMAGES),
    "split": (
        "results/splits/tiny/all/hard-dent-m1/s1.csv",
        {"split tiny/all/hard-dent-m1/s1"}
        | REPORT_IMAGES
        | of_cells(_SPLIT, first="metrics")
        | jobs_of("run", of={cell for cell in _SPLIT if run_of(cell) == cell}),
    ),
    "pixels": (
        "results/features/tiny/all/pixels.safetensors",
        {"pixels tiny/all/pixels"} | of_cells(read_by("pixels")),
    ),
    "masks": (
        "results/features/tiny/all/masks.safetensors",
        {"masks tiny/all/masks"} | of_cells(cells(methods=sorted(WITH_MAPS)), first="metrics"),
    ),
    **{
        pack: (
            f"{_NETWORK}/{pack}.safetensors",
            {f"pack tiny/all/{NETWORK}/{pack}"} | of_cells(read_by(pack)),
        )
        for pack in ("plain", "rotated", "pseudo")
    },
    "weights": (
        _WEIGHTS,
        {f"weights {Path(_WEIGHTS).name}"} | NETWORK_JOBS | of_cells(read_by("plain")),
    ),
    "manifest": ("data/manifests/tiny.csv", {"manifest tiny"} | AFTER_MANIFEST),
    "raw-data": ("data/raw/tiny/SOURCE.json", {"fetch tiny", "manifest tiny"} | AFTER_MANIFEST),
    "cells": ("results/tables/cells.csv", TABLES),
    "rates": ("results/tables/rates.csv", TABLES),
    "comparison": ("results/tables/comparison.csv", TABLES - {"cells"}),
    "summary": ("results/tables/summary.csv", {"table"}),
    "numbers": ("results/tables/metrics.json", {"table"}),
    "table": ("results/tables/hard.tex", {"table"}),
    "figure": ("results/figures/methods.svg", {"figure", "report_assets"}),
    "asset": ("results/report/assets/style.css", {"report_assets"}),
    "page": ("results/report/index.html", {"report_page"}),
}
"""By kind of artefact, one file and the jobs that follow when it is deleted."""


def told_by(kind: str) -> set[str]:
    """Return the jobs that tell a deletion from others; nearly all lead to those of the tables."""
    jobs = DELETIONS[kind][1]
    return jobs - TABLES or jobs


def independent() -> list[list[str]]:
    """Return all kinds in groups whose deletions one dry run tells apart.

    No job that tells one deletion is a job of another, so their union shows each of them.
    """
    groups: list[list[str]] = []
    for kind, (_, jobs) in DELETIONS.items():
        for group in groups:
            if not any(
                told_by(kind) & DELETIONS[other][1] or told_by(other) & jobs for other in group
            ):
                group.append(kind)
                break
        else:
            groups.append([kind])
    return groups
