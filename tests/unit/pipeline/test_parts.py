"""Which splits and files a part of a grid has."""

import dataclasses
import os
import random
from collections import defaultdict

import pytest
from project_cases import ROOT, rules_of

from osad.core.files import write_json
from osad.pipeline.grid import Grid, run_of
from osad.pipeline.jobs import PHASES, jobs, makers
from osad.pipeline.parts import asked, measured, needed, splits_of, targets, wanted


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_every_split_with_runs_is_in_one_part(count):
    grid = rules_of(part="").grid
    ones = (f"{one}/{count}" for one in range(1, count + 1))
    parts = [splits_of(Grid(dataclasses.replace(grid.params, part=one), ROOT)) for one in ones]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(grid.split_ids)


@pytest.mark.parametrize("methods", [("wt_flow", "devnet"), ("wt_flow", "devnet", "random")])
def test_parts_take_about_equally_long(methods):
    changes = {"methods": methods, "hyper": {}, "figures": ()}
    grid = rules_of(part="", **changes).grid
    seconds = measured(grid)
    assert seconds["wt_flow"] > 3 * seconds["devnet"]  # Or this would show nothing.
    costs: defaultdict[str, float] = defaultdict(float)
    for run in grid.runs:
        costs[run.split_id] += seconds[run.method]
    for one in range(1, 4):
        splits = splits_of(rules_of(part=f"{one}/3", **changes).grid)
        cost = sum(costs[split] for split in splits)
        assert abs(cost - sum(costs.values()) / 3) <= max(costs.values())


def test_seconds_are_those_of_git_and_of_the_method_of_a_variant(tmp_path):
    write_json(tmp_path / "data/bench/a.json", {"cells": {"dpdl": {"cell_s": 3}, "x": {}}})
    write_json(tmp_path / "data/bench/b.json", {"cells": {"dra": {"cell_s": 4.5}}})
    write_json(tmp_path / "data/bench/c.json", {"cells": {"dra": {"cell_s": 9}}})
    more = {name: {"cell_s": 7} for name in ("flos", "mlep", "saoe")}
    write_json(tmp_path / "data/bench/e.json", {"cells": more | {"dpdl": {"cell_s": 3}}})
    write_json(tmp_path / "data/bench/f.json", {"cells": {"flos": {"cell_s": 1}}})
    variant = {"dpdl.no_dfl": {"cell_s": 99}}  # Not by the machine that measured its method.
    write_json(tmp_path / "data/bench/g.json", {"cells": variant})
    (tmp_path / "data/bench/d.json").write_text("damaged")
    changes = {"methods": ("dpdl", "dpdl.no_dfl", "dra", "flos")}
    grid = dataclasses.replace(rules_of(part="", **changes).grid, root=tmp_path)
    assert measured(grid) == {"dpdl": 3, "dpdl.no_dfl": 3, "dra": 4.5, "flos": 7}
    empty = dataclasses.replace(grid, root=tmp_path / "data")
    assert measured(empty) == {}
    assert splits_of(dataclasses.replace(empty, params=rules_of(part="1/1").grid.params))


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
    named = {phase: targets(rules, phase) for phase in PHASES}  # As in `snakemake runs`.
    assert {path for paths in named.values() for path in paths} == files
    assert named["runs"]
    assert named["tables"] == named["report_all"] == []


def test_without_a_part_everything_is_wanted():
    rules = rules_of(part="")
    assert wanted(rules) == [path for rule in rules for path in rule.files]


@pytest.mark.parametrize("part", ["", "2/3"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.9, 1.0])
def test_what_is_asked_for_makes_snakemake_compare_all_and_make_all_that_is_missing(
    part, share, monkeypatch
):
    """By Snakemake's rule: what is asked for is made, and what a job reads that is to run."""
    rules = rules_of(part=part)
    draw = random.Random(f"{part} {share}")
    files = wanted(rules)
    absent = {path for path in files if draw.random() < share}
    monkeypatch.setattr(os.path, "exists", lambda path: path not in absent)
    listed = needed(rules)
    compared, made = {*listed}, {*listed} & absent
    for job in reversed(asked(rules)):
        if not compared.isdisjoint(job.outputs):
            compared.update(job.inputs)
        if not made.isdisjoint(job.outputs):
            made.update(job.outputs)
            made.update(absent.intersection(job.inputs))
    assert all(not compared.isdisjoint(job.outputs) for job in asked(rules))
    assert absent <= made
    read = {path for job in asked(rules) for path in job.inputs}
    assert {*listed}.isdisjoint(read) or 0 < share < 1
    assert {*files} - read <= {*listed}
