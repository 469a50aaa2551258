"""Write a table as GitHub Markdown, or as LaTeX with the packages booktabs and adjustbox."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.evaluation.tables.layout import Block, Table

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

ABSENT = "-"
FURTHER = {"to_best": "to the best", "published": "published", "range": "published range"}
"""Title of each row below ours, by the column of a block's entries."""
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    # A row that starts with a bracket would be read as the length of the row before it.
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    # Set between two hyphens or quotes, which would become a dash or another quote.
    "\0": "{}",
}
"""LaTeX of special characters."""


@dataclass(frozen=True)
class Markup:
    """How texts are marked: functions of the text, which all but ``escape`` expect escaped."""

    escape: Callable[[str], str]
    bold: Callable[[str], str]
    emphasis: Callable[[str], str]
    note: Callable[[int], str]


def one_line(text: str) -> str:
    r"""Return a text whose lines, by any of Unicode's separators, follow each other in one line.

    Example:
        >>> one_line("a\n\n b\u2028c")
        'a b c'
    """
    return " ".join(filter(None, map(str.strip, text.splitlines())))


def escape_markdown(text: str) -> str:
    r"""Return a text as one line in which Markdown, HTML or GitHub's formulas find no markup.

    Example:
        >>> print(escape_markdown("a|b *c* <d>\n$e$"))
        a\|b \*c\* \<d> \$e\$
    """
    return re.sub(r"([\\|*_<`\[\]$~#]|&(?=#?\w+;))", r"\\\1", one_line(text))


def escape_latex(text: str) -> str:
    r"""Return a text as one line with LaTeX's special characters escaped.

    Example:
        >>> print(escape_latex("0.8 ± 0.1, 5 % of a_b -- ''"))
        0.8 $\pm$ 0.1, 5 \% of a\_b -{}- '{}'
    """
    apart = re.sub(r"([-',])(?=\1)", "\\1\0", one_line(text))
    return "".join(LATEX.get(character, character) for character in apart)


IN_MARKDOWN = Markup(escape_markdown, "**{}**".format, "*{}*".format, " [{}]".format)
IN_LATEX = Markup(
    escape_latex, r"\textbf{{{}}}".format, r"\emph{{{}}}".format, r"\textsuperscript{{{}}}".format
)


def body(block: Block, markup: Markup) -> pd.DataFrame:
    """Return a block as printed: for each line a row of ours and those of `FURTHER` with a text.

    The first two columns are the line's label and what the row is.
    """
    entries = block.entries
    ours = [
        (markup.bold(markup.escape(row.ours)) if row.best else markup.escape(row.ours))
        + (markup.note(row.note) if row.note else "")
        for row in entries.itertuples()
    ]
    further = {name: entries[name].map(markup.escape) for name in FURTHER}
    printed = entries.assign(ours=ours, **further).set_index(["line", "column"])
    kinds = {
        kind: printed[kind].unstack(fill_value=absent).reindex(
            index=[*block.lines], columns=[*block.columns], fill_value=absent
        )
        for kind, absent in (("ours", ABSENT), *((name, "") for name in FURTHER))
    }  # fmt: skip
    rows = []
    for line, label in block.lines.items():
        label = markup.escape(label)
        label = markup.emphasis(label) if line in block.averages else label
        rows.append([label, "ours", *kinds["ours"].loc[line]])
        rows += [
            ["", title, *kinds[name].loc[line]]
            for name, title in FURTHER.items()
            if any(kinds[name].loc[line])
        ]
    return pd.DataFrame(rows, columns=["", "", *map(markup.escape, block.columns.values())])


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    escape = escape_markdown
    lines = [f"## {escape(table.title)}", ""]
    for block in table.blocks:
        printed = body(block, IN_MARKDOWN)
        align = [":--", ":--", *["--:"] * len(block.columns)]
        rows = [[*printed.columns], align, *printed.to_numpy().tolist()]
        lines += [f"### {escape(block.title)}", ""]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    lines += [f"- [{number}] {escape(text)}" for number, text in enumerate(table.reasons, start=1)]
    lines += [f"- {escape(text)}" for text in table.footers]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    r"""Return a table as LaTeX, to be read with ``\input``.

    Each block is a float. The footers follow as one paragraph of small print for each line.
    """
    escape = escape_latex
    lines = [r"% Needs \usepackage{booktabs, adjustbox} and UTF-8.", ""]
    for number, block in enumerate(table.blocks, start=1):
        printed = body(block, IN_LATEX)
        gaps = (printed.iloc[1:, 1] == "ours").reindex(printed.index, fill_value=False)
        printed.iloc[:, 0] = printed.iloc[:, 0].where(
            ~gaps, "\\addlinespace\n" + printed.iloc[:, 0]
        )
        tabular = printed.style.hide(axis="index").to_latex(
            hrules=True, column_format="ll" + "r" * len(block.columns)
        )
        lines += [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{escape(table.title)}. {escape(block.title)}.}}",
            rf"\label{{tab:{table.name}-{number}}}",
            r"\begin{adjustbox}{max totalsize={\textwidth}{0.85\textheight}, center}",
            tabular.rstrip(),
            r"\end{adjustbox}",
            r"\end{table*}",
            "",
        ]
    lines.append(r"{\footnotesize\noindent")
    for number, text in enumerate(table.reasons, start=1):
        lines.append(rf"\textsuperscript{{{number}}} {escape(text)}\par\noindent")
    lines += [rf"{escape(text)}\par\noindent" for text in table.footers]
    return "\n".join([*lines, "}"]) + "\n"
