"""The examples run as their page says, and the notebook is its script's."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

from osad.core.files import write_csv
from osad.evaluation.scores import COLUMNS

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*arguments: str) -> str:
    return subprocess.check_output([sys.executable, *arguments], text=True)


def test_the_page_names_every_example():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert set(re.findall(r"`python examples/(\S+?)[` ]", page)) <= files
    assert files - {"notebook.py"} == set(re.findall(r"\]\((.+?)\)", page))


def test_the_notebook_is_of_the_script_of_today():
    module = runpy.run_path(str(EXAMPLES / "notebook.py"))
    script = (EXAMPLES / "roc.py").read_text(encoding="utf-8")
    assert module["notebook"](script) == (EXAMPLES / "roc.ipynb").read_text(encoding="utf-8")
    assert "print" in script
    assert module["notebook"](script.replace("print", "write")) != module["notebook"](script)


def test_the_method_is_one():
    said = run("-m", "osad.cli", "check-method", str(EXAMPLES / "nearest_mean.py"))
    lines = said.splitlines()
    assert len(lines) > 10
    assert all(line.startswith("nearest_mean: ok: ") for line in lines)


def test_two_commits_are_compared(monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    assert run("examples/compare.py", "HEAD", "HEAD") == ""


def test_the_curve_is_drawn_of_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").touch()
    rows = [
        {"path": f"{n}.png", "sha256": f"{n:064}", "label": label, "class": name, "score": score}
        for n, (label, name, score) in enumerate(
            [(0, "good", 0.1), (0, "good", 0.4), (1, "mono", 0.35), (1, "mono", 0.8)]
        )
    ]
    write_csv("results/scores/elpv/all/general-m10/dpdl/s0.csv", COLUMNS, rows)
    runpy.run_path(str(EXAMPLES / "roc.py"))
    said = capsys.readouterr().out
    # One anomaly of two scores above each normal image.
    assert (
        said
        == "4 test images, 2 of them anomalous\nAUROC 0.7500\nfound at 5 % false alarms: 0.500\n"
    )
    assert Path("roc.svg").read_text(encoding="utf-8").startswith("<?xml")
