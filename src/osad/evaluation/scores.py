"""The scores of one run: ``results/scores/{run}.csv``, one row a test image, sorted by path.

This module alone knows the columns: those of `COLUMNS`, then one ``score_HEAD`` for each part of
the method's score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.errors import CheckError, TrainingError
from osad.core.files import read_csv, write_csv
from osad.data.manifest import byte_order, parse_label
from osad.data.splits import SplitRow

if TYPE_CHECKING:
    import torch

    from osad.learn.images import Scores

COLUMNS = ("path", "sha256", "label", "class", "score")
HEAD = "score_"
"""How the columns of the parts of a score begin."""
REMEDY = "score the run again"


@dataclass(frozen=True)
class ScoredImage:
    """One test image.

    Attributes:
        path: path relative to the project's root.
        sha256: digest of the file's content.
        label: 0 normal, 1 anomalous.
        class_name: ``good`` for normal images, otherwise the defect class.
        score: finite, higher is more anomalous.
        heads: the parts of the score by name.
    """

    path: str
    sha256: str
    label: int
    class_name: str
    score: float
    heads: Mapping[str, float] = field(default_factory=dict)


def table(rows: Sequence[SplitRow], scores: Scores, heads: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per image, sorted by path, with the score and its parts.

    Raises:
        TrainingError: a score is missing or not finite; the message names the image.
    """
    tensors = {"score": scores.total} | {f"{HEAD}{name}": scores.heads[name] for name in heads}
    values = {name: _finite(tensor, rows, name) for name, tensor in tensors.items()}
    lines = [
        {
            "path": row.path,
            "sha256": row.sha256,
            "label": row.label,
            "class": row.class_name,
            **{name: column[number] for name, column in values.items()},
        }
        for number, row in enumerate(rows)
    ]
    return sorted(lines, key=lambda line: byte_order(str(line["path"])))


def _finite(tensor: torch.Tensor, rows: Sequence[SplitRow], name: str) -> list[float]:
    if tensor.shape != (len(rows),):
        raise TrainingError(f"{name} has shape {tuple(tensor.shape)}, expected ({len(rows)},)")
    values = [float(value) for value in tensor.tolist()]
    for row, value in zip(rows, values, strict=True):
        if not math.isfinite(value):
            raise TrainingError(f"{row.path}: {name} is {value}, not finite")
    return values


def write_scores(
    path: Path, rows: Sequence[SplitRow], scores: Scores, heads: Sequence[str]
) -> None:
    """Write the scores of a run's test images (see `table`)."""
    columns = [*COLUMNS, *(f"{HEAD}{name}" for name in heads)]
    write_csv(path, columns, table(rows, scores, heads))


def read_scores(path: Path) -> list[ScoredImage]:
    """Read the scores of a run, in the order of the file.

    Raises:
        DataError: the file is missing or damaged.
        CheckError: it has no rows, other columns, or a field that is no finite number.
    """
    rows = read_csv(path, COLUMNS)
    if not rows:
        raise CheckError(f"{path}: has no rows; {REMEDY}")
    header = list(rows[0])
    heads = header[len(COLUMNS) :]
    wrong = [name for name in heads if not name.startswith(HEAD) or name == HEAD]
    if tuple(header[: len(COLUMNS)]) != COLUMNS or wrong:
        raise CheckError(
            f"{path}: columns are {','.join(header)}, expected {','.join(COLUMNS)} and then only "
            f"{HEAD}HEAD; {REMEDY}"
        )
    return [
        ScoredImage(
            row["path"],
            row["sha256"],
            parse_label(row["label"]),
            row["class"],
            _number(row, "score", path),
            {name.removeprefix(HEAD): _number(row, name, path) for name in heads},
        )
        for row in rows
    ]


def _number(row: Mapping[str, str], column: str, path: Path) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CheckError(
            f"{path}: {row['path']}: {column} is {row[column]!r}, not a finite number; look for a "
            f"diverged training and {REMEDY}"
        )
    return value


def check_scores(images: Sequence[ScoredImage], test: Sequence[SplitRow], *, where: Path) -> None:
    """Check that the scored images are exactly the test images of a split, in their order.

    Args:
        images: the scored images.
        test: the test images of the split, sorted by path.
        where: the scores file, for messages.

    Raises:
        CheckError: an image is missing, unexpected, out of order, or has another digest, label
            or class than in the split; the first such path is named.
    """
    expected, scored = {row.path for row in test}, {image.path for image in images}
    for image, row in zip_longest(images, test):
        if row is None or (image is not None and image.path not in expected):
            problem = "is not a test image of the split, or is there twice"
        elif image is None or row.path not in scored:
            image, problem = row, "has no score"
        elif image.path != row.path:
            problem = f"is there twice or out of order ({row.path} is expected here)"
        else:
            problem = ""
            for name in ("sha256", "label", "class_name"):
                ours, theirs = getattr(image, name), getattr(row, name)
                if ours != theirs:
                    problem = f"{name} is {ours!r}, {theirs!r} in the split"
        if problem:
            raise CheckError(f"{where}: {image.path}: {problem}; {REMEDY}")


def select(images: Iterable[ScoredImage], test: Iterable[SplitRow]) -> list[ScoredImage]:
    """Return the scored images that are test images of a split, in their own order."""
    paths = {row.path for row in test}
    return [image for image in images if image.path in paths]
