"""Step ``metrics``: check the scores of a run against a cell's split and write its metrics.

For most methods the run is the cell's own. One that learns from normals alone is fitted once, under
another protocol: then the rows of the cell's own test images are taken from that run's scores.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError
from osad.core.files import sha256_file, write_json
from osad.data.masks import read_masks
from osad.data.splits import SplitRow, check_training, read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.localisation import aupro, collect, pixel_auroc
from osad.evaluation.maps import AnomalyMaps
from osad.evaluation.metrics import METRICS
from osad.evaluation.scores import check_scores, read_scores, select


def rates(scores: Sequence[float], labels: Sequence[int]) -> dict[str, float | None]:
    """Return all image-level metrics, in [0, 1]; None where one does not apply."""
    return {name: metric(scores, labels) for name, metric in METRICS.items()}


def read_maps(path: Path, cell: Cell, tested: Sequence[SplitRow], *, shared: bool) -> AnomalyMaps:
    """Read the anomaly maps of a run, which may be one of the cell's method under another protocol.

    Args:
        path: the maps.
        cell: the cell.
        tested: the test images of the run, sorted by path.
        shared: whether the run is that of another protocol.

    Raises:
        CheckError: the maps are of another run, or not of these images.
        DataError: the file is missing or damaged.
    """
    maps = anomaly_maps.read(path)
    run = replace(cell, protocol=Cell.parse(maps.cell).protocol) if shared else cell
    images = [(row.path, row.sha256) for row in tested]
    anomaly_maps.check(maps, images, cell=str(run), where=path)
    return maps


def localise(
    maps: AnomalyMaps, masks_path: Path, test: Sequence[SplitRow], *, cell: Cell, sigma: float
) -> dict[str, float | None]:
    """Return the pixel metrics of a cell, in [0, 1]: None unless every anomalous image has a mask.

    Args:
        maps: the anomaly maps of the test images.
        masks_path: masks of the category.
        test: the test images, sorted by path.
        cell: the cell, for the message.
        sigma: standard deviation of the smoothing of the upsampled maps, pixels.

    Raises:
        CheckError: the masks are not those of these images, or have another size.
        DataError: the file is missing or damaged.
    """
    pack = read_masks(masks_path)
    if pack.image_size != maps.image_size:
        raise CheckError(
            f"{masks_path}: its masks have {pack.image_size} pixels a side, the images of the maps "
            f"{maps.image_size}; delete the masks and run the masks step again"
        )
    masks = [
        pack.mask(row.path, row.sha256, where=masks_path) if row.label else None for row in test
    ]
    n_anomalous = sum(row.label for row in test)
    unmasked = n_anomalous - sum(mask is not None for mask in masks)
    if 0 < unmasked < n_anomalous:
        print(
            f"{masks_path}: {unmasked} of {n_anomalous} anomalous test images have no mask, so "
            f"{cell} has no pixel metrics",
            file=sys.stderr,
        )
    if unmasked:
        return {}
    pixels = collect(maps.maps, masks, size=maps.image_size, sigma=sigma, content=maps.content)
    return {"pixel_auroc": pixel_auroc(pixels), "aupro": aupro(pixels)}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check the options.

    Raises:
        ConfigError: the smoothing is out of range.
    """
    parser = argparse.ArgumentParser(prog="osad metrics", description=__doc__)
    parser.add_argument("--cell", required=True, type=Cell.parse, help="id of the cell")
    parser.add_argument("--split", required=True, type=Path, help="CSV of the cell's split")
    parser.add_argument("--scores", required=True, type=Path, help="CSV of the run's scores")
    parser.add_argument("--maps", required=True, type=Path, help="the run's anomaly maps")
    parser.add_argument(
        "--fitted", nargs="?", type=Path,
        help="split that the run was fitted on, if it is that of another protocol",
    )  # fmt: skip
    parser.add_argument("--masks", nargs="?", type=Path, help="for pixel metrics")
    parser.add_argument("--sigma", type=float, default=0.0, help="smoothing of the maps, pixels")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    options = parser.parse_args(argv)
    if not 0 <= options.sigma < math.inf:
        raise ConfigError(f"--sigma {options.sigma}: must be 0 or more pixels")
    return options


def main(argv: Sequence[str]) -> list[Path]:
    """Write the metrics of one cell."""
    options = parse(argv)
    split = fitted = read_split(options.split)
    if options.fitted:
        fitted = read_split(options.fitted)
        check_training(split, fitted, where=options.split)
    test, tested = ([row for row in rows if row.role == "test"] for rows in (split, fitted))
    scored = read_scores(options.scores)
    check_scores(scored, tested, where=options.scores)
    maps = read_maps(options.maps, options.cell, tested, shared=bool(options.fitted))
    heads = scored[0].heads
    if options.fitted:
        scored = select(scored, test)
        check_scores(scored, test, where=options.scores)

    labels = [image.label for image in scored]
    roles = Counter(row.role for row in split)
    result: dict[str, object] = {
        **rates([image.score for image in scored], labels),
        "heads": {head: rates([image.heads[head] for image in scored], labels) for head in heads},
        "n_train_normal": roles["train_normal"],
        "n_train_anomaly": roles["train_anomaly"],
        "n_test_normal": len(test) - sum(labels),
        "n_test_anomaly": sum(labels),
        "scores_sha256": sha256_file(options.scores),
        # Image-level scores say nothing about pixels.
        "pixel_auroc": None,
        "aupro": None,
    }
    if maps and options.masks:
        for name in ("maps", "masks"):
            result[f"{name}_sha256"] = sha256_file(getattr(options, name))
        own = maps.select([row.path for row in test])
        result |= localise(own, options.masks, test, cell=options.cell, sigma=options.sigma)
    write_json(options.output, result)
    return [options.output]
