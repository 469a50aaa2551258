"""Step ``split``: draw the training and test images of one protocol and seed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from osad.core.cells import Protocol
from osad.data.manifest import read_manifest
from osad.data.splits import partition, rows, write_split


def main(argv: list[str]) -> list[Path]:
    """Write one split; images left out because of equal bytes are counted on standard error."""
    parser = argparse.ArgumentParser(prog="osad split", description=main.__doc__)
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--protocol", required=True, help="for example general-m10")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--removed", type=int, default=10)
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args(argv)
    parts = partition(
        read_manifest(options.manifest),
        Protocol.parse(options.protocol),
        dataset=options.dataset,
        category=options.category,
        seed=options.seed,
        removed=options.removed,
    )
    if parts.duplicates:
        print(
            f"{options.output}: {len(parts.duplicates)} test images left out, their bytes equal "
            f"those of images outside the test set (the first is {parts.duplicates[0].path})",
            file=sys.stderr,
        )
    write_split(options.output, rows(parts))
    return [options.output]
