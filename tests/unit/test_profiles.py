"""The profiles for clusters, without one."""

import os
import subprocess

import pytest
import yaml
from project_cases import ROOT, rules_of

FILES = sorted((ROOT / "profiles").glob("*/config.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_gpus_are_granted_to_the_rules_that_can_use_one(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if file.parent.name == "default":
        assert content["resources"] == ["gpu=1"]
        return
    able = {rule.name for rule in rules_of() if rule.gpus is not None}
    assert content["set-resources"] == {name: {"gpu": 1} for name in able}
    default = yaml.safe_load(FILES[0].read_text(encoding="utf-8"))
    assert not content.keys() & default.keys()  # They would not count.


def said(folder, script, *words, scheduler, does):
    """Return what a script of profiles/generic says where a scheduler's command does this."""
    command = folder / scheduler
    command.write_text(f"#!/bin/sh\n{does}\n")
    command.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    done = subprocess.run(
        [str(ROOT / "profiles/generic" / script), *words], cwd=folder, capture_output=True,
        env=os.environ | {"PATH": path}, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    ("told", "code", "status"),
    [
        ("    job_state = Q", 0, "running"),
        ("    job_state = F\n    Exit_status = 0", 0, "success"),
        ("    job_state = F\n    Exit_status = 1", 0, "failed"),
        ("    job_state = F\n    Exit_status = 271", 0, "failed"),
        ("", 153, "failed"),  # It is not known.
        ("", 111, "running"),  # The server does not answer.
    ],
)
def test_how_a_job_is(tmp_path, told, code, status):
    does = f"[ \"$*\" = '-xf 7.pbs' ] || exit 2\necho '{told}'\nexit {code}"
    assert said(tmp_path, "status", "7.pbs", scheduler="qstat", does=does) == f"{status}\n"


@pytest.mark.parametrize(("gpus", "needs"), [("0", ""), ("1", ":ngpus=1")])
def test_what_a_scheduler_is_asked_for(tmp_path, gpus, needs):
    words = ("8", "4000", "240", gpus, "job.sh")
    told = said(tmp_path, "submit", *words, scheduler="qsub", does='echo "$@"')
    assert f"-l select=1:ncpus=8:mem=4000mb{needs} -l walltime=14400 job.sh" in told
