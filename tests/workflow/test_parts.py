"""Two machines that share nothing make a part of a grid each; united they are one run."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from expected import append
from projects import Outcome, Project, new_project, params

from osad.audit import ledger
from osad.core.files import sha256_file

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.long]

GRID = params(
    settings=["general", "normal"], seeds=[0, 1], methods=["mean_intensity", "true_labels"]
)


@pytest.fixture(scope="module")
def machines(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Project, Project, Project]]:
    """Projects that made all, part 1/2 and part 2/2 of a grid; not to be changed."""
    root, made = tmp_path_factory.mktemp("machines"), []
    for name, asked in (("whole", []), ("one", ["part=1/2"]), ("two", ["part=2/2"])):
        project = new_project(root / name, photos=photos)
        project.write_params(GRID)
        project.snakemake(*(["--config", *asked] if asked else [])).check()
        made.append(project)
    yield made[0], made[1], made[2]
    shutil.rmtree(root)


def merge(project: Project, *others: Project) -> Outcome:
    command = (sys.executable, "-m", "osad.cli", "audit", "merge")
    return project.run(*command, *(str(other.root) for other in others))


def runs(project: Project) -> set[str]:
    folder = project.root / "results/scores"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")}


def test_parts_are_disjoint_and_united_they_are_one_run(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    whole, one, two = machines
    assert runs(one)
    assert runs(two)
    assert runs(one).isdisjoint(runs(two))
    assert runs(one) | runs(two) == runs(whole)
    assert not (one.root / "results/tables").exists()
    again = one.run("snakemake", "--dry-run", "--config", "part=1/2").check().output
    assert "Nothing to be done" in again
    united = one.copy(tmp_path / "project")
    assert "were here with equal bytes" in merge(united, two).check().output
    done = united.jobs_done()
    assert {job.split(" ")[0] for job in done}.isdisjoint({"run", "metrics", "split", "pixels"})
    assert united.outputs() == whole.outputs()
    assert united.dry_run() == ({}, set())
    verify = (sys.executable, "-m", "osad.cli", "audit", "verify", "--all")
    assert "verified everything in the ledger" in united.run(*verify).check().output


def osad(project: Project, *words: str) -> Outcome:
    return project.run(sys.executable, "-m", "osad.cli", *words)


def shared(project: Project, root: Path, store: Path) -> Project:
    """Put a copy of a project under git and DVC, with a remote."""
    copied = project.copy(root)
    copied.run("git", "init", "--quiet", "--initial-branch", "main").check()
    # Relative to the project's folder, so not the same from elsewhere.
    copied.run("dvc", "remote", "add", "--quiet", "--default", "store", f"../{store.name}").check()
    return copied


def test_a_part_travels_by_git_and_dvc_and_the_whole_is_that_of_one_machine(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    whole, one, two = (
        shared(project, tmp_path / name, tmp_path / "store")
        for name, project in zip(("whole", "one", "two"), machines, strict=True)
    )
    osad(two, "audit", "save").refused("not made yet", "nothing is committed before a complete run")
    osad(two, "audit", "save", "--part", "2/2").check()
    two.commit("The second part")
    assert "osad audit" not in osad(two, "audit", "push").check().output
    one.commit("The first part")
    one.run("git", "fetch", "--quiet", "../two", "main").check()
    one.run("git", "branch", "second", "FETCH_HEAD").check()
    osad(one, "audit", "merge", "third").refused(
        "third: is neither a folder nor a revision that git has here"
    )
    assert osad(one, "audit", "merge", "second").check().output.startswith("merged ")
    assert one.jobs_done().isdisjoint({f"run {cell}" for cell in runs(whole)})
    assert one.outputs() == whole.outputs()
    for project in (one, whole):
        osad(project, "audit", "save").check()
    assert (one.root / "dvc.lock").read_bytes() == (whole.root / "dvc.lock").read_bytes()
    assert one.dry_run() == ({}, set())


def test_a_revision_with_an_altered_output_is_refused(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    one, two = (
        shared(project, tmp_path / name, tmp_path / "store")
        for name, project in zip(("one", "two"), machines[1:], strict=True)
    )
    osad(two, "audit", "save", "--part", "2/2").check()
    file = sorted((two.root / "results/metrics").rglob("*.json"))[0]
    # Whatever the ledger says: DVC has other bytes.
    file.unlink()
    file.write_text("{}")
    two.run("dvc", "commit", "--quiet", "--force", "runs").check()
    two.commit("Another part")
    two.run("dvc", "push", "--quiet").check()
    one.commit("The first part")
    one.run("git", "fetch", "--quiet", "../two", "main").check()
    path = file.relative_to(two.root).as_posix()
    osad(one, "audit", "merge", "FETCH_HEAD").refused(
        f"FETCH_HEAD: {path} differs from its ledger", "nothing is merged"
    )


def test_what_is_stale_here_loses_its_line_and_is_made_again(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    """A line that named the code of now for what other code made would be a lie."""
    _, one, two = machines
    united, other = two.copy(tmp_path / "project"), one.copy(tmp_path / "other")
    for project in (united, other):
        append(project.root / "src/osad/methods/mean_intensity.py", "EDITED = True\n")
    other.snakemake("--config", "part=1/2").check()
    own = {path.replace(".csv", "") for path in runs(united) if "mean_intensity" in path}
    assert own
    assert "outputs here are out of date" in merge(united, other).check().output
    lines = ledger.read(united.root / "provenance").entries
    kinds = ("scores", "metrics")
    left = {f"results/{kind}/{run}." for kind in kinds for run in own}
    assert not [path for path in lines if path.startswith(tuple(left))]
    assert {f"run {run}" for run in own} <= united.jobs_done()
    verify = (sys.executable, "-m", "osad.cli", "audit", "verify", "--all")
    assert "verified everything in the ledger" in united.run(*verify).check().output


def test_a_file_without_a_line_is_not_replaced_by_other_bytes(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    _, one, two = machines
    united = one.copy(tmp_path / "project")
    path = f"results/scores/{sorted(runs(two))[0]}"
    file = united.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    merge(united, two).refused(f"{path}: is here with other bytes than in", "nothing is merged")
    assert file.read_text() == "mine"


def test_an_altered_byte_is_refused_and_nothing_is_merged(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    _, one, two = machines
    united, other = one.copy(tmp_path / "project"), two.copy(tmp_path / "other")
    file = sorted((other.root / "results/scores").rglob("*.csv"))[0]
    path = file.relative_to(other.root).as_posix()
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    before = united.outputs()
    merge(united, other).refused(f"{path} differs from its ledger", "nothing is merged")
    assert united.outputs() == before
    # What is not there is not taken, and said to be missing.
    file.unlink()
    outcome = merge(united, other)
    assert "1 runs are in no part" in outcome.output
    assert outcome.code == 1
    outcome.refused(f"{path}: the other ledger has a line of it, but its file could not be had")


def test_parts_of_other_parameters_are_refused(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    _, one, two = machines
    other = two.copy(tmp_path / "other")
    changed = params(**GRID["grid"])
    changed["protocol"]["removed"] = 11
    other.write_params(changed)
    other.snakemake("--config", "part=1/2").check()
    merge(one.copy(tmp_path / "project"), other).refused("results/splits/", "nothing is merged")


def test_a_part_of_other_code_is_refused(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    _, one, two = machines
    other = two.copy(tmp_path / "other")
    append(other.root / "src/osad/methods/mean_intensity.py", "EDITED = True\n")
    append(other.root / "src/osad/methods/controls.py", "EDITED = True\n")
    other.snakemake("--config", "part=2/2").check()
    united = one.copy(tmp_path / "project")
    merge(united, other).refused("was made with other code", "nothing is merged")
    assert united.outputs() == one.outputs()


def test_a_ledger_that_names_other_files_brings_none(
    machines: tuple[Project, Project, Project], tmp_path: Path
) -> None:
    _, one, two = machines
    other = two.copy(tmp_path / "other")
    known = ledger.read(other.root / "provenance")
    hints = next(iter(known.entries.values()))
    (other.root / "src/foreign.py").write_text("raise SystemExit('foreign code')\n")
    foreign = dataclasses.replace(
        hints, path="src/foreign.py", sha256=sha256_file(other.root / "src/foreign.py")
    )
    ledger.write(
        other.root / "provenance",
        dataclasses.replace(known, entries={**known.entries, foreign.path: foreign}),
    )
    united = one.copy(tmp_path / "project")
    merge(united, other).check()
    assert not (united.root / "src/foreign.py").exists()


def test_more_parts_than_splits_are_refused(fresh: Project) -> None:
    outcome = fresh.run("snakemake", "--dry-run", "--config", "part=9/9")
    outcome.refused("part: 9/9 is empty, since there are")
