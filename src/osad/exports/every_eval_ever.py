"""Runs in the schema of Every Eval Ever, each with all of its test images.

An AUROC is no mean of right answers, but it is a mean: over images, of the share of the images of
the other class that an image stands on the right side of (half of those with an equal score). That
share is the ``score`` of an image here, so that the mean over a run's images is its AUROC, and
``is_correct`` says that it is above one half. The score that the method gave is ``output``.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import osad
from osad.audit import graph, ledger
from osad.core.cells import Cell
from osad.core.errors import CheckError
from osad.core.files import sha256_bytes, write_text
from osad.data.splits import read_split
from osad.evaluation.scores import ScoredImage, read_scores, select
from osad.exports.numbers import DIGESTS, EXPLAIN, Numbers
from osad.methods import registry

if TYPE_CHECKING:
    import pandas as pd

VERSION = "0.3.0"
"""Of the schema."""
ORGANIZATION = COLLECTION = "osad"
METRICS = {
    "auroc": ("auroc", "AUROC of images"),
    "average_precision": ("average_precision", "Average precision of images"),
    "pixel_auroc": ("osad.pixel_auroc", "AUROC of pixels"),
    "aupro": ("osad.aupro", "AUPRO"),
}
"""Id in the schema and name of each rate."""
LABELS = ("normal", "anomalous")
TOLERANCE = 1e-9


def shares(images: Sequence[ScoredImage]) -> NDArray[np.float64]:
    """Return what share of the other class each of n images stands on the right side of.

    Their mean is the AUROC.

    Example:
        >>> pairs = [(0, 1.0), (0, 2.0), (1, 2.0), (1, 3.0)]
        >>> shares([ScoredImage("", "", label, "", score) for label, score in pairs]).tolist()
        [1.0, 0.75, 0.75, 1.0]
    """
    scores = np.array([image.score for image in images])
    anomalous = np.array([image.label == 1 for image in images])
    found = np.empty(len(images))
    for side in (anomalous, ~anomalous):
        others = np.sort(scores[~side])
        below = np.searchsorted(others, scores[side], "left")
        until = np.searchsorted(others, scores[side], "right")
        found[side] = (below + until) / (2 * len(others))
    found[~anomalous] = 1 - found[~anomalous]
    return found


def write(numbers: Numbers, folder: Path) -> None:
    """Write two files a run, at the places of the datastore of Every Eval Ever.

    Raises:
        CheckError: scores or a split are not what the ledger says, or give another AUROC.
        DataError: no cell has an AUROC, or a file is missing.
    """
    for row in numbers.done().itertuples():
        _write_run(numbers, folder, row)


def _write_run(numbers: Numbers, folder: Path, row: pd.Series[Any]) -> None:
    cell = Cell.parse(row.cell)
    model = f"{ORGANIZATION}/{cell.method}"
    time = str(int(datetime.fromisoformat(numbers.date).timestamp()))
    name = f"{cell.split_id}/{model}/{time}"
    path = f"data/{COLLECTION}/{model}/{uuid.UUID(sha256_bytes(name.encode())[:32], version=4)}"
    images = _images(numbers, cell, row.auroc)
    lines = [
        json.dumps(_sample(name, cell, image, share), sort_keys=True, ensure_ascii=False)
        for image, share in zip(images, shares(images).tolist(), strict=True)
    ]
    samples = "".join(f"{line}\n" for line in lines)
    record = _record(row, cell) | {
        "evaluation_id": name,
        "retrieved_timestamp": time,
        "evaluation_results": _results(numbers, row, cell, name),
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": f"{path}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": sha256_bytes(samples.encode()),
            "total_rows": len(lines),
        },
    }
    write_text(folder / f"{path}_samples.jsonl", samples)
    text = json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{path}.json", f"{text}\n")


def _images(numbers: Numbers, cell: Cell, auroc: float) -> list[ScoredImage]:
    """Return the test images of a cell, with the scores of its run.

    Raises:
        CheckError: their AUROC is not that of the cell.
    """
    root, known = numbers.grid.root, numbers.known
    path = graph.artefact(known, "scores", cell)
    scored = read_scores(ledger.vouched(root, known, path))
    split = read_split(ledger.vouched(root, known, graph.split_path(known, cell)))
    images = select(scored, [row for row in split if row.role == "test"])
    found = float(shares(images).mean())
    if not math.isclose(found, auroc, abs_tol=TOLERANCE):
        raise CheckError(f"{path}: gives AUROC {found}, the tables have {auroc}; run snakemake")
    return images


def _details(numbers: Numbers, row: pd.Series[Any]) -> dict[str, str]:
    """Return what leads back to the ledger; the schema has texts only."""
    return {
        "cell": row.cell,
        "commit": numbers.commit,
        **{
            name: str(getattr(row, name))
            for name in ("scores_sha256", *DIGESTS)
            if getattr(row, name)
        },
        "explain": EXPLAIN.format(commit=numbers.commit.partition(" ")[0], cell=row.cell),
    }


def _record(row: pd.Series[Any], cell: Cell) -> dict[str, Any]:
    spec = registry.get(cell.method)
    return {
        "schema_version": VERSION,
        "source_metadata": {
            "source_name": "osad",
            "source_type": "evaluation_run",
            "source_organization_name": ORGANIZATION,
            "evaluator_relationship": "first_party",  # It trained what it evaluates.
        },
        "eval_library": {"name": "osad", "version": osad.__version__},
        "model_info": {
            "name": spec.title,
            "id": f"{ORGANIZATION}/{cell.method}",
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "paper": spec.paper,
                "backbone": row.backbone,
                "seed": str(cell.seed),
                "training_images": f"{row.n_train_normal} normal, {row.n_train_anomaly} anomalous",
            },
        },
    }


def _results(numbers: Numbers, row: pd.Series[Any], cell: Cell, name: str) -> list[dict[str, Any]]:
    data = numbers.grid.dataset(cell.dataset)
    source: dict[str, Any] = {"source_type": "other"}
    if data.homepage:
        source = {"source_type": "url", "url": [data.homepage]}
    source |= {
        "dataset_name": data.title,
        "additional_details": {
            "category": cell.category,
            "licence": data.licence,
            "manifest_sha256": str(row.manifest_sha256),
            "split_sha256": str(row.split_sha256),
            "test_images": f"{row.n_test_normal} normal, {row.n_test_anomaly} anomalous",
        },
    }
    return [
        {
            "evaluation_result_id": f"{name}#{rate}",
            "evaluation_name": cell.split_id,
            "source_data": source,
            "metric_config": {
                "metric_id": METRICS[rate][0],
                "metric_name": METRICS[rate][1],
                "metric_kind": rate,
                "metric_unit": "proportion",
                "lower_is_better": False,
                "score_type": "continuous",
                "min_score": 0,
                "max_score": 1,
            },
            "score_details": {"score": value, "details": _details(numbers, row)},
        }
        for rate in METRICS
        if not math.isnan(value := getattr(row, rate))
    ]


def _sample(name: str, cell: Cell, image: ScoredImage, share: float) -> dict[str, Any]:
    label, score = LABELS[image.label], repr(image.score)
    return {
        "schema_version": VERSION,
        "evaluation_id": name,
        "evaluation_result_id": f"{name}#auroc",
        "evaluation_name": cell.split_id,
        "model_id": f"{ORGANIZATION}/{cell.method}",
        "sample_id": image.path,
        "sample_hash": sha256_bytes(f"{image.path}{label}".encode()),
        "interaction_type": "single_turn",
        "input": {"raw": image.path, "reference": [label]},
        "output": {"raw": [score]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": score,
                "extraction_method": "custom",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": share, "is_correct": share > 0.5},
        "metadata": {
            "class": image.class_name,
            "image_sha256": image.sha256,
            "label": str(image.label),
        },
    }
