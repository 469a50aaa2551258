"""The papers' layouts as Markdown, LaTeX and plain text, and requests for them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from table_cases import FOLDER, layouts, metrics, request_value, rows_of, summary_of

from osad.core.errors import ConfigError
from osad.evaluation.published import Key, Published, index, load
from osad.evaluation.tables.cells import Outcome, cell_rows, ok
from osad.evaluation.tables.footers import footers
from osad.evaluation.tables.latex import latex
from osad.evaluation.tables.layout import Table, build_tables
from osad.evaluation.tables.markdown import markdown
from osad.evaluation.tables.plain import render_summary
from osad.evaluation.tables.request import parse_grid, parse_request
from osad.evaluation.tables.summary import summary_rows


@pytest.fixture(scope="module")
def table() -> dict[Key, Published]:
    return index(load(FOLDER))


def test_the_general_table_has_ours_published_and_controls_apart(
    table: dict[Key, Published],
) -> None:
    skipped = Outcome("skipped", "not run")
    general = layouts(
        {
            "elpv/all/general-m10/dpdl/s0": 0.84,
            "elpv/all/general-m10/dpdl/s1": 0.86,
            "elpv/all/general-m10/dra/s0": 0.80,
            "elpv/all/general-m10/dra/s1": skipped,
            "elpv/all/general-m10/patchcore/s0": skipped,
            "elpv/all/general-m10/true_labels/s0": 1.0,
            "elpv/all/general-m10/true_labels/s1": 1.0,
            "elpv/all/general-m10/random/s0": 0.5,
            "elpv/all/general-m10/random/s1": 0.5,
            "elpv/all/general-m1/dra/s0": 0.7,
            "elpv/all/general-m1/dra/s1": 0.7,
            "mine/all/general-m10/dra/s0": 0.9,
            "mine/all/general-m10/dra/s1": 0.9,
        },
        table,
    )["general"]
    text = markdown(general)
    lines = text.splitlines()
    start = lines.index("### M = 10 labelled anomalies")
    assert lines[start + 2 : start + 7] == [
        "|  |  | DPDL | DRA | PatchCore |",
        "| :-- | :-- | --: | --: | --: |",
        "| ELPV | ours | **0.850 ± 0.014** | 0.800 (n=1) [1] | n/a [1] |",
        "|  | published | 0.937 ± 0.003 | 0.845 ± 0.013 |  |",
        "| mine | ours | - | 0.900 ± 0.000 | - |",
    ]
    titles = [line for line in lines if line.startswith("### ")]
    assert titles[1:] == ["### M = 1 labelled anomaly", "### Controls, M = 10 labelled anomalies"]
    assert (
        "| ELPV | ours | 1.000 ± 0.000 | 0.500 ± 0.000 |" in lines
    )  # A control is never marked as best.
    assert "- [1] skipped: not run" in lines
    assert "- Frozen features at 96 px." in lines
    assert "- Backbone lite0: DPDL, DRA, PatchCore." in lines
    assert "- Data: ELPV: CC BY-NC-SA 4.0 & more; Buerhop 2018, 100 % of it." in lines
    assert "- Published numbers of DRA: DRA CVPR2022 (arXiv 2203.14506), Table 1." in lines
    assert "n = 2 except where shown" in text


def test_the_hard_table_has_known_classes_and_their_mean(table: dict[Key, Published]) -> None:
    hard = layouts(
        {
            "elpv/all/hard-mono-m10/dra/s0": 0.6,
            "elpv/all/hard-poly-m10/dra/s0": 0.8,
            "elpv/all/hard-mono-m10/dpdl/s0": 0.6,
            "elpv/all/hard-poly-m10/dpdl/s0": Outcome("failed", "train: loss"),
            "mvtec/carpet/hard-color-m10/dra/s0": 0.5,
        },
        table,
    )["hard"]
    assert [line.label for line in hard.blocks[0].lines] == [
        "MVTec AD / carpet: color",
        "ELPV: mono",
        "ELPV: poly",
        "ELPV: mean",
    ]
    text = markdown(hard)
    assert "| *ELPV: mean* | ours | n/a [2] | 0.700 |" in text
    assert "|  | published | 0.818 ± 0.003 | 0.766 ± 0.029 |" in text
    assert "| ELPV: mono | ours | **0.600** | **0.600** |" in text  # Equal in print.
    assert hard.reasons == (
        "failed: train: loss",
        "not every part of this average has a result",
    )


def test_a_setting_outside_the_grid_is_an_empty_table() -> None:
    tables = layouts({"elpv/all/normal-m0/patchcore/s0": 0.8})
    assert tables["normal"].blocks[0].title == "M = 0"
    assert "**" not in markdown(tables["normal"])  # A single method is not the best of any.
    for name in ("general", "hard"):
        assert tables[name].blocks == ()
        assert "no such cell" in markdown(tables[name])
        assert "no such cell" in latex(tables[name])


def test_latex_is_balanced_and_escaped(table: dict[Key, Published]) -> None:
    runs: dict[str, float | Outcome | None] = {
        "mvtec/metal_nut/general-m10/dpdl/s0": 0.84,
        "elpv/all/general-m10/dpdl/s0": 0.84,
        "elpv/all/general-m10/dra/s0": Outcome("failed", r"50% of {a_b} at C:\x $ # ~ ^"),
        "elpv/all/general-m1/dra/s0": 0.5,
    }
    text = latex(layouts(runs, table)["general"])
    for name in ("table*", "tabular", "adjustbox"):
        n_begin = len(re.findall(rf"\\begin\{{{re.escape(name)}\}}", text))
        assert n_begin == text.count(rf"\end{{{name}}}") == 2
    assert r"MVTec AD / metal\_nut & ours & 0.840 & - \\" in text
    assert r" & published & 0.937 $\pm$ 0.003 & 0.845 $\pm$ 0.013 \\" in text
    assert r"ELPV & ours & 0.840 & n/a\textsuperscript{1} \\" in text
    assert (
        r"\textsuperscript{1} failed: 50\% of \{a\_b\} at C:\textbackslash{}x \$ \# "
        r"\textasciitilde{} \textasciicircum{}" in text
    )
    assert r"CC BY-NC-SA 4.0 \& more; Buerhop 2018, 100 \% of it." in text
    unescaped = re.sub(r"\\.", "", "\n".join(text.splitlines()[1:]))
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"[%#_±]", unescaped)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count(" & ") for line in rows} == {3}


def test_markdown_escapes_markup() -> None:
    runs: dict[str, float | Outcome | None] = {
        "elpv/all/general-m10/dra/s0": Outcome("failed", "a|b <c> [d] *e*"),
    }
    text = markdown(layouts(runs)["general"])
    assert r"- [1] failed: a\|b \<c> \[d\] \*e\*" in text


def test_plain_summary_shows_ours_beside_published(table: dict[Key, Published]) -> None:
    _, rows = rows_of(
        {
            "elpv/all/general-m10/dra/s0": 0.80,
            "elpv/all/general-m10/dra/s1": 0.82,
            "elpv/all/general-m10/constant/s0": 0.5,
            "elpv/all/general-m10/dpdl/s0": Outcome("failed", "x"),
        }
    )
    text = render_summary(list(summary_of(rows, table).values()))
    words = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert ["elpv/all/general-m10/dpdl", "0", "n/a", "0.937 ± 0.003"] in words
    assert [
        "elpv/all/general-m10/dra", "2", "0.810 ± 0.014", "0.845 ± 0.013", "-0.035",
    ] in words  # fmt: skip
    assert ["elpv/all/general-m10/constant", "1", "0.500"] in words
    assert "\x1b" not in text


# Request


def without(key: str) -> dict[str, Any]:
    value = request_value([])
    del value[key]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected an object"),
        (without("notes"), "expected an object with cells, methods"),
        ({**request_value([]), "more": 1}, "expected an object with cells, methods"),
        (request_value([], cells={}), "cells must be a list"),
        (request_value([], results=3), "results must be"),
        (request_value([], methods="dra"), "methods: expected a list of texts"),
        (request_value([], methods=["dra", "dra"]), "methods: an entry occurs twice"),
        (request_value([], datasets={"elpv": {"title": "x"}}), r"datasets\.elpv: expected"),
        (request_value(["elpv/all/general-m10/dra"]), "expected DATASET/CATEGORY"),
        (request_value(["elpv/all/general-m10/flos/s0"]), "method of cell .* neither"),
        (request_value(["elpv/all/general-m10/dra/s0"] * 2), "is listed twice"),
        (request_value(["elpv/all/hard-mean-m10/dra/s0"]), "may not be called 'mean'"),
        (request_value(["elpv/mean/general-m10/dra/s0"]), "may not be called 'mean'"),
    ],
)
def test_a_wrong_request_is_refused(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_request(value, where="request.json")


def grid_method(name: str, *settings: str, control: bool = False) -> dict[str, Any]:
    backbone = "" if control else "lite0"
    return {"name": name, "settings": list(settings), "control": control, "backbone": backbone}


def grid_value(**changes: object) -> dict[str, Any]:
    return {
        "results": "results",
        "seeds": [0, 3],
        "protocols": {
            "elpv/all": ["general-m10", "normal-m0"],
            "mvtec/carpet": ["hard-cut-m1"],
        },
        "methods": [
            grid_method("dra", "general", "hard"),
            grid_method("constant", "general", "hard", "normal", control=True),
        ],
        "notes": ["A note."],
        "datasets": {},
        **changes,
    }


def test_a_grid_expands_to_the_cells_that_its_methods_support() -> None:
    request = parse_grid(grid_value(), where="--grid")
    assert sorted((str(cell), backbone) for cell, backbone in request.cells) == [
        ("elpv/all/general-m10/constant/s0", ""),
        ("elpv/all/general-m10/constant/s3", ""),
        ("elpv/all/general-m10/dra/s0", "lite0"),
        ("elpv/all/general-m10/dra/s3", "lite0"),
        ("elpv/all/normal-m0/constant/s0", ""),
        ("elpv/all/normal-m0/constant/s3", ""),
        ("mvtec/carpet/hard-cut-m1/constant/s0", ""),
        ("mvtec/carpet/hard-cut-m1/constant/s3", ""),
        ("mvtec/carpet/hard-cut-m1/dra/s0", "lite0"),
        ("mvtec/carpet/hard-cut-m1/dra/s3", "lite0"),
    ]
    assert (request.methods, request.controls) == (("dra", "constant"), ("constant",))
    assert (request.results, request.notes) == ("results", ("A note.",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": 1}, "expected an object with results, seeds"),
        ({"seeds": ["0"]}, "seeds: expected a list of whole numbers"),
        ({"methods": {}}, "methods must be a list"),
        ({"methods": [{"name": "dra"}]}, r"methods\[0\]: expected an object with name"),
        ({"protocols": {"elpv/all": ["easy-m10"]}}, "protocol 'easy-m10'"),
        ({"protocols": {"elpv": ["general-m10"]}}, "expected DATASET/CATEGORY"),
    ],
)
def test_a_wrong_grid_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_grid(grid_value(**changes), where="--grid")


VARIANTS = {"elpv/all/general-m10/dpdl/s0": 0.8, "elpv/all/general-m10/dpdl.no_dpl/s0": 0.7,
            "elpv/all/general-m10/dpdl.c8/s0": 0.9, "elpv/all/general-m1/dpdl.c8/s0": 0.6,
            "elpv/all/general-m10/random/s0": 0.5}  # fmt: skip
DIFFERENCES = {
    "changes": {"dpdl.c8": {"prototypes": [8, 32]}, "dpdl.no_dpl": {"dpl": [False, True]}},
    "cuts": {
        "dpdl": {"epochs": [20, 50]},
        "dpdl.c8": {"epochs": [20, 50]},
        "dpdl.no_dpl": {"epochs": [20, 50], "lr": [0.001, 0.1]},
    },
}


def variants_table(methods: list[str], **changes: object) -> Table:
    names = [name for name in VARIANTS if name.split("/")[3] in methods]
    value = request_value(names, methods=methods, controls=["random"], **DIFFERENCES, **changes)
    request = parse_request(value, where="request.json")
    known = {
        cell: ok(metrics(VARIANTS[str(cell)]), where="metrics.json") for cell, _ in request.cells
    }
    rows = cell_rows(request.cells, known, methods=request.methods)
    summary = summary_rows(rows, table=index(load(FOLDER)), methods=request.methods)
    return build_tables(summary, rows, request=request)["general"]


def test_a_grid_of_variants_has_methods_in_rows() -> None:
    table = variants_table(["dpdl", "dpdl.no_dpl", "dpdl.c8", "random"])
    main, controls = table.blocks
    assert (main.title, controls.title) == ("ELPV", "Controls, ELPV")
    assert main.columns == ("M = 10 labelled anomalies", "M = 1 labelled anomaly")
    assert [line.label for line in main.lines] == [
        "DPDL", "DPDL (no dpl): dpl false instead of true", "DPDL (c8): prototypes 8 instead of 32",
    ]  # fmt: skip
    ours = [[entry.ours for entry in line.entries] for line in main.lines]
    assert ours == [["0.800", "-"], ["0.700", "-"], ["0.900", "0.600"]]
    assert [line.entries[0].best for line in main.lines] == [False, False, True]
    assert main.lines[0].entries[0].published == "0.937 ± 0.003"
    assert [line.label for line in controls.lines] == ["Random"]
    text = markdown(table)
    assert "best of ours in its column" in text
    assert (
        "Budget cut: DPDL epochs 20 instead of 50; DPDL (no dpl) lr 0.001 instead of 0.1." in text
    )
    assert "Variants:" not in text
    assert latex(table).count(r"\begin{tabular}") == 2


def test_few_variants_keep_methods_in_columns_and_are_explained_below() -> None:
    table = variants_table(["dpdl", "dpdl.c8", "random"])
    assert table.blocks[0].columns == ("DPDL", "DPDL (c8)")
    assert "Budget cut: DPDL epochs 20 instead of 50." in table.footers
    assert "Variants: DPDL (c8) prototypes 8 instead of 32." in table.footers


def test_no_cut_budget_no_footer() -> None:
    footers = layouts({"elpv/all/general-m10/dpdl/s0": 0.8})["general"].footers
    assert not any(text.startswith(("Budget cut", "Variants")) for text in footers)


def test_a_grid_passes_on_how_its_methods_differ() -> None:
    method = {"name": "dpdl.c8", "settings": ["general"], "control": False, "backbone": ""}
    grid = {
        "results": "results", "seeds": [0], "protocols": {"elpv/all": ["general-m10"]},
        "notes": [], "datasets": {},
        "methods": [method | {"changes": {"prototypes": [8, 32]}, "cuts": {}}],
    }  # fmt: skip
    request = parse_grid(grid, where="grid")
    assert request.changes == {"dpdl.c8": {"prototypes": (8, 32)}}
    assert request.cuts == {}
    grid["methods"] = [method | {"changes": {"prototypes": 8}}]
    with pytest.raises(ConfigError, match=r"changes\.dpdl\.c8: expected pairs of values"):
        parse_grid(grid, where="grid")


def test_faults_of_the_data_are_told_below_the_tables() -> None:
    name = "elpv/all/general-m10/dra/s0"
    info = {"title": "ELPV", "licence": "x", "citation": "y"}

    def below(notes: object) -> list[str]:
        value = request_value([name], datasets={"elpv": {**info, "notes": notes}})
        request = parse_request(value, where="request.json")
        cells = rows_of({name: 0.9})[1]
        rows = [*summary_of(cells).values()]
        return [*footers("general", rows, cells=cells, request=request)]

    assert below(["ELPV: one fault.", "ELPV: another."]) == [
        *below([]),
        "ELPV: one fault.",
        "ELPV: another.",
    ]
    with pytest.raises(ConfigError, match=r"datasets\.elpv\.notes: expected a list of texts"):
        below("text")
