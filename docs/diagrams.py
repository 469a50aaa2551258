"""Draw the rooms of the package and the rules of a run, as docs/architecture.md shows them.

    python docs/diagrams.py

An arrow that follows from others is left out. Needs Graphviz (Debian: apt-get install graphviz); a
test compares the arrows of the pictures with those of the code.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
Edges = set[tuple[str, str]]
STYLE = """
  bgcolor=white; ranksep=0.35; nodesep=0.2;
  node [shape=box, style="rounded,filled", fillcolor="#eef3f8", color="#5b7083",
        fontname="Helvetica,Arial,sans-serif", fontsize=12, height=0.35];
  edge [color="#5b7083", arrowsize=0.7];
"""


def reduced(edges: Edges) -> Edges:
    """Leave out the arrows between two ends that longer ways join; there must be no circle.

    Example:
        >>> sorted(reduced({("a", "b"), ("b", "c"), ("a", "c")}))
        [('a', 'b'), ('b', 'c')]
    """
    below = {start: {end for first, end in edges if first == start} for start, _ in edges}

    def reached(start: str) -> set[str]:
        ends = below.get(start, set())
        return ends.union(*map(reached, ends))

    return {
        (start, end) for start, end in edges if not any(end in reached(way) for way in below[start])
    }


def rooms() -> Edges:
    """Return which rooms of the package import which."""
    from test_layers import arrows

    pairs = {(start.split(".")[0], end.split(".")[0]) for start, end in arrows()}
    return reduced({(start, end) for start, end in pairs if start != end})


def flow() -> Edges:
    """Return which rules of the default grid read files of which, in the direction of the data."""
    from osad.pipeline import config
    from osad.pipeline.grid import Grid
    from osad.pipeline.jobs import jobs, makers
    from osad.pipeline.rules import Rules

    known = jobs(Rules(Grid(config.load(ROOT), ROOT)))
    maker = makers(known)
    pairs = {
        (maker[path].rule.name, job.rule.name)
        for job in known
        for path in job.inputs
        if path in maker
    }
    return reduced({(start, end) for start, end in pairs if start != end})


def dot(edges: Iterable[tuple[str, str]], direction: str) -> str:
    """Write a graph in the language of Graphviz."""
    arrows = "".join(f'  "{start}" -> "{end}";\n' for start, end in sorted(edges))
    return f"digraph {{\n  rankdir={direction};{STYLE}{arrows}}}\n"


DIAGRAMS = {"rooms": (rooms, "TB"), "flow": (flow, "LR")}


def main(names: Sequence[str] = tuple(DIAGRAMS)) -> None:
    """Draw the pictures."""
    for name in names:
        edges, direction = DIAGRAMS[name]
        command = ["dot", "-Tsvg", f"-o{IMAGES / name}.svg"]
        subprocess.run(command, input=dot(edges(), direction), text=True, check=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests" / "unit"))  # Where the layers are.
    main()
