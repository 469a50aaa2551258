"""What the pages say is so: numbers, links, names of files and modules, words, and the tables."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
from test_layers import LAYERS

from osad.audit.ledger import Entry
from osad.pipeline import config
from osad.pipeline.fingerprint import module_file
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import PHASES, jobs
from osad.pipeline.rules import Rules

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder, pattern in ((".", "*.md"), ("docs", "**/*.md"), ("[ep]*", "README.md"))
    for path in sorted(ROOT.glob(f"{folder}/{pattern}"))
}
NOW = {name: text for name, text in PAGES.items() if name != "CHANGELOG.md"}
"""Pages that speak of today alone."""
EXAMPLES = {"src/osad/methods/mine.py"}
"""Files that a reader would write."""
ARCHITECTURE, AUDIT = PAGES["docs/architecture.md"], PAGES["docs/audit.md"]


@pytest.fixture
def numbers():
    spec = importlib.util.spec_from_file_location("numbers_of_pages", ROOT / "docs/fill_tables.py")
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


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", NOW)
def test_files_and_modules_that_a_page_names_exist(page):
    folders = "src|docs|tests|workflow|configs|bench|requirements|profiles"
    for path in re.findall(rf"(?<![\w/.-])(?:{folders})/[\w/.-]*\w", NOW[page]):
        assert (ROOT / path).exists() or path in EXAMPLES, path
    for name in re.findall(r"(?<![\w./-])osad(?:\.\w+)+(?![\w(])", NOW[page]):
        module, _, attribute = name.rpartition(".")
        if module_file(name, ROOT / "src") is None and not (ROOT / "src" / name).is_dir():
            path = module_file(module, ROOT / "src")
            assert path is not None, name
            assert re.search(rf"^(def |class )?{attribute}\b", path.read_text(), re.M), name


@pytest.mark.parametrize("word", re.findall(r"\*\*(.+?)\*\*", PAGES["docs/glossary.md"]))
def test_a_word_of_the_glossary_is_used(word):
    others = (text for name, text in PAGES.items() if name != "docs/glossary.md")
    assert any(re.search(rf"\b{word}", text, re.IGNORECASE) for text in others)


def test_the_rooms_are_those_of_the_package():
    rows = re.findall(r"^\| `([\w.]+)` \| .+ \| (\d+) \|$", ARCHITECTURE, re.MULTILINE)
    assert [name.removesuffix(".py") for name, _ in rows] == list(LAYERS)
    assert [int(layer) for _, layer in rows] == list(range(1, len(LAYERS) + 1))


def rules(*names: str) -> Rules:
    files = (ROOT / f"configs/{name}.yaml" for name in names)
    return Rules(Grid(config.load(ROOT, *files), ROOT))


def test_the_rules_and_their_phases_are_those_of_the_table():
    rows = re.findall(rf"^\| ([\w, ]+) \| ({'|'.join(PHASES)}) \|", ARCHITECTURE, re.MULTILINE)
    told = [(rule, phase) for names, phase in rows for rule in names.split(", ")]
    assert told == [(rule, phase) for phase, names in PHASES.items() for rule in names]
    assert [rule for rule, _ in told] == [rule.name for rule in rules()]


def test_the_sizes_of_the_grids_are_those_that_are_planned():
    known = rules()
    size = (
        f"{len(known.grid.cells)} cells, {len(known.grid.runs)} runs and {len(jobs(known)):,} jobs"
    )
    assert size in ARCHITECTURE
    assert f"{len(known.grid.cells)} cells" in PAGES["README.md"]
    for page in ("README.md", "docs/grids.md"):
        assert f"({len(jobs(rules('paper'))):,} jobs)" in PAGES[page]


def test_the_lines_of_the_ledger_are_described():
    keys = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", AUDIT, re.MULTILINE)))
    assert set(keys) >= {field.name for field in dataclasses.fields(Entry)}


def test_the_example_of_the_audit_is_a_row_of_the_table():
    cell = re.search(r"osad audit explain (\S+/s[0-9]+)", AUDIT)[1]
    with (ROOT / "results/tables/cells.csv").open(encoding="utf-8", newline="") as stream:
        line, row = next(
            found
            for found in enumerate(csv.DictReader(stream), start=2)
            if found[1]["cell"] == cell
        )
    assert f"{cell}\n  AUROC   {row['auroc']}\n" in AUDIT
    assert f"  average precision   {row['average_precision']}\n" in AUDIT
    assert f"cells.csv, line {line}\n" in AUDIT
    counts = (
        f"trained on {row['n_train_normal']} normal and {row['n_train_anomaly']} anomalous, "
        f"tested on {row['n_test_normal']} and {row['n_test_anomaly']};"
    )
    assert counts in AUDIT


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 176
