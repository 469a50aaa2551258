"""Step ``report_images``: all images of a category with their digests and roles, for the page.

And small pictures of the images of the galleries, one gallery a protocol.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from osad.core.errors import DataError
from osad.core.files import sha256_file, write_text
from osad.data.images import open_verified
from osad.data.manifest import read_manifest
from osad.data.splits import read_split
from osad.report.gallery import chosen
from osad.report.scripts import script
from osad.report.wrong import thumbnail

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


def galleries(category: str, splits: Sequence[Path]) -> dict[str, Any]:
    """Return the images of the gallery of each protocol, and their pictures.

    Returns:
        ``category``, ``places`` (paths by protocol) and ``pictures`` (data URI by path).

    Raises:
        DataError: an image is missing or has changed.
    """
    protocols: dict[str, list[Path]] = {}
    for path in splits:
        protocols.setdefault(path.parent.name, []).append(path)
    places = {
        name: chosen([read_split(path) for path in paths]) for name, paths in protocols.items()
    }
    shown = {row.path: row for rows in places.values() for row in rows}
    return {
        "category": category,
        "places": {name: [row.path for row in rows] for name, rows in places.items()},
        "pictures": {
            path: thumbnail(open_verified(Path(path), row.sha256)) for path, row in shown.items()
        },
    }


def main(argv: Sequence[str]) -> list[Path]:
    """Write the list of images of a category and its galleries."""
    parser = argparse.ArgumentParser(prog="osad report_images", description=__doc__)
    parser.add_argument("--category", required=True, help="DATASET/CATEGORY")
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--splits", required=True, nargs="+", type=Path)
    parser.add_argument("--output", required=True, type=Path, help="script with the list")
    parser.add_argument("--gallery", required=True, type=Path, help="script with the pictures")
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
    shown = galleries(options.category, options.splits)
    write_text(options.gallery, script("gallery", shown))
    return [options.output, options.gallery]
