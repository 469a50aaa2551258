"""What the page shows of one table cell: its runs, curves, histograms and worst images."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from osad.core.files import format_value, sha256_bytes
from osad.evaluation.scores import ScoredImage
from osad.evaluation.tables.cells import COUNTS, RATES
from osad.report.curves import curve, histogram
from osad.report.wrong import Ranked


@dataclass(frozen=True)
class Run:
    """One run of a table cell.

    Attributes:
        seed: its number.
        metrics: content of its metrics file.
        tested: its test images with their scores.
        digests: SHA-256 of its files by kind (``metrics``, ``scores``, ``checkpoints``,
            ``maps``, ``splits``), and ``upstream``, that of the checkpoint it starts from.
        environment: where it was fitted and scored: the kind of device.
    """

    seed: int
    metrics: Mapping[str, Any]
    tested: Sequence[ScoredImage]
    digests: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)


def numbers(cell: str, runs: Sequence[Run], *, fitted: str, upstream: str) -> dict[str, Any]:
    """Return the numbers of a table cell.

    Args:
        cell: its id, without a seed.
        runs: its runs, in the order of the seeds.
        fitted: id of the cell whose runs these are; empty if they are its own.
        upstream: id of the cell whose runs these start from; empty without any.

    Returns:
        ``cell``, ``fitted``, ``upstream``, ``runs`` (metrics as in ``cells.csv``, digests,
        environment and curves) and ``histogram`` (see `osad.report.curves`).
    """
    scores = [[image.score for image in run.tested] for run in runs]
    labels = [[image.label for image in run.tested] for run in runs]
    return {
        "cell": cell,
        "fitted": fitted,
        "upstream": upstream,
        "runs": [
            {
                "seed": run.seed,
                "metrics": {name: format_value(run.metrics[name]) for name in (*RATES, *COUNTS)},
                "heads": {
                    name: format_value(head["auroc"])
                    for name, head in sorted(run.metrics.get("heads", {}).items())
                },
                "digests": dict(run.digests),
                "environment": dict(run.environment),
                "curve": curve(of_run, truth),
            }
            for run, of_run, truth in zip(runs, scores, labels, strict=True)
        ],
        "histogram": histogram(list(zip(scores, labels, strict=True))),
    }


def pictures(
    cell: str,
    alarms: Sequence[Ranked],
    missed: Sequence[Ranked],
    common: Sequence[Ranked],
    ranked: Sequence[Ranked],
    *,
    thumbnails: Mapping[str, str],
    heats: Mapping[str, Any],
) -> dict[str, Any]:
    """Return images of a table cell: the worst with their pictures, and those of the gallery.

    Args:
        cell: its id.
        alarms: the normal images that stand highest.
        missed: the anomalous images that stand lowest.
        common: the images of the place's gallery, whose pictures all methods share.
        ranked: all images, sorted by path.
        thumbnails: data URI of each of the worst images by path.
        heats: heat map of each image by path, with the seed of its run; empty without maps.
    """
    worst = {
        name: [_image(one, heats) | {"picture": thumbnails[one.image.path]} for one in ranked]
        for name, ranked in (("alarms", alarms), ("missed", missed))
    }
    common_images = [_image(one, heats) for one in common]
    return {"cell": cell, **worst, "common": common_images, "all": standings_of(ranked)}


def standings_of(ranked: Sequence[Ranked]) -> dict[str, str]:
    """Return the standings of all images, to be drawn against those of another method.

    Returns:
        ``images``, a digest of which images these are, without which two lists are not compared;
        ``labels``, one digit an image; and ``standings`` in thousandths, 16 bits an image, the
        lower 8 first, as base64.
    """
    paths = "\n".join(one.image.path for one in ranked)
    values = np.rint([1000 * one.standing for one in ranked]).astype("<u2")
    return {
        "images": sha256_bytes(paths.encode()),
        "labels": "".join(str(one.image.label) for one in ranked),
        "standings": base64.b64encode(values.tobytes()).decode(),
    }


def _image(one: Ranked, heats: Mapping[str, Any]) -> dict[str, Any]:
    heat = {"heat": heats[one.image.path]} if one.image.path in heats else {}
    return {
        "path": one.image.path,
        "sha256": one.image.sha256,
        "class": one.image.class_name,
        "standing": f"{one.standing:.3f}",
        "scores": {f"s{seed}": f"{score:.4g}" for seed, score in one.scores.items()},
        **heat,
    }
