"""The table of data sets: counts, and how to get what is not on disk."""

import dataclasses
import re
from pathlib import Path

import pytest

from osad.data import overview, registry
from osad.data.fetch.original import MissingData, originals


def table(root, settings=None) -> dict[str, dict[str, str]]:
    rows = overview.rows(root, settings or {})
    assert {len(row) for row in rows} == {len(overview.COLUMNS)}
    return {row[0]: dict(zip(overview.COLUMNS, row, strict=True)) for row in rows}


def test_every_data_set_has_a_row(tmp_path):
    table_rows = table(tmp_path)
    assert sorted(table_rows) == registry.names()
    row = table_rows["aitex"]
    assert row["train/test normal/anomalous"] == "1692/564/183"
    assert row["licence"] == "not stated"
    assert row["known classes"].startswith("broken_end, broken_pick")
    assert "Silvestre-Blanes" in row["paper"]
    assert table_rows["optical"]["known classes"] == "-"
    expected = {"a": registry.Counts(3, 2, {"c": 1}), "b": registry.Counts(4, 1, {}, total=7)}
    spec = dataclasses.replace(registry.get("visa"), expected=expected)
    assert overview.counts(spec) == "7/3/8 in 2 categories"


def test_how_to_get_a_data_set_changes_with_what_is_there(tmp_path):
    def say(name: str, **settings: str) -> str:
        lines = overview.remedies(tmp_path, {name: settings})
        return "".join(line for line in lines if line.startswith(f"{name}: "))

    run = "snakemake data/raw/brainmri/SOURCE.json"
    page = "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
    assert say("brainmri") == (
        f"brainmri: get archive.zip from {page} (needs a Kaggle account) and put it into "
        f"data/downloads/brainmri; then {run}"
    )
    assert say("brainmri", raw_path="mine") == f"brainmri: {run} reads mine"
    (tmp_path / "data/downloads/brainmri").mkdir(parents=True)
    (tmp_path / "data/downloads/brainmri/archive.zip").touch()
    assert say("brainmri") == f"brainmri: {run}"
    (tmp_path / "data/raw/brainmri").mkdir(parents=True)
    (tmp_path / "data/raw/brainmri/SOURCE.json").touch()
    assert say("brainmri") == ""
    assert table(tmp_path)["brainmri"]["on disk"] == "yes"
    assert table(tmp_path)["elpv"]["on disk"] == "no"
    download = (
        "snakemake data/raw/sdd/SOURCE.json downloads KolektorSDD.zip "
        "(https://www.vicos.si/resources/kolektorsdd/)"
    )
    assert say("sdd") == f"sdd: {download}"
    outside = f"sdd: add it to grid.datasets in params.yaml; {download}"
    assert outside in overview.remedies(tmp_path, {})


def test_the_table_names_the_files_that_the_fetch_asks_for(project):
    spec = registry.get("headct")
    with pytest.raises(MissingData) as caught, originals("headct", spec.archives, {}):
        pytest.fail("nothing is there")
    text = str(caught.value).split(": get ")[1].split(", or")[0]
    assert text.startswith("archive.zip from")
    assert text in overview.how(spec, project)


@pytest.mark.parametrize("name", registry.names())
def test_every_data_set_has_a_page_with_its_counts(name):
    page = Path(__file__).parents[3] / "docs/datasets" / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    spec = registry.get(name)
    assert f"| id | `{name}` |" in text
    if spec.expected is not None and len(spec.expected) == 1:
        (counts,) = spec.expected.values()
        numbers = (counts.train_normal, counts.test_normal, counts.anomalous)
        assert re.search(r"\| {} \| {} \| {}\b".format(*numbers), text)
