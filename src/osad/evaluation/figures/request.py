"""What a figure shows: pairs of a parameter's value and a method, or methods side by side."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osad.core.errors import ConfigError
from osad.methods.registry import suggestion

FORMATS = ("svg", "png", "pdf")
"""Endings of a figure's files."""
KEYS = {"line": ("parameter", "points"), "bar": ("methods",)}
"""What only a figure of this kind has."""
SETTINGS = {"general": "general-m", "hard": "hard-mean-m", "normal": "normal-m"}
"""How the protocols begin that a setting stands for in a figure."""


@dataclass(frozen=True)
class FigureSpec:
    """One figure.

    Attributes:
        name: name of its files.
        title: text above it.
        kind: ``line`` (AUROC over a parameter) or ``bar`` (AUROC of methods).
        parameter: label of the horizontal axis of a line figure; else empty.
        log: whether that axis is logarithmic.
        field: the hyper-parameter that the points are values of; empty: not said.
        points: for a line figure, the parameter's values, ascending, each with its method; for a
            bar figure, the methods from the top, each with its position 0, 1, ...
        protocols: one line, or one bar of each method, for each of them.
    """

    name: str
    title: str
    kind: str
    parameter: str
    log: bool
    field: str
    points: tuple[tuple[float, str], ...]
    protocols: tuple[str, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods that the figure shows."""
        return tuple(method for _, method in self.points)


def expand_figures(
    values: Iterable[Mapping[str, Any]], *, competing: Sequence[str], protocols: Collection[str]
) -> list[dict[str, Any]]:
    """Put in the grid's methods for ``methods: all`` and its protocols for ``protocols: SETTING``.

    ``hard`` means the means over known classes; protocols with more shots come first. A figure
    that nothing is left of is left out, so that a smaller grid needs no other list of figures.

    Args:
        values: the list of figures as configured.
        competing: methods of the grid, controls left out.
        protocols: protocols of the grid, and the means over known classes.
    """
    figures = []
    for figure in map(dict, values):
        if figure.get("methods") == "all":
            figure["methods"] = list(competing)
        if isinstance(figure["protocols"], str):
            start = SETTINGS[figure["protocols"]]
            of_setting = [name for name in protocols if name.startswith(start)]
            figure["protocols"] = sorted(of_setting, key=lambda n: -int(n.rpartition("-m")[2]))
        if figure.get("methods") != [] and figure["protocols"]:
            figures.append(figure)
    return figures


def parse_figures(
    values: Iterable[Mapping[str, Any]],
    *,
    where: str,
    methods: Collection[str],
    protocols: Collection[str],
) -> tuple[FigureSpec, ...]:
    """Check what the schema of the parameters cannot say of a list of figures.

    Raises:
        ConfigError: a key belongs to the other kind of figure or is missing, a name is there
            twice, a method or protocol is not in the grid, a value occurs twice, or a logarithmic
            axis has a value of 0 or less.
    """
    specs: dict[str, FigureSpec] = {}
    for number, value in enumerate(values):
        spec = _figure(value, f"{where}.{number}")
        keys = {"points" if spec.kind == "line" else "methods": (spec.methods, methods)}
        keys["protocols"] = (spec.protocols, protocols)
        for key, (names, known) in keys.items():
            for name in names:
                if name not in known:
                    hint = suggestion(name, sorted(known))
                    raise ConfigError(f"{where}.{number}.{key}: {name!r} is not in the grid{hint}")
        if spec.name in specs:
            raise ConfigError(f"{where}.{number}.name: {spec.name!r} names two figures; rename one")
        specs[spec.name] = spec
    return tuple(specs.values())


def _figure(value: Mapping[str, Any], where: str) -> FigureSpec:
    kind = value["kind"]
    for other, keys in KEYS.items():
        for key in keys:
            if other == kind and key not in value:
                raise ConfigError(f"{where}: a {kind} figure needs {key}; add it")
            if other != kind and key in value:
                raise ConfigError(f"{where}.{key}: a {kind} figure has none; remove it")
    parameter = value.get("parameter", {"label": ""})
    log = parameter.get("log", False)
    points = sorted(value.get("points", enumerate(value.get("methods", ()))))
    for x, _ in points if log else ():
        if x <= 0:
            raise ConfigError(
                f"{where}.points: {x!r} has no place on a logarithmic axis; "
                "remove it or set parameter.log to false"
            )
    for (first, _), (second, _) in itertools.pairwise(points):
        if first == second:
            raise ConfigError(f"{where}.points: {first:g} is there twice; remove one")
    return FigureSpec(
        name=value["name"],
        title=value["title"],
        kind=kind,
        parameter=parameter["label"],
        log=log,
        field=parameter.get("field", ""),
        points=tuple((float(x), method) for x, method in points),
        protocols=tuple(dict.fromkeys(value["protocols"])),
    )
