"""What a threshold is made from, images with labels that were not trained on; and what it says."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from osad.core.errors import DataError, listed
from osad.data.layouts.folder import class_name
from osad.data.layouts.own import DOUBTFUL
from osad.data.manifest import NORMAL_CLASS
from osad.data.splits import SplitRow
from osad.evaluation.scores import check_scores, read_scores
from osad.predict import threshold
from osad.predict.images import Found
from osad.predict.threshold import CONFIDENCE, Point

NORMAL, ANOMALOUS = "normal", "anomalous"
"""The decisions."""


@dataclass(frozen=True)
class Reference:
    """Scores of images with labels.

    Attributes:
        source: which images they are.
        normal: (n,) scores of the normal ones.
        anomalous: (m,) scores of the anomalous ones.
    """

    source: str
    normal: list[float]
    anomalous: list[float]


def _reference(scored: Sequence[tuple[float, int]], source: str) -> Reference:
    normal, anomalous = ([score for score, of in scored if of == label] for label in (0, 1))
    return Reference(f"{len(normal)} normal and {len(anomalous)} {source}", normal, anomalous)


def of_run(scores: Path | None, test: Sequence[SplitRow]) -> Reference:
    """Return a run's scores of its own test images.

    Args:
        scores: their file; None if it is not there.
        test: the run's test set; empty when it is not known.

    Raises:
        CheckError: they are the scores of other images.
        DataError: the file is damaged.
    """
    images = read_scores(scores) if scores else []
    if scores and test:
        check_scores(images, test, where=scores)
    known = [(image.score, image.label) for image in images]
    return _reference(known, f"anomalous test images of the run ({scores or 'their scores'})")


def of_folder(
    labels: Mapping[str, int], scores: Mapping[str, float], folder: Path | str
) -> Reference:
    """Return the scores of a user's labelled images, both by their digests."""
    known = [(scores[digest], label) for digest, label in labels.items()]
    return _reference(known, f"anomalous images of {folder}")


def labels_of(
    images: Sequence[Found],
    folder: Path,
    split: Sequence[SplitRow],
    normal: Collection[str],
) -> dict[str, int]:
    """Return the label of each image of a folder by its digest: 0 in normal folders, else 1.

    An image that is there twice counts once: a copy says nothing about further images.

    Args:
        images: all images of the folder.
        folder: holds ``good`` and, for each kind of anomaly, one more folder.
        split: of the run; empty when it is not known.
        normal: folders besides ``good`` that are normal: the data set's ``normal_classes``.

    Raises:
        DataError: an image is in no folder, in a normal and in another, or was trained on, or the
            name of another folder speaks of good parts or of masks.
    """
    trained = {row.sha256 for row in split if row.role != "test"}
    labels: dict[str, int] = {}
    problems: dict[str, None] = {}
    for image in images:
        first, *rest = Path(os.path.relpath(image.path, folder)).parts
        name = class_name(first) or first
        doubts = [kind for pattern, kind, _ in DOUBTFUL if pattern.fullmatch(name)]
        label = int(name not in (NORMAL_CLASS, *normal))
        problem = ""
        if not rest:
            problem = f"{image.path}: lies in no folder; put it into good or into another"
        elif label and doubts:
            problem = (
                f"{folder / first}: would count as anomalous, but its name speaks of {doubts[0]}; "
                "call it good, rename it, or take it away"
            )
        elif image.sha256 in trained:
            problem = f"{image.path}: was trained on; give images that the run has not seen"
        elif labels.setdefault(image.sha256, label) != label:
            problem = f"{image.path}: the same image is in good and in another folder; remove one"
        problems |= {problem: None} if problem else {}
    if problems:
        raise DataError("--labelled: " + listed([*problems]))
    return labels


@dataclass(frozen=True)
class Decided:
    """The threshold of a prediction.

    Attributes:
        point: the chosen operating point.
        source: which images it was chosen on.
        others: operating points that could be chosen.
    """

    point: Point
    source: str
    others: list[Point]

    @classmethod
    def of(cls, rule: str, known: Reference) -> "Decided":
        """Choose a threshold.

        Raises:
            ConfigError: the rule is none, or there are too few images for it.
        """
        point = threshold.point(rule, known.normal, known.anomalous)
        return cls(point, known.source, threshold.table(known.normal, known.anomalous))

    def word(self, score: float) -> str:
        """Return the decision on an image."""
        return ANOMALOUS if score > self.point.threshold else NORMAL

    def description(self) -> dict[str, Any]:
        """Return all of it for ``prediction.json``."""
        return {
            **asdict(self.point),
            "confidence": CONFIDENCE,
            "source": self.source,
            "operating_points": [asdict(point) for point in self.others],
        }

    def text(self, anomalous: int) -> str:
        """Return what a person wants to know of it."""
        text = f"{anomalous} are anomalous, with a score above {self.point.threshold:.6g}"
        if alarms := self.point.false_alarms:
            text += (
                f", as {alarms.above} of {alarms.images} held-out normal images have: false alarms "
                f"{alarms.low:.2%} to {alarms.high:.2%} ({CONFIDENCE:.0%} interval)"
            )
        return f"{text}; chosen on {self.source}"
