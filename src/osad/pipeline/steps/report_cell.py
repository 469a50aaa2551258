"""Step ``report_cell``: what the page shows of one table cell.

Written are two scripts: one with numbers, digests, curves and histograms, one with small pictures
of the images that the method gets most wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.core.errors import DataError, OsadError
from osad.core.files import read_csv, read_json, sha256_file, write_text
from osad.data.images import open_verified
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.tables.cells import ok
from osad.report.cell import Run, numbers, pictures
from osad.report.scripts import script
from osad.report.wrong import Ranked, Scored, heat, heat_limits, most_wrong, thumbnail

COLUMNS = ("path", "sha256", "label", "class", "score")
FACTS = ("python", "torch", "device")


def read_scored(path: Path) -> list[Scored]:
    """Read the test images of a run with their scores.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        return [
            Scored(row["path"], row["sha256"], int(row["label"]), row["class"], float(row["score"]))
            for row in read_csv(path, COLUMNS)
        ]
    except ValueError as error:
        raise DataError(f"{path}: {error}; score the cell again") from error


def read_environment(runs: Path, outputs: Sequence[Path]) -> dict[str, str]:
    """Return what the records of jobs say of Python, torch and the device.

    Args:
        runs: folder of the records; see `osad.pipeline.steps.write_record`.
        outputs: files that the jobs wrote; they may have run on different devices.

    Returns:
        each fact once, different ones joined; nothing where a record is missing.
    """
    found: dict[str, dict[str, None]] = {}
    for output in outputs:
        try:
            facts = read_json(runs / f"{output}.json")["environment"]
        except (OsadError, KeyError, TypeError):
            continue
        for name in FACTS:
            if name in facts:
                found.setdefault(name, {})[str(facts[name])] = None
    return {name: ", ".join(values) for name, values in found.items()}


def read_run(results: Path, cell: Cell, *, maps: bool, upstream: str, runs: Path) -> Run:
    """Read one run.

    Raises:
        DataError: a file is missing or damaged.
    """
    paths = {
        "metrics": results / "metrics" / f"{cell}.json",
        "scores": results / "scores" / f"{cell}.csv",
        "checkpoints": results / "checkpoints" / f"{cell}.safetensors",
        "splits": results / "splits" / f"{cell.split_id}.csv",
    }
    if maps:
        paths["maps"] = results / "maps" / f"{cell}.safetensors"
    if upstream:
        paths["upstream"] = results / "checkpoints" / f"{upstream}/s{cell.seed}.safetensors"
    outcome = ok(read_json(paths["metrics"]), where=str(paths["metrics"]))
    return Run(
        cell.seed,
        outcome.metrics,
        read_scored(paths["scores"]),
        {kind: sha256_file(path) for kind, path in paths.items()},
        # A run that shares another's has one record; it names the versions all the same.
        read_environment(runs, [paths["checkpoints"], paths["scores"]]),
    )


def draw_heats(
    results: Path, mean: str, wanted: Sequence[Ranked]
) -> dict[str, dict[str, int | str]]:
    """Return the heat map of each image by path, of the first run that tested it.

    Raises:
        DataError: a file of maps is missing or damaged, or has no map of an image.
    """
    found: dict[str, dict[str, int | str]] = {}
    for seed in sorted({next(iter(one.scores)) for one in wanted}):
        path = results / "maps" / mean / f"s{seed}.safetensors"
        maps = anomaly_maps.read(path)
        limits = heat_limits(maps.maps)
        place = {image: number for number, image in enumerate(maps.paths)}
        for one in wanted:
            if next(iter(one.scores)) != seed:
                continue
            if one.image.path not in place:
                raise DataError(f"{path}: has no map of {one.image.path}; score the cell again")
            drawn = heat(maps.maps[place[one.image.path]], limits)
            found[one.image.path] = {**drawn, "seed": seed}
    return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(prog="osad report_cell", description=__doc__)
    parser.add_argument("--cell", required=True, help="id of a table cell, without a seed")
    parser.add_argument("--seeds", required=True, nargs="+", type=int)
    parser.add_argument("--results", required=True, type=Path, help="folder of the results")
    parser.add_argument("--maps", action="store_true", help="the method gives anomaly maps")
    parser.add_argument("--upstream", default="", help="table cell it starts from or shares")
    parser.add_argument("--runs", type=Path, default=Path(".osad/runs"), help="jobs' records")
    parser.add_argument("--output", required=True, type=Path, help="script with the numbers")
    parser.add_argument("--images", required=True, type=Path, help="script with the pictures")
    parser.add_argument(
        "--partial", action="store_true", help="leave out runs that have no metrics"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> list[Path]:
    """Write the two scripts of a table cell.

    Args:
        argv: see `parse`.

    Raises:
        ConfigError: the cell's id is wrong.
        DataError: a file is missing or damaged, or an image is not that of the split.
    """
    options = parse(argv)
    cells = [Cell.parse(f"{options.cell}/s{seed}") for seed in options.seeds]
    results: Path = options.results
    if options.partial:
        cells = [cell for cell in cells if (results / "metrics" / f"{cell}.json").exists()]
    runs = [
        read_run(results, cell, maps=options.maps, upstream=options.upstream, runs=options.runs)
        for cell in cells
    ]
    write_text(
        options.output, script("cell", numbers(options.cell, runs, upstream=options.upstream))
    )
    alarms, missed = most_wrong({run.seed: run.tested for run in runs})
    heats: Mapping[str, Any] = {}
    if options.maps:
        heats = draw_heats(results, options.cell, [*alarms, *missed])
    thumbnails = {
        one.image.path: thumbnail(open_verified(Path(one.image.path), one.image.sha256))
        for one in [*alarms, *missed]
    }
    value = pictures(options.cell, alarms, missed, thumbnails=thumbnails, heats=heats)
    write_text(options.images, script("pictures", value))
    return [options.output, options.images]
