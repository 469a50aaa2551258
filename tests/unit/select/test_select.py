"""Which images choose hyper-parameters, and how what they say is added up."""

import argparse
import dataclasses

import pytest
from project_cases import rules_of

from osad.core.cells import Cell
from osad.core.errors import ConfigError
from osad.data.splits import SplitRow
from osad.select import cli
from osad.select.criteria import Trial, _parts

RUN = Cell("elpv", "all", "general-m10", "devnet", 0)
TRIAL = Trial("left_out", RUN, {}, None, "split.csv", ())
ROWS = [
    *(SplitRow(f"n{number:02}.png", "", "train_normal", 0, "good") for number in range(20)),
    *(SplitRow(f"a{number}.png", "", "train_anomaly", 1, "mono") for number in range(10)),
    *(SplitRow(f"t{number}.png", "", "test", number % 2, "poly") for number in range(6)),
]


def parts(**changes):
    found = _parts(dataclasses.replace(TRIAL, **changes), ROWS)
    return {role: [row.path for row in rows] for role, rows in found.items()}


def test_development_sets_are_used_whole():
    found = parts(criterion="development")
    assert (len(found["normal"]), len(found["seen"])) == (20, 10)
    assert found["low"] == ["t0.png", "t2.png", "t4.png"]
    assert found["high"] == ["t1.png", "t3.png", "t5.png"]


@pytest.mark.parametrize("criterion", ["left_out", "pseudo"])
def test_a_fifth_of_the_normals_is_left_out_and_no_test_image_is_touched(criterion):
    folds = [parts(criterion=criterion, fold=fold) for fold in range(5)]
    for found in folds:
        assert len(found["low"]) == 4
        assert sorted(found["low"] + found["normal"]) == [row.path for row in ROWS[:20]]
        assert not any(path.startswith("t") for role in found.values() for path in role)
    assert len({path for found in folds for path in found["low"]}) == 20


def test_half_of_the_seen_anomalies_is_left_out_or_all_but_one():
    halves = [parts(fold=fold) for fold in (0, 1)]
    assert halves[0]["high"] == halves[1]["seen"] == [f"a{n}.png" for n in (0, 2, 4, 6, 8)]
    single = parts(single=3)
    assert single["seen"] == ["a3.png"]
    assert len(single["high"]) == 9
    # Pseudo anomalies are made of the normals: all seen anomalies are trained on.
    assert len(parts(criterion="pseudo")["seen"]) == 10
    assert "high" not in parts(criterion="pseudo")


def test_the_classes_that_are_not_known_are_ranked_without_having_been_seen():
    rows = [*ROWS[:27], *(dataclasses.replace(row, class_name="poly") for row in ROWS[27:30])]
    found = _parts(dataclasses.replace(TRIAL, known="mono"), [*rows, *ROWS[30:]])
    assert [row.path for row in found["high"]] == [f"a{n}.png" for n in (7, 8, 9)]
    assert len(found["seen"]) == 7
    assert len(found["normal"]) == 16
    assert dataclasses.replace(TRIAL, known="mono").group.endswith("general-m10, mono alone")


def trials(method: str, tables=("elpv",), criteria=("development", "left_out", "pseudo")):
    grid = rules_of(seeds=(0, 1)).grid
    options = argparse.Namespace(criteria=criteria, seeds=[0, 1])
    return [*cli.trials(grid, tables, method, {}, options)]


def test_sets_of_the_tables_are_judged_inside_and_others_by_their_tests():
    inside = trials("dpdl")
    assert {trial.criterion for trial in inside} == {"left_out", "pseudo"}
    # Two seeds of three protocols with ten seen anomalies, one of ten in the first seed
    left = [trial for trial in inside if trial.criterion == "left_out"]
    # and in the general one, each class alone.
    assert len(left) == 3 * 2 + 3 + 2 * 2
    halves = [trial for trial in left if trial.single is None and not trial.known]
    assert {trial.fold for trial in halves} == {0, 1}
    assert {trial.run.seed for trial in left if trial.single is not None} == {0}
    # Two generators in one pack, in the general setting.
    assert [t.packs[-1].split("/")[-1] for t in inside if t.criterion == "pseudo"] == [
        "holdout.safetensors"
    ] * 4
    outside = trials("dpdl", tables=())
    assert {trial.criterion for trial in outside} == {"development"}
    assert len(outside) == 6 * 2


def test_methods_of_normals_alone_have_the_normal_protocol():
    assert {trial.run.protocol for trial in trials("patchcore", tables=())} == {"normal-m0"}


def test_methods_of_several_networks_have_no_pseudo_anomalies():
    assert "pseudo" not in {trial.criterion for trial in trials("evidence")}


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=1e-3,2 3"])
def test_settings_of_another_form_are_refused(text):
    with pytest.raises(ConfigError, match="expected KEY=VALUE,VALUE"):
        cli.candidates([text])


def test_a_number_that_is_none_is_refused():
    for value in ("1e999", "-1e999", "[1;Infinity]"):
        with pytest.raises(ConfigError, match="expected KEY=VALUE"):
            cli.candidates([f"lr={value}"])


def test_a_seed_given_twice_is_refused():
    with pytest.raises(ConfigError, match="names a seed twice"):
        cli.run(argparse.Namespace(jobs=1, seeds=[0, 1, 0], method="dpdl"))


def test_a_key_given_twice_is_refused():
    with pytest.raises(ConfigError, match="epochs is given twice"):
        cli.candidates(["epochs=5", "epochs=10"])


def test_a_setting_is_laid_over_the_grid_s_hyper_parameters():
    grid = rules_of(seeds=(0,)).grid
    hyper = {**grid.params.hyper, "dpdl": {**grid.params.hyper["dpdl"], "epochs": 77}}
    changed = dataclasses.replace(grid, params=dataclasses.replace(grid.params, hyper=hyper))
    options = argparse.Namespace(criteria=("left_out",), seeds=[0])
    found = next(cli.trials(changed, ("elpv",), "dpdl", {"batch": 12}, options))
    assert (found.hyper["epochs"], found.hyper["batch"]) == (77, 12)


def test_candidates_are_all_combinations():
    found = cli.candidates(["loss=deviation,cross_entropy", "lengths=true", "epochs=5,10"])
    assert len(found) == 4
    assert found[1] == {"loss": "deviation", "lengths": True, "epochs": 10}


def test_groups_count_alike_however_many_fits_they_have():
    groups = {"a": [{"total": 0.5}] * 3, "b": [{"total": 0.9}]}
    assert cli.overall(groups) == pytest.approx(0.7)
