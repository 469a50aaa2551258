"""Bad input is refused with one clear message; a cell that fails does not stop the others."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from projects import PARAMS, ROOT, SMALL, Project, cells, params, run_of

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PLAIN = "results/features/tiny/all/tf_efficientnet_lite0-64/plain.safetensors"
PIXELS = "results/features/tiny/all/pixels.safetensors"
WEIGHTS = "data/weights/efficientnet-lite0-57934424.pth"
IMAGE = "data/raw/tiny/test/scratch/005.png"


@pytest.mark.parametrize(
    ("place", "value", "fragments"),
    [
        ("grid.methods", ["dpdll"], ["method 'dpdll' is unknown", "did you mean 'dpdl'"]),
        ("grid.seed", [0], ["params.yaml, grid.seed: unknown key", "did you mean 'seeds'"]),
        ("methods.dpdl.s0", 2.0, ["params.yaml, methods.dpdl: s0", "2.0", "(0, 1)"]),
        ("datasets.tiny.raw", "photos", ["data set 'tiny': unknown setting 'raw'", "raw_path"]),
    ],
)
def test_wrong_parameters_are_refused(
    fresh: Project, place: str, value: Any, fragments: list[str]
) -> None:
    changed = copy.deepcopy(PARAMS)
    *parents, key = place.split(".")
    entry = changed
    for parent in parents:
        entry = entry[parent]
    entry[key] = value
    fresh.write_params(changed)
    outcome = fresh.snakemake("--dry-run")
    outcome.refused(*fragments)
    assert "Job stats" not in outcome.output


def test_files_of_parameters_that_are_none_are_refused_in_one_line(fresh: Project) -> None:
    (fresh.root / "seed.yaml").write_text("grid: {seeds: [0]}\n")
    for files, told in (
        (["--configfile", "none.yaml"], "osad: none.yaml: cannot be read (No such file"),
        (
            ["--configfile", "seed.yaml", "--configfile", "seed.yaml"],
            "osad: --configfile: is given",
        ),
    ):
        outcome = fresh.snakemake("--dry-run", *files)
        outcome.refused(told)
        assert "File " not in outcome.output
    fresh.snakemake("--dry-run", "--configfile", "seed.yaml", "seed.yaml").check()
    (fresh.root / "params.yaml").write_text("grid: [\n")
    fresh.snakemake("--dry-run").refused("osad: params.yaml: is not valid YAML")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("a: &a [*a, *a]", "is nested more than 50 deep; does it contain itself"),
        (
            "results: !!python/object/apply:os.system ['touch hacked']",
            "hostile.yaml: is not valid YAML",
        ),
        ("results: !!python/tuple [a, b]", "hostile.yaml: is not valid YAML"),
        ("1: {}", "hostile.yaml, top level: key 1 is no text"),
        ("grid: {}\nresults: a\ngrid: {}", "hostile.yaml, line 3: the key 'grid' is in line 1"),
        ('{"results": "a", "results": "b"}', "hostile.yaml, line 1: the key 'results' is in line"),
        ("__use_yte__: true\n__definitions__: [\"open('hacked', 'w')\"]", "hostile.yaml, __"),
        ("__use_yte__: true\nresults: ?open('hacked', 'w').name", "hostile.yaml, __use_yte__: un"),
        (
            "{datasets: {tiny: {defect_classes: [mean, a]}}, grid: {settings: [hard]}}",
            "may not be called 'mean'",
        ),
    ],
)
def test_hostile_parameters_are_refused(fresh: Project, text: str, fragment: str) -> None:
    (fresh.root / "hostile.yaml").write_text(text)
    fresh.snakemake("--dry-run", "--configfile", "hostile.yaml").refused(fragment)
    assert not (fresh.root / "hacked").exists()


def test_parameters_that_snakemake_read_by_itself_are_refused(fresh: Project) -> None:
    outcome = fresh.snakemake("--dry-run", "--workflow-profile", "none")
    outcome.refused("it did not load profiles/default", "leave --workflow-profile out")
    # A profile of one's own beside it is fine.
    profile = fresh.root / "mine/config.yaml"
    profile.parent.mkdir()
    profile.write_text("keep-going: false\n")
    fresh.snakemake("--dry-run", "--profile", "mine").check()


def test_a_folder_without_images_is_refused(fresh: Project) -> None:
    changed = params(**SMALL, methods=["constant"])
    changed["datasets"]["tiny"]["raw_path"] = "fotos"
    fresh.write_params(changed)
    fresh.snakemake("data").refused("osad fetch: fotos: raw_path of 'tiny' is not a folder")


def test_a_truncated_image_is_refused_and_named(fresh: Project) -> None:
    path = fresh.root / "photos/test/dent/003.png"
    path.write_bytes(path.read_bytes()[:-2000])
    fresh.snakemake("data").refused("osad fetch: photos/test/dent/003.png")
    assert not (fresh.root / "data/raw/tiny/SOURCE.json").exists()
    assert not (fresh.root / "data/manifests/tiny.csv").exists()


def test_a_defect_class_that_is_not_there_is_refused(fresh: Project) -> None:
    changed = params(**SMALL, methods=["constant"])
    changed["datasets"]["tiny"]["defect_classes"] = ["dent", "crack"]
    fresh.write_params(changed)
    fresh.snakemake("data").refused(
        "osad manifest: data set 'tiny': defect_classes names 'crack'",
        "the folder has dent, scratch",
    )


def damage(project: Project, path: str, how: str) -> None:
    """Delete a file, cut it off, or change a byte of it."""
    file = project.root / path
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "truncated", "changed"])
def test_features_check_every_image(project: Project, how: str) -> None:
    """An edit below data/raw cannot go unseen, whatever its time is."""
    damage(project, IMAGE, how)
    (project.root / PIXELS).unlink()
    outcome = project.snakemake(PIXELS)
    reason = "cannot be read (No such file" if how == "missing" else "its content has changed"
    outcome.refused(f"osad features: {IMAGE}: {reason}", "restore the file")
    assert not (project.root / PIXELS).exists()


def test_the_manifest_checks_every_image(project: Project) -> None:
    damage(project, IMAGE, "changed")
    (project.root / "data/manifests/tiny.csv").unlink()
    project.snakemake("data").refused(
        f"osad manifest: {IMAGE}: its content has changed since the fetch"
    )


def test_wrong_weights_are_refused(project: Project) -> None:
    damage(project, WEIGHTS, "changed")
    (project.root / PLAIN).unlink()
    project.snakemake(PLAIN).refused(f"osad features: {WEIGHTS}: SHA-256 is", "delete the file")
    # The remedy works.
    (project.root / WEIGHTS).unlink()
    project.snakemake(PLAIN).check()


def test_shots_beyond_a_class_fail_its_cells_only(fresh: Project) -> None:
    """14 scratches, 13 dents: only with dents known are 14 shots too many."""
    changed = params(settings=["general", "hard"], shots=[14], seeds=[0, 1], methods=["constant"])
    changed["protocol"]["removed"] = 14
    fresh.write_params(changed)
    outcome = fresh.snakemake()
    reason = "tiny/all/hard-dent-m14: 14 shots, but the class has only 13 images"
    outcome.refused(
        f"osad split: {reason}",
        f"osad: failed: results/splits/tiny/all/hard-dent-m14/s1.csv: split: {reason[:30]}",
    )
    rows = fresh.cell_rows()
    assert {cell: row["status"] for cell, row in rows.items()} == {
        f"tiny/all/{protocol}-m14/constant/s{seed}": "failed" if "dent" in protocol else "ok"
        for protocol in ("general", "hard-dent", "hard-scratch")
        for seed in (0, 1)
    }
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert all(row["reason"].startswith(f"split: {reason}") for row in failed)
    assert all(row["auroc"] == row["n_test_normal"] == "" for row in failed)


def test_cells_that_fail_are_named_and_the_others_go_on(project: Project) -> None:
    """Also where an earlier run left a number: it must not stand for the run that failed."""
    methods, protocols = ["constant", "devnet", "mahalanobis_lda"], ["general-m10", "general-m1"]
    changed = params(settings=["general"], methods=methods)
    before = project.outputs()
    changed["methods"]["devnet"]["lr"] = 1e30
    changed["methods"]["mahalanobis_lda"] = {"weight": 0.5}
    project.write_params(changed)
    outcome = project.snakemake()
    outcome.refused("osad run: loss is")
    failed = cells(methods=["devnet"], protocols=protocols)
    rows = project.cell_rows()
    assert set(rows) == cells(methods=methods, protocols=protocols)
    assert {cell for cell, row in rows.items() if row["status"] == "failed"} == failed
    assert {row["status"] for row in rows.values()} == {"ok", "failed"}
    for cell in failed:
        assert rows[cell]["reason"].startswith("run: loss is ")
        assert rows[cell]["auroc"] == rows[cell]["scores_sha256"] == ""
    new = project.outputs()
    for cell in cells(methods=["mahalanobis_lda"], protocols=protocols):
        assert new[f"results/scores/{cell}.csv"] != before[f"results/scores/{cell}.csv"]
    # The end of the output, where a person looks, has all of them and nothing else.
    last = outcome.output.splitlines()[-10:]
    named = {line.split(": ")[2] for line in last if line.startswith("osad: failed: ")}
    assert named == failed
    assert any(line.startswith("osad: 4 failed") for line in last)
    assert "n/a" in (project.root / "results/tables/general.md").read_text(encoding="utf-8")

    # Snakemake knows what is missing, and after the repair all is as it was.
    project.write_params(params())
    project.snakemake().check()
    assert project.outputs() == before
    assert {row["status"] for row in project.cell_rows().values()} == {"ok"}


@pytest.mark.long
def test_after_a_late_job_has_failed_all_that_was_shown_is_made_again(fresh: Project) -> None:
    """Tables that the failed run made of what there was are those of no job."""
    path = next((fresh.root / "data/bench").glob("*.json"))
    right = path.read_bytes()
    path.write_text("{")
    fresh.snakemake(cores=2).refused(f"osad report_page: {path.relative_to(fresh.root)}: ")
    path.write_bytes(right)
    output = fresh.snakemake(cores=2).check().output
    assert "osad: the run before did not come to its end; " in output
    assert "outputs recorded" in output
    assert "out of date" not in output
    assert fresh.dry_run() == ({}, set())


def test_a_wrong_image_fails_the_cells_that_read_it(project: Project) -> None:
    """The features of a test image fail; cells without features are made."""
    damage(project, IMAGE, "changed")
    path = project.root / "data/manifests/tiny.csv"
    for pack in (PIXELS, PLAIN):
        (project.root / pack).unlink()
    methods = ["mean_intensity", "devnet", "true_labels"]
    project.write_params(params(**SMALL, methods=methods))
    assert path.exists()
    outcome = project.snakemake()
    outcome.refused(f"osad features: {IMAGE}: ", "osad: failed: results/features/tiny/all/")
    rows = project.cell_rows()
    assert {row["method"]: row["status"] for row in rows.values()} == {
        "mean_intensity": "failed",
        "devnet": "failed",
        "true_labels": "ok",
    }
    for row in rows.values():
        assert row["status"] == "ok" or row["reason"].startswith(f"features: {IMAGE}: ")


LONG = pytest.param("paper.yaml", marks=pytest.mark.long)


# Tables of rules of all of them are made in tests/unit/pipeline/test_grid.py.
@pytest.mark.parametrize("name", [None, "smoke.yaml", "select.yaml", LONG])
def test_grids_of_the_project_can_be_planned(fresh: Project, name: str | None) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    fresh.write_params(content)
    # One seed: the papers' grid has ten thousands of jobs.
    (fresh.root / "seed.yaml").write_text("grid: {seeds: [0]}\n")
    arguments = ["--configfile", f"configs/{name}", "seed.yaml"] if name else []
    rules, jobs = fresh.dry_run(*arguments)
    assert rules["table"] == 1
    made, measured = (
        {job.split(" ")[1] for job in jobs if job.startswith(step)} for step in ("run ", "metrics ")
    )
    assert made == {run_of(cell) for cell in measured}
    if name in (None, "smoke.yaml"):
        assert {job for job in jobs if job.startswith("fetch")} == {"fetch elpv"}
        assert {run.split("/")[3] for run in made} == set(content["grid"]["methods"])
    if name is None:
        assert sum(rules.values()) <= 1200
