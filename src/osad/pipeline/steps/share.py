"""Take a run from that of another protocol, for methods that learn from normal images alone.

Their fit is the same in every protocol, since the training normals are, and so is the score of an
image. The checkpoint is the same file; of the scores and maps, the rows of the test images stay.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from osad.core.cells import Cell
from osad.core.errors import CheckError
from osad.core.files import read_csv, read_metadata, replacing, write_csv
from osad.data.splits import SplitRow, read_split
from osad.evaluation import maps as anomaly_maps

IDENTITY = ("path", "sha256", "label", "class")


def check_training(split: Sequence[SplitRow], source: Sequence[SplitRow], *, where: Path) -> None:
    """Check that two splits have the same training normals.

    Args:
        split: of the cell.
        source: of the run that was fitted.
        where: file of the first, for the message.

    Raises:
        CheckError: they have not; the first image that one of them lacks is named.
    """
    ours, theirs = (
        {(row.path, row.sha256) for row in rows if row.role == "train_normal"}
        for rows in (split, source)
    )
    if ours != theirs:
        path = min(ours ^ theirs)[0]
        raise CheckError(
            f"{where}: {path} is a training normal here or in the shared run's split, not in both; "
            "make the splits again"
        )


def select(
    scores: Sequence[dict[str, str]], test: Sequence[SplitRow], *, where: Path
) -> list[dict[str, str]]:
    """Return the rows of some test images, in the order of the images.

    Args:
        scores: rows of a scores file.
        test: the images, sorted by path.
        where: the scores file, for the message.

    Raises:
        CheckError: an image has no row, or one of another digest, label or class.
    """
    rows = {row["path"]: row for row in scores}
    chosen = []
    for image in test:
        row = rows.get(image.path)
        identity = (image.path, image.sha256, str(image.label), image.class_name)
        if row is None or tuple(row[name] for name in IDENTITY) != identity:
            raise CheckError(
                f"{where}: has no row of {image.path} as the split describes it; "
                "score the shared run again"
            )
        chosen.append(row)
    return chosen


def main(argv: Sequence[str]) -> list[Path]:
    """Run the step; options are those of the rule ``share``."""
    parser = argparse.ArgumentParser(prog="osad share", description=__doc__)
    parser.add_argument("--cell", required=True, help="id of the cell")
    for name in ("split", "source-split", "source-checkpoint", "source-scores", "checkpoint"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path, help="scores file to write")
    parser.add_argument("--source-maps", nargs="*", default=[], type=Path)
    parser.add_argument("--maps", nargs="*", default=[], type=Path, help="maps file to write")
    options = parser.parse_args(argv)

    cell = Cell.parse(options.cell)
    split, source = read_split(options.split), read_split(options.source_split)
    check_training(split, source, where=options.split)
    found = Cell.parse(str(read_metadata(options.source_checkpoint).get("cell")))
    if (found.dataset, found.category, found.method, found.seed) != (
        cell.dataset, cell.category, cell.method, cell.seed,
    ):  # fmt: skip
        raise CheckError(f"{options.source_checkpoint}: is of cell {found}, not one of {cell}'s")
    test = [row for row in split if row.role == "test"]
    rows = select(read_csv(options.source_scores, IDENTITY), test, where=options.source_scores)
    with replacing(options.checkpoint) as temporary:
        shutil.copyfile(options.source_checkpoint, temporary)
    write_csv(options.output, list(rows[0]), rows)
    for source_maps, maps in zip(options.source_maps, options.maps, strict=True):
        images = [(row.path, row.sha256) for row in test]
        anomaly_maps.select(source_maps, maps, cell=str(cell), images=images)
    return [options.output, options.checkpoint, *options.maps]
