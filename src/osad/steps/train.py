"""Fit one method on one split and write its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osad.errors import TrainingError
from osad.files import write_tensors
from osad.learn.images import State, TrainingData
from osad.learn.loading import image_set, of_role
from osad.steps._cell import FORMAT, cell_parser, open_job


def check_finite(state: State, cell: str) -> None:
    """Check that a fit gave only finite tensors.

    Raises:
        TrainingError: one is not; the message names it.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(f"{cell}: fitted tensor {name!r} is not finite")


def main(argv: Sequence[str]) -> list[Path]:
    """Run the step; options are those of the rule ``train``."""
    options = cell_parser("osad train", __doc__).parse_args(argv)
    job = open_job(options, training=True)
    normal, anomaly = (
        image_set(of_role(job.rows, role), job.packs, job.device, training=True)
        for role in ("train_normal", "train_anomaly")
    )
    data = TrainingData(normal, anomaly, key=str(job.cell))
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
