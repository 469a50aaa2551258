"""What the pages say is so: numbers, links, names of files and modules, messages, tables."""

from __future__ import annotations

import ast
import csv
import dataclasses
import functools
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from test_layers import LAYERS

import osad
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


def script(name: str, folder: str = "docs"):
    """Import a script."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def numbers():
    return script("fill_tables")


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
    for page in ("README.md", "docs/performance.md"):
        assert f"{len(known.grid.cells)} cells" in PAGES[page]
    for page in ("docs/performance.md", "docs/grids.md"):
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
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 110
    assert [line for line in lines if len(line) > 120] == []
    for picture in re.findall(r"!\[.+\]\((.+)\)", PAGES["README.md"]):
        assert (ROOT / picture).stat().st_size < 300_000


def test_the_pages_of_results_are_where_the_readme_says():
    for names in ((), ("smoke",)):
        (page,) = (path for rule in rules(*names) for path in rule.files if path.endswith(".html"))
        assert f"`{page}`" in PAGES["README.md"]


def test_what_the_readme_says_of_the_methods_is_what_the_comparison_says():
    with (ROOT / "results/tables/comparison.csv").open(encoding="utf-8", newline="") as stream:
        found = {
            (row["method"], row["setting"], row["shots"]): row
            for row in csv.DictReader(stream)
            if row["known_class"] in ("", "mean") and row["rank"]
        }
    columns = [("general", "10"), ("general", "1"), ("hard", "10"), ("hard", "1")]

    def values(method: str, name: str) -> list[str]:
        return [found[method, *column][name] for column in columns]

    assert "yes" not in values("evidence", "distinguishable")
    beside = [value != "yes" for value in values("mahalanobis", "distinguishable")]
    assert beside == [False, True, False, True]
    published = [float(value) > 0 for value in values("dpdl", "difference_to_published")]
    assert published == [False, False, True, True]
    last = [max(int(row["rank"]) for key, row in found.items() if key[1:] == c) for c in columns]
    assert [int(rank) for rank in values("mean_intensity", "rank")] == last


def test_images_with_heat_maps_are_at_the_quarters_of_their_scores():
    scores = {"0": [3, 1, 2, 0, 4, 5, 6, 7], "1": [30, 10, 20, 40]}
    rows = [
        {"label": label, "score": str(score), "path": str(score)}
        for label, of_label in scores.items()
        for score in of_label
    ]
    found = [row["score"] for row in script("heat_maps", "bench").chosen(rows)]
    assert found == ["2", "4", "6", "20", "30", "40"]


def test_every_page_is_listed():
    """On the first page, or on the index of data sets."""
    listed = {
        (Path("docs") / link).resolve()
        for page in ("docs/index.md", "docs/datasets.md")
        for link in re.findall(r"\]\(([^)#\s]+)", PAGES[page])
    }
    assert {Path(page).resolve() for page in PAGES} - listed == {Path("docs/index.md").resolve()}


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"- (\S+\.md)$", text, re.MULTILINE)) == set(PAGES)
    settings = yaml.safe_load(text.replace("!!python/object/apply:pymdownx.slugs.slugify", ""))
    assert settings["theme"]["font"] is False
    assert [*map(str, settings["extra"]["polyfills"])] == ["docs/assets/iframe-worker.js"]
    assert (ROOT / "docs/assets/iframe-worker.js").is_file()


def test_every_release_says_which_numbers_changed():
    _, *releases = re.split(r"^## ", PAGES["CHANGELOG.md"], flags=re.MULTILINE)
    newest = [release for release in releases if not release.startswith("Unreleased\n")]
    assert newest[0].startswith(f"{osad.__version__} (")
    assert newest in (releases, releases[1:])
    for release in releases:
        assert re.search(r"^### Numbers that changed$", release, re.MULTILINE), release[:20]


def test_what_is_cited_is_this_package():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["version"] == osad.__version__
    assert cited["license"] == project["license"]
    assert cited["keywords"] == project["keywords"]
    assert cited["title"].removeprefix("osad: ").lower() == project["description"].lower()


@pytest.mark.parametrize("name", ["rooms", "flow"])
def test_the_arrows_of_a_picture_are_those_of_the_code(name):
    diagrams = script("diagrams")
    text = (ROOT / f"docs/images/{name}.svg").read_text(encoding="utf-8")
    drawn = set(re.findall(r"<title>(\w+)&#45;&gt;(\w+)</title>", text))
    assert drawn == diagrams.DIAGRAMS[name][0](), "run python docs/diagrams.py"


def test_every_argument_of_osad_is_explained(numbers):
    from osad.cli import parser

    commands = [*numbers.leaves(parser())]
    assert len(commands) > 15
    for command in commands:
        assert command.description.endswith((".", "is")), command.prog
        for one in command._actions:
            assert one.help, (command.prog, one.dest)


def test_commands_do_not_depend_on_the_machine(numbers, monkeypatch):
    written = numbers.commands(["osad"])
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("osad.predict.cli.processors", lambda: 77)
    assert numbers.commands(["osad"]) == written
    assert "osad audit verify" in written


@functools.cache
def messages() -> str:
    """Return all texts of the package's sources, with ... for what is put into them."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "...") for part in node.values)
                found.append("".join(p if isinstance(p, str) else "..." for p in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(re.sub(r"(\.\.\.)+", "...", text) for text in found)


QUOTED = re.findall(r"^```text\n(.*?)^```", PAGES["docs/troubleshooting.md"], re.M | re.S)


@pytest.mark.parametrize("message", [line for block in QUOTED for line in block.splitlines()])
def test_a_message_of_troubleshooting_is_what_the_program_says(message):
    assert message.removeprefix("osad: ") in messages() or message in messages()
