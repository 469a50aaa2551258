"""What is told to be stale, and of two commits what changed, by real runs."""

from __future__ import annotations

import copy
import json
import re

import pytest
from expected import append
from projects import PARAMS, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

HYPER = copy.deepcopy(PARAMS)
HYPER["methods"]["patchcore"]["coreset"] = 10
CAUSE = "methods.patchcore.coreset: 20 -> 10"


def told(project: Project) -> dict[str, int]:
    """Return the number of stale jobs by rule, as ``osad status`` says."""
    outcome = project.run("osad", "status")
    if outcome.code == 0:
        assert "everything is there" in outcome.output
        return {}
    assert outcome.code == 1, outcome.output
    (counts,) = re.findall(r"jobs are stale: (.+)$", outcome.output, re.MULTILINE)
    return {rule: int(number) for rule, number in re.findall(r"(\w+) (\d+)", counts)}


@pytest.mark.long
def test_what_is_stale_is_what_snakemake_would_make(project: Project) -> None:
    assert told(project) == project.dry_run()[0] == {}
    (project.root / "results/tables/hard.tex").unlink()
    assert told(project) == project.dry_run()[0]
    append(project.root / "results/scores/tiny/all/normal-m0/random/s0.csv", "edited")
    assert told(project) == project.dry_run()[0]
    project.write_params(HYPER)
    assert told(project) == project.dry_run()[0]
    append(project.root / "src/osad/pipeline/steps/features.py", "EDITED = True\n")
    assert told(project) == project.dry_run()[0]
    (project.root / "data/raw/tiny/SOURCE.json").unlink()
    assert told(project) == project.dry_run()[0]


def test_what_changed_between_two_runs_is_named_exactly(project: Project) -> None:
    project.run("git", "init", "--quiet").check()
    project.commit("before")
    before = project.cell_rows()
    project.write_params(HYPER)
    project.snakemake().check()
    project.commit("after")
    changed = {cell for cell, row in project.cell_rows().items() if row != before[cell]}
    assert changed
    assert all("/patchcore/" in cell for cell in changed)
    output = project.run("osad", "diff", "HEAD~1", "HEAD", "--json").check().output
    rows = json.loads(output)["changes"]
    assert {row["cell"] for row in rows if row["table"].endswith("/cells.csv")} == changed
    means = {row["cell"] for row in rows if row["table"].endswith("/summary.csv")}
    assert all(mean.endswith("/patchcore") for mean in means)
    assert {cause for row in rows for cause in row["causes"]} == {CAUSE}
