"""From a clone to a complete project: pull, adopt, and what a change then makes run."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from auditing import needed, rebuilt
from expected import (
    AFTER_MANIFEST,
    DELETIONS,
    NOTHING,
    ONE,
    REPORT_IMAGES,
    Plan,
    append,
    edit_manifest,
    independent,
    jobs_of,
    of_cells,
    plan,
    report_cells,
)
from projects import (
    METHODS,
    PARAMS,
    PLAIN_METHODS,
    PROTOCOLS,
    SEEDS,
    SMALL,
    Outcome,
    Project,
    cells,
    params,
)

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def audit(project: Project, *arguments: str) -> str:
    """Run ``osad audit`` in a project and return what it prints."""
    return project.run(sys.executable, "-m", "osad.cli", "audit", *arguments).check().output


def publish(project: Project, remote: str) -> None:
    """Save, commit and push a finished project, as a user does."""
    project.run("git", "init", "--quiet").check()
    project.run("dvc", "remote", "add", "--default", "store", remote).check()
    audit(project, "save")
    project.commit("A run")
    project.run("dvc", "push").check()


@pytest.fixture(scope="module")
def published(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A finished project, committed, with its data in a remote folder; not to be changed."""
    root = tmp_path_factory.mktemp("published")
    project = finished.copy(root / "project")
    publish(project, str(root / "store"))
    yield project
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def published_small(
    plain_run: tuple[Project, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """The same of one split, for tests that run it again; not to be changed."""
    root = tmp_path_factory.mktemp("published_small")
    project = plain_run[0].copy(root / "project")
    publish(project, str(root / "store"))
    yield project
    shutil.rmtree(root)


def clone(project: Project, root: Path) -> Project:
    """Clone a project as git gives it."""
    project.run("git", "clone", "--quiet", str(project.root), str(root)).check()
    return Project(root)


LINKS = ["symlink", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("copy", "hardlink"))]


@pytest.fixture(scope="module", params=LINKS)
def pulled(
    request: pytest.FixtureRequest, published: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A clone whose data DVC has linked in each of the ways it can; tests put back all changes."""
    root = tmp_path_factory.mktemp(request.param)
    project = clone(published, root / "project")
    project.run("dvc", "config", "--local", "cache.type", request.param).check()
    project.run("dvc", "pull").check()
    link = project.root / f"results/checkpoints/{ONE}.safetensors"
    assert link.is_symlink() == (request.param == "symlink")
    assert (link.stat().st_nlink > 1) == (request.param == "hardlink")
    output = project.run("snakemake", "--dry-run").check().output
    assert "Nothing to be done" in output
    assert "outputs that are what the ledger says" in output
    yield project
    shutil.rmtree(root)


def test_a_pulled_clone_has_nothing_to_do(pulled: Project) -> None:
    # The second start has nothing to adopt any more.
    assert "adopted" not in pulled.run("snakemake", "--dry-run").check().output
    assert "up to date" in pulled.run("dvc", "status").check().output
    assert pulled.run("git", "status", "--porcelain").check().output == ""
    assert "nothing new" in audit(pulled, "record")
    assert audit(pulled, "verify", "--all").startswith("verified everything in the ledger")


def parameter(project: Project) -> Plan:
    """Change one hyper-parameter."""
    changed = copy.deepcopy(PARAMS)
    changed["methods"]["dpdl"]["margin"] = 0.2
    project.write_params(changed)
    return plan(of_cells(cells(methods=["dpdl"])))


def source(project: Project) -> Plan:
    """Change one source file."""
    append(project.root / "src/osad/methods/mahalanobis_lda.py", "EDITED = True\n")
    return plan(of_cells(cells(methods=["mahalanobis_lda"])))


def manifest(project: Project) -> Plan:
    """Change one line of the manifest."""
    edit_manifest(project)
    return plan(AFTER_MANIFEST)


def seed(project: Project) -> Plan:
    """Add a seed."""
    project.write_params(params(seeds=[*SEEDS, 2]))
    new = {f"tiny/all/{protocol}/s2" for protocol in PROTOCOLS}
    shown = report_cells(cells()) | REPORT_IMAGES
    return plan(jobs_of("split", of=new) | of_cells(cells(seeds=[2])) | shown)


def method(project: Project) -> Plan:
    """Add a method."""
    project.write_params(params(methods=[*METHODS, "dpdl.no_dfl"]))
    return plan(of_cells(cells(methods=["dpdl.no_dfl"])))


# What is planned does not depend on how DVC links, so one way serves here and another below.
@pytest.mark.parametrize("pulled", ["copy"], indirect=True, scope="module")
@pytest.mark.parametrize("change", [parameter, source, manifest, seed, method])
def test_a_change_in_a_clone_runs_exactly_what_depends_on_it(
    pulled: Project, change: Callable[[Project], Plan]
) -> None:
    try:
        wanted = change(pulled)
        assert pulled.dry_run() == wanted
    finally:
        pulled.run("git", "checkout", "--quiet", "--", ".").check()


@pytest.mark.parametrize("pulled", ["symlink"], indirect=True, scope="module")
# That all kinds are, test_reruns.py shows; here are those of git, of DVC's outputs, and of neither.
@pytest.mark.parametrize("kinds", [*independent()[:2], ["weights"], ["raw-data"]], ids=" ".join)
def test_files_deleted_in_a_clone_are_made_again(pulled: Project, kinds: list[str]) -> None:
    with pulled.without(*(DELETIONS[kind][0] for kind in kinds)):
        assert pulled.dry_run() == plan(set().union(*(DELETIONS[kind][1] for kind in kinds)))


def cached(project: Project) -> set[str]:
    """Return the names of DVC's cached files, which say what is in each, after checking them."""
    folder = project.root / ".dvc/cache/files/md5"
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert path.parent.name + path.name.removesuffix(".dir") == digest, path
    return {path.relative_to(folder).as_posix() for path in files}


def test_a_run_after_a_deletion_leaves_the_cache_as_it_was(
    pulled: Project, published: Project
) -> None:
    """What is made again replaces links: written through one, it would change DVC's own copy."""
    before = cached(pulled)
    assert len(before) > len(cells())
    cell = "tiny/all/hard-scratch-m1/devnet/s1"
    (pulled.root / f"results/checkpoints/{cell}.safetensors").unlink()
    assert pulled.jobs_done() == of_cells({cell})
    assert pulled.outputs() == published.outputs()
    assert cached(pulled) == before
    assert pulled.run("git", "status", "--porcelain").check().output == ""
    assert "up to date" in pulled.run("dvc", "status").check().output
    assert pulled.dry_run() == NOTHING


def test_what_differs_is_made_again_and_nothing_is_lost(published: Project, tmp_path: Path) -> None:
    project = clone(published, tmp_path / "project")
    project.run("dvc", "pull").check()
    path = f"results/scores/{ONE}.csv"
    file = project.root / path
    right = file.read_bytes()
    file.unlink()  # Not through a link into the cache.
    file.write_bytes(right.replace(b"0.", b"1.", 1))
    os.utime(file, (0, 0))
    # What differs, and what says that it was made from it, is checked against the ledger.
    outcome = project.run(sys.executable, "-m", "osad.cli", "audit", "adopt")
    assert outcome.code == 1
    outcome.refused(f"{path}: differs from the ledger; moved to .osad/removed/{path}")
    assert (project.root / ".osad/removed" / path).read_bytes() != right
    assert not file.exists()
    before = published.outputs()
    project.snakemake().check()
    assert project.outputs() == before
    assert "up to date" in project.run("dvc", "status").check().output


def test_a_damaged_ledger_is_not_adopted_from(published: Project, tmp_path: Path) -> None:
    # What is in git is adopted too, so there is no need to pull.
    project = clone(published, tmp_path / "project")
    path = project.root / "provenance/tiny.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"rule":"split"', '"rule":"spilt"', 1), encoding="utf-8")
    project.run("snakemake", "--dry-run").refused(
        "provenance/tiny.jsonl: differs from what SHA256SUMS states", "git checkout"
    )


def test_another_snakemake_is_refused(published: Project, tmp_path: Path) -> None:
    project = clone(published, tmp_path / "project")
    text = "import snakemake.persistence\nsnakemake.persistence.RECORD_FORMAT_VERSION = 7\n"
    (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
    search = os.pathsep.join([str(tmp_path), str(project.root / "src")])
    outcome = project.run(sys.executable, "-m", "osad.cli", "audit", "adopt", PYTHONPATH=search)
    assert outcome.code == 1
    outcome.refused("records in format 7, known here is format 6")


def test_a_clone_without_data_makes_the_same_again(
    published_small: Project, tmp_path: Path
) -> None:
    """What a reviewer does who trusts nothing: everything anew, then compare with git."""
    project = clone(published_small, tmp_path / "project")
    project.snakemake(cores=2).check()
    assert project.outputs() == published_small.outputs()
    assert project.run("git", "status", "--porcelain").check().output == ""
    audit(project, "save")
    assert project.run("git", "status", "--porcelain").check().output == ""
    output = project.run("dvc", "repro").check().output
    assert output.count("didn't change, skipping") == 4


def test_a_cell_is_made_again_in_a_clone_without_data(published: Project, tmp_path: Path) -> None:
    cell = "tiny/all/general-m1/mahalanobis_lda/s1"  # With weights, and trained in a moment.
    project = clone(published, tmp_path / "project")
    before = project.outputs()
    output = audit(project, "verify", cell, "--rebuild")
    assert rebuilt(output) == needed(cell)
    assert f"rebuilt {cell}: {len(needed(cell))} artefacts have equal bytes\n" in output
    assert output.count(": run ") == 1
    assert project.outputs() == before
    assert project.run("git", "status", "--porcelain").check().output == ""


def test_git_tells_which_commit_changed_a_number(published_small: Project, tmp_path: Path) -> None:
    project = clone(published_small, tmp_path / "project")
    project.run("dvc", "pull").check()
    changed = params(**SMALL, methods=PLAIN_METHODS)
    changed["methods"]["dra"]["lr"] = 0.5
    project.write_params(changed)
    project.snakemake().check()
    audit(project, "save")
    project.commit("Faster learning")
    told = audit(project, "explain", "tiny/all/general-m10/dra/s0", "--depth", "1")
    assert "Faster learning" in told
    told = audit(project, "explain", "tiny/all/general-m10/devnet/s0", "--depth", "1")
    assert "A run" in told
    difference = project.run("dvc", "metrics", "diff", "HEAD~1").check().output
    assert ".dra." in difference
    assert "devnet" not in difference
