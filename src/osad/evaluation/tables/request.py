"""What the tables step is asked to do: the cells of a grid and the texts around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from osad.core.cells import Cell, Protocol
from osad.core.errors import ConfigError

Differences = Mapping[str, tuple[Any, Any]]
"""Pairs of a hyper-parameter's value and the one it stands against, by name."""

MEAN = "mean"
"""Category or known class of a row that averages; so no real one may have this name."""


@dataclass(frozen=True)
class DatasetInfo:
    """Texts on a data set for the footers.

    Attributes:
        title: name as printed in tables.
        licence: licence or terms of the data.
        citation: how its authors ask to be cited.
        notes: faults of the data and differences from the papers' counts, one sentence each.
    """

    title: str
    licence: str
    citation: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """All that the tables need besides results.

    Attributes:
        cells: the runs of the grid, with the backbone of each (empty: no network).
        methods: ids of all methods, the controls among them, in the order of columns.
        controls: ids of the controls.
        results: folder of the results.
        notes: lines for the footers, on what differs from the papers' protocol.
        datasets: texts by id of the data set.
        changes: by variant, how its hyper-parameters differ from its method's.
        cuts: by method, the hyper-parameters that are below those of a full budget.
        upstream: by method, protocol (empty: the cell's own) and method of the run that its
            runs start from or share.
    """

    cells: tuple[tuple[Cell, str], ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...]
    results: str
    notes: tuple[str, ...]
    datasets: Mapping[str, DatasetInfo]
    changes: Mapping[str, Differences] = field(default_factory=dict)
    cuts: Mapping[str, Differences] = field(default_factory=dict)
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _texts(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{what}: expected a list of texts, got {value!r}")
    if len(set(value)) != len(value):
        raise ConfigError(f"{what}: an entry occurs twice in {value!r}; remove one")
    return tuple(value)


def _fields(
    value: object, names: tuple[str, ...], what: str, *, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() - set(optional) != set(names):
        given = sorted(value) if isinstance(value, dict) else value
        raise ConfigError(f"{what}: expected an object with {', '.join(names)}, got {given!r}")
    return value


def _cell(value: object, what: str) -> tuple[Cell, str]:
    fields = _fields(value, ("cell", "backbone"), what)
    if not all(isinstance(field, str) for field in fields.values()):
        raise ConfigError(f"{what}: cell and backbone must be texts, got {fields!r}")
    cell = Cell.parse(fields["cell"])
    if MEAN in (cell.category, Protocol.parse(cell.protocol).known_class):
        raise ConfigError(
            f"{what}: {cell}: a category or known class may not be called {MEAN!r}, which names "
            "the rows of averages; rename it"
        )
    return cell, fields["backbone"]


def _dataset(value: object, what: str) -> DatasetInfo:
    names = ("title", "licence", "citation")
    fields = _fields(value, names, what, optional=("notes",))
    if not all(isinstance(fields[name], str) for name in names):
        raise ConfigError(f"{what}: title, licence, citation must be texts")
    notes = _texts(fields.get("notes", []), f"{what}.notes")
    return DatasetInfo(**{name: fields[name] for name in names}, notes=notes)


def _differences(value: object, what: str) -> dict[str, tuple[Any, Any]]:
    if not isinstance(value, dict) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in value.values()
    ):
        raise ConfigError(f"{what}: expected pairs of values by hyper-parameter, got {value!r}")
    return {name: (value[name][0], value[name][1]) for name in sorted(value)}


def parse_request(value: object, *, where: str) -> Request:
    """Check a request read from JSON.

    Args:
        value: object with ``cells`` (list of objects with ``cell`` and ``backbone``),
            ``methods``, ``controls``, ``results``, ``notes`` and ``datasets`` (objects with
            ``title``, ``licence``, ``citation`` and, if need be, ``notes`` by id); optional are
            ``changes`` and ``cuts`` (by method, pairs of values by hyper-parameter) and
            ``upstream`` (see `Request`).
        where: name of the file, for messages.

    Raises:
        ConfigError: a key is missing, unknown or of the wrong type, a cell is there twice, or
            the method of a cell is in neither list.
    """
    names = ("cells", "methods", "controls", "results", "notes", "datasets")
    optional = ("changes", "cuts")
    fields = _fields(value, names, where, optional=(*optional, "upstream"))
    if not isinstance(fields["cells"], list) or not isinstance(fields["datasets"], dict):
        raise ConfigError(f"{where}: cells must be a list and datasets an object")
    if not isinstance(fields["results"], str):
        raise ConfigError(f"{where}: results must be the path of a folder")
    cells = tuple(
        _cell(item, f"{where}, cells[{number}]") for number, item in enumerate(fields["cells"])
    )
    controls = _texts(fields["controls"], f"{where}, controls")
    methods = _texts(fields["methods"], f"{where}, methods")
    methods += tuple(name for name in controls if name not in methods)
    seen: set[Cell] = set()
    for cell, _ in cells:
        if cell in seen:
            raise ConfigError(f"{where}: cell {cell} is listed twice; remove one")
        if cell.method not in methods:
            raise ConfigError(
                f"{where}: method of cell {cell} is neither in methods nor in controls; add it"
            )
        seen.add(cell)
    datasets = {}
    for name, item in fields["datasets"].items():
        datasets[name] = _dataset(item, f"{where}, datasets.{name}")
    differences = {
        kind: {
            method: _differences(pairs, f"{where}, {kind}.{method}")
            for method, pairs in fields.get(kind, {}).items()
        }
        for kind in optional
    }
    upstream = {
        method: _texts(pair, f"{where}, upstream.{method}")
        for method, pair in fields.get("upstream", {}).items()
    }
    notes, results = _texts(fields["notes"], where), fields["results"]
    return Request(
        cells, methods, controls, results, notes, datasets, **differences, upstream=upstream
    )


def _texts_and_flags(method: object, what: str) -> dict[str, Any]:
    names = ("name", "settings", "control", "backbone")
    fields = _fields(method, names, what, optional=("changes", "cuts", "upstream"))
    _texts(fields["settings"], f"{what}.settings")
    if not isinstance(fields["name"], str) or not isinstance(fields["control"], bool):
        raise ConfigError(f"{what}: name must be a text and control true or false")
    return fields


def parse_grid(value: object, *, where: str) -> Request:
    """Check the description of a grid and expand it into a request.

    A method has a cell for each data set, category, protocol whose setting it supports, and seed.

    Args:
        value: object with ``protocols`` (names of protocols by ``dataset/category``), ``seeds``,
            ``methods`` (in the tables' order: objects with ``name``, ``settings``, ``control``,
            ``backbone`` and, if need be, ``changes`` and ``cuts``), ``results``, ``notes`` and
            ``datasets`` as in `parse_request`.
        where: name of the file or option, for messages.

    Raises:
        ConfigError: as `parse_request`.
    """
    names = ("results", "seeds", "protocols", "methods", "notes", "datasets")
    fields = _fields(value, names, where)
    if not isinstance(fields["methods"], list) or not isinstance(fields["protocols"], dict):
        raise ConfigError(f"{where}: methods must be a list and protocols an object")
    seeds = fields["seeds"]
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise ConfigError(f"{where}, seeds: expected a list of whole numbers, got {seeds!r}")
    methods = [
        _texts_and_flags(method, f"{where}, methods[{number}]")
        for number, method in enumerate(fields["methods"])
    ]
    cells = [
        {
            "cell": f"{place}/{protocol}/{method['name']}/s{seed}",
            "backbone": method["backbone"],
        }
        for place, protocols in fields["protocols"].items()
        for protocol in _texts(protocols, f"{where}, protocols.{place}")
        for method in methods
        if Protocol.parse(protocol).setting in method["settings"]
        for seed in seeds
    ]
    request = {
        "cells": cells,
        "methods": [method["name"] for method in methods],
        "controls": [method["name"] for method in methods if method["control"]],
        **{name: fields[name] for name in ("results", "notes", "datasets")},
        **{
            kind: {method["name"]: method[kind] for method in methods if method.get(kind)}
            for kind in ("changes", "cuts", "upstream")
        },
    }
    return parse_request(request, where=where)
