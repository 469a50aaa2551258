"""The rooms of the package in layers: an import may only point downward."""

import ast
from pathlib import Path

import osad

LAYERS = (
    *("core", "runtime", "data", "backbones", "features", "learn", "methods", "evaluation"),
    *("report", "pipeline", "select", "audit", "history", "crate", "exports", "predict", "cli"),
)
"""From the bottom to the top."""
SOURCE = Path(osad.__file__).parent


def arrows() -> set[tuple[str, str]]:
    """Return the pairs of a module and what it imports of another one, by names without osad."""
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name}: relative import"
                found |= {(name, f"{node.module}.{alias.name}") for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {(name, alias.name) for alias in node.names}
    own = {(name, target[5:]) for name, target in found if target.startswith("osad.")}
    return {pair for pair in own if {name.split(".")[0] for name in pair} <= {*LAYERS}}


def height(module: str) -> int:
    return LAYERS.index(module.split(".")[0])


def test_every_room_has_its_layer() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if not path.name.startswith("_")}
    assert rooms - {"py"} == set(LAYERS)


def test_imports_point_downward() -> None:
    assert {("pipeline.grid", "methods.registry"), ("audit.graph", "core.cells.Cell")} <= arrows()
    assert [pair for pair in sorted(arrows()) if height(pair[0]) < height(pair[1])] == []
