"""Step ``comparison``: how each method differs from the best and from the printed number.

Test images are drawn once for each data set, category and setting, from all images that any of its
splits tests: the protocols and seeds of a setting test nearly the same images, and an image that is
drawn twice counts twice wherever it is tested.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osad.core.cells import Cell, Protocol
from osad.core.errors import CheckError
from osad.core.seeds import numpy_generator
from osad.data.manifest import byte_order
from osad.data.splits import SplitRow, read_split
from osad.evaluation import published
from osad.evaluation.comparison import Draws, drawn_aurocs, resample
from osad.evaluation.metrics import auroc
from osad.evaluation.scores import check_scores, read_scores, select
from osad.evaluation.tables.cells import read_cells, write_frame
from osad.evaluation.tables.compare import comparison_frame
from osad.evaluation.tables.request import Request, read_grid

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def draw_images(
    tests: Iterable[Sequence[SplitRow]], *key: str
) -> tuple[dict[str, int], npt.NDArray[np.uint16]]:
    """Draw from the images of several test sets.

    Returns:
        the row of each image by path, and (n, draws) how often each is drawn.
    """
    labels = {row.path: row.label for rows in tests for row in rows}
    paths = sorted(labels, key=byte_order)
    counts = resample([labels[path] for path in paths], numpy_generator("bootstrap", *key))
    return {path: number for number, path in enumerate(paths)}, counts


def draw_category(request: Request, cells: Mapping[Cell, float]) -> dict[str, Draws]:
    """Return the AUROCs of the drawn test sets, by cell.

    Args:
        request: the grid.
        cells: AUROC of all cells of a category that have one.

    Raises:
        CheckError: the scores are not of the test images, or do not give the AUROC.
        DataError: a file is missing or damaged.
    """
    results = Path(request.results)
    settings = {cell.split_id: Protocol.parse(cell.protocol).setting for cell in cells}
    splits = {name: read_split(results / "splits" / f"{name}.csv") for name in settings}
    tests = {name: [row for row in rows if row.role == "test"] for name, rows in splits.items()}
    first = next(iter(cells))
    drawn = {
        setting: draw_images(
            [tests[name] for name, of in settings.items() if of == setting],
            first.dataset, first.category, setting,
        )
        for setting in sorted({*settings.values()})
    }  # fmt: skip
    found = {}
    read = functools.lru_cache(maxsize=1)(read_scores)
    competing = [cell for cell in cells if cell.method not in request.controls]
    for cell in sorted(competing, key=lambda cell: str(request.run_of(cell))):
        path, test = results / "scores" / f"{request.run_of(cell)}.csv", tests[cell.split_id]
        images = select(read(path), test)
        check_scores(images, test, where=path)
        scores, labels = [image.score for image in images], [image.label for image in images]
        if auroc(scores, labels) != cells[cell]:
            raise CheckError(f"{path}: does not give the AUROC of {cell}; make cells.csv again")
        place, counts = drawn[settings[cell.split_id]]
        chosen = counts[[place[image.path] for image in images]]
        found[str(cell)] = drawn_aurocs(scores, labels, chosen)
    return found


def main(argv: Sequence[str]) -> list[Path]:
    """Write ``comparison.csv``."""
    parser = argparse.ArgumentParser(prog="osad comparison", description=__doc__)
    parser.add_argument("--grid", required=True, metavar="JSON", help="the grid, or a file with it")
    parser.add_argument("--cells", required=True, type=Path, help="cells.csv of this grid")
    parser.add_argument("--published", required=True, help="folder with CSVs of printed numbers")
    parser.add_argument("--output", required=True, type=Path, help="comparison.csv to write")
    options = parser.parse_args(argv)
    request, _ = read_grid(options.grid)
    cells = read_cells(options.cells, request)
    draws: dict[str, Draws] = {}
    for _, rows in cells[cells.auroc.notna()].groupby(["dataset", "category"], sort=False):
        draws |= draw_category(
            request, dict(zip(map(Cell.parse, rows.cell), rows.auroc, strict=True))
        )
    titles = {name: method.title for name, method in request.methods.items()}
    printed = published.place(published.load(options.published), titles)
    frame = comparison_frame(
        cells, draws, printed, methods=request.methods, controls=request.controls
    )
    write_frame(options.output, frame)
    return [options.output]
