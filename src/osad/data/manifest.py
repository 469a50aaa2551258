"""Manifests: the list of a data set's images with their digests.

A manifest is a CSV file ``path,sha256,label,class,split,mask`` sorted by path (byte order). Paths
are relative to the project's root. It is the only thing that later steps know about a data set.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from osad.core.cells import NAME
from osad.core.errors import DataError
from osad.core.files import read_csv, write_csv

COLUMNS = ("path", "sha256", "label", "class", "split", "mask")
NORMAL_CLASS = "good"
CLASS_PATTERN = re.compile(rf"{NAME}(?:-{NAME})*")
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""File name endings of images, in lower case; other files are not images for us."""
DRIVE_PATTERN = re.compile(r"[A-Za-z]:")
REMEDY = "restore the file with `git checkout` or rebuild it from the raw data"


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Attributes:
        path: path relative to the project's root, with ``/`` between its parts.
        label: 0 normal, 1 anomalous.
        class_name: ``good`` for normal images, otherwise the defect class.
        split: ``train`` or ``test``; anomalies are always ``test``.
        mask: path of the mask of the defect, relative to the project's root; empty without one.
        sha256: digest of the file's content; empty until it was computed.
    """

    path: str
    label: int
    class_name: str
    split: str
    mask: str = ""
    sha256: str = ""


def byte_order(path: str) -> bytes:
    """Return the sort key of a path: its UTF-8 bytes, the same on every system."""
    return path.encode()


def is_image_name(name: str) -> bool:
    """Tell whether a file name has the ending of an image, in upper or lower case."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def path_problem(path: str) -> str | None:
    r"""Say why a path is not a plain relative path inside the project, or return None.

    Example:
        >>> path_problem("data/raw/a b.png"), path_problem("../a.png")
        (None, "has an empty part, '.' or '..'")
    """
    if not path:
        return "is empty"
    if path.startswith("/") or DRIVE_PATTERN.match(path):
        return "is absolute"
    if "\\" in path:
        return "has a backslash"
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in path):
        return "has a control character or is not valid Unicode"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "has an empty part, '.' or '..'"
    return None


def image_problem(path: str, sha256: str, *, label: int, class_name: str) -> str | None:
    """Say what is wrong with the fields that manifests and splits share, or return None."""
    problem = path_problem(path)
    if problem:
        return f"path {path!r} {problem}"
    if not DIGEST_PATTERN.fullmatch(sha256):
        return f"sha256 {sha256!r} is not 64 lower-case hexadecimal digits"
    if label not in (0, 1):
        return "label must be 0 or 1"
    if not CLASS_PATTERN.fullmatch(class_name):
        return f"class {class_name!r} is not a name of lower-case letters, digits, '_' and '-'"
    if (class_name == NORMAL_CLASS) != (label == 0):
        return f"class {class_name!r} does not go with label {label}"
    return None


def record_problem(record: Record) -> str | None:
    """Say what is wrong with one record of a manifest, or return None."""
    problem = image_problem(
        record.path, record.sha256, label=record.label, class_name=record.class_name
    )
    if problem:
        return problem
    if record.split not in ("train", "test"):
        return f"split {record.split!r} is neither 'train' nor 'test'"
    if record.label == 1 and record.split == "train":
        return "an anomalous image has split 'train'; the split step chooses training anomalies"
    if record.mask:
        if record.label == 0:
            return f"a normal image has the mask {record.mask!r}"
        problem = path_problem(record.mask)
        if problem:
            return f"mask {record.mask!r} {problem}"
    return None


def order_problem(previous: str, path: str) -> str | None:
    """Say why ``path`` cannot follow ``previous`` in a sorted list without repeats, or None."""
    if path == previous:
        return f"path {path!r} is repeated"
    if byte_order(path) < byte_order(previous):
        return f"path {path!r} is not in byte order (it follows {previous!r})"
    return None


def parse_label(text: str) -> int:
    """Return the label, or -1 when the text is neither ``0`` nor ``1``."""
    return {"0": 0, "1": 1}.get(text, -1)


def read_rows(path: Path | str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that has exactly ``columns`` and at least one row.

    Raises:
        DataError: the file is missing, is not such a file or has no rows.
    """
    rows = read_csv(path, columns)
    if not rows:
        raise DataError(f"{path}: lists no images; {REMEDY}")
    extra = sorted(set(rows[0]) - set(columns))
    if extra:
        raise DataError(f"{path}: unknown column {extra[0]!r}; {REMEDY}")
    return rows


def read_manifest(path: Path | str) -> list[Record]:
    """Read a manifest and check every field of it.

    Returns:
        The records in the order of the file, which is the byte order of their paths.

    Raises:
        DataError: the file is missing or a line of it is not valid; the message names the line.
    """
    records = [
        Record(
            path=row["path"],
            label=parse_label(row["label"]),
            class_name=row["class"],
            split=row["split"],
            mask=row["mask"],
            sha256=row["sha256"],
        )
        for row in read_rows(path, COLUMNS)
    ]
    for number, problem in enumerate(_problems(records), start=2):
        if problem:
            raise DataError(f"{path}, line {number}: {problem}; {REMEDY}")
    return records


def write_manifest(path: Path | str, records: Iterable[Record]) -> None:
    """Write records as a manifest, sorted by path.

    Raises:
        DataError: a record is not valid or a path is repeated.
    """
    ordered = sorted(records, key=lambda record: byte_order(record.path))
    for record, problem in zip(ordered, _problems(ordered), strict=True):
        if problem:
            raise DataError(f"{path}: {record.path!r} cannot be listed: {problem}")
    fields = ("path", "sha256", "label", "class_name", "split", "mask")
    write_csv(
        path,
        COLUMNS,
        (
            {column: getattr(record, field) for column, field in zip(COLUMNS, fields, strict=True)}
            for record in ordered
        ),
    )


def _problems(records: Sequence[Record]) -> Iterator[str | None]:
    """Yield for each record of a manifest what is wrong with it or with its place, or None."""
    for previous, record in zip((None, *records), records, strict=False):
        problem = record_problem(record)
        if problem is None and previous is not None:
            problem = order_problem(previous.path, record.path)
        yield problem


def contradictions(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Return pairs of paths with equal bytes of which one is labelled normal, one anomalous."""
    first: dict[str, Record] = {}
    pairs = []
    for record in records:
        other = first.setdefault(record.sha256, record)
        if other.label != record.label:
            pairs.append((other.path, record.path))
    return pairs


def three_to_one(paths: Iterable[str]) -> tuple[set[str], set[str]]:
    """Divide the paths of n >= 2 normal images 3:1 into training and test images.

    The paths are sorted before they are divided, so the result does not depend on the order in
    which a file system lists them.

    Returns:
        The training paths and the ceil(n / 4) test paths.

    Raises:
        DataError: there are fewer than two paths.

    Source: the conversion scripts of DRA (Ding et al., CVPR 2022), `train_test_split` with
    test_size 0.25 and random_state 42. Deviation: they do not sort.
    """
    ordered = sorted(paths, key=byte_order)
    if len(ordered) < 2:
        raise DataError(
            f"{len(ordered)} normal image(s) cannot be divided into training and test images; "
            "at least 2 are needed"
        )
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(ordered, test_size=0.25, random_state=42)
    return set(train), set(test)
