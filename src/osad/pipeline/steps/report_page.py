"""Step ``report_page``: the page itself, and its data of all table cells."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import osad
from osad.core.files import read_json, sha256_file, write_text
from osad.evaluation.tables.request import read_grid
from osad.methods import registry as method_registry
from osad.pipeline.fingerprint import code_digests
from osad.pipeline.steps.tables import read_numbers, table_parser
from osad.report.bench import check_bench
from osad.report.page import Content, method_values, page_html, page_value
from osad.report.scripts import script

STEPS = ("run", "metrics")


def code_of(methods: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
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
    parser = table_parser("report_page", __doc__)
    parser.add_argument("--lock", required=True, help="digest of the lock file")
    shared = "files whose digests are shown: data, weights, features"
    for name, text in (("shared", shared), ("bench", "measured times")):
        parser.add_argument(f"--{name}", nargs="*", default=[], type=Path, help=text)
    text = "table cells may lack their own files"
    parser.add_argument("--partial", action="store_true", help=text)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> list[Path]:
    """Write the page."""
    options = parse(argv)
    request, [report] = read_grid(options.grid, "report")
    cells, summary = read_numbers(options, request)
    bench = [check_bench(read_json(path), request, where=str(path)) for path in options.bench]
    modules, code = code_of(request.methods)
    output: Path = options.output
    means = sorted({str(cell).rpartition("/")[0] for cell in request.cells})
    lacking = [mean for mean in means if not (output / "cells" / f"{mean}.js").is_file()]
    present = [path for path in options.shared if path.is_file() or not options.partial]
    methods = method_values(request, report["methods"], modules)
    content = Content(request, cells, summary, methods)
    value = page_value(
        content,
        files={path.as_posix(): sha256_file(path) for path in present},
        code=code,
        lock=options.lock,
        absent=lacking if options.partial else [],
        bench=bench,
    )
    written = [output / "index.html", output / "data.js"]
    write_text(written[1], script("page", value))
    # Last, so that a page that is there is whole.
    write_text(written[0], page_html(content, figures=report["figures"], bench=bench))
    return written
