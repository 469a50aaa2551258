"""The papers' layouts as Markdown, LaTeX and plain text, and grids for them."""

import io
import re

import pytest
from rich.console import Console
from table_cases import bad, cells_of, method, request_of, runs_of, summary_of, tables_of

from osad.core.errors import ConfigError
from osad.evaluation.tables.layout import Table
from osad.evaluation.tables.markup import IN_MARKDOWN, body, latex, markdown
from osad.evaluation.tables.request import read_grid
from osad.evaluation.tables.terminal import render_summary, summary_table

PLACE = "elpv/all/general-m10"
ONE = "elpv/all/general-m1"


def below(value: float) -> str:
    """Return how Markdown has a difference to the best that is equally far in each draw."""
    number = f"\N{MINUS SIGN}{value:.3f}"
    return rf"{number} \[{number}, {number}\]"


def test_the_general_table_has_ours_published_and_controls_apart() -> None:
    skipped = bad("skipped", "not run")
    runs = runs_of(
        PLACE, dpdl=[0.84, 0.86], dra=[0.80, skipped], patchcore=skipped, true_labels=[1.0, 1.0],
        random=[0.5, 0.5],
    )  # fmt: skip
    runs |= runs_of(ONE, dra=[0.7, 0.7]) | runs_of("mine/all/general-m10", dra=[0.9, 0.9])
    text = markdown(tables_of(runs)["general"])
    assert "n = 2 except where shown" in text
    lines = text.splitlines()
    start = lines.index("### M = 10 labelled anomalies")
    assert lines[start + 2 : start + 9] == [
        "|  |  | DPDL | DRA | PatchCore |",
        "| :-- | :-- | --: | --: | --: |",
        "| ELPV | ours | **0.850 ± 0.014** | 0.800 (n=1) [1] | n/a [1] |",
        f"|  | to the best | best | {below(0.04)} |  |",
        "|  | published | 0.937 ± 0.003 | 0.845 ± 0.013 |  |",
        "|  | published range |  | 0.821\N{EN DASH}0.845 |  |",
        "| mine | ours | - | 0.900 ± 0.000 | - |",
    ]
    titles = [line for line in lines if line.startswith("### ")]
    assert titles[1:] == ["### M = 1 labelled anomaly", "### Controls, M = 10 labelled anomalies"]
    for line in (
        "| ELPV | ours | 1.000 ± 0.000 | 0.500 ± 0.000 |",  # A control is never marked as best.
        "- [1] skipped: not run",
        "- Frozen features at 96 px.",
        "- Backbone lite0: DPDL, DRA, PatchCore.",
        "- Data: ELPV: CC & more; 100 % of it.",
        "- Published numbers of DRA: DRA CVPR2022 (arXiv 2203.14506), Table 1.",
    ):
        assert line in lines


def test_the_hard_table_has_known_classes_and_their_mean() -> None:
    runs = runs_of("elpv/all/hard-mono-m10", dra=0.6, dpdl=0.6)
    runs |= runs_of("elpv/all/hard-poly-m10", dra=0.8, dpdl=bad("failed", "train: loss"))
    hard = tables_of(runs | runs_of("mvtec/carpet/hard-color-m10", dra=0.5))["hard"]
    assert [*hard.blocks[0].lines.values()] == [
        "MVTec AD / carpet: color", "ELPV: mono", "ELPV: poly", "ELPV: mean",
    ]  # fmt: skip
    text = markdown(hard)
    assert "| *ELPV: mean* | ours | n/a [2] | 0.700 |" in text
    assert "|  | published | 0.818 ± 0.003 | 0.766 ± 0.029 |" in text
    assert "| ELPV: mono | ours | **0.600** | **0.600** |" in text  # Equal in print.
    assert hard.reasons == ("failed: train: loss", "not every part of this average has a result")


def test_a_setting_outside_the_grid_is_an_empty_table() -> None:
    tables = tables_of({"elpv/all/normal-m0/patchcore/s0": 0.8})
    assert tables["normal"].blocks[0].title == "M = 0"
    assert "**" not in markdown(tables["normal"])  # A single method is not the best of any.
    for empty in (tables["general"], tables["hard"]):
        assert empty.blocks == ()
        assert all("no such cell" in write(empty) for write in (markdown, latex))


def test_latex_is_balanced_and_markup_escaped() -> None:
    failed = bad("failed", r"50% of {a_b} at C:\x $ # ~ ^ a|b <c> [d]")
    runs = runs_of(PLACE, dpdl=0.84, dra=failed) | runs_of(ONE, dra=0.5)
    table = tables_of(runs_of("mvtec/metal_nut/general-m10", dpdl=0.84) | runs)["general"]
    assert r"- [1] failed: 50% of {a\_b} at C:\\x \$ \# \~ ^ a\|b \<c> \[d\]" in markdown(table)
    text = latex(table)
    for name in ("table*", "tabular", "adjustbox"):
        n_begin = len(re.findall(rf"\\begin\{{{re.escape(name)}\}}", text))
        assert n_begin == text.count(rf"\end{{{name}}}") == 2
    for part in (
        r"MVTec AD / metal\_nut & ours & 0.840 & - \\",
        "\\addlinespace\nELPV & ours & 0.840 & n/a\\textsuperscript{1} \\\\\n",
        r" & published & 0.937 $\pm$ 0.003 & 0.845 $\pm$ 0.013 \\",
        r"\textsuperscript{1} failed: 50\% of \{a\_b\} at C:\textbackslash{}x \$ \# "
        r"\textasciitilde{} \textasciicircum{}",
        r"CC \& more; 100 \% of it.",
    ):
        assert part in text
    unescaped = re.sub(r"\\.", "", "\n".join(text.splitlines()[1:]))
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"[%#_±]", unescaped)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count(" & ") for line in rows} == {3}


HOSTILE = (
    "Two\nlines\u2028three\x85| {a} $x_1$ \\b <i> &amp; ~~s~~ #1 `c` *d* [e] -- \"f\" ''g'' =1+1"
)


def test_texts_of_any_characters_stay_one_line_and_whole() -> None:
    changes = {"title": HOSTILE, "licence": HOSTILE, "citation": HOSTILE, "notes": [HOSTILE]}
    runs = runs_of("mine/all/general-m10", dra=0.5, dpdl=bad("failed", HOSTILE))
    table = tables_of(runs, request_of(datasets={"mine": changes}))["general"]
    text = markdown(table)
    escaped = (
        r"Two lines three \| {a} \$x\_1\$ \\b \<i> \&amp; \~\~s\~\~ \#1 \`c\` \*d\* \[e\] -- "
        "\"f\" ''g'' =1+1"
    )
    assert f"\n- Data: {escaped}: {escaped}; {escaped}\n- {escaped}\n" in text
    assert f"\n| {escaped} | ours | n/a [1] | 0.500 |\n" in text
    assert f"\n- [1] failed: {escaped}\n" in text
    assert all(line == "" or line[0] in "#-|" for line in text.splitlines())
    in_latex = (
        r"Two lines three \textbar{} \{a\} \$x\_1\$ \textbackslash{}b "
        r"\textless{}i\textgreater{} \&amp; "
        r"\textasciitilde{}\textasciitilde{}s\textasciitilde{}\textasciitilde{} \#1 "
        r"\textasciigrave{}c\textasciigrave{} *d* {[}e{]} -{}- "
        "\"f\" '{}'g'{}' =1+1"
    )
    assert f"\nData: {in_latex}: {in_latex}; {in_latex}\\par\\noindent\n{in_latex}\\par" in latex(
        table
    )
    assert f"\n{in_latex} & ours & n/a\\textsuperscript{{1}} & 0.500 \\\\\n" in latex(table)


def test_the_summary_on_a_terminal_and_as_plain_text() -> None:
    runs = runs_of(PLACE, dra=[0.80, 0.82], constant=0.5, dpdl=bad("failed", "x"))
    summary = summary_of(cells_of(runs | runs_of(ONE, dra=0.7)))
    text = render_summary(summary)
    words = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert [f"{PLACE}/dpdl", "0", "n/a", "0.937 ± 0.003"] in words
    assert [f"{PLACE}/dra", "2", "0.810 ± 0.014", "0.845 ± 0.013", "-0.035"] in words
    assert [f"{PLACE}/constant", "1", "0.500"] in words
    assert "\x1b" not in text
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="standard")
    console.print(summary_table(summary))
    for colour, number in (("32", r"\+0.025"), ("33", "-0.035"), ("31", "n/a")):
        assert re.search(rf"\x1b\[{colour}m +{number}", stream.getvalue())


# Grids


def test_a_grid_expands_to_the_cells_that_its_methods_support() -> None:
    request = request_of(
        seeds=[0, 3],
        protocols={"elpv/all": ["general-m10", "normal-m0"], "mvtec/carpet": ["hard-cut-m1"]},
        methods=[method("dra", settings=["general", "hard"]), method("constant", normal_only=True)],
    )
    constant, dra = "mvtec/carpet/hard-cut-m1/constant", "mvtec/carpet/hard-cut-m1/dra"
    places = [f"{PLACE}/constant", f"{PLACE}/dra", "elpv/all/normal-m0/constant", constant, dra]
    cells = [f"{place}/s{seed}" for place in places for seed in (0, 3)]
    assert sorted(map(str, request.cells)) == cells
    assert request.results == "results"
    assert [*request.notes] == ["Frozen features at 96 px."]
    assert request.controls == ("constant",)
    assert (request.title("dra"), request.title("x")) == ("DRA", "x")
    runs = {str(request.run_of(cell)) for cell in request.cells if cell.dataset == "mvtec"}
    shared = "mvtec/carpet/normal-m0/constant"
    assert runs == {f"{run}/s{seed}" for run in (dra, shared) for seed in (0, 3)}


@pytest.mark.parametrize(("changes", "message"), [
    ({"more": 1}, "expected an object with results, seeds"),
    ({"methods": [{"name": "dra"}]}, r"methods\[0\]: expected an object with name"),
    ({"datasets": {"elpv": {"title": "x"}}}, r"datasets\.elpv: expected an object with title"),
    ({"protocols": {"elpv/all": ["easy-m10"]}}, "protocol 'easy-m10'"),
    ({"protocols": {"elpv": ["general-m10"]}}, "expected DATASET/CATEGORY"),
    ({"protocols": {"elpv/all": ["hard-mean-m10"]}}, "may not be called 'mean'"),
    ({"protocols": {"elpv/mean": ["general-m10"]}}, "may not be called 'mean'"),
])  # fmt: skip
def test_a_wrong_grid_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request_of(**changes)
    with pytest.raises(ConfigError, match="is not valid JSON"):
        read_grid("{nonsense")
    with pytest.raises(ConfigError, match="--grid: expected an object with figures"):
        read_grid("{}", "figures")


# Variants

VARIANTS = runs_of(PLACE, **{"dpdl": 0.8, "dpdl.no_dpl": 0.7, "dpdl.c8": 0.9, "random": 0.5})
VARIANTS |= runs_of(ONE, **{"dpdl.c8": 0.6})
CUTS = {"epochs": [20, 50]}
CUT_TWICE = {**CUTS, "lr": [0.001, 0.1]}
METHODS = {
    "dpdl": method("dpdl", cuts=CUTS),
    "dpdl.no_dpl": method("dpdl.no_dpl", changes={"dpl": [False, True]}, cuts=CUT_TWICE),
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
        ["", "to the best", below(0.1), ""],
        ["", "published", "0.937 ± 0.003", ""],
        ["DPDL (no dpl): dpl false instead of true", "ours", "0.700", "-"],
        ["", "to the best", below(0.2), ""],
        ["DPDL (c8): prototypes 8 instead of 32", "ours", "**0.900**", "0.600"],
        ["", "to the best", "best", ""],
    ]
    assert [*controls.lines.values()] == ["Random"]
    text = markdown(table)
    assert "best of ours in its column" in text
    assert "DPDL epochs 20 instead of 50; DPDL (no dpl) lr 0.001 instead of 0.1." in text
    assert "Variants:" not in text
    assert latex(table).count(r"\begin{tabular}") == 2
    request = request_of(methods=[METHODS[name] for name in ("dpdl", "dpdl.c8", "dpdl.no_dpl")])
    (hard,) = tables_of({"elpv/all/hard-mono-m1/dpdl.c8/s0": 0.5}, request)["hard"].blocks
    assert (hard.title, *hard.columns) == ("ELPV", "M = 1 labelled anomaly, mono")


def test_few_variants_keep_methods_in_columns_and_are_explained_below() -> None:
    table = variants_table("dpdl", "dpdl.c8", "random")
    assert [*table.blocks[0].columns.values()] == ["DPDL", "DPDL (c8)"]
    assert "Budget cut: DPDL epochs 20 instead of 50." in table.footers
    assert "Variants: DPDL (c8) prototypes 8 instead of 32." in table.footers
    plain = tables_of(runs_of(PLACE, dpdl=0.8))["general"].footers
    assert not any(text.startswith(("Budget cut", "Variants")) for text in plain)


def test_faults_of_the_data_are_told_below_the_tables() -> None:
    def below(*notes: str) -> list[str]:
        info = {"title": "ELPV", "licence": "x", "citation": "y", "notes": [*notes]}
        request = request_of(datasets={"elpv": info})
        return [*tables_of(runs_of(PLACE, dra=0.9), request)["general"].footers]

    faults = ["ELPV: one fault.", "ELPV: another."]
    assert below(*faults) == [*below(), *faults]
