"""The rooms of the package in layers: an import may only point downward."""

from __future__ import annotations

import ast
from pathlib import Path

import osad

LAYERS = (
    *("core", "runtime", "data", "backbones", "features", "learn", "methods", "evaluation"),
    *("report", "pipeline", "audit", "crate", "predict", "cli"),
)
"""From the bottom to the top."""
SOURCE = Path(osad.__file__).parent


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def arrows() -> dict[tuple[str, str], list[str]]:
    """Return the modules behind each pair of rooms of which the first imports the second."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(("osad", *path.relative_to(SOURCE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name}: relative import"
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                if target.startswith("osad.") and room(target) in LAYERS:
                    found.setdefault((room(name), room(target)), []).append(f"{name}: {target}")
    return found


def test_every_room_has_its_layer():
    rooms = {path.stem for path in SOURCE.iterdir() if not path.name.startswith("_")}
    assert rooms - {"py"} == set(LAYERS)


def test_imports_point_downward():
    upward = [
        lines
        for (importer, imported), lines in arrows().items()
        if importer in LAYERS and LAYERS.index(importer) < LAYERS.index(imported)
    ]
    assert upward == []


def test_the_drawing_sees_the_arrows_that_there_are():
    assert {("pipeline", "methods"), ("cli", "audit")} <= arrows().keys()
