"""Splits: which images a cell trains on and which it is tested on.

Anomalies are sorted by path and permuted with a generator keyed on the data set, category,
setting, known class and seed; the number of labelled anomalies is not part of the key. All
methods share the split of a protocol and seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from osad.core.cells import Protocol
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import write_csv
from osad.core.seeds import numpy_generator
from osad.data.manifest import (
    REMEDY,
    Record,
    byte_order,
    image_problem,
    order_problem,
    parse_label,
    read_rows,
)

COLUMNS = ("path", "sha256", "role", "label", "class")
ROLE_LABELS = {"train_normal": (0,), "train_anomaly": (1,), "test": (0, 1)}
"""Labels that the images of each role may have."""


@dataclass(frozen=True)
class SplitRow:
    """One image of a split; the fields are in the order of `COLUMNS`.

    Attributes:
        path: path relative to the project's root.
        sha256: digest of the file's content.
        role: ``train_normal``, ``train_anomaly`` or ``test``.
        label: 0 normal, 1 anomalous.
        class_name: ``good`` for normal images, otherwise the defect class.
    """

    path: str
    sha256: str
    role: str
    label: int
    class_name: str


@dataclass(frozen=True)
class Partition:
    """What becomes of the images of a manifest, each list sorted by path except the second.

    Attributes:
        train_normal: normal training images.
        train_anomaly: labelled training anomalies, in the order in which they were drawn.
        test: test images.
        withheld: anomalies that are in neither set.
        duplicates: images left out of the test set because an image outside it has equal bytes.
    """

    train_normal: list[Record]
    train_anomaly: list[Record]
    test: list[Record]
    withheld: list[Record]
    duplicates: list[Record]


def partition(
    records: Iterable[Record],
    protocol: Protocol,
    *,
    dataset: str,
    category: str,
    seed: int,
    removed: int = 10,
) -> Partition:
    """Divide the images of a manifest for one protocol and seed.

    General setting: the first ``removed`` anomalies of the permutation leave the test set and the
    first ``shots`` of them are trained on, so m1 is nested in m10 and both have the same test set.
    Hard setting: the training anomalies are of the known class, and all other images of that
    class are withheld, so the test set depends neither on the shots nor on the seed. Normal
    setting: no training anomalies, the full test set, which has none where the manifest has none.

    A test image whose bytes equal those of a training normal or of an anomaly taken out of the
    test set is left out, whatever the number of shots.

    Args:
        records: the manifest; the order does not matter.
        protocol: the protocol.
        dataset: id of the data set.
        category: its category.
        seed: number of the run, >= 0.
        removed: number of anomalies that leave the test set in the general setting, >= 1.

    Raises:
        ConfigError: the protocol is not possible with these images.

    Source: DRA (Ding et al., CVPR 2022), section 4 and supplement; there the anomalies are
    shuffled unsorted. Deviations: sorted before the draw; duplicates left out.
    """
    ordered = sorted(records, key=lambda record: byte_order(record.path))
    where = f"{dataset}/{category}/{protocol}"
    if seed < 0 or removed < 1:
        raise ConfigError(f"{where}: seed {seed} must be >= 0 and removed {removed} >= 1")
    anomalies = [record for record in ordered if record.label == 1]
    pool = _pool(anomalies, protocol, where=where, removed=removed)
    key = ("split", dataset, category, protocol.setting, protocol.known_class, seed)
    drawn = [pool[index] for index in numpy_generator(*key).permutation(len(pool))]
    outside = drawn[:removed] if protocol.setting == "general" else drawn
    train_normal = [record for record in ordered if record.split == "train"]
    seen = {record.sha256 for record in [*train_normal, *outside]}
    taken = {record.path for record in outside}
    candidates = [
        record for record in ordered if record.split == "test" and record.path not in taken
    ]
    test = [record for record in candidates if record.sha256 not in seen]
    labels = {record.label for record in test}
    needed = {0} if protocol.setting == "normal" and not anomalies else {0, 1}
    if not train_normal or labels != needed:
        missing = "normal training" if not train_normal else "normal test"
        if train_normal and 0 in labels:
            missing = "anomalous test"
        raise ConfigError(
            f"{where}: no {missing} images are left (images with equal bytes outside the test "
            "set do not count); add images or remove this protocol from params.yaml"
        )
    train_anomaly = drawn[: protocol.shots]
    trained = {record.path for record in train_anomaly}
    return Partition(
        train_normal=train_normal,
        train_anomaly=train_anomaly,
        test=test,
        withheld=[r for r in anomalies if r.path in taken and r.path not in trained],
        duplicates=[record for record in candidates if record.sha256 in seen],
    )


def _pool(
    anomalies: Sequence[Record], protocol: Protocol, *, where: str, removed: int
) -> list[Record]:
    """Return the anomalies from which the training anomalies are drawn, after checking numbers."""
    if protocol.setting == "normal":
        return []
    if protocol.setting == "general":
        if protocol.shots > removed:
            raise ConfigError(
                f"{where}: {protocol.shots} shots, but only {removed} anomalies leave the test "
                "set; raise `removed` or lower the shots in params.yaml"
            )
        if removed >= len(anomalies):
            raise ConfigError(
                f"{where}: {removed} anomalies leave the test set, but there are only "
                f"{len(anomalies)}; lower `removed` in params.yaml or add anomalous images"
            )
        return list(anomalies)
    classes = sorted({record.class_name for record in anomalies})
    if protocol.known_class not in classes:
        raise ConfigError(
            f"{where}: there is no class {protocol.known_class!r}; classes are {', '.join(classes)}"
        )
    if len(classes) < 2:
        raise ConfigError(
            f"{where}: the hard setting needs an unknown class, but {protocol.known_class!r} is "
            "the only one; use the general setting"
        )
    pool = [record for record in anomalies if record.class_name == protocol.known_class]
    if protocol.shots > len(pool):
        raise ConfigError(
            f"{where}: {protocol.shots} shots, but the class has only {len(pool)} images; lower "
            "the shots or remove this protocol from params.yaml"
        )
    return pool


def rows(parts: Partition) -> list[SplitRow]:
    """Return the rows of a split, sorted by path."""
    return sorted(
        (
            SplitRow(record.path, record.sha256, role, record.label, record.class_name)
            for role in ROLE_LABELS
            for record in getattr(parts, role)
        ),
        key=lambda row: byte_order(row.path),
    )


def write_split(path: Path | str, split: Iterable[SplitRow]) -> None:
    """Write the rows of a split as a CSV file."""
    rows = (dict(zip(COLUMNS, dataclasses.astuple(row), strict=True)) for row in split)
    write_csv(path, COLUMNS, rows)


def read_split(path: Path | str) -> list[SplitRow]:
    """Read a split and check every field of it.

    Returns:
        The rows in the order of the file, which is the byte order of their paths.

    Raises:
        DataError: the file is missing, a line is not valid, or a test image has the same bytes as
            a training image.
    """
    split: list[SplitRow] = []
    lines: dict[tuple[bool, str], int] = {}
    for number, fields in enumerate(read_rows(path, COLUMNS), start=2):
        row = SplitRow(
            path=fields["path"],
            sha256=fields["sha256"],
            role=fields["role"],
            label=parse_label(fields["label"]),
            class_name=fields["class"],
        )
        problem = image_problem(row.path, row.sha256, label=row.label, class_name=row.class_name)
        if problem is None and row.label not in ROLE_LABELS.get(row.role, ()):
            problem = f"role {row.role!r} is unknown or does not go with label {row.label}"
        if problem is None and split:
            problem = order_problem(split[-1].path, row.path)
        is_test = row.role == "test"
        lines.setdefault((is_test, row.sha256), number)
        other = lines.get((not is_test, row.sha256))
        if problem is None and other is not None:
            problem = f"a training and a test image have equal bytes (see line {other})"
        if problem:
            raise DataError(f"{path}, line {number}: {problem}; {REMEDY}")
        split.append(row)
    return split


def check_training(
    split: Iterable[SplitRow], fitted: Iterable[SplitRow], *, where: Path | str
) -> None:
    """Check that a run fitted on one split may be scored on another: equal training normals.

    Raises:
        CheckError: they differ; the first image that one of them lacks is named.
    """
    ours, theirs = (
        {(row.path, row.sha256) for row in rows if row.role == "train_normal"}
        for rows in (split, fitted)
    )
    if ours != theirs:
        path = min(ours ^ theirs)[0]
        raise CheckError(
            f"{where}: {path} is a training normal here or in the split of the run that was "
            "fitted, not in both; make the splits again"
        )
