"""Made-up configuration files and tables: accepted, or refused by one message, never a traceback.

Values of wrong types, deep nesting, huge numbers, odd Unicode, cut and doubled lines; from a fixed
seed, so that the same files are tried each time.
"""

import copy
import csv
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from project_cases import ROOT

from osad.core.errors import ConfigError, OsadError
from osad.core.files import read_csv
from osad.data.layouts import listing
from osad.data.manifest import read_manifest
from osad.data.splits import read_split
from osad.evaluation import published
from osad.evaluation.scores import read_scores
from osad.evaluation.tables import cells, compare, summary
from osad.pipeline import config

ODD = ("", " ", "\u2028", "a\nb", "\x00", "\ud800", "\u202e", "é\u0301", "=1+1", "a|b", "{x}",
       "${x}", "../x", "\\", "'\"", "nan", "-1", "1e999", "9" * 30, "1_0", "x" * 20_000, "m" * 300,
       "mean", "good", "\U0001f600", "\r")  # fmt: skip
VALUES = (None, True, False, 0, -1, 1, 2**31, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"),
          [], {}, [[]], {"a": {}}, [1, "a", None], {"1": 2}, *ODD)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to every value inside a value."""
    listed = [*enumerate(value)] if isinstance(value, list) else []
    for key, item in value.items() if isinstance(value, dict) else listed:
        yield (*path, key)
        yield from places(item, (*path, key))


def nested(value: Any, depth: int) -> Any:
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


def changed(content: Any, draw: random.Random) -> tuple[Any, tuple[Any, ...]]:
    """Return parameters with one value replaced, taken away or added; and its place, if any."""
    content = copy.deepcopy(content)
    *path, last = draw.choice([*places(content)])
    holder = content
    for key in path:
        holder = holder[key]
    what = draw.random()
    if what < 0.1:
        del holder[last]
        return content, ()
    if what < 0.2 and isinstance(holder, dict):
        last = draw.choice(ODD)
        holder[last] = draw.choice(VALUES)
    else:
        deep = nested(draw.choice(VALUES), draw.choice((0, 0, 0, 3, 60)))
        holder[last] = draw.choice((deep, [deep, holder[last]], {"a": deep, "b": holder[last]}))
    return content, (*path, last)


OWN = """
results: results/fuzz
grid: {datasets: [aitex, mine], settings: [general, hard, normal], shots: [2, 1], seeds: [0, 1],
       methods: [dra, ahl, patchcore, dpdl, dpdl.c8, mlep, constant]}
protocol: {removed: 2}
datasets:
  aitex: {sample: true, raw_path: b}
  mine: {layout: csv, raw_path: a, table: t.csv, defect_classes: [a, b], title: T, citation: C}
features: {backbone: tf_efficientnet_lite0, image_size: 64, strides: [16, 32], views: 2,
           rotation: 30, weights_file: w, further: [{backbone: resnet18, image_size: 64}]}
methods: {dra: {epochs: 1, lr: 0.1}, patchcore: {strides: [16]}, dpdl: {prototypes: 4}}
variants: {dpdl.c8: {prototypes: 8}}
figures:
  - {name: a, title: A, kind: line, parameter: {label: C, field: prototypes, log: true},
     points: [[4, dpdl], [8, dpdl.c8]], protocols: [general-m2]}
  - {name: b, title: B, kind: bar, methods: all, protocols: hard}
"""


def test_any_parameters_are_accepted_or_refused_by_their_place():
    draw, schema = random.Random(1), config.read_schema(ROOT)
    base = yaml.safe_load(OWN)
    config.parse(base, schema)
    refused = 0
    for _ in range(600):
        content, place = changed(base, draw)
        try:
            config.parse(content, schema, [("own.yaml", content)])
        except ConfigError as error:
            refused += 1
            message = str(error)
            assert message.startswith(("own.yaml", "params.yaml")), (place, message[:200])
            named = [str(key)[:100] for key in place if isinstance(key, str)]
            shown = message + repr(message)
            assert not place or any(repr(key)[1:-1] in shown for key in named), (place, message)
            assert len(message) < 2000, (place, message[:300])
            message.encode()
    assert 240 < refused < 600


def damaged(text: str, draw: random.Random) -> bytes:
    """Return a text with bytes cut out, doubled or replaced."""
    content = bytearray(text.encode())
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content))
        end = min(len(content), start + draw.randint(0, 30))
        part = draw.choice((
            b"", bytes(content[start:end]) * 2, draw.randbytes(3), b"[" * draw.choice((1, 2000)),
            *(odd.encode(errors="surrogatepass")[:50] for odd in draw.sample(ODD, 3)),
            b"&a [*a]", b"!!python/name:os.system", b"? {a: b}\n: c\n", b"<<: *a", b"\t", b"- ",
        ))  # fmt: skip
        content[start:end] = part
        if not content:
            break
    return bytes(content)


def test_any_bytes_of_a_configuration_file_are_read_or_refused(tmp_path):
    draw, path = random.Random(2), tmp_path / "own.yaml"
    text = (ROOT / "configs/own.yaml").read_text(encoding="utf-8")
    messages = []
    for _ in range(100):
        path.write_bytes(damaged(text, draw))
        try:
            config.load(ROOT, path)
        except ConfigError as error:
            messages.append(str(error))
    assert 40 < len(messages) < 100
    assert [message for message in messages if "yaml" not in message] == []


def rows_of(path: str, most: int = 4) -> list[list[str]]:
    with (ROOT / path).open(encoding="utf-8", newline="") as stream:
        return [row for _, row in zip(range(most), csv.reader(stream), strict=False)]


SHA = "0" * 64
LISTED = [["path", "label", "class", "split", "mask"], ["a.png", "0", "good", "train", ""],
          ["b.png", "0", "", "test", ""], ["c.png", "1", "dent", "", "m.png"]]  # fmt: skip
SCORED = [["path", "sha256", "label", "class", "score", "score_a"],
          ["a", SHA, "0", "good", "0.5", "1"], ["b", SHA, "1", "dent", "1e3", "2"]]  # fmt: skip
READERS: dict[str, tuple[Callable[[Path], Any], list[list[str]]]] = {
    "listing": (lambda path: listing.parse(path.read_bytes(), str(path)), LISTED),
    "manifest": (read_manifest, rows_of("data/manifests/elpv.csv")),
    "split": (
        read_split,
        [["path", "sha256", "role", "label", "class"], ["a", SHA, "test", "0", "good"],
         ["b", "1" * 64, "train_anomaly", "1", "dent"]],
    ),
    "scores": (read_scores, SCORED),
    "cells": (lambda p: cells.read_frame(p, cells.COLUMNS), rows_of("results/tables/cells.csv")),
    "summary": (summary.read_summary, rows_of("results/tables/summary.csv")),
    "comparison": (
        lambda p: cells.read_frame(p, compare.COLUMNS), rows_of("results/tables/comparison.csv"),
    ),
    "published": (
        lambda path: published.place(published.load(path.parent), {"DRA": "dra"}),
        rows_of("data/published/dra.csv"),
    ),
    "any": (lambda path: read_csv(path, ["path"]), SCORED),
}  # fmt: skip


@pytest.mark.parametrize("kind", READERS)
def test_any_table_is_read_or_refused_with_its_name(tmp_path, kind):
    read, rows = READERS[kind]
    path, draw = tmp_path / "table.csv", random.Random(f"3 {kind}")
    messages = []
    for number in range(60):
        content = copy.deepcopy(rows)
        if number % 3:
            row = draw.choice(content)
            row[draw.randrange(len(row))] = str(draw.choice(ODD))
        if number % 3 == 1:
            content.insert(draw.randrange(len(content)), draw.choice(content)[: draw.randint(0, 9)])
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n").writerows(content)
        text = stream.getvalue().encode(errors="surrogatepass")
        path.write_bytes(damaged(stream.getvalue().replace("\ud800", "?"), draw) if not number % 3
                         else text)  # fmt: skip
        try:
            read(path)
        except OsadError as error:
            messages.append(str(error))
    assert len(messages) > 15
    assert [message for message in messages if "table.csv" not in message] == []
    "".join(messages).encode()
