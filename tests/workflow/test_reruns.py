"""What a change makes Snakemake run again: everything that depends on it, and nothing else."""

from __future__ import annotations

import ast
import base64
import copy
import os
import re
import time

import pytest
from expected import (
    AFTER_MANIFEST,
    DELETIONS,
    NOTHING,
    ONE,
    REPORT_IMAGES,
    TABLES,
    append,
    edit_manifest,
    independent,
    jobs_of,
    of_cells,
    plan,
    report_cells,
)
from projects import METHODS, PARAMS, PROTOCOLS, SEEDS, Project, cells, params

from osad.runtime.states import TICK_SECONDS

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_nothing_after_a_full_run(finished: Project) -> None:
    assert finished.dry_run() == NOTHING


def test_what_has_not_changed_is_not_compared_again(project: Project) -> None:
    def said(*options: str) -> list[bool]:
        """Ask twice, sources old enough, and tell whether it was known without comparing."""
        time.sleep(TICK_SECONDS)
        found = []
        for _ in range(2):
            output = project.run("snakemake", *options, "--dry-run").check().output
            assert "Nothing to be done" in output
            found.append("no file has changed since nothing was to be done" in output)
        return found

    # In a copy all files are new; then they are not. Targets but all are compared.
    assert [*said(), *said("runs"), *said("all")] == [False, True, False, False, True, True]
    # The end of a run compares everything.
    (project.root / "results/report/index.html").unlink()
    assert project.dry_run() == plan({"report_page"})
    assert project.jobs_done() == {"report_page"}
    assert said() == [True, True]
    # Whatever changes is seen: other bytes with the old time, a comment, a parameter, a mark.
    scores = project.root / f"results/scores/{ONE}.csv"
    times = scores.stat()
    scores.write_bytes(scores.read_bytes().replace(b"0.", b"1."))
    os.utime(scores, ns=(times.st_atime_ns, times.st_mtime_ns))
    append(project.root / "src/osad/cli.py", "# edited\n")
    assert said() == [False, True]
    changed = copy.deepcopy(PARAMS)
    changed["methods"]["dpdl"]["margin"] = 0.2
    project.write_params(changed)
    assert project.dry_run() == plan(of_cells(cells(methods=["dpdl"])))
    project.write_params(PARAMS)
    assert said() == [False, True]
    assert project.dry_run("--forceall")[0]["run"] > 0
    mark = base64.b64encode(f"results/metrics/{ONE}.json".encode()).decode()
    (project.root / ".snakemake/incomplete").mkdir(exist_ok=True)
    (project.root / ".snakemake/incomplete" / mark).touch()
    assert project.dry_run() == plan(of_cells({ONE}, first="metrics"))


def test_a_copy_elsewhere_with_new_times_has_nothing_to_do(project: Project) -> None:
    """Contents count, not times: as after a checkout in another order."""
    now = time.time()
    # Inputs newer than outputs, which no real run gives.
    files = sorted(path for path in project.root.rglob("*") if path.is_file())
    files = [path for path in files if ".snakemake" not in path.parts]
    order = ("tables", "metrics", "scores", "checkpoints", "features", "splits", "data", "src")
    for path in files:
        place = [part in path.relative_to(project.root).parts for part in order]
        os.utime(path, (now, now + 60 * (place.index(True) if any(place) else len(order))))
    assert project.dry_run() == NOTHING


def test_a_hyper_parameter_reruns_its_method(project: Project) -> None:
    changed = copy.deepcopy(PARAMS)
    changed["methods"]["dpdl"]["margin"] = 0.2
    project.write_params(changed)
    assert project.dry_run() == plan(of_cells(cells(methods=["dpdl"])))
    # A value that equals the default of the method's file is no change.
    changed["methods"]["dpdl"]["margin"] = 0.1
    project.write_params(changed)
    assert project.dry_run() == NOTHING


def test_comments_docstrings_and_layout_rerun_nothing(project: Project) -> None:
    """In every file of the package, errors and the texts of errors included."""
    for path in sorted((project.root / "src/osad").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree) is not None:
            tree.body = tree.body[1:]
        # Another layout, no comment, one docstring less and one more.
        layout = ast.unparse(tree).replace("raise ConfigError(f'", "raise ConfigError(f'Oh: ")
        path.write_text(f"# edited\n{layout}\n'Another text.'\n", encoding="utf-8")
    append(project.root / "src/osad/core/errors.py", "class AnotherError(OsadError): ...\n")
    for name in ("params.yaml", "workflow/rules/run.smk", "requirements/workflow.lock"):
        append(project.root / name, "# edited\n")
    assert project.dry_run() == NOTHING
    # Nor does it change what the ledger says, but for the digests of the files.
    before = (project.root / "provenance/tiny.jsonl").read_bytes()
    assert "Nothing to be done" in project.snakemake().check().output
    assert (project.root / "provenance/tiny.jsonl").read_bytes() == before


CODE = {
    "methods/mahalanobis_lda.py methods/dpdl/bridge.py": of_cells(
        cells(methods=["mahalanobis_lda", "dpdl"])
    ),
    "methods/mahalanobis.py": of_cells(cells(methods=["mahalanobis"])),
    "evaluation/localisation.py": of_cells(cells(), first="metrics"),
    "pipeline/steps/metrics.py": of_cells(cells(), first="metrics"),
    "evaluation/tables/markup.py": TABLES - {"cells", "comparison"},
    "evaluation/comparison.py": TABLES - {"cells"},
    "cli.py __init__.py core/errors.py pipeline/rules.py audit/record.py": set(),
}
"""Files of the package, and the jobs that an edited line of code in each leads to."""


@pytest.mark.parametrize("paths", CODE)
def test_a_line_of_code_reruns_what_depends_on_it(project: Project, paths: str) -> None:
    for path in paths.split():
        append(project.root / "src/osad" / path, "EDITED = True\n")
    assert project.dry_run() == plan(CODE[paths])


def test_another_package_reruns_what_computes(project: Project) -> None:
    path = project.root / "requirements/numeric.lock"
    pins = re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").rstrip("\n"))
    path.write_text("\n".join(pins[:-1]) + "\n", encoding="utf-8")
    assert project.dry_run() == plan({"manifest tiny"} | AFTER_MANIFEST)


def test_a_new_seed_adds_its_splits_and_cells(project: Project) -> None:
    project.write_params(params(seeds=[*SEEDS, 2]))
    new = {f"tiny/all/{protocol}/s2" for protocol in PROTOCOLS}
    # Whatever is shown of all seeds together is made anew.
    shown = report_cells(cells()) | REPORT_IMAGES
    jobs = jobs_of("split", of=new) | of_cells(cells(seeds=[2])) | shown
    assert project.dry_run() == plan(jobs)


def test_a_new_method_adds_its_cells(project: Project) -> None:
    project.write_params(params(methods=[*METHODS, "dpdl.no_dfl"]))
    assert project.dry_run() == plan(of_cells(cells(methods=["dpdl.no_dfl"])))


def test_another_folder_of_results_shares_the_data(project: Project) -> None:
    project.write_params({**PARAMS, "results": "results/other"})
    assert project.dry_run() == plan(AFTER_MANIFEST)


def test_an_edited_manifest_reruns_all_that_reads_images(project: Project) -> None:
    """The packs are made again, so all their readers are: inside one call times count."""
    edit_manifest(project)
    assert project.dry_run() == plan(AFTER_MANIFEST)


@pytest.mark.parametrize("kinds", independent(), ids=" ".join)
def test_deleted_files_are_made_again(finished: Project, kinds: list[str]) -> None:
    with finished.without(*(DELETIONS[kind][0] for kind in kinds)):
        assert finished.dry_run() == plan(set().union(*(DELETIONS[kind][1] for kind in kinds)))


@pytest.mark.long
def test_what_is_made_again_has_the_same_bytes_and_stops_the_cascade(project: Project) -> None:
    """Equal bytes end the reruns between two calls, so phases are targets of their own."""
    before = project.outputs()
    for path in (
        f"results/checkpoints/{ONE}.safetensors",
        "results/splits/tiny/all/hard-dent-m1/s1.csv",
        "results/features/tiny/all/tf_efficientnet_lite0-64/rotated.safetensors",
        "data/manifests/tiny.csv",
    ):
        (project.root / path).unlink()
    project.snakemake("data", "splits", "features").check()
    assert project.dry_run() == plan(of_cells({ONE}))
    project.snakemake().check()
    assert project.outputs() == before
    assert project.dry_run() == NOTHING
