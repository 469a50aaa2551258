"""A user's own images in a folder of any layout, described by a table.

Settings in ``params.yaml``::

    datasets:
      mine: {layout: csv, raw_path: my/images, table: my/list.csv, defect_classes: [scratch]}

The table is a CSV file in UTF-8 with the columns ``path`` (relative to ``raw_path``), ``label`` (0
normal, 1 anomalous), ``class`` (of anomalous images; ``good`` or empty for normal ones) and, where
wanted, ``split`` (``train`` or ``test``) and ``mask`` (path relative to ``raw_path``). Without
``split`` the normal images are divided 3:1; anomalous images are always test images.
"""

import csv
import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from osad.core.errors import CheckError, ConfigError, DataError, listed
from osad.core.files import csv_text, sha256_bytes
from osad.data.layouts.folder import class_name, divided
from osad.data.layouts.own import check_place, copy
from osad.data.manifest import (
    NORMAL_CLASS,
    Record,
    byte_order,
    is_image_name,
    parse_label,
    path_problem,
)
from osad.data.registry import DatasetSpec, Settings
from osad.data.source import Source, read

REQUIRED = ("raw_path", "table")
"""Settings of the layout that must be texts."""
NEEDED = ("path", "label", "class")
OPTIONAL = ("split", "mask")
COLUMNS = (*NEEDED, *OPTIONAL)
COPY = "table.csv"
"""Name of the copy of the table in ``data/raw/{dataset}``; it has every column and is sorted."""
MAX_BYTES = 100_000_000
"""Larger files are no tables of images."""
SHOWN = 60
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class Row:
    """One image of the table: the values of `COLUMNS` and the number of its line.

    Paths are relative to ``raw_path``; ``class_name`` is ``good`` or the defect class, ``split``
    empty for normal images that are to be divided, ``mask`` empty without one.
    """

    path: str
    label: int
    class_name: str
    split: str
    mask: str
    line: int


def shown(value: str) -> str:
    """Return a value as a message shows it: escaped and not too long."""
    return repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}...")


def parse(content: bytes, where: str, normal: Collection[str] = ()) -> list[Row]:
    """Return the rows of a table, sorted by path, after checking every field.

    ``normal`` names classes besides ``good`` whose images are normal.

    Raises:
        DataError: it is no such table; the message names the lines and the values.
    """
    rows: list[Row] = []
    problems: list[str] = []
    spelt: dict[str, tuple[str, int]] = {}
    for line, fields in _lines(content, where):
        row = _row(fields, line, normal)
        if isinstance(row, str):
            problems.append(f"{where}, line {line}: {row}; correct the table")
            continue
        rows.append(row)
        first, earlier = spelt.setdefault(row.class_name, (fields["class"], line))
        if row.label and first != fields["class"]:
            problems.append(
                f"{where}, line {line}: class {shown(fields['class'])} and {shown(first)} of line "
                f"{earlier} are both {row.class_name!r}; spell one class alike, or give two names"
            )
    if problems:
        raise DataError(listed(problems))
    _check_all(rows, where)
    return sorted(rows, key=lambda row: byte_order(row.path))


def _lines(content: bytes, where: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield number and fields of each line after the header; blank lines are left out."""
    if len(content) > MAX_BYTES:
        raise DataError(f"{where}: has {len(content)} bytes, more than {MAX_BYTES}; is it a table?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{where}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the table "
            "as CSV in UTF-8"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_header(header, where)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{where}, line {reader.line_num}: has {len(fields)} fields, the header "
                    f"{len(header)}; correct the table"
                )
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{where}, line {reader.line_num}: is not CSV ({error}); correct the table"
        ) from error


def _check_header(header: Sequence[str], where: str) -> None:
    """Check that no column is missing, unknown or there twice."""
    possible = f"columns are {', '.join(NEEDED)} and, optional, {', '.join(OPTIONAL)}"
    for name in NEEDED:
        if name not in header:
            raise DataError(
                f"{where}, line 1: column {name!r} is missing (the line is "
                f"{shown(','.join(header))}); {possible}, separated by commas"
            )
    for name in header:
        if name not in COLUMNS:
            raise DataError(f"{where}, line 1: unknown column {shown(name)}; {possible}")
        if header.count(name) > 1:
            raise DataError(f"{where}, line 1: column {name!r} is there twice; {possible}")


def _row(fields: Mapping[str, str], line: int, normal: Collection[str]) -> Row | str:
    """Return a row, or what is wrong with it."""
    path, mask, split = fields["path"], fields.get("mask", ""), fields.get("split", "")
    for kind, value in (("path", path), *((("mask", mask),) if mask else ())):
        problem = path_problem(value)
        if problem:
            return f"{kind} {shown(value)} {problem}"
        if not is_image_name(value):
            return f"{kind} {shown(value)} does not end in png, jpg, jpeg, bmp, tif, tiff or webp"
    label = parse_label(fields["label"])
    if label < 0:
        return f"label {shown(fields['label'])} is neither 0 (normal) nor 1 (anomalous)"
    name = class_name(fields["class"]) if fields["class"] or label else NORMAL_CLASS
    name = NORMAL_CLASS if name in normal else name
    if name is None:
        return f"class {shown(fields['class'])} is not a name of letters a-z, digits, '_' and '-'"
    if (name == NORMAL_CLASS) != (label == 0):
        return f"class {shown(fields['class'])} does not go with label {label}"
    if split not in ("", "train", "test"):
        return f"split {shown(split)} is neither train nor test"
    if label and split == "train":
        return "an anomalous image has split train; training anomalies are drawn by the benchmark"
    if mask and not label:
        return f"a normal image has the mask {shown(mask)}"
    return Row(path, label, name, split or ("test" if label else ""), mask, line)


def _check_all(rows: Sequence[Row], where: str) -> None:
    """Check that no path is repeated, there are normals, and all normals or none have a split."""
    lines: dict[str, Row] = {}
    twice: list[str] = []
    for row in rows:
        for path in (row.path, row.mask):
            other = lines.setdefault(path, row) if path else row
            if other is not row or (row.path == row.mask):
                labels = f" with label {other.label}, here {row.label}"
                twice.append(
                    f"{where}, line {row.line}: {shown(path)} is already in line {other.line}"
                    f"{labels if other.label != row.label else ''}; remove one"
                )
    if twice:
        raise DataError(listed(list(dict.fromkeys(twice))))
    normal = [row for row in rows if not row.label]
    if not normal:
        raise DataError(f"{where}: lists no normal image; some are needed for training")
    empty = [row for row in normal if not row.split]
    if empty and len(empty) != len(normal):
        raise DataError(
            f"{where}, line {empty[0].line}: the split of {shown(empty[0].path)} is empty, those "
            "of other normal images are not; give it to all or to none"
        )
    if not empty and "train" not in {row.split for row in normal}:
        raise DataError(f"{where}: no normal image has split train; some are needed for training")


def fetch(spec: DatasetSpec, raw_dir: Path, settings: Settings) -> None:
    """Copy the images and masks that the table lists, and the table.

    Raises:
        DataError: the table is wrong, or a file is missing or cannot be decoded.
        ConfigError: the folder and the project's copy of it overlap.
    """
    raw_path = check_place(
        settings, raw_dir, name=spec.name, layout="expected is the folder of the images"
    )
    table, normal = settings["table"], settings.get("normal_classes", ())
    content = read(Path(table), f"correct the setting table of {spec.name!r}")
    rows = parse(content, table, normal)
    text = csv_text(
        COLUMNS, (dict(zip(COLUMNS, astuple(row), strict=False)) for row in rows)
    ).encode()
    problems = [
        f"{table}, line {row.line}: {problem}"
        for row in rows
        for path in (row.path, row.mask)
        if path and (problem := _file_problem(raw_path, raw_path / path))
    ]
    if problems:
        raise DataError(listed(problems))
    copy(
        raw_path,
        raw_dir,
        spec.name,
        classes={row.path: row.class_name for row in rows},
        masks={row.path: row.mask for row in rows if row.mask},
        source="csv",
        more={COPY: lambda: text},
    )


def _file_problem(raw_path: Path, file: Path) -> str | None:
    """Say why a file is not one inside the folder, or return None."""
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(raw_path)):
        return f"{file} is a link to a place outside {raw_path}; copy the file"
    return None if file.is_file() else f"{file} is not a file; correct the table or raw_path"


def records(source: Source, category: str, normal: Collection[str] = ()) -> list[Record]:
    """List the images of a copied folder, whose only category is ``all``.

    ``normal`` names classes besides ``good`` whose images are normal.

    Raises:
        DataError: the copy of the table is missing or wrong.
        CheckError: it has changed since the fetch.
        ConfigError: the copy was made with another layout.
    """
    if COPY not in source.files:
        raise ConfigError(
            f"{source.root}: was not fetched with `layout: csv`; delete {source.root}/SOURCE.json "
            "and run again"
        )
    table = Path(source.root, COPY)
    content = read(table, "fetch again")
    if sha256_bytes(content) != source.files[COPY]:
        raise CheckError(f"{table}: has changed since the fetch; fetch the data set again")
    rows = parse(content, str(table), normal)
    splits = {row.path: row.split for row in rows}
    if "" in splits.values():
        splits |= divided(row.path for row in rows if not row.label)
    return [
        Record(
            path=f"{source.root}/{row.path}",
            label=row.label,
            class_name=row.class_name,
            split=splits[row.path],
            mask=f"{source.root}/{row.mask}" if row.mask else "",
        )
        for row in rows
    ]
