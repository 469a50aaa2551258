"""Print the largest changes of AUROC between two commits, and what is named as their cause.

    python examples/compare.py REV1 REV2

``osad diff REV1 REV2`` tells the same in words; ``--json`` gives all of it to a program, as here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

SHOWN = 10


def largest(changes: Iterable[dict[str, Any]]) -> list[tuple[float, str, str]]:
    """Return change of AUROC, id and causes of the runs that have another, the largest first."""
    found = []
    for row in changes:
        old, new = row["fields"].get("auroc", ("", ""))
        if old and new:  # A run that one of the commits lacks, or that failed, has an empty text.
            found.append((float(new) - float(old), row["cell"], "; ".join(row["causes"])))
    return sorted(found, key=lambda change: -abs(change[0]))


if __name__ == "__main__":
    command = ["osad", "diff", *sys.argv[1:], "--json"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    for change, cell, causes in largest(json.loads(said)["changes"])[:SHOWN]:
        print(f"{cell}: {change:+.4f}, {causes}")
