"""Step ``manifest``: list the images of a data set's category with their digests."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from osad.core.errors import CheckError, ConfigError, DataError, listed
from osad.core.files import sha256_file
from osad.data.manifest import Record, contradictions, write_manifest
from osad.data.registry import check_counts, get
from osad.data.source import Source, read_source
from osad.pipeline.steps.fetch import parse_settings


def with_digests(records: Sequence[Record], source: Source) -> list[Record]:
    """Hash the files of records and compare them with ``SOURCE.json``.

    Raises:
        DataError: a file cannot be read or is not listed.
        CheckError: the content of a file differs from what was fetched.
    """
    paths = [path for record in records for path in (record.path, record.mask) if path]
    changed = [
        f"{path}: its content has changed since the fetch (sha256 {digest[:12]}..., SOURCE.json "
        f"says {expected[:12]}...); restore it with `dvc checkout` or fetch the data set again"
        for path in paths
        if (expected := source.digest(path)) != (digest := sha256_file(path))
    ]
    if changed:
        raise CheckError(listed(changed))
    return [replace(record, sha256=source.digest(record.path)) for record in records]


def main(argv: list[str]) -> list[Path]:
    """Write the manifest of one category after checking digests and counts."""
    parser = argparse.ArgumentParser(prog="osad manifest", description=main.__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--settings", default="{}", help="JSON object of params.yaml")
    parser.add_argument("--source", required=True, type=Path, help="data/raw/DATASET/SOURCE.json")
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args(argv)
    spec = get(options.dataset, parse_settings(options.settings))
    spec.check_category(options.category)
    source = read_source(options.source)
    if source.dataset != options.dataset:
        raise ConfigError(
            f"{options.source}: holds {source.dataset!r}, not {options.dataset!r}; fetch it again"
        )
    records = with_digests(spec.records(source, options.category), source)
    if spec.expected is not None:
        where = f"{options.dataset}/{options.category}"
        check_counts(records, spec.expected[options.category], where=where)
    pairs = contradictions(records)
    if pairs:
        raise DataError(
            f"{len(pairs)} pairs of images have equal bytes, but one is labelled normal and one "
            "anomalous; remove the wrong ones and fetch again\n"
            + listed([f"{first} and {second}" for first, second in pairs])
        )
    write_manifest(options.output, records)
    return [options.output]
