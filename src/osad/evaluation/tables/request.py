"""What is known of a grid when its tables are made: its cells and the texts around them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from osad.core.cells import Cell, Protocol
from osad.core.errors import ConfigError
from osad.core.files import parse_json, read_json

Differences = Mapping[str, tuple[Any, Any]]
"""Pairs of a hyper-parameter's value and the one it stands against, by name."""

MEAN = "mean"
"""Category or known class of a row that averages; so no real one may have this name."""
SHARED = "normal-m0"
"""Protocol of the runs of methods that learn from normals alone."""

Info = TypeVar("Info", bound="DatasetInfo | MethodInfo | Request")


@dataclass(frozen=True)
class DatasetInfo:
    """Texts on a data set.

    Attributes:
        title: name as printed in tables.
        licence: licence or terms of the data.
        citation: how its authors ask to be cited.
        notes: faults of the data and differences from the papers' counts, one sentence each.
    """

    title: str
    licence: str
    citation: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MethodInfo:
    """What tables say of a method.

    Attributes:
        name: its id, with the variant after a dot.
        title: name as printed in tables, which is the published one.
        settings: the settings that it has cells in.
        control: whether it checks the benchmark instead of competing in it.
        backbone: name of its network; empty without one.
        normal_only: its cells of all protocols are made of one run, that of `SHARED`.
        changes: of a variant, how its hyper-parameters differ from its method's.
        cuts: its hyper-parameters that are below those of a full budget.
    """

    name: str
    title: str
    settings: tuple[str, ...]
    control: bool
    backbone: str
    normal_only: bool
    changes: Differences
    cuts: Differences


@dataclass(frozen=True)
class Request:
    """A grid, as `osad.pipeline.describe` tells the steps.

    Attributes:
        results: folder of the results.
        seeds: numbers of the runs.
        protocols: names of protocols by ``dataset/category``.
        methods: in the order of columns, by id.
        notes: lines for the footers, on what differs from the papers' protocol.
        datasets: by id.
    """

    results: str
    seeds: tuple[int, ...]
    protocols: Mapping[str, tuple[str, ...]]
    methods: Mapping[str, MethodInfo]
    notes: tuple[str, ...]
    datasets: Mapping[str, DatasetInfo]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells: of each method in each protocol whose setting it supports."""
        return tuple(
            Cell.parse(f"{place}/{protocol}/{method.name}/s{seed}")
            for place, protocols in self.protocols.items()
            for protocol in protocols
            for method in self.methods.values()
            if Protocol.parse(protocol).setting in method.settings
            for seed in self.seeds
        )

    @property
    def controls(self) -> tuple[str, ...]:
        """The ids of the controls."""
        return tuple(name for name, method in self.methods.items() if method.control)

    def title(self, method: str) -> str:
        """Return a method's name as printed; its id where the grid has no such method."""
        return self.methods[method].title if method in self.methods else method

    def run_of(self, cell: Cell) -> Cell:
        """Return the run that a cell's metrics are made of."""
        shared = self.methods[cell.method].normal_only
        return dataclasses.replace(cell, protocol=SHARED) if shared else cell


def _record(kind: type[Info], value: object, where: str) -> Info:
    """Return an object of JSON as a record with just these fields."""
    names = [item.name for item in dataclasses.fields(kind)]
    if not isinstance(value, dict) or value.keys() != set(names):
        keys = sorted(value) if isinstance(value, dict) else value
        raise ConfigError(f"{where}: expected an object with {', '.join(names)}, got {keys!r}")
    return kind(**value)


def parse_grid(value: object, *, where: str) -> Request:
    """Return a grid from the content of its JSON.

    Args:
        value: an object with the fields of `Request`; ``methods`` is a list.
        where: name of the file or option, for messages.

    Raises:
        ConfigError: a key is missing or unknown, a cell's id is wrong, or a category or known
            class has the name of the averages.
    """
    request = _record(Request, value, where)
    methods = [
        _record(MethodInfo, method, f"{where}, methods[{number}]")
        for number, method in enumerate(request.methods)
    ]
    request = dataclasses.replace(
        request,
        methods={method.name: method for method in methods},
        datasets={
            name: _record(DatasetInfo, texts, f"{where}, datasets.{name}")
            for name, texts in request.datasets.items()
        },
    )
    for cell in request.cells:
        check_no_mean(cell.category, Protocol.parse(cell.protocol), where=f"{where}: {cell}")
    return request


def check_no_mean(category: str, protocol: Protocol, *, where: str) -> None:
    """Check that neither a category nor a known class has the name of the averages.

    Raises:
        ConfigError: one has.
    """
    if MEAN in (category, protocol.known_class):
        raise ConfigError(
            f"{where}: a category or known class may not be called {MEAN!r}, which names the rows "
            "of averages; rename it"
        )


def read_grid(text: str, *further: str) -> tuple[Request, list[Any]]:
    """Read the option ``--grid``.

    Args:
        text: JSON, or path of a file with it: what `parse_grid` reads, and ``further`` keys.
        further: keys of what else a step needs.

    Returns:
        the grid, and the values of the further keys.

    Raises:
        ConfigError: the content is wrong.
        DataError: the file is missing or not JSON.
    """
    where = "--grid"
    if text.lstrip().startswith("{"):
        try:
            value = parse_json(text)
        except ValueError as error:
            raise ConfigError(f"--grid: is not valid JSON ({error}); correct it") from error
    else:
        where, value = text, read_json(text)
    if not isinstance(value, dict) or not value.keys() >= set(further):
        raise ConfigError(f"{where}: expected an object with {', '.join(further) or 'a grid'}")
    values = [value.pop(key) for key in further]
    return parse_grid(value, where=where), values
