"""Step ``report_page``: the page itself, and its data of all table cells."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import osad
from osad.core.errors import ConfigError
from osad.core.files import read_json, sha256_file, write_text
from osad.evaluation import published
from osad.evaluation.tables.request import Request, parse_grid
from osad.evaluation.tables.summary import summary_rows
from osad.methods import registry as method_registry
from osad.pipeline.fingerprint import code_digests
from osad.pipeline.steps.tables import read_cells
from osad.report.bench import check_bench
from osad.report.page import Content, method_values, page_value, texts
from osad.report.render import render
from osad.report.scripts import script

STEPS = ("train", "score", "metrics")


def read_grid(text: str) -> tuple[Request, Mapping[str, Any]]:
    """Return the grid and what the page needs besides.

    Args:
        text: JSON: what `osad.evaluation.tables.request.parse_grid` reads, and ``report`` (see
            `osad.report.targets.Report.page`).

    Raises:
        ConfigError: the content is wrong.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--grid: is not valid JSON ({error}); correct it") from error
    if not isinstance(value, dict) or not isinstance(value.get("report"), dict):
        raise ConfigError("--grid: expected an object with report")
    report = value.pop("report")
    request = parse_grid(value, where="--grid")
    missing = [name for name in request.methods if name not in report.get("methods", {})]
    if missing:
        raise ConfigError(f"--grid: report.methods lacks {missing[0]}; add it")
    return request, report


def code_of(methods: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the modules that made each method's numbers, and the digest of every module."""
    source = Path(osad.__file__).parents[1]
    modules, digests = {}, {}
    for name in methods:
        roots = (*(f"osad.pipeline.steps.{step}" for step in STEPS), method_registry.module(name))
        found = code_digests(roots, source)
        modules[name] = sorted(found)
        digests.update(found)
    return modules, digests


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(prog="osad report_page", description=__doc__)
    parser.add_argument("--grid", required=True, metavar="JSON", help="the grid, with report")
    parser.add_argument("--cells", required=True, type=Path, help="cells.csv of this grid")
    parser.add_argument("--published", required=True, help="folder with CSVs of printed numbers")
    parser.add_argument("--lock", required=True, help="digest of the lock file")
    for name, text in (
        ("shared", "files whose digests are shown: data, weights, features"),
        ("bench", "measured times"),
    ):
        parser.add_argument(f"--{name}", nargs="*", default=[], type=Path, help=text)
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="table cells may lack their own files",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> list[Path]:
    """Write the page.

    Args:
        argv: see `parse`.

    Raises:
        ConfigError: the grid is wrong.
        DataError: a file is missing or damaged.
    """
    options = parse(argv)
    request, report = read_grid(options.grid)
    rows = read_cells(options.cells, request)
    table = published.index(published.load(options.published))
    summary = summary_rows(rows, table=table, methods=request.methods)
    bench = [check_bench(read_json(path), where=str(path)) for path in options.bench]
    modules, code = code_of(request.methods)
    backbones = {cell.method: backbone for cell, backbone in request.cells}
    methods = method_values(request, report["methods"], modules, backbones)
    output: Path = options.output
    means = sorted({str(cell).rpartition("/")[0] for cell, _ in request.cells})
    lacking = [mean for mean in means if not (output / "cells" / f"{mean}.js").is_file()]
    present = [path for path in options.shared if path.is_file() or not options.partial]
    content = Content(request, rows, summary, methods)
    value = page_value(
        content,
        files={path.as_posix(): sha256_file(path) for path in present},
        code=code,
        lock=options.lock,
        absent=lacking if options.partial else [],
    )
    filled = texts(content, figures=report["figures"], bench=bench)
    write_text(output / "data.js", script("page", value))
    written = [output / "index.html", output / "data.js"]
    # Last, so that a page that is there is whole.
    write_text(written[0], render(filled))
    return written
