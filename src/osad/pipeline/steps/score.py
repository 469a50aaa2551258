"""Score the test images of one split with one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, TrainingError
from osad.core.files import read_metadata, read_tensors, write_csv
from osad.data.manifest import byte_order
from osad.data.splits import SplitRow
from osad.evaluation import maps as anomaly_maps
from osad.learn.images import Scores
from osad.methods.inputs import image_set, of_role
from osad.pipeline.steps._cell import FORMAT, CellJob, cell_parser, open_job

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


def anomaly_maps_of(
    job: CellJob, rows: Sequence[SplitRow], scores: Scores
) -> anomaly_maps.AnomalyMaps:
    """Return the anomaly maps of a run.

    Args:
        job: the run.
        rows: the images scored, in the order of the scores.
        scores: what the method returned.

    Raises:
        TrainingError: the method returned no maps, or they are not (n, h, w) float32 and finite;
            the message names the image.
        ConfigError: its features have no image size.
    """
    sizes = {pack.info.image_size for pack in job.packs.values() if pack.info.backbone}
    if len(sizes) != 1:
        raise ConfigError(f"method {job.spec.name} gives maps, but reads no maps of features")
    if scores.maps is None:
        raise TrainingError(f"{job.cell}: method {job.spec.name} declares maps but returned none")
    maps = anomaly_maps.AnomalyMaps(
        cell=str(job.cell),
        paths=tuple(row.path for row in rows),
        sha256=tuple(row.sha256 for row in rows),
        image_size=sizes.pop(),
        maps=scores.maps.detach().cpu().numpy(),
    )
    wrong = anomaly_maps.problem(maps)
    if wrong:
        raise TrainingError(f"{job.cell}: {wrong}")
    return maps


def main(argv: Sequence[str]) -> list[Path]:
    """Run the step; options are those of the rule ``score``."""
    parser = cell_parser("osad score", __doc__)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument(
        "--maps", nargs="*", default=[], type=Path, help="file for the anomaly maps of the method"
    )
    options = parser.parse_args(argv)
    job = open_job(options, training=False)
    if len(options.maps) > int(job.spec.maps):
        raise ConfigError(
            f"method {job.spec.name} gives {'one file of' if job.spec.maps else 'no'} anomaly "
            f"maps, got {len(options.maps)} paths with --maps"
        )
    check_checkpoint(read_metadata(options.checkpoint), job.cell, job.hyper, options.checkpoint)
    tensors = read_tensors(options.checkpoint)
    state = {name: value.to(job.device) for name, value in tensors.items()}
    rows = of_role(job.rows, "test")
    images = image_set(
        rows, job.packs, job.device, training=False, labels=job.spec.sees_test_labels
    )
    scores = job.spec.build(job.hyper).score(state, images)
    columns = [*COLUMNS, *(f"score_{name}" for name in job.spec.heads)]
    lines = table(rows, scores, job.spec.heads)
    maps = anomaly_maps_of(job, rows, scores) if options.maps else None
    write_csv(options.output, columns, lines)
    for path in options.maps:
        assert maps is not None
        anomaly_maps.write(path, maps)
    return [options.output, *options.maps]
