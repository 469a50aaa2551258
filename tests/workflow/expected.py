"""The jobs that a change must lead to, by rule and by message."""

from __future__ import annotations

from pathlib import Path

from projects import (
    METHODS,
    PROTOCOLS,
    SEEDS,
    WITH_MAPS,
    Project,
    cells,
    jobs_of,
    method_of,
)

Plan = tuple[dict[str, int], set[str]]
NOTHING: Plan = ({}, set())
STEPS = ("train", "score", "metrics")
PACKS = {
    "mean_intensity": {"pixels"},
    "mahalanobis": {"plain"},
    "patchcore": {"plain"},
    "wt_flow": {"plain"},
    "mahalanobis_lda": {"plain"},
    "devnet": {"plain", "rotated"},
    "dra": {"plain", "rotated", "pseudo"},
    "ahl": {"plain", "rotated", "pseudo", "cutmix", "draem"},
    "dpdl": {"plain", "rotated", "pseudo"},
}
"""Feature packs by method that reads any."""
NETWORK_JOBS = {
    f"features {pack} tiny/all" for pack in ("plain", "rotated", "pseudo", "cutmix", "draem")
}
FEATURE_JOBS = {"pixel statistics tiny/all", "masks tiny/all"} | NETWORK_JOBS
SPLITS = {f"tiny/all/{protocol}/s{seed}" for protocol in PROTOCOLS for seed in SEEDS}


TABLES = {"cells", "tables", "figures", "report assets", "report page"}
"""Jobs that read all cells."""
TEXTS = TABLES - {"cells"}
"""Jobs that a change of how tables are written leads to."""
REPORT_IMAGES = {"report images tiny/all"}
"""The job that reads the manifest and all splits."""


def plan(jobs: set[str]) -> Plan:
    """Return what a dry run says of some jobs."""
    names = {"pixel": "pixels", "features": "pack", "tables": "table", "figures": "figure"}
    rules: dict[str, int] = {}
    for job in jobs:
        word = job.split()[0]
        rule = names.get(word, word)
        if rule in ("score", "share") and method_of(job.split()[1]) in WITH_MAPS:
            rule += "_maps"
        if rule == "report":
            rule += f"_{job.split()[1]}"
        rules[rule] = rules.get(rule, 0) + 1
    return rules, jobs


def of_cells(names: set[str], *, first: str = "train") -> set[str]:
    """Return the jobs of cells from a step on, and those of tables, figures and page."""
    return jobs_of(*STEPS[STEPS.index(first) :], of=names) | report_cells(names) | TABLES


def report_cells(names: set[str]) -> set[str]:
    """Return the jobs that show cells on the page, one for all seeds."""
    return {f"report cell {name.rpartition('/')[0]}" for name in names}


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
