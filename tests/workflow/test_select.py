"""`osad select` on real features of a small project."""

import pytest
from projects import Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_settings_are_compared_inside_the_training_data(project: Project) -> None:
    found = project.run(
        "osad", "select", "mahalanobis_lda", "shrinkage=0.05,0.9", "--criteria", "left_out",
        "--seeds", "0", "--configfile", "params.yaml",
    ).check()  # fmt: skip
    lines = found.output.splitlines()
    settings = [line.split(maxsplit=1) for line in lines if "shrinkage" in line]
    assert {text for _, text in settings} == {'{"shrinkage": 0.05}', '{"shrinkage": 0.9}'}
    assert [rate for rate, _ in settings] == sorted(rate for rate, _ in settings)
    # general, hard-dent and hard-scratch, with half left out and with one of ten; each class alone.
    assert sum("left_out tiny" in line for line in lines) == 2 * (6 + 2)


def test_a_missing_pack_is_named_with_the_command_that_makes_it(project: Project) -> None:
    found = project.run(
        "osad", "select", "devnet", "--criteria", "pseudo", "--configfile", "params.yaml"
    )
    assert found.code == 2
    assert "holdout.safetensors; make them with: snakemake" in found.output
    assert "--configfile params.yaml" in found.output
