"""The methods of the benchmark, by name.

A method is one file in `osad.methods`, named like the method: a frozen dataclass of
hyper-parameters with ``fit`` and ``score``, described by the decorator `method`. Variants are the
same class with other hyper-parameters and a name with a dot (``dpdl.no_dfl``). A configuration may
declare further ones (``variants`` in `osad.pipeline.config`); `registered` knows only those of
the files.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_type_hints

from osad.core.cells import METHOD_PATTERN
from osad.core.errors import ConfigError
from osad.learn.images import ImageSet, Scores, State, TrainingData

PACKS = ("pixels", "plain", "rotated", "pseudo", "cutmix", "draem")
TEST_PACKS = ("pixels", "plain")
"""Packs that hold every image; the others hold views of training images."""
SETTINGS = ("general", "hard", "normal")
HELPERS = {"registry", "inputs"}
FILES = {"true_labels": "controls", "random": "controls", "constant": "controls"}
"""Files of methods that are not named like them; the methods of one file stand together."""


class Method(Protocol):
    """What every method does; its fields are its hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Learn from training images; draws are keyed on ``data.key``."""
        ...

    def score(self, state: State, images: ImageSet) -> Scores:
        """Score images; the order of the images must not matter."""
        ...


@dataclass(frozen=True)
class MethodSpec:
    """What is known about a method without running it.

    Attributes:
        name: id, with the variant after a dot.
        title: name as printed in tables.
        paper: citation.
        packs: feature packs that it reads; none for methods that look at no image.
        settings: settings that it supports.
        heads: names of the parts of its score.
        maps: its ``score`` gives anomaly maps too.
        normal_only: it learns from training normals alone, so it is fitted and scored once per
            seed, in the protocol ``normal-m0``, and shares the result with the other protocols.
        base: the method whose checkpoint of the same protocol and seed its ``fit`` starts from.
        control: it checks the benchmark instead of competing in it.
        sees_test_labels: its ``score`` gets test labels (only a control may).
        hyper: class of hyper-parameters.
        overrides: values that make the variant.
        full_budget: hyper-parameters by name that a cut budget lowers, with the full values.
        known: ``overrides`` are known; of a variant that only a configuration declares, a job
            knows just the name.
    """

    name: str
    title: str
    paper: str
    packs: tuple[str, ...]
    settings: tuple[str, ...]
    heads: tuple[str, ...]
    maps: bool
    normal_only: bool
    base: str
    control: bool
    sees_test_labels: bool
    hyper: type[Any]
    overrides: Mapping[str, Any]
    full_budget: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    known: bool = True

    @property
    def uses_backbone(self) -> bool:
        """Whether the method reads features of a network."""
        return any(pack != "pixels" for pack in self.packs)

    @property
    def test_packs(self) -> tuple[str, ...]:
        """The packs that scoring reads: those that hold test images."""
        return tuple(pack for pack in self.packs if pack in TEST_PACKS)

    def resolve(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return all hyper-parameters: defaults, then ``values``, then the variant's own.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or a missing one of a variant
                whose own values are not known.
        """
        fields = {field.name: field for field in dataclasses.fields(self.hyper)}
        hints = get_type_hints(self.hyper)
        given = dict(values or {})
        for key, value in given.items():
            if key in fields and self.overrides.get(key, value) != value:
                raise ConfigError(
                    f"params.yaml, methods.{self.name}.{key}: the variant fixes it to "
                    f"{self.overrides[key]!r}; leave it out"
                )
            if key not in fields:
                raise ConfigError(
                    f"params.yaml, methods.{self.name}.{key}: unknown hyper-parameter"
                    + suggestion(key, fields)
                )
            given[key] = coerce(value, hints[key], f"params.yaml, methods.{self.name}.{key}")
        missing = [] if self.known else sorted(fields.keys() - given.keys())
        if missing:
            raise ConfigError(
                f"method {self.name!r} is no registered variant, so all of its hyper-parameters "
                f"must be given; {', '.join(missing)} missing"
            )
        return {name: field.default for name, field in fields.items()} | given | {**self.overrides}

    def build(self, values: Mapping[str, Any]) -> Method:
        """Return the method with fully resolved hyper-parameters (see `resolve`).

        Raises:
            ConfigError: a value is outside its range.
        """
        try:
            built: Method = self.hyper(**values)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"params.yaml, methods.{self.name}: {error}") from error
        return built


Class = TypeVar("Class", bound=type)
_specs: dict[str, dict[str, MethodSpec]] = {}


def coerce(value: Any, hint: type, place: str) -> Any:
    """Return ``value`` as the type ``hint``: int, float, bool, str or a tuple of them.

    YAML writes 1 for 1.0 and lists for tuples; nothing else is converted.

    Raises:
        ConfigError: the value has another type; the message names the place.

    Example:
        >>> coerce([16, 32], tuple[int, ...], "here"), coerce(1, float, "here")
        ((16, 32), 1.0)
    """
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if getattr(hint, "__origin__", None) is tuple and isinstance(value, list | tuple):
        item = hint.__args__[0]  # type: ignore[attr-defined]
        return tuple(coerce(entry, item, place) for entry in value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{place}: {value!r} is not of type {name}; correct the value")


def suggestion(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return "; did you mean X?" or the list of what is known."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def method(
    *,
    name: str = "",
    title: str,
    paper: str,
    packs: tuple[str, ...],
    settings: tuple[str, ...] = ("general", "hard"),
    heads: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
    maps: bool = False,
    normal_only: bool = False,
    base: str | Mapping[str, str] = "",
    control: bool = False,
    sees_test_labels: bool = False,
    full_budget: Mapping[str, Any] | None = None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Class], Class]:
    """Register a frozen dataclass as the method named like its file (see `MethodSpec`).

    ``name`` is given where several methods share a file (see `FILES`).

    ``base`` is a name and ``heads`` are names, or either maps every variant (the empty one is the
    method itself) to its own. ``full_budget`` holds the values of a run that is not cut short, for
    example ``{"epochs": 50}``; the tables name every method that ran with others.
    """

    def register(hyper: Class) -> Class:
        id_ = name or hyper.__module__.split(".")[2]
        known = _specs.get(id_, {}).get(id_)
        if known is not None and known.hyper.__qualname__ != hyper.__qualname__:
            raise ConfigError(f"{hyper.__module__}: holds two methods; use one file each")
        unknown = {*packs} - {*PACKS} | ({*settings} - {*SETTINGS})
        if unknown:
            raise ConfigError(f"{hyper.__module__}: unknown packs or settings {sorted(unknown)}")
        if normal_only and tuple(settings) != SETTINGS:
            raise ConfigError(f"{hyper.__module__}: a normal_only method supports every setting")
        fields = {field.name for field in dataclasses.fields(hyper)}
        if not (full_budget or {}).keys() <= fields:
            raise ConfigError(f"{hyper.__module__}: full_budget names no hyper-parameter of it")
        if sees_test_labels and not control:
            raise ConfigError(f"{hyper.__module__}: only a control may see test labels")
        _specs[id_] = {}
        for variant, overrides in {"": {}, **(variants or {})}.items():
            full = f"{id_}.{variant}" if variant else id_
            _specs[id_][full] = MethodSpec(
                name=full,
                title=_title(title, variant),
                paper=paper,
                packs=packs,
                settings=settings,
                heads=heads if isinstance(heads, tuple) else heads[variant],
                maps=maps,
                normal_only=normal_only,
                base=base if isinstance(base, str) else base[variant],
                control=control,
                sees_test_labels=sees_test_labels,
                hyper=hyper,
                overrides=dict(overrides),
                full_budget=dict(full_budget or {}),
            )
        return hyper

    return register


@functools.cache
def modules() -> tuple[str, ...]:
    """Return the names of the methods, sorted."""
    package = importlib.import_module("osad.methods")
    found = (info.name for info in pkgutil.iter_modules(package.__path__))
    return tuple(sorted({*found, *FILES} - {*HELPERS, *FILES.values()}))


def module(name: str) -> str:
    """Return the module that registers a method or variant."""
    base = name.split(".")[0]
    return f"osad.methods.{FILES.get(base, base)}"


def _group(name: str) -> dict[str, MethodSpec]:
    """Return a method and its registered variants by name; only its own file is imported."""
    base = name.split(".")[0]
    if base not in _specs:
        if base not in modules():
            raise ConfigError(f"method {name!r} is unknown" + suggestion(base, list(modules())))
        importlib.import_module(module(base))
    if base not in _specs:
        raise ConfigError(f"src/osad/methods/{base}.py registers no method; use @method")
    return _specs[base]


def registered(name: str) -> MethodSpec:
    """Return the description of a method or variant that the method's file registers.

    Raises:
        ConfigError: there is none of this name; the message suggests the nearest.
    """
    group = _group(name)
    if name not in group:
        raise ConfigError(f"method {name!r} is unknown" + suggestion(name, group))
    return group[name]


def variants(name: str) -> list[MethodSpec]:
    """Return the descriptions of a method and of its registered variants.

    Raises:
        ConfigError: there is no such method.
    """
    return list(_group(name).values())


def get(name: str) -> MethodSpec:
    """Return the description of a method, a registered variant or a declared one.

    Jobs know a variant that a configuration declares by its name alone: it has the method's
    description and takes nothing but a full set of hyper-parameters (see `MethodSpec.resolve`).
    What a configuration itself names is checked by `osad.pipeline.config`.

    Raises:
        ConfigError: there is no such method, or the name of the variant is not well formed.
    """
    group = _group(name)
    if name not in group and METHOD_PATTERN.fullmatch(name):
        return declared(name, {}, known=False)
    return registered(name)


def declared(name: str, overrides: Mapping[str, Any], *, known: bool = True) -> MethodSpec:
    """Return the description of a variant that no file registers (see `get`)."""
    base, _, variant = name.partition(".")
    spec = _group(name)[base]
    return dataclasses.replace(
        spec,
        name=name,
        title=_title(spec.title, variant),
        overrides=dict(overrides),
        known=known,
    )


def _title(title: str, variant: str) -> str:
    return f"{title} ({variant.replace('_', ' ')})" if variant else title


def all_specs() -> list[MethodSpec]:
    """Return every registered method and variant, sorted by name."""
    for name in modules():
        registered(name)
    return sorted(
        (spec for group in _specs.values() for spec in group.values()), key=lambda spec: spec.name
    )
