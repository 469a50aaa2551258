"""The page in a folder of its own: what is copied, replaced, kept and refused."""

import json
from pathlib import Path

import project_cases
import pytest
from project_cases import MadeUp

from osad import cli
from osad.exports.publish import MARKER

made = project_cases.made
PAGE = "results/report"


def publish(folder: str = "site") -> int:
    return cli.main(["page", "--publish", folder])


def content(folder: str) -> dict[str, bytes]:
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def page(made: MadeUp) -> MadeUp:
    """A project whose page has what a page needs, and a file of an earlier grid."""
    made.put("src/osad/report/assets/core.js", "core\n")
    made.put(f"{PAGE}/assets/core.js", "core\n")
    made.put(f"{PAGE}/cells/old/all/general-m10/devnet.js", "old\n")
    return made


def test_the_page_is_copied_and_nothing_else(page: MadeUp, capsys):
    assert publish() == 0
    found, source = content("site"), content(PAGE)
    listed = json.loads(found.pop(MARKER))["files"]
    assert sorted(found) == listed
    assert "wrote" in capsys.readouterr().out
    del source["cells/old/all/general-m10/devnet.js"]
    assert found == source


def test_a_second_time_replaces_its_own_files_and_keeps_others(page: MadeUp):
    Path("site").mkdir()
    assert publish() == 0
    page.put("site/.git/config", "mine\n")
    page.put("site/gone.js", "of an earlier page\n")
    page.put("site/data.js", "edited\n")
    marker = json.loads(Path("site", MARKER).read_text())
    Path("site", MARKER).write_text(json.dumps({"files": [*marker["files"], "gone.js"]}))
    assert publish() == 0
    found = content("site")
    assert "gone.js" not in found
    assert found[".git/config"] == b"mine\n"
    assert found["data.js"] == content(PAGE)["data.js"]


@pytest.mark.parametrize(
    ("change", "folder", "code", "message"),
    [
        (lambda m: m.put("site/mine.txt", "keep"), "site", 2, "site: is not empty and has no"),
        (lambda m: m.put("site", "a file"), "site", 2, "site: is not empty and has no"),
        (lambda m: None, f"{PAGE}/public", 2, "is the page's own folder"),
        (lambda m: m.put(f"site/{MARKER}", '{"files": ["../x"]}'), "site", 2, "is damaged"),
        (lambda m: m.put(f"site/{MARKER}", "{}"), "site", 2, "is damaged"),
        (lambda m: (m.root / PAGE / "data.js").unlink(), "site", 2, "data.js: is missing; run"),
        (lambda m: m.put(f"{PAGE}/data.js", "x"), "site", 1, "data.js: differs from the ledger"),
    ],
)
def test_what_is_refused_changes_nothing(page: MadeUp, capsys, change, folder, code, message):
    change(page)
    before = content("site")
    assert publish(folder) == code
    assert message in capsys.readouterr().err
    assert content("site") == before
