"""A job on a node of a cluster is what the head node planned, or it is refused.

Snakemake on the node reads parameters and sources there and computes with what is installed there;
what is recorded is what the head node has. So both say what they have before anything else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError
from osad.core.files import sha256_bytes, sha256_file
from osad.pipeline.rule import as_text
from osad.runtime.device import GRANTED

HEAD = "OSAD_HEAD"
"""Variable by which a job knows what the head node has (see `facts`), as JSON."""


def facts(root: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return what a node must share with the head node: versions, and digests of 12 digits.

    Args:
        root: the project's folder.
        config: the parameters as Snakemake has them.
    """
    sources = sorted(path for path in (root / "src").rglob("*.py") if path.is_file())
    lines = (f"{path.relative_to(root)} {sha256_file(path)}\n" for path in sources)
    return {
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "Snakemake": version("snakemake"),
        "requirements/numeric.lock": sha256_file(root / "requirements/numeric.lock")[:12],
        "src": sha256_bytes("".join(lines).encode())[:12],
        "parameters": sha256_bytes(as_text(dict(config)).encode())[:12],
    }


def tell(found: Mapping[str, str]) -> None:
    """Tell jobs what this head node has."""
    os.environ[HEAD] = json.dumps(found)


def check(found: Mapping[str, str]) -> None:
    """Check that this node has what the head node has; its jobs must find the GPUs granted.

    Raises:
        ConfigError: it has not, or the job was not told.
    """
    os.environ[GRANTED] = "1"
    try:
        told = json.loads(os.environ[HEAD])
    except (KeyError, ValueError):
        raise ConfigError(
            f"{HEAD}: is not set on this node; have the scheduler pass the variables of whoever "
            "submits on to jobs"
        ) from None
    different = [
        f"{name} is {here} here and {told.get(name)} there"
        for name, here in found.items()
        if here != told.get(name)
    ]
    if different:
        raise ConfigError(
            f"this node differs from the head node that planned the job: {'; '.join(different)}; "
            "nothing was computed: give all nodes the same folder or the same image"
        )
