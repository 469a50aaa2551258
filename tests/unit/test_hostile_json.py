"""Made-up JSON: receipts, records, measurements, ledgers; read, or refused by one message."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import project_cases
import pytest
from fuzz_cases import changed, damaged, tried
from project_cases import NAME, RUN, MadeUp
from table_cases import request_of

from osad import cli
from osad.audit import graph, ledger
from osad.audit.record import read_receipt
from osad.core.files import read_json, sha256_bytes, write_text
from osad.data.fetch import original
from osad.data.registry import Archive
from osad.data.source import read_source
from osad.evaluation.tables.cells import read_metrics
from osad.methods import registry
from osad.pipeline import failures
from osad.pipeline.progress import duration, span_of
from osad.pipeline.steps.fetch import parse_settings
from osad.pipeline.steps.run import parse_hyper
from osad.report.bench import check_bench
from osad.select.cli import candidates

pytestmark = pytest.mark.fuzz
made = project_cases.made
SHA = "0" * 64


def text_of(path: Path) -> str:
    return path.read_text(errors="replace")


def read_span(path: Path) -> None:
    job: Any = SimpleNamespace(receipt=path)
    read_receipt(job)
    if span := span_of(job):
        duration(span[1] - span[0])


def read_digests(path: Path) -> None:
    (path.parent / "a.zip").touch()
    path.rename(path.with_name(original.DIGESTS))
    archive = Archive(file="a.zip", page="")
    original._keep(path.parent, original._check_kept(path.parent, [archive]))


READERS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "source": (read_source, {"dataset": "x", "source": "y", "files": {"a.png": SHA, "b": SHA}}),
    "metrics": (
        read_metrics,
        {"auroc": 0.5, "average_precision": 1, "pixel_auroc": None, "aupro": None,
         "n_train_normal": 1, "n_train_anomaly": 0, "n_test_normal": 2, "n_test_anomaly": 3,
         "scores_sha256": SHA, "heads": {"a": {"auroc": 0.5}}},
    ),
    "failure": (
        lambda path: failures._read(path, "cell"),
        {"error": "MissingData", "step": "fetch", "reason": "x"},
    ),
    "receipt": (
        read_span,
        {"arguments": ["a"], "environment": {"python": "3"}, "machine": {"seconds": 1.5},
         "outputs": {"a": SHA}, "code": {"osad.a": SHA}},
    ),
    "bench": (
        lambda path: check_bench(read_json(path), request_of(), where=str(path)),
        {"machine": "a", "cells": {"dra": {"cell_s": 1, "cpu_s": 2.5, "peak_mb": 3, "per": "x"}}},
    ),
    "digests": (read_digests, {"a.zip": f"sha256:{sha256_bytes(b'')}", "b.zip": f"sha256:{SHA}"}),
    "settings": (lambda path: parse_settings(text_of(path)), {"raw_path": "a", "b": [1]}),
    "hyper": (
        lambda path: parse_hyper(text_of(path), registry.get("dra")), {"epochs": 1, "lr": 0.1}
    ),
    "select": (lambda path: candidates([f"a={text_of(path)}"]), {"b": [1, 2.5], "c": "d"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", READERS)
def test_any_json_is_read_or_refused(tmp_path, kind):
    read, content = READERS[kind]

    def one(draw: random.Random) -> None:
        path = tmp_path / "table.json"
        new, _ = changed(content, draw)
        text = json.dumps(new).encode()
        path.write_bytes(text if draw.randrange(2) else damaged(text, draw))
        read(path)

    _, accepted = tried(60, one)
    assert accepted > 0


COMMANDS = [
    f"audit explain {NAME}", f"audit explain {RUN} --json", "audit verify --all", "audit adopt",
    "status", f"audit export {RUN} --output crate", f"predict {RUN} in --output out",
    "audit record", "progress", f"audit verify {RUN}", f"cite {NAME}",
]  # fmt: skip


def rewritten(path: Path, draw: random.Random) -> None:
    """Change a value of a ledger's file as whoever edits it could: its form is right."""
    lines, number = [path.read_text()], 0
    if path.suffix == ".jsonl":
        lines = lines[0].split("\n")
        number = draw.randrange(len(lines) - 1)
    new, _ = changed(json.loads(lines[number]), draw)
    one_line: Any = {"separators": (",", ":")} if path.suffix == ".jsonl" else {"indent": 1}
    lines[number] = json.dumps(new, sort_keys=True, ensure_ascii=False, **one_line)
    path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))


def test_any_ledger_is_read_or_refused(made: MadeUp, monkeypatch):
    monkeypatch.setattr("os.execv", lambda *_: None)
    where, codes = Path("provenance"), Counter[object]()
    before = {path: path.read_bytes() for path in where.iterdir()}
    files = sorted(path for path in before if path.name != ledger.SUMS)

    def one(draw: random.Random) -> None:
        for path, content in before.items():
            path.write_bytes(content)
        path = draw.choice(files)
        if draw.randrange(3):
            rewritten(path, draw)
        else:
            path.write_bytes(damaged(path.read_bytes(), draw))
        # Whoever changes a line changes its digest too.
        write_text(where / ledger.SUMS, ledger._listing(ledger.sums(where)))
        if not draw.randrange(4):
            codes[cli.main(draw.choice(COMMANDS).split())] += 1
            shutil.rmtree("crate", ignore_errors=True)
        known = ledger.read(where)
        [*graph.in_order(known.entries.values())]

    messages, accepted = tried(100, one)
    assert len(messages) > 20
    assert accepted > 2
    assert codes.keys() <= {0, 1, 2}
    assert [message for message in messages if "provenance" not in message] == []
