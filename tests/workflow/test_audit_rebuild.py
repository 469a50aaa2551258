"""A cell made again from the raw data, and what git knows of changes."""

from __future__ import annotations

import json

import pytest
from auditing import CELL, audit, needed, nudged, rebuilt, with_fields
from projects import PARAMS, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CHEAP = "tiny/all/normal-m0/mean_intensity/s0"
"""A cell without a network, whose rebuild takes seconds."""


@pytest.fixture
def repository(project: Project) -> Project:
    """A finished project in a git repository."""
    project.run("git", "init", "--quiet").check()
    project.commit("A run")
    return project


def test_rebuild_gives_equal_bytes_and_only_what_the_cell_needs(repository: Project) -> None:
    outcome = audit(repository, "verify", CELL, "--rebuild").check()
    assert rebuilt(outcome.output) == needed(CELL)
    assert outcome.output.count(": run ") == 1
    assert not list((repository.root / ".osad").glob("rebuild-*"))
    assert repository.run("git", "status", "--porcelain").check().output == ""


@pytest.mark.long
def test_rebuild_names_the_first_artefact_that_differs(repository: Project) -> None:
    cell = "tiny/all/general-m10/devnet/s1"
    changed = json.loads(json.dumps(PARAMS))
    changed["methods"]["devnet"]["lr"] = 0.002
    repository.write_params(changed)
    outcome = audit(repository, "verify", cell, "--rebuild")
    assert outcome.code == 1
    outcome.refused(
        "note: params.yaml: has uncommitted changes; the rebuild uses them",
        f"osad audit: results/checkpoints/{cell}.safetensors: differs from the ledger (rebuilt",
    )
    # The recorded commit still gives the number.
    commit = repository.run("git", "rev-parse", "HEAD").check().output.strip()
    audit(repository, "verify", cell, "--rebuild", "--commit", commit).check()


def test_rebuild_names_what_was_edited_here(repository: Project) -> None:
    scores, summary = f"results/scores/{CHEAP}.csv", "results/tables/summary.csv"
    group = CHEAP.removesuffix("/s0")
    for path, row, column in [(scores, ",dent,", "score"), (summary, group, "auroc_mean")]:
        file = repository.root / path
        text = file.read_text(encoding="utf-8")
        file.write_text(with_fields(text, row, {column: nudged}), encoding="utf-8")
    outcome = audit(repository, "verify", CHEAP, "--rebuild")
    assert outcome.code == 1
    outcome.refused(
        f"osad audit: {scores}: the file here differs from the ledger (",
        f"\n{summary}: the file here differs from the ledger (",
        f"\n{summary}: auroc_mean of {group} is '",
    )
    # What was made again is right, and nothing else is said of it.
    assert f"equal: {scores}\n" in outcome.output
    assert f"equal: results/metrics/{CHEAP}.json\n" in outcome.output
    assert outcome.output.count("differs from the ledger") == 2


def test_verify_tells_of_uncommitted_sources(repository: Project) -> None:
    with (repository.root / "src/osad/methods/dra.py").open("a") as stream:
        stream.write("EDITED = True\n")
    outcome = audit(repository, "verify", CELL).check()
    assert "note: src/osad/methods/dra.py: has uncommitted changes" in outcome.output
    outcome = audit(repository, "verify", "tiny/all/general-m10/dra/s0")
    assert outcome.code == 1
    assert "src/osad/methods/dra.py: differs from the code that made" in outcome.output
