"""Step ``figures``: draw every figure of a grid from ``cells.csv``.

Written to the output folder: for each figure ``{name}.svg``, ``{name}.png`` and ``{name}.pdf``.
"""

from collections.abc import Sequence
from pathlib import Path

from osad.core.files import replacing
from osad.evaluation.figures.draw import draw
from osad.evaluation.figures.request import FORMATS, FigureSpec
from osad.evaluation.figures.series import panels
from osad.evaluation.figures.style import figure_bytes
from osad.evaluation.tables.request import read_grid
from osad.pipeline.steps.tables import read_numbers, table_parser


def main(argv: Sequence[str]) -> list[Path]:
    """Draw all figures."""
    options = table_parser("figures", __doc__).parse_args(argv)
    request, [values] = read_grid(options.grid, "figures")
    _, summary = read_numbers(options, request)
    written = []
    for spec in (FigureSpec(**value) for value in values):
        figure = draw(spec, panels(spec, summary, request), request)
        for kind in FORMATS:
            written.append(options.output / f"{spec.name}.{kind}")
            with replacing(written[-1]) as temporary:
                temporary.write_bytes(figure_bytes(figure, kind))
    return written
