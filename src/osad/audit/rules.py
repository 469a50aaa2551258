"""The shell commands of the rules, read from their files without running Snakemake."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osad.core.errors import DataError

RULES = Path("workflow/rules")
RESULTS = "WF.params.results"
"""The one expression that commands may hold: the folder of results of the grid."""
_BLANK = (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)


@dataclass(frozen=True)
class Command:
    """What a rule runs.

    Attributes:
        path: of the file of the rule, relative to the project.
        text: the shell command as Snakemake records it, with its wildcards.
    """

    path: str
    text: str


def commands(root: Path, results: str) -> dict[str, Command]:
    """Return the shell command of every rule that has one, by the rule's name.

    Args:
        root: the project's folder.
        results: the grid's folder of results.

    Raises:
        DataError: a file cannot be read, or a command is not a text.
    """
    found: dict[str, Command] = {}
    for path in sorted((root / RULES).glob("*.smk")):
        name = path.relative_to(root).as_posix()
        try:
            for rule, text in _commands(path.read_text(encoding="utf-8"), results):
                # `use rule A as B` comes after A and has its command.
                found[rule] = found[text[1]] if isinstance(text, tuple) else Command(name, text)
        except (OSError, ValueError, SyntaxError, KeyError, tokenize.TokenError) as error:
            raise DataError(
                f"{name}: its shell commands cannot be read ({error}); "
                f"restore it with `git checkout {name}`"
            ) from error
    return found


def _commands(text: str, results: str) -> Iterator[tuple[str, str | tuple[str, str]]]:
    """Yield rules with their commands; of derived rules ``("use", name of the other)``."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    lines = text.splitlines(keepends=True)
    rule = ""
    for place, token in enumerate(tokens):
        words = [other.string for other in tokens[place : place + 7]]
        if not token.line[: token.start[1]].strip():  # The first word of a line.
            if words[0] == "rule" and words[2] == ":":
                rule = words[1]
            elif words[:2] == ["use", "rule"] and words[3] == "as":
                rule = words[4]
                yield rule, ("use", words[2])
            elif words[:2] == ["shell", ":"]:
                yield rule, _literal(_block(tokens[place + 2 :], lines), results)


def _block(tokens: list[tokenize.TokenInfo], lines: list[str]) -> str:
    """Return the indented lines that tokens begin with.

    Raises:
        ValueError: there are none.
    """
    inside = [token for token in tokens if token.type not in _BLANK]
    if not inside or inside[0].type != tokenize.INDENT:
        raise ValueError("a command is not a block of its own")
    end = next(token for token in inside if token.type == tokenize.DEDENT)
    last = inside[inside.index(end) - 1].end[0]
    return "".join(lines[inside[0].start[0] - 1 : last])


def _literal(source: str, results: str) -> str:
    """Return the text that literals one after the other mean.

    Raises:
        ValueError: they hold an expression other than the folder of results.
    """
    node = ast.parse(f"(\n{source}\n)", mode="eval").body
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = ""
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            text += part.value
        elif isinstance(part, ast.FormattedValue) and ast.unparse(part.value) == RESULTS:
            text += results
        else:
            raise ValueError(f"{ast.unparse(part)} is not known here")
    return text
