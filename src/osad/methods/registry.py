"""The methods of the benchmark, by name.

A method is one file in `osad.methods`, named like the method: a frozen dataclass of
hyper-parameters (see `osad.methods.fields`) with ``fit`` and ``score``, described by the decorator
`method`. Variants are the same class with other hyper-parameters and a name with a dot
(``dpdl.no_dfl``). A configuration may declare further ones (``variants`` in
`osad.pipeline.config`); `registered` knows only those of the files.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_type_hints

from osad.core.cells import METHOD_PATTERN
from osad.core.errors import ConfigError
from osad.features.kinds import PACKS, TEST_PACKS
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.methods.fields import check_ranges
from osad.methods.images import on_images

SETTINGS = ("general", "hard", "normal")
HELPERS = {"check", "checks", "fields", "images", "inputs", "registry", "trial"}
"""Modules of this package that are no methods."""
FILES = dict.fromkeys(("true_labels", "random", "constant"), "controls")
"""Files of methods that are not named like them."""


class Method(Protocol):
    """What every method does; its fields are its hyper-parameters."""

    def fit(self, data: TrainingData) -> State:
        """Learn from training images; draws are keyed on ``data.key``."""
        ...

    def score(self, state: State, images: ImageSet) -> Scores:
        """Score images; the order of the images must not matter."""
        ...


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """What is known about a method without running it.

    Attributes:
        name: id, with the variant after a dot.
        title: name as printed in tables, and by the papers whose numbers stand beside ours.
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
        on_images: it reads images and trains a backbone, or takes that of its base.
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
    full_budget: Mapping[str, Any]
    on_images: bool = False
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
        resolved = {field.name: field.default for field in dataclasses.fields(self.hyper)}
        hints = get_type_hints(self.hyper)
        values = values or {}
        for key, value in values.items():
            place = f"params.yaml, methods.{self.name}.{key}"
            if key not in resolved:
                raise ConfigError(
                    f"{place}: unknown hyper-parameter{suggestion(key, list(resolved))}"
                )
            if self.overrides.get(key, value) != value:
                raise ConfigError(
                    f"{place}: the variant fixes it to {self.overrides[key]!r}; leave it out"
                )
            resolved[key] = coerce(value, hints[key], place)
        missing = [] if self.known else sorted(resolved.keys() - values.keys())
        if missing:
            raise ConfigError(
                f"method {self.name!r} is no registered variant, so all of its hyper-parameters "
                f"must be given; {', '.join(missing)} missing"
            )
        return resolved | {**self.overrides}

    def build(self, values: Mapping[str, Any]) -> Method:
        """Return the method with fully resolved hyper-parameters (see `resolve`).

        Raises:
            ConfigError: a value is outside its range.
        """
        try:
            built: Method = self.hyper(**values)
            check_ranges(built)
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


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" or the list of what is known."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def method(
    *,
    title: str | Mapping[str, str],
    paper: str,
    packs: tuple[str, ...],
    name: str = "",
    settings: tuple[str, ...] = (),
    heads: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
    maps: bool = False,
    normal_only: bool = False,
    base: str | Mapping[str, str] = "",
    control: bool = False,
    sees_test_labels: bool = False,
    full_budget: Mapping[str, Any] | None = None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    images: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Class], Class]:
    """Register a frozen dataclass as the method named like its file (see `MethodSpec`).

    ``title``, ``heads`` and ``base`` are one for all, or map variants (the empty one is the method
    itself) to their own; a variant without a title has the method's, with its name in brackets.
    ``settings`` are general and hard, for controls and ``normal_only`` methods all.
    ``full_budget`` holds the values of a run that is not cut short, for example
    ``{"epochs": 50}``; the tables name every method that ran with others. ``name`` is given where
    methods share a file (see `FILES`). ``images`` has the variants that are trained on images, with
    the defaults that differ there (see `osad.methods.images.on_images`).
    """
    settings = settings or (SETTINGS if normal_only or control else SETTINGS[:2])
    titles = {"": title} if isinstance(title, str) else title

    def register(hyper: Class) -> Class:
        id_, where = name or hyper.__module__.split(".")[2], hyper.__module__
        fields = [field.name for field in dataclasses.fields(hyper)]
        known = _specs.get(id_, {}).get(id_)
        if known is not None and known.hyper.__qualname__ != hyper.__qualname__:
            raise ConfigError(f"{where}: holds two methods; use one file each")
        for kind, used, there in (
            ("pack", packs, PACKS),
            ("setting", settings, SETTINGS),
            ("hyper-parameter in full_budget", full_budget or {}, fields),
        ):
            for unknown in sorted({*used} - {*there}):
                raise ConfigError(
                    f"{where}: unknown {kind} {unknown!r}{suggestion(unknown, there)}"
                )
        if normal_only and tuple(settings) != SETTINGS:
            raise ConfigError(f"{where}: a normal_only method supports every setting")
        if sees_test_labels and not control:
            raise ConfigError(f"{where}: only a control may see test labels")
        _specs[id_] = {
            full: MethodSpec(
                name=full,
                title=titles.get(variant) or _variant_title(titles[""], variant),
                paper=paper,
                packs=packs,
                settings=settings,
                heads=heads[variant] if isinstance(heads, Mapping) else heads,
                maps=maps,
                normal_only=normal_only,
                base=base[variant] if isinstance(base, Mapping) else base,
                control=control,
                sees_test_labels=sees_test_labels,
                hyper=hyper,
                overrides=dict(overrides),
                full_budget=dict(full_budget or {}),
            )
            for variant, overrides in {"": {}, **(variants or {})}.items()
            for full in [f"{id_}.{variant}" if variant else id_]
        }
        for variant, defaults in (images or {}).items():
            full, own = f"{id_}.{variant}", on_images(hyper, defaults)
            budget = {"epochs": own.epochs} if "epochs" in fields else {}
            _specs[id_][full] = dataclasses.replace(
                _specs[id_][id_],
                name=full,
                title=titles.get(variant) or _variant_title(titles[""], variant),
                packs=("images",),
                heads=heads[variant] if isinstance(heads, Mapping) else heads,
                base=base[variant] if isinstance(base, Mapping) else base,
                hyper=own,
                full_budget=budget,
                on_images=True,
            )
        return hyper

    return register


@functools.cache
def modules() -> tuple[str, ...]:
    """Return the names of the methods, sorted."""
    package = importlib.import_module("osad.methods")
    files = {info.name for info in pkgutil.iter_modules(package.__path__)}
    return tuple(sorted({*files, *FILES} - {*HELPERS, *FILES.values()}))


def module(name: str) -> str:
    """Return the module that registers a method or variant."""
    base = name.split(".")[0]
    return f"osad.methods.{FILES.get(base, base)}"


def _group(name: str) -> dict[str, MethodSpec]:
    """Return a method and its registered variants by name; only its own file is imported."""
    base = name.split(".")[0]
    if base not in _specs:
        if base not in modules():
            raise ConfigError(f"method {name!r} is unknown{suggestion(base, modules())}")
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
        raise ConfigError(f"method {name!r} is unknown{suggestion(name, group)}")
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
    if name not in _group(name) and METHOD_PATTERN.fullmatch(name):
        return declared(name, {}, known=False)
    return registered(name)


def declared(name: str, overrides: Mapping[str, Any], *, known: bool = True) -> MethodSpec:
    """Return the description of a variant that no file registers (see `get`)."""
    base, _, variant = name.partition(".")
    spec = _group(name)[base]
    title = _variant_title(spec.title, variant)
    return dataclasses.replace(spec, name=name, title=title, overrides=dict(overrides), known=known)


def _variant_title(title: str, variant: str) -> str:
    return f"{title} ({variant.replace('_', ' ')})"


def all_specs() -> list[MethodSpec]:
    """Return every registered method and variant, sorted by name."""
    specs = [spec for name in modules() for spec in variants(name)]
    return sorted(specs, key=lambda spec: spec.name)
