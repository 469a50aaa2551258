"""What the steps ``train`` and ``score`` of one cell share."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell
from osad.core.errors import ConfigError
from osad.data.splits import SplitRow, read_split
from osad.features.packs import Pack
from osad.methods import registry
from osad.methods.inputs import open_packs
from osad.runtime.device import make_deterministic, select_device

if TYPE_CHECKING:
    import torch

FORMAT = 1
"""Version of the checkpoints' metadata."""


@dataclass(frozen=True)
class CellJob:
    """A cell with all that its steps read.

    Attributes:
        cell: the cell.
        spec: its method.
        hyper: all hyper-parameters of the method.
        device: where to compute.
        rows: the split.
        packs: the open feature packs by kind.
    """

    cell: Cell
    spec: registry.MethodSpec
    hyper: dict[str, Any]
    device: torch.device
    rows: list[SplitRow]
    packs: dict[str, Pack]


def cell_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that `open_job` reads, and ``--output``."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--cell", required=True, help="id of the cell")
    parser.add_argument("--split", required=True, type=Path)
    parser.add_argument("--packs", nargs="*", default=[], type=Path, help="feature packs")
    parser.add_argument("--hyper", required=True, help="hyper-parameters as JSON")
    parser.add_argument("--gpu", type=int, default=0, help="number of GPUs granted")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    return parser


def open_job(options: argparse.Namespace, *, training: bool) -> CellJob:
    """Read what the options name and make the process deterministic.

    Args:
        options: see `cell_parser`.
        training: whether the step is ``train``, which reads more packs than ``score``.

    Raises:
        ConfigError: the cell, the method or a hyper-parameter is wrong.
        DataError: a file is missing or damaged.
    """
    cell = Cell.parse(options.cell)
    spec = registry.get(cell.method)
    hyper = parse_hyper(options.hyper, spec)
    device = select_device(options.gpu)
    make_deterministic()
    rows = read_split(options.split)
    packs = open_packs(options.packs, spec, training=training)
    return CellJob(cell, spec, hyper, device, rows, packs)


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
