"""Fit one method on one split and write its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, TrainingError
from osad.core.files import read_metadata, read_tensors, write_tensors
from osad.learn.images import State, TrainingData
from osad.methods.inputs import image_set, of_role
from osad.pipeline.steps._cell import FORMAT, cell_parser, open_job


def check_finite(state: State, cell: str) -> None:
    """Check that a fit gave only finite tensors.

    Raises:
        TrainingError: one is not; the message names it.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(f"{cell}: fitted tensor {name!r} is not finite")


def read_base(paths: Sequence[Path], cell: Cell, base: str) -> State | None:
    """Read the checkpoint that a fit starts from.

    Args:
        paths: of the checkpoint; none for a method without a base.
        cell: the cell that is trained.
        base: name of the base method; empty without one.

    Raises:
        ConfigError: there is a checkpoint where none is needed, or none where one is.
        CheckError: it is of another run.
    """
    if len(paths) != bool(base):
        raise ConfigError(
            f"method {cell.method} starts from {base or 'no other method'}, got {len(paths)} "
            "checkpoints with --base"
        )
    if not base:
        return None
    expected, found = str(replace(cell, method=base)), read_metadata(paths[0]).get("cell")
    if found != expected:
        raise CheckError(
            f"{paths[0]}: is of cell {found!r}, expected {expected!r}; delete it and train again"
        )
    return read_tensors(paths[0])


def main(argv: Sequence[str]) -> list[Path]:
    """Run the step; options are those of the rule ``train``."""
    parser = cell_parser("osad train", __doc__)
    parser.add_argument(
        "--base", nargs="*", default=[], type=Path, help="checkpoint that the fit starts from"
    )
    options = parser.parse_args(argv)
    job = open_job(options, training=True)
    base = read_base(options.base, job.cell, job.spec.base)
    normal, anomaly = (
        image_set(of_role(job.rows, role), job.packs, job.device, training=True)
        for role in ("train_normal", "train_anomaly")
    )
    if base is not None:
        base = {name: value.to(job.device) for name, value in base.items()}
    data = TrainingData(normal, anomaly, key=str(job.cell), base=base)
    state = job.spec.build(job.hyper).fit(data)
    check_finite(state, str(job.cell))
    metadata = {
        "format": FORMAT,
        "cell": str(job.cell),
        "hyper": job.hyper,
        "device": job.device.type,
    }
    tensors = {name: value.cpu().contiguous() for name, value in state.items()}
    write_tensors(options.output, tensors, metadata)
    return [options.output]
