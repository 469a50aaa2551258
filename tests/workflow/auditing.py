"""What tests of the audit share: names of artefacts, the command, and changes that are undone."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import expected
from projects import WITH_MAPS, Outcome, Project

from osad.audit import ledger
from osad.core.files import sha256_file

CELL = "tiny/all/general-m10/dpdl/s0"
LEDGER = "provenance/tiny.jsonl"
PACKS = "results/features/tiny/all/tf_efficientnet_lite0-64"


def lines(project: Project) -> dict[str, dict[str, Any]]:
    """Return all lines of the ledger by path."""
    found = [
        json.loads(line)
        for path in sorted((project.root / "provenance").glob("*.jsonl"))
        for line in path.read_bytes().decode().split("\n")[:-1]
    ]
    return {line["path"]: line for line in found}


def audit(project: Project, *arguments: str, **environment: str) -> Outcome:
    """Run ``osad audit`` in a project."""
    return project.run(sys.executable, "-m", "osad.cli", "audit", *arguments, **environment)


def needed(cell: str) -> set[str]:
    """Return what a rebuild makes of a cell that reads a network's features and shares nothing."""
    split, method, seed = cell.rsplit("/", 2)
    made = {
        "data/raw/tiny/SOURCE.json",
        "data/manifests/tiny.csv",
        "data/weights/efficientnet-lite0-57934424.pth",
        f"results/splits/{split}/{seed}.csv",
        *(f"{PACKS}/{pack}.safetensors" for pack in expected.PACKS[method]),
        f"results/checkpoints/{cell}.safetensors",
        f"results/scores/{cell}.csv",
        f"results/maps/{cell}.safetensors",
        f"results/metrics/{cell}.json",
    }
    if method in WITH_MAPS:
        made.add("results/features/tiny/all/masks.safetensors")
    return made


def rebuilt(output: str) -> set[str]:
    """Return the artefacts that a rebuild says have equal bytes."""
    return {
        line.removeprefix("equal: ") for line in output.splitlines() if line.startswith("equal: ")
    }


def flip(content: bytes, place: float) -> bytes:
    """Return bytes with one bit of one byte changed."""
    index = min(int(place * len(content)), len(content) - 1)
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


@contextlib.contextmanager
def replaced(path: Path, content: bytes | str) -> Iterator[None]:
    """Give a file another content for a while."""
    before = path.read_bytes()
    new = content.encode() if isinstance(content, str) else content
    assert new != before
    try:
        path.write_bytes(new)
        yield
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def vouched_for(root: Path, relative: str, content: str) -> Iterator[None]:
    """Give a file another content for a while, and the ledger the digests that go with it."""
    path, where = root / relative, root / "provenance"
    with contextlib.ExitStack() as undone:
        before = sha256_file(path)
        undone.enter_context(replaced(path, content))
        for shard in where.glob("*.jsonl"):
            text = shard.read_text(encoding="utf-8")
            if before in text:
                undone.enter_context(replaced(shard, text.replace(before, sha256_file(path))))
        listing = "".join(f"{digest}  {name}\n" for name, digest in ledger.sums(where).items())
        undone.enter_context(replaced(where / ledger.SUMS, listing))
        yield


def with_fields(text: str, row: str, fields: Mapping[str, str | Callable[[str], str]]) -> str:
    """Return a CSV text with other fields in the first row that holds a text.

    Args:
        text: the table.
        row: what is in the row.
        fields: new values by column, or what makes them of the old ones.
    """
    header, *rows = text.splitlines()
    old = next(line for line in rows if row in line)
    values = dict(zip(header.split(","), old.split(","), strict=True))
    values |= {
        key: new if isinstance(new, str) else new(values[key]) for key, new in fields.items()
    }
    return text.replace(old, ",".join(values.values()), 1)


def nudged(number: str) -> str:
    """Return another rate that could as well have come out."""
    value = float(number)
    return repr(value - 0.01 if value > 0.5 else value + 0.01)
