"""What a figure shows: pairs of a parameter's value and a method, or methods side by side."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osad.core.errors import ConfigError
from osad.methods.registry import suggestion

KINDS = ("line", "bar")
KEYS = ("name", "title", "kind", "parameter", "points", "methods", "protocols")
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
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

    def as_value(self) -> dict[str, Any]:
        """Return what `parse_figures` reads, to pass the figure on as JSON."""
        value: dict[str, Any] = {"name": self.name, "title": self.title, "kind": self.kind}
        if self.kind == "line":
            value["parameter"] = {"label": self.parameter, "log": self.log, "field": self.field}
            value["points"] = [list(point) for point in self.points]
        else:
            value["methods"] = list(self.methods)
        return value | {"protocols": list(self.protocols)}


def expand_figures(
    values: object, *, competing: Sequence[str], protocols: Collection[str]
) -> object:
    """Put in the grid's methods for ``methods: all`` and its protocols for ``protocols: SETTING``.

    ``hard`` means the means over known classes; protocols with more shots come first. A figure
    that nothing is left of is left out, so that a smaller grid needs no other list of figures.

    Args:
        values: the list of figures as configured; what is no such list is returned as it is.
        competing: methods of the grid, controls left out.
        protocols: protocols of the grid, and the means over known classes.
    """
    if not isinstance(values, list):
        return values
    found = []
    for value in values:
        if isinstance(value, dict):
            value = dict(value)
            everyone = value.get("methods") == "all"
            if everyone:
                value["methods"] = list(competing)
            start = SETTINGS.get(str(value.get("protocols")))
            if start:
                of_setting = [name for name in protocols if name.startswith(start)]
                of_setting.sort(key=lambda name: -int(name.rpartition("-m")[2]))
                value["protocols"] = of_setting
            if (everyone and not competing) or (start and not value["protocols"]):
                continue
        found.append(value)
    return found


def parse_figures(
    values: object, *, where: str, methods: Collection[str], protocols: Collection[str]
) -> tuple[FigureSpec, ...]:
    """Check the list of figures.

    Args:
        values: list of objects with ``name``, ``title``, ``kind``, ``protocols`` and, for lines,
            ``parameter`` (``label``, ``log``, ``field``) and ``points``, for bars, ``methods``.
        where: place of the list, for messages.
        methods: methods of the grid.
        protocols: protocols of the grid.

    Raises:
        ConfigError: a key is missing, unknown or of the wrong type, a name is there twice, a
            method or protocol is not in the grid, or a logarithmic axis has a value of 0 or less.
    """
    if not isinstance(values, list):
        raise ConfigError(f"{where}: expected a list of figures, got {values!r}")
    specs = tuple(
        _figure(value, f"{where}.{number}", methods=methods, protocols=protocols)
        for number, value in enumerate(values)
    )
    names = [spec.name for spec in specs]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(f"{where}.{number}.name: {name!r} names two figures; rename one")
    return specs


def _figure(
    value: object, where: str, *, methods: Collection[str], protocols: Collection[str]
) -> FigureSpec:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected an object, got {value!r}")
    for key in value:
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown key {key!r}" + suggestion(str(key), list(KEYS)))
    for key in ("name", "title"):
        if not isinstance(value.get(key), str) or not value[key]:
            raise ConfigError(f"{where}.{key}: expected a text, got {value.get(key)!r}")
    if not NAME.fullmatch(value["name"]):
        raise ConfigError(f"{where}.name: {value['name']!r} is not of a-z, 0-9 and _; rename it")
    kind = value.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{where}.kind: {kind!r} is not line or bar")
    wanted, refused = (
        (("parameter", "points"), ("methods",))
        if kind == "line"
        else (("methods",), ("parameter", "points"))
    )
    for key in wanted:
        if key not in value:
            raise ConfigError(f"{where}: a {kind} figure needs {key}; add it")
    for key in refused:
        if key in value:
            raise ConfigError(f"{where}.{key}: a {kind} figure has none; remove it")
    label, log, field = "", False, ""
    if kind == "line":
        label, log, field = _parameter(value["parameter"], where)
    points = _points(value["points"], where, log=log) if kind == "line" else _bars(value, where)
    for _, method in points:
        _in_grid(method, methods, f"{where}.{'points' if kind == 'line' else 'methods'}")
    named = value.get("protocols")
    if not isinstance(named, list) or not named:
        raise ConfigError(f"{where}.protocols: expected a list of protocols, got {named!r}")
    for protocol in named:
        _in_grid(protocol, protocols, f"{where}.protocols")
    return FigureSpec(
        value["name"], value["title"], kind, label, log, field, points, tuple(dict.fromkeys(named))
    )


def _in_grid(name: object, known: Collection[str], where: str) -> None:
    if name not in known:
        hint = suggestion(str(name), sorted(known))
        raise ConfigError(f"{where}: {name!r} is not in the grid{hint}")


def _parameter(value: object, where: str) -> tuple[str, bool, str]:
    fields = value if isinstance(value, dict) else {}
    label, log, field = fields.get("label"), fields.get("log", False), fields.get("field", "")
    if (
        not isinstance(label, str)
        or not label
        or not isinstance(log, bool)
        or not isinstance(field, str)
        or not fields.keys() <= {"label", "log", "field"}
    ):
        raise ConfigError(
            f"{where}.parameter: expected an object with label (a text) and, if need be, log "
            f"(true or false) and field (a hyper-parameter), got {value!r}"
        )
    return label, log, field


def _points(value: object, where: str, *, log: bool) -> tuple[tuple[float, str], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < 2:
        raise ConfigError(f"{where}.points: expected a list of two pairs or more, got {value!r}")
    points = []
    for pair in value:
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not isinstance(pair[0], int | float)
            or isinstance(pair[0], bool)
        ):
            raise ConfigError(f"{where}.points: {pair!r} is no pair of a number and a method")
        if log and pair[0] <= 0:
            raise ConfigError(
                f"{where}.points: {pair[0]!r} has no place on a logarithmic axis; "
                "remove it or set parameter.log to false"
            )
        points.append((float(pair[0]), pair[1]))
    points.sort(key=lambda point: point[0])
    for first, second in itertools.pairwise(points):
        if first[0] == second[0]:
            raise ConfigError(f"{where}.points: {first[0]:g} is there twice; remove one")
    return tuple(points)


def _bars(value: Mapping[str, Any], where: str) -> tuple[tuple[float, str], ...]:
    methods = value["methods"]
    if not isinstance(methods, list) or not methods or len(set(map(str, methods))) < len(methods):
        raise ConfigError(f"{where}.methods: expected a list of different methods, got {methods!r}")
    return tuple((float(number), method) for number, method in enumerate(methods))
