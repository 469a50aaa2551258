"""The numbers that the README and the pages print are those of the committed summary."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def numbers():
    spec = importlib.util.spec_from_file_location("numbers_of_pages", ROOT / "docs/numbers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_says_what_the_summary_says(numbers, capsys):
    assert len(numbers.pages()) > 10
    assert numbers.main(["--check"]) == 0, capsys.readouterr().out


def test_a_number_changed_by_hand_is_found(numbers, tmp_path, monkeypatch, capsys):
    names = ["README.md", "results/tables/summary.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(numbers, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    honest = readme.read_text(encoding="utf-8")
    assert numbers.main(["--check"]) == 0
    line = next(line for line in honest.splitlines() if line.startswith("| `dpdl` | 0."))
    first = line.split("|")[2].split()[0]
    wrong = line.replace(first, f"{float(first) + 0.1:.3f}", 1)
    readme.write_text(honest.replace(line, wrong), encoding="utf-8")
    assert numbers.main(["--check"]) == 1
    assert "README.md: differs" in capsys.readouterr().out
    assert numbers.main([]) == 0
    assert readme.read_text(encoding="utf-8") == honest
