"""Step ``report_cell``: what the page shows of one table cell.

Written are two scripts: one with numbers, digests, curves and histograms, one with small pictures
of the images that the method gets most wrong, and its heat maps of the images of the gallery.
"""

import argparse
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.core.errors import DataError
from osad.core.files import read_metadata, sha256_file, write_text
from osad.data.images import open_verified
from osad.data.splits import SplitRow, read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.scores import read_scores, select
from osad.evaluation.tables.cells import read_metrics
from osad.report.cell import Run, numbers, pictures
from osad.report.gallery import chosen
from osad.report.scripts import script
from osad.report.wrong import Ranked, heat, heat_limits, most_wrong, rank, thumbnail


def read_run(options: argparse.Namespace, seed: int) -> Run:
    """Read one run.

    Raises:
        DataError: a file is missing or damaged.
    """
    results, run = options.results, f"{options.fitted or options.cell}/s{seed}"
    cell = Cell.parse(f"{options.cell}/s{seed}")
    paths = {
        "metrics": results / "metrics" / f"{cell}.json",
        "scores": results / "scores" / f"{run}.csv",
        "checkpoints": results / "checkpoints" / f"{run}.safetensors",
        "splits": results / "splits" / f"{cell.split_id}.csv",
    }
    if options.maps:
        paths["maps"] = results / "maps" / f"{run}.safetensors"
    if options.upstream:
        paths["upstream"] = results / "checkpoints" / f"{options.upstream}/s{seed}.safetensors"
    metrics = read_metrics(paths["metrics"])
    test = [row for row in read_split(paths["splits"]) if row.role == "test"]
    return Run(
        seed,
        metrics,
        select(read_scores(paths["scores"]), test),
        {kind: sha256_file(path) for kind, path in paths.items()},
        {"device": str(read_metadata(paths["checkpoints"]).get("device", ""))},
    )


def read_splits(options: argparse.Namespace) -> list[list[SplitRow]]:
    """Return the splits of all seeds, those of failed runs too: a gallery is of the place."""
    cells = [Cell.parse(f"{options.cell}/s{seed}") for seed in options.seeds]
    return [read_split(options.results / "splits" / f"{cell.split_id}.csv") for cell in cells]


def draw_heats(
    folder: Path, images: Sequence[Ranked], normal: Container[str]
) -> dict[str, dict[str, int | str]]:
    """Return the heat map of each image by path, of the first run that tested it.

    Args:
        folder: of the maps.
        images: what is drawn.
        normal: paths of normal test images, which the colours are fitted to.

    Raises:
        DataError: a file of maps is missing or damaged, or has no map of an image.
    """
    drawn: dict[str, dict[str, int | str]] = {}
    for seed in sorted({next(iter(one.scores)) for one in images}):
        path = folder / f"s{seed}.safetensors"
        maps = anomaly_maps.read(path)
        limits = heat_limits(maps.maps[[image in normal for image in maps.paths]])
        place = {image: number for number, image in enumerate(maps.paths)}
        for image in (one.image.path for one in images if next(iter(one.scores)) == seed):
            if image not in place:
                raise DataError(f"{path}: has no map of {image}; {anomaly_maps.REMEDY}")
            drawn[image] = {**heat(maps.positions(place[image]), limits), "seed": seed}
    return drawn


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(prog="osad report_cell", description=__doc__)
    parser.add_argument("--cell", required=True, help="id of a table cell, without a seed")
    parser.add_argument("--seeds", required=True, nargs="+", type=int)
    parser.add_argument("--results", required=True, type=Path, help="folder of the results")
    parser.add_argument("--maps", action="store_true", help="the method gives anomaly maps")
    parser.add_argument("--fitted", default="", help="table cell of the runs, if not this one's")
    parser.add_argument("--upstream", default="", help="table cell whose runs the fits start from")
    parser.add_argument("--output", required=True, type=Path, help="script with the numbers")
    parser.add_argument("--images", required=True, type=Path, help="script with the pictures")
    parser.add_argument("--partial", action="store_true", help="leave out runs without metrics")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> list[Path]:
    """Write the two scripts of a table cell."""
    options = parse(argv)
    metrics = options.results / "metrics" / options.cell
    runs = [
        read_run(options, seed)
        for seed in options.seeds
        if not options.partial or (metrics / f"s{seed}.json").exists()
    ]
    value = numbers(options.cell, runs, fitted=options.fitted, upstream=options.upstream)
    write_text(options.output, script("cell", value))
    ranked = rank({run.seed: run.tested for run in runs})
    alarms, missed = most_wrong(ranked)
    worst = [*alarms, *missed]
    by_path = {one.image.path: one for one in ranked}
    paths = [row.path for row in chosen(read_splits(options))]
    common = [by_path[path] for path in paths if path in by_path]
    heats: Mapping[str, Any] = {}
    if options.maps:
        normal = {image.path for run in runs for image in run.tested if not image.label}
        folder = options.results / "maps" / (options.fitted or options.cell)
        heats = draw_heats(folder, [*worst, *common], normal)
    thumbnails = {
        one.image.path: thumbnail(open_verified(Path(one.image.path), one.image.sha256))
        for one in worst
    }
    shown = pictures(
        options.cell, alarms, missed, common, ranked, thumbnails=thumbnails, heats=heats
    )
    write_text(options.images, script("pictures", shown))
    return [options.output, options.images]
