"""BibTeX of a cell: which entries there are, and that any text is a valid field."""

import re

import project_cases
import pytest
from project_cases import METHOD, NAME, RUN, MadeUp, shipped

from osad import cli
from osad.core.cells import Cell
from osad.data import registry as data_registry
from osad.history.cite import CITED, PAPER, entry, references
from osad.methods import registry
from osad.pipeline.grid import Grid

made = project_cases.made


def parsed(text: str) -> dict[str, dict[str, str]]:
    """Read BibTeX as its programs do: a field ends where the braces that count are closed."""
    entries: dict[str, dict[str, str]] = {}
    place = 0
    while match := re.compile(r"\s*@misc\{([^\s{},]+),\n").match(text, place):
        fields, place = entries.setdefault(match[1], {}), match.end()
        while field := re.compile(r"\s*(\w+) = \{").match(text, place):
            depth, end = 1, field.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            assert text[end] == ","
            assert field[1] not in fields
            fields[field[1]], place = text[field.end() : end - 1], end + 1
        assert text[place : place + 2] == "\n}"
        place += 2
    assert text[place:].strip() == ""
    return entries


def cited(name: str) -> dict[str, dict[str, str]]:
    """Return the entries of a run of the shipped grid."""
    return parsed(
        "\n\n".join(references(Grid(shipped(), project_cases.ROOT), Cell.parse(name), ""))
    )


def test_method_data_weights_and_project_have_an_entry_each(made: MadeUp, capsys):
    assert cli.main(["cite", RUN]) == 0
    out = capsys.readouterr().out
    entries = parsed(out)
    assert [*entries] == [
        "method-devnet", "data-tiny", "weights-tf_efficientnet_lite0", "osad",
    ]  # fmt: skip
    assert entries["method-devnet"] == {
        "author": "Pang and others", "title": "Explainable Deep Few-shot Anomaly Detection, 2021",
        "note": "method DevNet", "year": "2021", "archiveprefix": "arXiv", "eprint": "2108.00462",
    }  # fmt: skip
    assert entries["data-tiny"] == {
        "author": "A. Author", "title": "Tiny things", "year": "2020",
        "note": "2020; data set Tiny, licence: CC BY 4.0",
    }  # fmt: skip
    assert "efficientnet-lite0" in entries["weights-tf_efficientnet_lite0"]["howpublished"]
    assert re.fullmatch("commit [0-9a-f]{40}", entries["osad"]["note"])
    assert entries["osad"]["year"] == "2024"  # Of the commit.
    # What has changed since is no part of the commit.
    made.put(METHOD, "RATE = 2\n")
    assert cli.main(["cite", RUN]) == 0
    changed = parsed(capsys.readouterr().out)["osad"]["note"]
    assert re.fullmatch("commit [0-9a-f]{40} with uncommitted changes", changed)
    made.put(METHOD, project_cases.SOURCES[METHOD])
    # A mean is cited like its runs.
    assert cli.main(["cite", NAME]) == 0
    assert capsys.readouterr().out == out


def test_networks_are_cited_where_they_are_read():
    assert not [name for name in cited("elpv/all/general-m10/mean_intensity/s0") if "weig" in name]
    weights = [name for name in cited("elpv/all/general-m10/evidence/s0") if "weights" in name]
    assert weights == [f"weights-tf_efficientnet_lite{number}" for number in range(3)]


HOSTILE = [
    "100 % {open", "closed} & _more_ #1 $x$", "back\\slash{", "two\nlines\u2028three", "a^b~c@d,",
    '"quoted" = {', "ünïcode",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_a_valid_field(made: MadeUp, text, capsys):
    told = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    made.edit("params.yaml", '"A. Author: Tiny things. 2020."', f'"{told}"')
    assert cli.main(["cite", RUN]) == 0
    fields = parsed(capsys.readouterr().out)["data-tiny"]
    assert not re.search(r"(?<!\\)[%&_#]", fields["title"])
    assert "\\{" not in fields["title"]
    assert "author" not in fields
    assert "\n" not in fields["title"]


@pytest.mark.parametrize("name", data_registry.names())
def test_authors_and_titles_of_data_sets_are_fields(name):
    spec = data_registry.get(name)
    (fields,) = parsed(entry("x", spec.citation, CITED, note="")).values()
    assert fields["author"].split(" and ")[0] in spec.citation
    assert fields["title"] in spec.citation
    assert re.fullmatch("20[0-9]{2}", fields["year"])


def test_papers_of_methods_say_no_more_than_the_registry():
    for spec in registry.all_specs():
        (fields,) = parsed(entry("x", spec.paper, PAPER, note="")).values()
        assert fields["title"] in spec.paper
        assert fields.get("eprint", "") in spec.paper
        assert fields.get("year", "20")[2:] in spec.paper
    years = parsed(entry("x", "A (B et al., ICLR 2019), as of C et al., CVPR 2022", PAPER))
    assert years == {"x": {"title": "A (B et al., ICLR 2019), as of C et al., CVPR 2022"}}


def test_an_unknown_cell_is_refused(made: MadeUp, capsys):
    assert cli.main(["cite", "tiny/all/general-m10/dra/s0"]) == 2
    assert "is not in the grid; one that is: tiny/all/general-m10/" in capsys.readouterr().err
