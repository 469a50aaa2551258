"""Step ``report_images``: all images of a category with their digests and roles, for the page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from osad.core.errors import DataError
from osad.core.files import sha256_file, write_text
from osad.data.manifest import read_manifest
from osad.data.splits import read_split
from osad.report.scripts import script

LETTERS = {"train_normal": "n", "train_anomaly": "a", "test": "t"}
"""One letter a role; ``-`` are images that a split leaves out."""


def roles(paths: Sequence[str], split: Path) -> str:
    """Return the role of each image in a split, one letter an image.

    Raises:
        DataError: the split is missing or damaged, or has an image that the manifest has not.
    """
    rows = {row.path: LETTERS[row.role] for row in read_split(split)}
    unknown = sorted(rows.keys() - set(paths))
    if unknown:
        raise DataError(f"{split}: {unknown[0]} is not in the manifest; make the split again")
    return "".join(rows.get(path, "-") for path in paths)


def main(argv: Sequence[str]) -> list[Path]:
    """Write the list of images of a category."""
    parser = argparse.ArgumentParser(prog="osad report_images", description=__doc__)
    parser.add_argument("--category", required=True, help="DATASET/CATEGORY")
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--splits", required=True, nargs="+", type=Path)
    parser.add_argument("--output", required=True, type=Path, help="script to write")
    options = parser.parse_args(argv)

    records = read_manifest(options.manifest)
    paths = [record.path for record in records]
    value = {
        "category": options.category,
        "manifest": [options.manifest.as_posix(), sha256_file(options.manifest)],
        "images": [[record.path, record.sha256, record.class_name] for record in records],
        "splits": {
            path.as_posix(): [sha256_file(path), roles(paths, path)] for path in options.splits
        },
    }
    write_text(options.output, script("images", value))
    return [options.output]
