"""Fit one method on one split and write its checkpoint."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from osad.cells import Cell
from osad.errors import ConfigError, TrainingError
from osad.files import write_tensors
from osad.learn.images import State, TrainingData
from osad.learn.loading import image_set, of_role, open_packs
from osad.methods import registry
from osad.runtime.device import make_deterministic, select_device
from osad.splits import read_split

FORMAT = 1


def parse_hyper(text: str, spec: registry.MethodSpec) -> dict[str, Any]:
    """Return all hyper-parameters from a JSON object.

    Raises:
        ConfigError: it is not a JSON object, or a key or type is wrong.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--hyper: is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--hyper: expected a JSON object, got {text}")
    return spec.resolve(values)


def check_finite(state: State, cell: str) -> None:
    """Check that a fit gave only finite tensors.

    Raises:
        TrainingError: one is not; the message names it.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(f"{cell}: fitted tensor {name!r} is not finite")


def main(argv: Sequence[str]) -> None:
    """Run the step; options are those of the rule ``train``."""
    parser = argparse.ArgumentParser(prog="osad train", description=__doc__)
    parser.add_argument("--cell", required=True, help="id of the cell")
    parser.add_argument("--split", required=True, type=Path)
    parser.add_argument("--packs", nargs="*", default=[], type=Path, help="feature packs")
    parser.add_argument("--hyper", required=True, help="hyper-parameters as JSON")
    parser.add_argument("--gpu", type=int, default=0, help="number of GPUs granted")
    parser.add_argument("--output", required=True, type=Path, help="safetensors file to write")
    options = parser.parse_args(argv)

    cell = Cell.parse(options.cell)
    spec = registry.get(cell.method)
    hyper = parse_hyper(options.hyper, spec)
    device = select_device(options.gpu)
    make_deterministic()
    rows = read_split(options.split)
    packs = open_packs(options.packs, spec)
    data = TrainingData(
        normal=image_set(of_role(rows, "train_normal"), packs, device, training=True),
        anomaly=image_set(of_role(rows, "train_anomaly"), packs, device, training=True),
        key=str(cell),
    )
    state = spec.build(hyper).fit(data)
    check_finite(state, str(cell))
    metadata = {"format": FORMAT, "cell": str(cell), "hyper": hyper, "device": device.type}
    tensors = {name: value.cpu().contiguous() for name, value in state.items()}
    write_tensors(options.output, tensors, metadata)
