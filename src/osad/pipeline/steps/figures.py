"""Step ``figures``: draw every figure of a grid from ``cells.csv``.

Written to the output folder: for each figure ``{name}.svg``, ``{name}.png`` and ``{name}.pdf``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from osad.core.errors import ConfigError
from osad.core.files import read_json, replacing
from osad.evaluation import published
from osad.evaluation.figures.bars import bar_figure
from osad.evaluation.figures.lines import line_figure
from osad.evaluation.figures.request import FigureSpec, parse_figures
from osad.evaluation.figures.series import panels
from osad.evaluation.figures.style import FORMATS, figure_bytes
from osad.evaluation.tables.request import Request, parse_grid
from osad.evaluation.tables.summary import summary_rows
from osad.pipeline.steps.tables import read_cells

DRAW = {"line": line_figure, "bar": bar_figure}


def read_grid(text: str) -> tuple[Request, tuple[FigureSpec, ...]]:
    """Return the grid and its figures.

    Args:
        text: JSON, or path of a file with it: what `tables.request.parse_grid` reads, and
            ``figures`` (see `osad.evaluation.figures.request.parse_figures`).

    Raises:
        ConfigError: the content is wrong.
        DataError: the file is missing or not JSON.
    """
    where = "--grid"
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--grid: is not valid JSON ({error}); correct it") from error
    else:
        where, value = text, read_json(text)
    if not isinstance(value, dict) or "figures" not in value:
        raise ConfigError(f"{where}: expected an object with figures")
    request = parse_grid({k: v for k, v in value.items() if k != "figures"}, where=where)
    known = {cell.protocol for cell, _ in request.cells}
    known |= {f"hard-mean-{name.rpartition('-')[2]}" for name in known if name.startswith("hard-")}
    specs = parse_figures(
        value["figures"],
        where=f"{where}, figures",
        methods=request.methods,
        protocols=known,
    )
    return request, specs


def main(argv: Sequence[str]) -> list[Path]:
    """Draw all figures.

    Args:
        argv: ``--grid JSON --cells FILE --published DIR --output DIR``.

    Raises:
        ConfigError: the grid or a figure is wrong.
        DataError: a file is missing or damaged.
    """
    parser = argparse.ArgumentParser(prog="osad figures", description=__doc__)
    parser.add_argument(
        "--grid", required=True, metavar="JSON", help="JSON, or a file of it: grid and figures"
    )
    parser.add_argument("--cells", required=True, type=Path, help="cells.csv of this grid")
    parser.add_argument("--published", required=True, help="folder with CSVs of printed numbers")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    options = parser.parse_args(argv)

    request, specs = read_grid(options.grid)
    rows = read_cells(options.cells, request)
    table = published.index(published.load(options.published))
    summary = summary_rows(rows, table=table, methods=request.methods)
    written = []
    for spec in specs:
        figure = DRAW[spec.kind](spec, panels(spec, summary, request))
        for kind in FORMATS:
            written.append(options.output / f"{spec.name}.{kind}")
            with replacing(written[-1]) as temporary:
                temporary.write_bytes(figure_bytes(figure, kind))
    return written
