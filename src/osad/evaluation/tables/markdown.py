"""Write a table as GitHub Markdown."""

from __future__ import annotations

import re

from osad.evaluation.tables.layout import Block, Entry, Table


def escape(text: str) -> str:
    r"""Return a text with the characters escaped that Markdown or HTML would read as markup.

    Example:
        >>> print(escape("a|b *c* <d>"))
        a\|b \*c\* \<d>
    """
    return re.sub(r"([\\|*_<`\[\]])", r"\\\1", text)


def _ours(entry: Entry) -> str:
    text = f"**{escape(entry.ours)}**" if entry.best else escape(entry.ours)
    return f"{text} [{entry.note}]" if entry.note else text


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _block(block: Block) -> list[str]:
    lines = [f"### {escape(block.title)}", ""]
    lines.append(_row(["", "", *map(escape, block.columns)]))
    lines.append(_row([":--", ":--", *["--:"] * len(block.columns)]))
    for line in block.lines:
        label = f"*{escape(line.label)}*" if line.is_average else escape(line.label)
        lines.append(_row([label, "ours", *map(_ours, line.entries)]))
        if line.has_published:
            printed = [escape(entry.published) for entry in line.entries]
            lines.append(_row(["", "published", *printed]))
    return [*lines, ""]


def markdown(table: Table) -> str:
    """Return a table as Markdown: for each row a line of ours and a line of published numbers."""
    lines = [f"## {escape(table.title)}", ""]
    for block in table.blocks:
        lines += _block(block)
    lines += [f"- [{number}] {escape(text)}" for number, text in enumerate(table.reasons, start=1)]
    lines += [f"- {escape(text)}" for text in table.footers]
    return "\n".join(lines) + "\n"
