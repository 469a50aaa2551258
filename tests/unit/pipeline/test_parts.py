"""Which splits and files a part of a grid has."""

import pytest
from project_cases import rules_of

from osad.pipeline.grid import run_of
from osad.pipeline.jobs import jobs, makers
from osad.pipeline.parts import splits_of, wanted


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_every_split_with_runs_is_in_one_part(count):
    parts = [splits_of(rules_of(part=f"{one}/{count}").grid) for one in range(1, count + 1)]
    grid = rules_of(part="").grid
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(grid.split_ids)


def test_parts_have_about_equally_many_runs():
    grid = rules_of(part="").grid
    most = max(sum(run.split_id == split for run in grid.runs) for split in grid.split_ids)
    for one in range(1, 5):
        splits = splits_of(rules_of(part=f"{one}/4").grid)
        count = sum(run.split_id in splits for run in grid.runs)
        assert abs(count - len(grid.runs) / 4) <= most


def test_a_part_is_asked_for_all_that_its_runs_are_made_of_and_no_tables():
    rules = rules_of(part="2/3")
    files, maker = {*wanted(rules)}, makers(jobs(rules))
    assert all(path in files for file in files for path in maker[file].inputs)
    splits = splits_of(rules.grid)
    cells = {cell for cell in rules.grid.cells if run_of(cell).split_id in splits}
    assert {rules.grid.artefact("metrics", cell) for cell in cells} == {
        path for path in files if "/metrics/" in path
    }
    assert not [path for path in files if "/tables/" in path or "/report/" in path]


def test_without_a_part_everything_is_wanted():
    rules = rules_of(part="")
    assert wanted(rules) == [path for rule in rules for path in rule.files]
