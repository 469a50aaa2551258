"""The papers' layouts as Markdown, LaTeX and plain text, and grids for them."""

import io
import re
from typing import Any

import pytest
from rich.console import Console
from table_cases import (
    Outcome,
    bad,
    cells_of,
    grid_value,
    method,
    request_of,
    summary_of,
    tables_of,
)

from osad.core.errors import ConfigError
from osad.evaluation.tables.layout import Table
from osad.evaluation.tables.markup import IN_MARKDOWN, body, latex, markdown
from osad.evaluation.tables.request import parse_grid, read_grid
from osad.evaluation.tables.terminal import render_summary, summary_table


def test_the_general_table_has_ours_published_and_controls_apart() -> None:
    skipped = bad("skipped", "not run")
    general = tables_of(
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
        }
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
    for line in (
        "- [1] skipped: not run",
        "- Frozen features at 96 px.",
        "- Backbone lite0: DPDL, DRA, PatchCore.",
        "- Data: ELPV: CC & more; 100 % of it.",
        "- Published numbers of DRA: DRA CVPR2022 (arXiv 2203.14506), Table 1.",
    ):
        assert line in lines
    assert "n = 2 except where shown" in text


def test_the_hard_table_has_known_classes_and_their_mean() -> None:
    hard = tables_of(
        {
            "elpv/all/hard-mono-m10/dra/s0": 0.6,
            "elpv/all/hard-poly-m10/dra/s0": 0.8,
            "elpv/all/hard-mono-m10/dpdl/s0": 0.6,
            "elpv/all/hard-poly-m10/dpdl/s0": bad("failed", "train: loss"),
            "mvtec/carpet/hard-color-m10/dra/s0": 0.5,
        }
    )["hard"]
    assert [*hard.blocks[0].lines.values()] == [
        "MVTec AD / carpet: color",
        "ELPV: mono",
        "ELPV: poly",
        "ELPV: mean",
    ]
    text = markdown(hard)
    assert "| *ELPV: mean* | ours | n/a [2] | 0.700 |" in text
    assert "|  | published | 0.818 ± 0.003 | 0.766 ± 0.029 |" in text
    assert "| ELPV: mono | ours | **0.600** | **0.600** |" in text  # Equal in print.
    assert hard.reasons == ("failed: train: loss", "not every part of this average has a result")


def test_a_setting_outside_the_grid_is_an_empty_table() -> None:
    tables = tables_of({"elpv/all/normal-m0/patchcore/s0": 0.8})
    assert tables["normal"].blocks[0].title == "M = 0"
    assert "**" not in markdown(tables["normal"])  # A single method is not the best of any.
    for name in ("general", "hard"):
        assert tables[name].blocks == ()
        assert "no such cell" in markdown(tables[name])
        assert "no such cell" in latex(tables[name])


def test_latex_is_balanced_and_markup_escaped() -> None:
    runs: dict[str, Outcome] = {
        "mvtec/metal_nut/general-m10/dpdl/s0": 0.84,
        "elpv/all/general-m10/dpdl/s0": 0.84,
        "elpv/all/general-m10/dra/s0": bad("failed", r"50% of {a_b} at C:\x $ # ~ ^ a|b <c> [d]"),
        "elpv/all/general-m1/dra/s0": 0.5,
    }
    table = tables_of(runs)["general"]
    assert r"- [1] failed: 50% of {a\_b} at C:\\x $ # ~ ^ a\|b \<c> \[d\]" in markdown(table)
    text = latex(table)
    for name in ("table*", "tabular", "adjustbox"):
        n_begin = len(re.findall(rf"\\begin\{{{re.escape(name)}\}}", text))
        assert n_begin == text.count(rf"\end{{{name}}}") == 2
    assert r"MVTec AD / metal\_nut & ours & 0.840 & - \\" in text
    assert "\\addlinespace\nELPV & ours & 0.840 & n/a\\textsuperscript{1} \\\\\n" in text
    assert r" & published & 0.937 $\pm$ 0.003 & 0.845 $\pm$ 0.013 \\" in text
    assert (
        r"\textsuperscript{1} failed: 50\% of \{a\_b\} at C:\textbackslash{}x \$ \# "
        r"\textasciitilde{} \textasciicircum{}" in text
    )
    assert r"CC \& more; 100 \% of it." in text
    unescaped = re.sub(r"\\.", "", "\n".join(text.splitlines()[1:]))
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"[%#_±]", unescaped)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count(" & ") for line in rows} == {3}


def test_the_summary_on_a_terminal_and_as_plain_text() -> None:
    place = "elpv/all/general-m10"
    summary = summary_of(
        cells_of(
            {
                f"{place}/dra/s0": 0.80,
                f"{place}/dra/s1": 0.82,
                f"{place}/constant/s0": 0.5,
                f"{place}/dpdl/s0": bad("failed", "x"),
                "elpv/all/general-m1/dra/s0": 0.7,
            }
        )
    )
    text = render_summary(summary)
    words = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert [f"{place}/dpdl", "0", "n/a", "0.937 ± 0.003"] in words
    assert [f"{place}/dra", "2", "0.810 ± 0.014", "0.845 ± 0.013", "-0.035"] in words
    assert [f"{place}/constant", "1", "0.500"] in words
    assert "\x1b" not in text
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="standard")
    console.print(summary_table(summary))
    assert re.search(r"\x1b\[32m +\+0.025", stream.getvalue())
    assert re.search(r"\x1b\[33m +-0.035", stream.getvalue())
    assert re.search(r"\x1b\[31m +n/a", stream.getvalue())


# Grids


def test_a_grid_expands_to_the_cells_that_its_methods_support() -> None:
    request = request_of(
        seeds=[0, 3],
        protocols={"elpv/all": ["general-m10", "normal-m0"], "mvtec/carpet": ["hard-cut-m1"]},
        methods=[method("dra", settings=["general", "hard"]), method("constant", normal_only=True)],
    )
    assert sorted(map(str, request.cells)) == [
        f"{place}/s{seed}"
        for place in (
            "elpv/all/general-m10/constant",
            "elpv/all/general-m10/dra",
            "elpv/all/normal-m0/constant",
            "mvtec/carpet/hard-cut-m1/constant",
            "mvtec/carpet/hard-cut-m1/dra",
        )
        for seed in (0, 3)
    ]
    assert (request.results, request.notes) == ("results", ["Frozen features at 96 px."])
    assert (request.controls, request.title("dra"), request.title("x")) == (
        ("constant",), "DRA", "x",
    )  # fmt: skip
    runs = {str(request.run_of(cell)) for cell in request.cells if cell.dataset == "mvtec"}
    assert runs == {
        f"mvtec/carpet/{run}/s{seed}"
        for run in ("hard-cut-m1/dra", "normal-m0/constant")
        for seed in (0, 3)
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": 1}, "expected an object with results, seeds"),
        ({"methods": [{"name": "dra"}]}, r"methods\[0\]: expected an object with name"),
        ({"datasets": {"elpv": {"title": "x"}}}, r"datasets\.elpv: expected an object with title"),
        ({"protocols": {"elpv/all": ["easy-m10"]}}, "protocol 'easy-m10'"),
        ({"protocols": {"elpv": ["general-m10"]}}, "expected DATASET/CATEGORY"),
        ({"protocols": {"elpv/all": ["hard-mean-m10"]}}, "may not be called 'mean'"),
        ({"protocols": {"elpv/mean": ["general-m10"]}}, "may not be called 'mean'"),
    ],
)
def test_a_wrong_grid_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_grid(grid_value(**changes), where="--grid")
    with pytest.raises(ConfigError, match="is not valid JSON"):
        read_grid("{nonsense")
    with pytest.raises(ConfigError, match="--grid: expected an object with figures"):
        read_grid("{}", "figures")


# Variants

VARIANTS = {"elpv/all/general-m10/dpdl/s0": 0.8, "elpv/all/general-m10/dpdl.no_dpl/s0": 0.7,
            "elpv/all/general-m10/dpdl.c8/s0": 0.9, "elpv/all/general-m1/dpdl.c8/s0": 0.6,
            "elpv/all/general-m10/random/s0": 0.5}  # fmt: skip
CUTS = {"epochs": [20, 50]}
METHODS = {
    "dpdl": method("dpdl", cuts=CUTS),
    "dpdl.no_dpl": method(
        "dpdl.no_dpl", changes={"dpl": [False, True]}, cuts={**CUTS, "lr": [0.001, 0.1]}
    ),
    "dpdl.c8": method("dpdl.c8", changes={"prototypes": [8, 32]}, cuts=CUTS),
    "random": method("random"),
}


def variants_table(*methods: str) -> Table:
    request = request_of(methods=[METHODS[name] for name in methods])
    runs = {name: auroc for name, auroc in VARIANTS.items() if name.split("/")[3] in methods}
    return tables_of(runs, request)["general"]


def test_a_grid_of_variants_has_methods_in_rows() -> None:
    table = variants_table("dpdl", "dpdl.no_dpl", "dpdl.c8", "random")
    main, controls = table.blocks
    assert (main.title, controls.title) == ("ELPV", "Controls, ELPV")
    printed = body(main, IN_MARKDOWN)
    assert [*printed.columns[2:]] == ["M = 10 labelled anomalies", "M = 1 labelled anomaly"]
    assert printed.to_numpy().tolist() == [
        ["DPDL", "ours", "0.800", "-"],
        ["", "published", "0.937 ± 0.003", ""],
        ["DPDL (no dpl): dpl false instead of true", "ours", "0.700", "-"],
        ["DPDL (c8): prototypes 8 instead of 32", "ours", "**0.900**", "0.600"],
    ]
    assert [*controls.lines.values()] == ["Random"]
    text = markdown(table)
    assert "best of ours in its column" in text
    assert (
        "Budget cut: DPDL epochs 20 instead of 50; DPDL (no dpl) lr 0.001 instead of 0.1." in text
    )
    assert "Variants:" not in text
    assert latex(table).count(r"\begin{tabular}") == 2
    request = request_of(methods=[METHODS["dpdl"], METHODS["dpdl.c8"], METHODS["dpdl.no_dpl"]])
    (hard,) = tables_of({"elpv/all/hard-mono-m1/dpdl.c8/s0": 0.5}, request)["hard"].blocks
    assert (hard.title, *hard.columns) == ("ELPV", "M = 1 labelled anomaly, mono")


def test_few_variants_keep_methods_in_columns_and_are_explained_below() -> None:
    table = variants_table("dpdl", "dpdl.c8", "random")
    assert [*table.blocks[0].columns.values()] == ["DPDL", "DPDL (c8)"]
    assert "Budget cut: DPDL epochs 20 instead of 50." in table.footers
    assert "Variants: DPDL (c8) prototypes 8 instead of 32." in table.footers
    plain = tables_of({"elpv/all/general-m10/dpdl/s0": 0.8})["general"].footers
    assert not any(text.startswith(("Budget cut", "Variants")) for text in plain)


def test_faults_of_the_data_are_told_below_the_tables() -> None:
    def below(*notes: str) -> list[str]:
        info: dict[str, Any] = {"title": "ELPV", "licence": "x", "citation": "y"}
        request = request_of(datasets={"elpv": {**info, "notes": [*notes]}})
        return [*tables_of({"elpv/all/general-m10/dra/s0": 0.9}, request)["general"].footers]

    faults = ["ELPV: one fault.", "ELPV: another."]
    assert below(*faults) == [*below(), *faults]
