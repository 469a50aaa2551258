"""An explanation as text, from the number down."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

DEPTH = 4
"""Depth at which nothing is left out: 1 number, 2 files, 3 commands and code, 4 images."""


def text(explanation: Mapping[str, Any], depth: int = DEPTH) -> str:
    """Return what `osad.audit.explain.explain` gives as lines of text; see `DEPTH`."""
    lines = [*_number(explanation), *_git(explanation)]
    if depth >= 2:
        lines += _files(explanation, commands=depth >= 3)
        lines += _environment(explanation)
    if depth >= 3:
        lines += _code(explanation)
    lines += _images(explanation, every=depth >= 4)
    if explanation["missing"]:
        lines += ["", "MISSING"]
        lines += [f"  {message}" for message in explanation["missing"]]
    if depth < DEPTH:
        lines += ["", f"(depth {depth} of {DEPTH}; more with --depth)"]
    return "\n".join(lines) + "\n"


def _number(explanation: Mapping[str, Any]) -> Iterator[str]:
    number = explanation["number"]
    yield explanation["cell"]
    if not number:
        yield "  NUMBER  is not in the tables"
    elif "auroc_mean" in number:
        spread = f" ± {number['auroc_std']}" if number["auroc_std"] else ""
        yield f"  AUROC   {number['auroc_mean'] or 'n/a'}{spread} over {number['n_seeds']} seeds"
        if number["published_mean"]:
            yield f"  published  {number['published_mean']} ({number.get('published_source')})"
    else:
        yield f"  AUROC   {number['auroc'] or 'n/a'}"
        yield f"  average precision   {number['average_precision'] or 'n/a'}"
        yield f"  status  {number['status']} {number['reason']}".rstrip()
    if number:
        yield f"  printed in  {number['table']}, line {number['line']}"
    for run in explanation["runs"]:
        metrics = run["metrics"]
        if metrics:
            heads = {name: value["auroc"] for name, value in metrics.get("heads", {}).items()}
            parts = f"; heads {heads}" if heads else ""
            auroc = "n/a" if metrics["auroc"] is None else repr(metrics["auroc"])
            yield (
                f"  s{run['seed']}: AUROC {auroc}, trained on "
                f"{metrics['n_train_normal']} normal and {metrics['n_train_anomaly']} anomalous, "
                f"tested on {metrics['n_test_normal']} and {metrics['n_test_anomaly']}{parts}"
            )


def _git(explanation: Mapping[str, Any]) -> Iterator[str]:
    facts = explanation["git"]
    if facts:
        yield f"  git commit  {facts['commit']}"
        for cell, origin in facts["introduced_by"].items():
            yield f"  came with   {origin}  ({cell})"
        for path in facts["changes"]:
            yield f"  UNCOMMITTED  {path}"


def _files(explanation: Mapping[str, Any], *, commands: bool) -> Iterator[str]:
    yield from ("", "MADE OF (from the number down)")
    for table in explanation["tables"]:
        yield f"  table      {table['sha256']}  {table['path']}"
    for entry in reversed(explanation["artefacts"]):
        gone = "" if entry["on_disk"] else "  (not on disk: dvc pull)"
        yield f"  {entry['rule']:10} {entry['sha256']}  {entry['path']}{gone}"
        if commands:
            yield f"      {entry['command']}"
            if entry["params"]:
                yield f"      params {json.dumps(entry['params'], sort_keys=True)}"
            for path, digest in entry["inputs"].items():
                yield f"      from {digest}  {path}"
    for path, digest in explanation["sources"].items():
        yield f"  source     {digest}  {path}"


def _environment(explanation: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "ENVIRONMENT")
    for name, value in explanation["environment"].items():
        source = "  (requirements/numeric.lock)" if name == "lock" else ""
        yield f"  {name:10} {value}{source}"
    for path, digest in explanation["dvc"].items():
        yield f"  dvc.lock   {digest}  {path}"


def _code(explanation: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"CODE ({len(explanation['code'])} modules)")
    for name, digest in explanation["code"].items():
        yield f"  {digest}  {name}"


def _images(explanation: Mapping[str, Any], *, every: bool) -> Iterator[str]:
    yield from ("", "IMAGES")
    for seed, roles in explanation["images"].items():
        for role, images in roles.items():
            note = ", in the features but not in the split" if role == "unused" and images else ""
            yield f"  {seed} {role}: {len(images)}{note}"
            if every:
                for path, digest in images.items():
                    yield f"    {digest}  {path}"
