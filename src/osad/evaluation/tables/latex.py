"""Write a table as LaTeX, one float a block, with the packages booktabs and adjustbox."""

from __future__ import annotations

from osad.evaluation.tables.layout import Block, Entry, Line, Table

SPECIAL = {
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
    # A row that starts with a bracket would be read as the length of the row before it.
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


def escape(text: str) -> str:
    r"""Return a text with LaTeX's special characters escaped.

    Example:
        >>> print(escape("0.8 ± 0.1, 5 % of a_b"))
        0.8 $\pm$ 0.1, 5 \% of a\_b
    """
    return "".join(SPECIAL.get(character, character) for character in text)


def _ours(entry: Entry) -> str:
    text = rf"\textbf{{{escape(entry.ours)}}}" if entry.best else escape(entry.ours)
    return rf"{text}\textsuperscript{{{entry.note}}}" if entry.note else text


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _line(line: Line) -> list[str]:
    label = rf"\emph{{{escape(line.label)}}}" if line.is_average else escape(line.label)
    rows = [_row([label, "ours", *map(_ours, line.entries)])]
    if line.has_published:
        rows.append(_row(["", "published", *[escape(e.published) for e in line.entries]]))
    return rows


def _block(block: Block, table: Table, *, number: int) -> list[str]:
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(block.title)}.}}",
        rf"\label{{tab:{table.name}-{number}}}",
        r"\begin{adjustbox}{max totalsize={\textwidth}{0.85\textheight}, center}",
        rf"\begin{{tabular}}{{ll{'r' * len(block.columns)}}}",
        r"\toprule",
        _row(["", "", *map(escape, block.columns)]),
        r"\midrule",
    ]
    for position, line in enumerate(block.lines):
        if position:
            lines.append(r"\addlinespace")
        lines += _line(line)
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", r"\end{table*}", ""]


def latex(table: Table) -> str:
    r"""Return a table as LaTeX, to be read with ``\input``.

    The footers follow the floats as one paragraph of small print for each line.
    """
    lines = [r"% Needs \usepackage{booktabs, adjustbox} and UTF-8.", ""]
    for number, block in enumerate(table.blocks, start=1):
        lines += _block(block, table, number=number)
    lines.append(r"{\footnotesize\noindent")
    for number, text in enumerate(table.reasons, start=1):
        lines.append(rf"\textsuperscript{{{number}}} {escape(text)}\par\noindent")
    lines += [rf"{escape(text)}\par\noindent" for text in table.footers]
    return "\n".join([*lines, "}"]) + "\n"
