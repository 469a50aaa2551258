"""Step ``report_assets``: copy scripts, styles, licences and figures into the page's folder."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from osad.core.errors import DataError
from osad.core.files import replacing


def copy(source: Path, target: Path) -> Path:
    """Copy the bytes of a file and return where they are now.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror}); restore the file") from error
    with replacing(target) as temporary:
        temporary.write_bytes(content)
    return target


def main(argv: Sequence[str]) -> list[Path]:
    """Copy the files."""
    parser = argparse.ArgumentParser(prog="osad report_assets", description=__doc__)
    parser.add_argument("--assets", required=True, nargs="+", type=Path)
    parser.add_argument("--figures", nargs="*", default=[], type=Path, help="SVG files to show")
    parser.add_argument("--output", required=True, type=Path, help="folder of the page")
    options = parser.parse_args(argv)

    output: Path = options.output
    written = [copy(path, output / "assets" / path.name) for path in options.assets]
    return written + [copy(path, output / "figures" / path.name) for path in options.figures]
