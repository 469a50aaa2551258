"""Step ``metrics``: check a scores file against its split and write the metrics of one run."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from osad.core.errors import CheckError, ConfigError
from osad.core.files import read_csv, sha256_file, write_json
from osad.data.masks import read_masks
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.localisation import aupro, collect, pixel_auroc
from osad.evaluation.metrics import auroc, average_precision

SPLIT_COLUMNS = ("path", "sha256", "role", "label", "class")
SCORE_COLUMNS = ("path", "sha256", "label", "class", "score")
ROLES = ("train_normal", "train_anomaly", "test")
HEAD_PREFIX = "score_"

Rows = Sequence[Mapping[str, str]]


def head_columns(rows: Rows, *, where: str) -> list[str]:
    """Return the columns with the scores of single heads (``score_<head>``).

    Args:
        rows: the rows of a scores file, in its order of columns.
        where: name of the file, for messages.

    Raises:
        CheckError: there are no rows, or the columns are not those of a scores file.
    """
    if not rows:
        raise CheckError(f"{where}: has no rows; delete it and score the cell again")
    header = list(rows[0])
    heads = header[len(SCORE_COLUMNS) :]
    wrong = [name for name in heads if not name.startswith(HEAD_PREFIX) or name == HEAD_PREFIX]
    if tuple(header[: len(SCORE_COLUMNS)]) != SCORE_COLUMNS or wrong:
        raise CheckError(
            f"{where}: columns are {','.join(header)}, expected {','.join(SCORE_COLUMNS)} and "
            f"then only {HEAD_PREFIX}HEAD; score the cell again"
        )
    return heads


def check_split(rows: Rows, *, where: str) -> list[Mapping[str, str]]:
    """Check the rows of a split and return those of the test set, sorted by path.

    Raises:
        CheckError: a role or label is unknown, a training image has the wrong label, or a path
            occurs twice (which would put one image into training and test).
    """
    seen: set[str] = set()
    for row in rows:
        path, role, label = row["path"], row["role"], row["label"]
        problem = ""
        if role not in ROLES:
            problem = f"role {role!r} is not one of {', '.join(ROLES)}"
        elif label not in ("0", "1"):
            problem = f"label {label!r} is neither 0 nor 1"
        elif role != "test" and label != str(int(role == "train_anomaly")):
            problem = f"role {role} has label {label}"
        elif path in seen:
            problem = "the path occurs twice"
        if problem:
            raise CheckError(f"{where}: {path}: {problem}; make the split again")
        seen.add(path)
    return sorted((row for row in rows if row["role"] == "test"), key=lambda row: row["path"])


def check_scores(rows: Rows, test: Rows, *, where: str) -> None:
    """Check that the scored images are exactly the test images of the split, sorted by path.

    Args:
        rows: the rows of the scores file.
        test: the test rows of the split, sorted by path.
        where: name of the scores file, for messages.

    Raises:
        CheckError: an image is missing, unexpected, out of order, or has another digest, label
            or class than in the split; the first such path is named.
    """
    wanted = {row["path"] for row in test}
    given = {row["path"] for row in rows}
    remedy = "score the cell again"
    for row, expected in zip_longest(rows, test):
        if expected is None or (row is not None and row["path"] not in wanted):
            raise CheckError(
                f"{where}: {row['path']}: is not a test image of the split, or is there twice; "
                f"{remedy}"
            )
        if row is None or expected["path"] not in given:
            raise CheckError(f"{where}: {expected['path']}: has no score; {remedy}")
        if row["path"] != expected["path"]:
            raise CheckError(
                f"{where}: {row['path']}: is there twice or the rows are not sorted by path "
                f"(expected {expected['path']} here); {remedy}"
            )
        for column in ("sha256", "label", "class"):
            if row[column] != expected[column]:
                raise CheckError(
                    f"{where}: {row['path']}: {column} is {row[column]!r}, "
                    f"{expected[column]!r} in the split; {remedy}"
                )


def read_scores(rows: Rows, column: str, *, where: str) -> list[float]:
    """Return a column of scores as numbers.

    Raises:
        CheckError: a field is not a finite number; the first such path is named.
    """
    scores = []
    for row in rows:
        try:
            score = float(row[column])
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise CheckError(
                f"{where}: {row['path']}: {column} is {row[column]!r}, not a finite number; "
                "look for a diverged training and score the cell again"
            )
        scores.append(score)
    return scores


def evaluate(rows: Rows, column: str, *, where: str) -> dict[str, float | None]:
    """Return AUROC and average precision, in [0, 1], of one column of scores."""
    scores = read_scores(rows, column, where=where)
    labels = [int(row["label"]) for row in rows]
    return {
        "auroc": auroc(scores, labels),
        "average_precision": average_precision(scores, labels),
    }


def localise(
    maps_path: Path, masks_path: Path, test: Rows, *, cell: str, sigma: float
) -> dict[str, float | str | None]:
    """Return the pixel metrics of a run, in [0, 1], and the digests of what they come from.

    They are None unless every anomalous test image has a mask.

    Args:
        maps_path: anomaly maps of the run.
        masks_path: masks of the category.
        test: the test rows of the split, sorted by path.
        cell: id of the run.
        sigma: standard deviation of the smoothing of the upsampled maps, pixels.

    Raises:
        CheckError: maps and masks are not those of these images, or differ in the image size.
        DataError: a file is missing or damaged.
    """
    maps = anomaly_maps.read(maps_path)
    images = [(row["path"], row["sha256"]) for row in test]
    anomaly_maps.check(maps, images, cell=cell, where=maps_path)
    pack = read_masks(masks_path)
    if pack.image_size != maps.image_size:
        raise CheckError(
            f"{masks_path}: its masks have {pack.image_size} pixels a side, the images of "
            f"{maps_path} {maps.image_size}; delete the masks and run the masks step again"
        )
    masks = [
        None if row["label"] == "0" else pack.mask(row["path"], row["sha256"], where=masks_path)
        for row in test
    ]
    anomalous = [mask for mask, row in zip(masks, test, strict=True) if row["label"] == "1"]
    unmasked = sum(mask is None for mask in anomalous)
    result: dict[str, float | str | None] = {
        "maps_sha256": sha256_file(maps_path),
        "masks_sha256": sha256_file(masks_path),
        "pixel_auroc": None,
        "aupro": None,
    }
    if 0 < unmasked < len(anomalous):
        print(
            f"{masks_path}: {unmasked} of {len(anomalous)} anomalous test images have no mask, so "
            f"{cell} has no pixel metrics",
            file=sys.stderr,
        )
    if not unmasked:
        pixels = collect(maps.maps, masks, size=maps.image_size, sigma=sigma)
        result |= {"pixel_auroc": pixel_auroc(pixels), "aupro": aupro(pixels)}
    return result


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check the options.

    Raises:
        ConfigError: options contradict each other.
    """
    parser = argparse.ArgumentParser(prog="osad metrics", description=__doc__)
    parser.add_argument("--scores", required=True, help="CSV with one row per test image")
    parser.add_argument("--split", required=True, help="CSV of the split that the run used")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--cell", default="", help="id of the cell; needed with --maps")
    for name in ("maps", "masks"):
        parser.add_argument(
            f"--{name}", nargs="*", default=[], type=Path, help="for the pixel metrics"
        )
    parser.add_argument("--sigma", type=float, default=0.0, help="smoothing of the maps, pixels")
    options = parser.parse_args(argv)
    if len(options.maps) != len(options.masks) or len(options.maps) > 1:
        raise ConfigError("--maps and --masks belong together; name one file each or none")
    if options.maps and not options.cell:
        raise ConfigError("--maps: needs --cell, to tell whose maps they are")
    if not 0 <= options.sigma < math.inf:
        raise ConfigError(f"--sigma {options.sigma}: must be 0 or more pixels")
    return options


def main(argv: Sequence[str]) -> list[Path]:
    """Write the metrics of one run.

    Args:
        argv: ``--scores CSV --split CSV --output JSON`` and, for methods with anomaly maps,
            ``--cell ID --maps FILE --masks FILE [--sigma PIXELS]``.

    Raises:
        ConfigError: options contradict each other.
        CheckError: the scores do not fit the split (see `check_scores`), or the maps or masks do
            not (see `localise`).
        DataError: a file is missing or not readable.
    """
    options = parse(argv)
    split = read_csv(options.split, SPLIT_COLUMNS)
    test = check_split(split, where=options.split)
    rows = read_csv(options.scores, SCORE_COLUMNS)
    heads = head_columns(rows, where=options.scores)
    check_scores(rows, test, where=options.scores)

    roles = Counter(row["role"] for row in split)
    n_anomaly = sum(row["label"] == "1" for row in test)
    result: dict[str, object] = {
        **evaluate(rows, "score", where=options.scores),
        "heads": {
            head.removeprefix(HEAD_PREFIX): evaluate(rows, head, where=options.scores)
            for head in heads
        },
        "n_train_normal": roles["train_normal"],
        "n_train_anomaly": roles["train_anomaly"],
        "n_test_normal": len(test) - n_anomaly,
        "n_test_anomaly": n_anomaly,
        "scores_sha256": sha256_file(options.scores),
        # Image-level scores say nothing about pixels.
        "pixel_auroc": None,
        "aupro": None,
    }
    for maps, masks in zip(options.maps, options.masks, strict=True):
        result |= localise(maps, masks, test, cell=options.cell, sigma=options.sigma)
    write_json(options.output, result)
    return [options.output]
