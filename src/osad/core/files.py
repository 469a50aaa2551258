r"""Reading and writing files so that equal content always means equal bytes.

Text is UTF-8 with ``\n`` newlines, floats have ``repr`` precision, JSON keys are sorted, and
every file appears under its name only when it is complete (written beside it, then renamed).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

METADATA_KEY = "osad"
"""The one metadata key of our safetensors files: with several, their order is not fixed."""


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore the file") from error


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the same folder and rename it to ``path`` on success.

    On an error the temporary file is removed and an earlier ``path`` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        # Some libraries create private files; results are for everybody.
        temporary.chmod(0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def filling(output: Path) -> Iterator[Path]:
    """Give a folder that becomes ``output`` on success and vanishes on an error.

    Its place and name are tried before anything is computed.

    Raises:
        ConfigError: there is something at ``output`` already, or it cannot be written.
    """
    target = output.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            there = target.exists()
            if there and not (target.is_dir() and not any(target.iterdir())):
                raise ConfigError(
                    f"--output {output}: is there and no empty folder; choose another"
                )
            part.mkdir(parents=True)
            os.replace(part, target)
            os.replace(target, part)
            if there:
                target.mkdir()
        except OSError as error:
            raise ConfigError(
                f"--output {output}: cannot be made ({error.strerror}); choose another"
            ) from error
        yield part
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with the newlines it has."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON with sorted keys, indented by one blank, ended by a newline.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has a key twice, a number that is not
            finite or a text that is no Unicode.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: the key 'a' is there twice
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:
                raise ValueError(f"the key {key!r} is there twice")
            values[key] = value
        return values

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number} is no finite number")
        return value

    try:
        content = json.loads(
            text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite
        )
        if "\\u" in text:  # Half of a pair of surrogates can be neither printed nor written.
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or is not JSON (see `parse_json`).
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error}); restore the file") from error


def format_value(value: object) -> str:
    """Format one CSV field: ``repr`` precision for floats, empty for None.

    Example:
        >>> format_value(0.1), format_value(None), format_value(3)
        ('0.1', '', '3')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(float(value))
    return str(value)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as CSV text with a header; each row must have exactly the columns given."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if row.keys() != set(columns):
            raise ValueError(f"row has columns {sorted(row)}, expected {sorted(columns)}")
        writer.writerow([format_value(row[column]) for column in columns])
    return stream.getvalue()


def write_csv(
    path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Write rows as a CSV file (see `csv_text`)."""
    write_text(path, csv_text(columns, rows))


def read_csv(path: Path | str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file as text fields and check that it has the columns expected.

    Args:
        path: the file.
        columns: names that must be among the header's columns.

    Raises:
        DataError: the file is missing, lacks a column, has one twice, or has a row with too few or
            many fields.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
            header = list(reader.fieldnames or [])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not a UTF-8 CSV file ({error}); restore the file") from error
    for column in dict.fromkeys((*columns, *header)):
        if header.count(column) != 1:
            how = "there twice" if column in header else "missing"
            raise DataError(f"{path}: column {column!r} is {how}; restore the file")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{path}, line {number}: wrong number of fields; restore the file")
    return rows


def read_keyed(
    path: Path | str, key: str, columns: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """Read a CSV file (see `read_csv`) as rows by the value of a column, in the file's order.

    Raises:
        DataError: see `read_csv`; or two rows have the same value.
    """
    rows: dict[str, dict[str, str]] = {}
    for number, row in enumerate(read_csv(path, [key, *columns]), start=2):
        if rows.setdefault(row[key], row) is not row:
            raise DataError(f"{path}, line {number}: {row[key]!r} is there twice; restore the file")
    return rows


def write_tensors(
    path: Path | str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON description as one safetensors file.

    Args:
        path: the file.
        tensors: contiguous CPU tensors by name.
        metadata: anything JSON can hold; read back by `read_metadata`.
    """
    from safetensors.torch import save_file

    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary, metadata={METADATA_KEY: text})


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Read the JSON description of a safetensors file, without torch.

    Raises:
        DataError: the file is missing or is not one of ours.
    """
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= 100_000_000:
                raise ValueError("no safetensors header")
            header = parse_json(stream.read(length).decode())
        description: dict[str, Any] = parse_json(header["__metadata__"][METADATA_KEY])
        if not isinstance(description, dict):
            raise ValueError("its description is no object")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged or not ours ({error}); delete it and rerun") from error
    return description


def read_tensors(path: Path | str) -> dict[str, torch.Tensor]:
    """Read all tensors of a safetensors file into memory-mapped CPU tensors.

    Raises:
        DataError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); restore the file") from error
    except SafetensorError as error:
        raise DataError(f"{path}: is damaged ({error}); delete it and rerun") from error
