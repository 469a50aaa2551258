"""Every command that a page names, in a block or in a line, is one that its program accepts.

Those in blocks run as well (tests/workflow/test_docs.py); this also reads those that take hours.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator

import pytest
from test_pages import NOW, ROOT

from osad.pipeline import config

PROGRAMS = "osad|snakemake|dvc|make|python"
"""Those of which the project says what they take; git, pip and others have manuals of their own."""
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(rf"`((?:{PROGRAMS}) [^`]+)`|^    ((?:{PROGRAMS}) .+)$", re.MULTILINE)
NAMES = {"FORMAT": "parquet"}
"""What stands for a word of a list."""


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a page."""
    text = text.replace("\\\n", " ")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    without = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [max(found) for found in LINE.findall(without)]
    for line in lines:
        yield from re.split(r";|&&", re.sub(r"(^|\s)#.*", "", line))


def words(command: str) -> list[str]:
    """Return the words of a command, with what may be left out left out, and to where it writes."""
    needed = re.sub(r"\[.*?\]|\.\.\.|>.*", "", command)
    return [NAMES.get(word, word) for word in shlex.split(needed)]


FOUND = sorted(
    {
        (page, " ".join(words(one)))
        for page, text in NOW.items()
        for one in commands(text)
        if re.match(rf"\s*({PROGRAMS})\s", one)
    }
)


def parsed(parser: argparse.ArgumentParser, arguments: list[str], capsys) -> None:
    """Parse; a command that a page only names has not all that it needs."""
    try:
        parser.parse_args(arguments)
    except SystemExit:
        assert "the following arguments are required" in capsys.readouterr().err, arguments


def osad(arguments: list[str], capsys) -> None:
    from osad.cli import parser

    parsed(parser(), arguments, capsys)


def dvc(arguments: list[str], capsys) -> None:
    from dvc.cli.parser import get_main_parser

    parsed(get_main_parser(), arguments, capsys)


def snakemake(arguments: list[str], capsys) -> None:
    from snakemake.cli import get_argument_parser

    from osad.pipeline.jobs import PHASES

    targets = get_argument_parser().parse_args(arguments).targets
    assert all(target in PHASES or target.startswith(("data/", "results/")) for target in targets)


def make(arguments: list[str], capsys) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    for word in arguments:
        name, is_value, _ = word.partition("=")
        assert re.search(rf"\b{name}\b", text) if is_value else name in targets, word


def python(arguments: list[str], capsys) -> None:
    module = arguments[1].replace(".", "/") if arguments[0] == "-m" else ""
    if module == "pip":
        return
    path = ROOT / (f"src/{module}.py" if module else arguments[0])
    texts = [path.read_text(encoding="utf-8")]
    step = ROOT / f"src/osad/pipeline/steps/{arguments[-1 if len(arguments) < 3 else 2]}.py"
    if module and step.exists():
        texts.append(step.read_text(encoding="utf-8"))
    for option in (word for word in arguments if word.startswith("--")):
        assert any(f'"{option}"' in text for text in texts), option


TAKES: dict[str, Callable[..., None]] = {
    "osad": osad, "snakemake": snakemake, "dvc": dvc, "make": make, "python": python,
}  # fmt: skip


@pytest.mark.parametrize("page", sorted({page for page, _ in FOUND}))
def test_programs_take_the_commands_of_a_page(page, capsys):
    for command in (command for where, command in FOUND if where == page):
        program, *arguments = command.split()
        TAKES[program](arguments, capsys)


def test_commands_are_found():
    assert len(FOUND) > 100
    assert {command.split()[0] for _, command in FOUND} == set(TAKES)


@pytest.mark.parametrize(
    "command",
    ["osad tabels", "osad status --all", "snakemake feature", "make smok",
     "python docs/diagram.py", "python bench/bench.py --just cells"],
)  # fmt: skip
def test_a_wrong_command_is_noticed(command, capsys):
    program, *arguments = command.split()
    with pytest.raises((AssertionError, FileNotFoundError, SystemExit)):
        TAKES[program](arguments, capsys)


SETTINGS = [
    (page, block)
    for page, text in NOW.items()
    for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize(("page", "settings"), SETTINGS)
def test_settings_of_a_page_are_accepted(page, settings, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(settings, encoding="utf-8")
    figure = re.match(r"figures:\n  - name: \w+", settings)
    grids = [
        file for file in ROOT.glob("configs/*.yaml") if figure and figure[0] in file.read_text()
    ]
    config.load(ROOT, *grids, path)
