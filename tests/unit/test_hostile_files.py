"""Made-up configuration files and tables: accepted, or refused by one message, never a traceback.

Values of wrong types, deep nesting, huge numbers, odd Unicode, cut and doubled lines.
"""

import copy
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_cases import ODD, changed, damaged, tried
from project_cases import ROOT

from osad.core.errors import ConfigError
from osad.core.files import read_csv
from osad.data.layouts import listing
from osad.data.manifest import read_manifest
from osad.data.splits import read_split
from osad.evaluation import published
from osad.evaluation.scores import read_scores
from osad.evaluation.tables import cells, compare, summary
from osad.pipeline import config

pytestmark = pytest.mark.fuzz

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
    schema = config.read_schema(ROOT)
    base = yaml.safe_load(OWN)
    config.parse(base, schema)

    def one(draw):
        content, place = changed(base, draw)
        try:
            config.parse(content, schema, [("own.yaml", content)])
        except ConfigError as error:
            message = str(error)
            assert message.startswith(("own.yaml", "params.yaml")), (place, message[:200])
            named = [str(key)[:100] for key in place if isinstance(key, str)]
            shown = message + repr(message)
            assert not place or any(repr(key)[1:-1] in shown for key in named), (place, message)
            assert len(message) < 2000, (place, message[:300])
            raise

    messages, read = tried(400, one)
    assert len(messages) > 150
    assert read > 5


def test_any_bytes_of_a_configuration_file_are_read_or_refused(tmp_path):
    path = tmp_path / "own.yaml"
    content = (ROOT / "configs/own.yaml").read_bytes()

    def one(draw):
        path.write_bytes(damaged(content, draw))
        config.load(ROOT, path)

    messages, read = tried(100, one)
    assert len(messages) > 40
    assert read > 5
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
    path = tmp_path / "table.csv"

    def one(draw):
        content = copy.deepcopy(rows)
        how = draw.randrange(3)
        if how:
            row = draw.choice(content)
            row[draw.randrange(len(row))] = draw.choice(ODD)
        if how == 1:
            content.insert(draw.randrange(len(content)), draw.choice(content)[: draw.randint(0, 9)])
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n").writerows(content)
        text = stream.getvalue().encode(errors="surrogatepass")
        path.write_bytes(text if how else damaged(text, draw))
        read(path)

    messages, _ = tried(60, one)
    assert len(messages) > 15
    assert [message for message in messages if "table.csv" not in message] == []
