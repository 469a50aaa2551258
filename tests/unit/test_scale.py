"""What a grid three times as large costs: three times as many calls of functions, and no more."""

import contextlib
import cProfile
import importlib
import importlib.util
import json
from pathlib import Path

import pytest

from osad.audit import actions, ledger
from osad.audit.verify import verify
from osad.pipeline import config
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import jobs
from osad.pipeline.parts import wanted
from osad.pipeline.rules import Rules

ROOT = Path(__file__).parents[2]
SIZES = (60, 180)


def script():
    spec = importlib.util.spec_from_file_location("scale", ROOT / "bench/scale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(function, *arguments):
    """Return how many calls of functions a call leads to, and its value."""
    profile = cProfile.Profile()
    value = profile.runcall(function, *arguments)
    return sum(entry.callcount for entry in profile.getstats()), value


def calls_of(runs, folder):
    """Return the calls of each part of a grid's bookkeeping."""
    scale = script()
    for name in scale.PROJECT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    content = scale.generated(runs, ["elpv"]) | {"figures": []}
    (folder / "grid.json").write_text(json.dumps(content), encoding="utf-8")
    calls = {}
    with contextlib.chdir(folder):
        rules = Rules(Grid(config.load(folder, folder / "grid.json"), folder))
        assert len(rules.grid.runs) == runs
        made = scale.MadeUp(rules.grid)
        for job in jobs(rules):
            if job.rule.name in scale.REAL:
                step = importlib.import_module(f"osad.pipeline.steps.{job.rule.step}")
                calls[job.rule.name], _ = counted(step.main, job.arguments()[1:])
                made.vouch(job)
            else:
                made.make(job)
        calls["jobs"], files = counted(wanted, rules)
        calls["record"], (outcome, _) = counted(actions.record, rules)
        assert outcome.ledger.entries.keys() == {*files}
        calls["read"], known = counted(ledger.read, Path("provenance"))
        calls["adopt"], _ = counted(actions.adopt, rules)
        calls["verify"], findings = counted(verify, rules, known, None)
        assert not findings.differs + findings.missing
    return calls


@pytest.mark.slow
def test_bookkeeping_grows_with_the_grid_and_not_faster(tmp_path):
    small, large = (calls_of(runs, tmp_path / str(runs)) for runs in SIZES)
    assert small.keys() == large.keys() >= {"cells", "comparison", "report_page", "verify"}
    growth = {name: large[name] / small[name] for name in small}
    assert max(growth.values()) < 3.5, growth
    assert growth["record"] > 2  # It is the grid that is counted.
