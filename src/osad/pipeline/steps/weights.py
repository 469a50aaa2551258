"""Step ``weights``: put the checked weights file of a backbone below ``data/weights``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from osad.backbones import get_backbone


def main(argv: Sequence[str]) -> list[Path]:
    """Write a weights file."""
    parser = argparse.ArgumentParser(prog="osad weights", description=__doc__)
    parser.add_argument("--backbone", required=True, help="name of the network")
    parser.add_argument("--output", required=True, type=Path, help="data/weights/FILE")
    parser.add_argument("--local", type=Path, help="a downloaded file (features.weights_file)")
    options = parser.parse_args(argv)
    get_backbone(options.backbone).obtain(options.output, local=options.local)
    return [options.output]
