"""The step that compares methods, on the results of a small grid."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from report_cases import FAILED, SKIPPED, Site, do

from osad.core.errors import CheckError
from osad.core.files import read_csv
from osad.core.seeds import numpy_generator
from osad.data.splits import read_split
from osad.evaluation.comparison import resample
from osad.evaluation.metrics import auroc
from osad.evaluation.scores import read_scores, select
from osad.pipeline.jobs import jobs_of

SKIPPED_CELL, FAILED_CELL = (str(run).rpartition("/")[0] for run in (SKIPPED[0], FAILED))


def test_methods_are_compared_on_the_same_drawn_images(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(site.root, tmp_path / "copy", symlinks=True))
    rows = {row["cell"]: row for row in read_csv(Path("results/tables/comparison.csv"), ["cell"])}
    assert rows[SKIPPED_CELL]["n_seeds"] == "0"
    # Of seed 0 alone, since the other run failed: no interval over seeds, one over images.
    failed = rows[FAILED_CELL]
    assert (failed["n_seeds"], failed["seeds_low"], failed["images_low"] != "") == ("1", "", True)
    # The interval of a method of normals alone, from the scores of its run under normal-m0.
    place = "elpv/all/general-m10"
    names = ("dpdl", "dra", "patchcore")
    best = rows[f"{place}/dra"]["best"]
    other = next(name for name in names if name != best and "patchcore" in (name, best))
    tests = [
        [row for row in read_split(f"results/splits/{place}/s{seed}.csv") if row.role == "test"]
        for seed in (0, 1)
    ]
    labels = {row.path: row.label for rows in tests for row in rows}
    paths = sorted(labels)
    generator = numpy_generator("bootstrap", "elpv", "all", "general")
    drawn = resample([labels[path] for path in paths], generator)
    times = dict(zip(paths, drawn.astype(int), strict=True))
    values = []
    for seed, test in enumerate(tests):
        pair = []
        for name in (other, best):
            run = f"elpv/all/normal-m0/{name}" if name == "patchcore" else f"{place}/{name}"
            scored = read_scores(Path(f"results/scores/{run}/s{seed}.csv"))
            images = select(scored, test)
            pair.append([
                auroc(np.repeat([one.score for one in images], of),
                      np.repeat([one.label for one in images], of))
                for of in np.array([times[one.path] for one in images]).T
            ])  # fmt: skip
        values.append(np.subtract(pair[0], pair[1]))
    low, high = np.quantile(np.mean(values, axis=0), (0.025, 0.975))
    found = rows[f"{place}/{other}"]
    assert [float(found["images_low"]), float(found["images_high"])] == pytest.approx([low, high])
    # Scores that were changed after cells.csv are refused.
    path = Path(f"results/scores/{place}/dpdl/s0.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].rpartition(",")[0] + ",-99"]) + "\n")
    (job,) = jobs_of(site.rules.comparison)
    with pytest.raises(CheckError, match=r"s0\.csv: does not give the AUROC of"):
        do(job)
