"""A made-up project with a ledger, and what its crates hold."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from osad.audit import graph
from osad.audit.ledger import RULE_KEY, Entry, Ledger
from osad.core.files import sha256_bytes, sha256_file
from osad.crate.crate import write_crate
from osad.pipeline import config
from osad.pipeline.workflow import Workflow

ROOT = Path(__file__).parents[2]
DATE = "2024-02-03T04:05:06+00:00"
"""Of the project's only commit."""
NAME = "tiny/all/general-m10/devnet"
METADATA = "ro-crate-metadata.json"
Entities = dict[str, dict[str, Any]]
LARGE = 10_000_000
PACK = "results/features/tiny/all/tf_efficientnet_lite0-64/plain.safetensors"
WEIGHTS = "data/weights/net.pth"
LARGE_DIGEST = "ab" * 32
"""Stated for files that are too large to be copied; it is not that of their content."""
LOCK = "requirements/numeric.lock"
SETTINGS = {
    "layout": "folder",
    "raw_path": "photos",
    "title": "Tiny",
    "licence": "CC BY 4.0",
    "licence_note": "Attribution.",
    "citation": "A. Author: Tiny things. 2020.",
}
SOURCES = {
    "Snakefile": "rule all:\n",
    "params.yaml": "results: results\n",
    LOCK: "torch==2.0\n",
    "requirements/workflow.lock": "rocrate==0.16.0\nsnakemake==9.27.1\n",
    "workflow/rules/train.smk": "rule train:\n",
    "data/published/paper.csv": "method,auroc\nx,0.5\n",
    "dvc.lock": "schema: '2.0'\n",
    "LICENSE": "Apache License\n",
}
STEPS = ("fetch", "weights", "manifest", "split", "features", "train", "score", "metrics")
ENV = {"python": "3.11.7", "torch": "2.0", "device": "cpu"}
HYPER = {"epochs": 3, "lr": 0.001, "strides": [16, 32], "flip": True}
TABLES = {
    "cells.csv": f"cell,auroc\n{NAME}/s0,0.75\n{NAME}/s1,0.5\nother,1.0\n",
    "summary.csv": f"cell,auroc_mean\n{NAME},0.625\nother,1.0\n",
}


class MadeUp:
    """A project of two runs of one method, all files some bytes long except pack and weights."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries: dict[str, Entry] = {}
        for path, text in SOURCES.items():
            self.put(path, text)
        for step in STEPS:
            self.put(f"src/osad/pipeline/steps/{step}.py", f"# {step}\n")
        self.put("src/osad/methods/devnet.py", "# devnet\n")
        self._data()
        for seed in (0, 1):
            self._run(seed)
        for name, text in TABLES.items():
            self.put(f"results/tables/{name}", text)
            self._entry("cells" if name == "cells.csv" else "table", f"results/tables/{name}", [])
        self._commit()

    def put(self, path: str, text: str) -> None:
        """Write a file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    @property
    def workflow(self) -> Workflow:
        """The pipeline of the project."""
        params = dataclasses.replace(
            config.load(ROOT), datasets=("tiny",), dataset_settings={"tiny": SETTINGS}
        )
        return Workflow(params, self.root)

    @property
    def ledger(self) -> Ledger:
        """The ledger of the project."""
        return Ledger(dict(self.entries))

    def _entry(self, rule: str, path: str, inputs: list[str], **params: Any) -> None:
        """Add the line of an output that has been written."""
        step = {"pack": "features", "cells": "metrics", "table": "metrics"}.get(rule, rule)
        modules = [f"osad.pipeline.steps.{step}"]
        if rule in ("train", "score"):
            modules.append("osad.methods.devnet")
        code = {
            name: sha256_file(self.root / f"src/{name.replace('.', '/')}.py") for name in modules
        }
        file = self.root / path
        large = file.stat().st_size >= LARGE
        self.entries[path] = Entry(
            path=path,
            sha256=LARGE_DIGEST if large else sha256_file(file),
            size=file.stat().st_size,
            rule=rule,
            command=f"python -m osad.runtime.job {step} --output {path}",
            params=params,
            inputs={name: self.entries[name].sha256 for name in inputs},
            code={**code, RULE_KEY: sha256_bytes(rule.encode())},
            env={}
            if rule in ("fetch", "weights")
            else {"lock": sha256_file(self.root / LOCK), **ENV},
        )

    def _large(self, path: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.root / path).open("wb") as stream:
            stream.truncate(LARGE)

    def _data(self) -> None:
        source, manifest = "data/raw/tiny/SOURCE.json", "data/manifests/tiny.csv"
        self.put(source, "{}\n")
        self._entry("fetch", source, [], settings=SETTINGS)
        self._large(WEIGHTS)
        self._entry("weights", WEIGHTS, [], options="--backbone net")
        self.put(manifest, "path,sha256,label,class,split,mask\n")
        self._entry("manifest", manifest, [source], options="--dataset tiny", settings=SETTINGS)
        self._large(PACK)
        self._entry("pack", PACK, [source, manifest, WEIGHTS], options="--pack plain")

    def _run(self, seed: int) -> None:
        split = f"results/splits/tiny/all/general-m10/s{seed}.csv"
        checkpoint, scores, metrics = (
            f"results/{kind}/{NAME}/s{seed}.{suffix}"
            for kind, suffix in (
                ("checkpoints", "safetensors"), ("scores", "csv"), ("metrics", "json"),
            )
        )  # fmt: skip
        both = {"cell": f"{NAME}/s{seed}", "hyper": HYPER}
        self.put(split, f"path,sha256,role\n{seed},,\n")
        self._entry("split", split, ["data/manifests/tiny.csv"], removed=10)
        self.put(checkpoint, f"weights {seed}")
        self._entry("train", checkpoint, [split, PACK], **both)
        self.put(scores, f"path,label,score\n{seed},0,0.5\n")
        self._entry("score", scores, [split, PACK, checkpoint], **both)
        self.put(metrics, json.dumps({"auroc": 0.75 - seed / 4}))
        self._entry("metrics", metrics, [split, scores], cell=f"{NAME}/s{seed}")

    def _commit(self) -> None:
        """Make the folder a repository with a commit of a known date."""
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        for arguments in (
            ["init", "--quiet"],
            ["add", "--", *SOURCES, "src", "data/manifests"],
            [*who, "commit", "--quiet", "--message", "made up"],
        ):
            subprocess.run(
                ["git", "-C", str(self.root), *arguments],
                env={"PATH": os.environ["PATH"]}
                | {f"GIT_{role}_DATE": DATE for role in ("COMMITTER", "AUTHOR")},
                check=True,
            )


def export(made: MadeUp, name: str, output: Path) -> None:
    """Write the crate of a cell."""
    write_crate(made.workflow, made.ledger, graph.find(made.ledger, name), output)


def entities(crate: Path) -> Entities:
    """Return the entities of a crate by id."""
    graph_ = json.loads((crate / METADATA).read_text(encoding="utf-8"))["@graph"]
    found = {entity["@id"]: entity for entity in graph_}
    assert len(found) == len(graph_)
    return found


def ids(value: Any) -> list[str]:
    """Return the ids that a property refers to."""
    return [item["@id"] for item in (value if isinstance(value, list) else [value])]


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
