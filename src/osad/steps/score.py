"""Score the test images of one split with one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.cells import Cell
from osad.data.manifest import byte_order
from osad.errors import CheckError, TrainingError
from osad.files import read_metadata, read_tensors, write_csv
from osad.learn.images import Scores
from osad.learn.loading import image_set, of_role
from osad.splits import SplitRow
from osad.steps._cell import FORMAT, cell_parser, open_job

if TYPE_CHECKING:
    import torch

COLUMNS = ("path", "sha256", "label", "class", "score")


def check_checkpoint(metadata: Mapping[str, Any], cell: Cell, hyper: object, path: Path) -> None:
    """Check that a checkpoint belongs to this cell and these hyper-parameters.

    Raises:
        CheckError: it does not.
    """
    expected = {"format": FORMAT, "cell": str(cell), "hyper": _as_json(hyper)}
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise CheckError(
                f"{path}: its {key} is {metadata.get(key)!r}, expected {value!r}; "
                "delete it and train again"
            )


def _as_json(value: object) -> object:
    """Turn tuples into lists, as JSON gives them back."""
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_as_json(item) for item in value]
    return value


def table(rows: Sequence[SplitRow], scores: Scores, heads: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per image, sorted by path, with the score and its parts.

    Raises:
        TrainingError: a score is missing or not finite; the message names the image.
    """
    columns = {"score": scores.total} | {f"score_{name}": scores.heads[name] for name in heads}
    values: dict[str, list[float]] = {}
    for name, tensor in columns.items():
        if tensor.shape != (len(rows),):
            raise TrainingError(f"{name} has shape {tuple(tensor.shape)}, expected ({len(rows)},)")
        values[name] = _checked(tensor, rows, name)
    return sorted(
        (
            {
                "path": row.path,
                "sha256": row.sha256,
                "label": row.label,
                "class": row.class_name,
                **{name: column[number] for name, column in values.items()},
            }
            for number, row in enumerate(rows)
        ),
        key=lambda line: byte_order(str(line["path"])),
    )


def _checked(tensor: torch.Tensor, rows: Sequence[SplitRow], name: str) -> list[float]:
    finite = tensor.isfinite()
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise TrainingError(f"{rows[first].path}: {name} is {tensor[first].item()}, not finite")
    return [float(value) for value in tensor.tolist()]


def main(argv: Sequence[str]) -> list[Path]:
    """Run the step; options are those of the rule ``score``."""
    parser = cell_parser("osad score", __doc__)
    parser.add_argument("--checkpoint", required=True, type=Path)
    options = parser.parse_args(argv)
    job = open_job(options, training=False)
    check_checkpoint(read_metadata(options.checkpoint), job.cell, job.hyper, options.checkpoint)
    tensors = read_tensors(options.checkpoint)
    state = {name: value.to(job.device) for name, value in tensors.items()}
    rows = of_role(job.rows, "test")
    images = image_set(
        rows, job.packs, job.device, training=False, labels=job.spec.sees_test_labels
    )
    scores = job.spec.build(job.hyper).score(state, images)
    columns = [*COLUMNS, *(f"score_{name}" for name in job.spec.heads)]
    write_csv(options.output, columns, table(rows, scores, job.spec.heads))
    return [options.output]
