"""Reading and checking the parameters (`params.yaml` and the files of `configs/`)."""

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from osad.backbones import get_backbone
from osad.core.cells import Protocol
from osad.core.config_files import blame, check_plain, merge, read_yaml, shortened
from osad.core.errors import ConfigError
from osad.data import registry as data_registry
from osad.evaluation.figures.request import FigureSpec, expand_figures, parse_figures
from osad.evaluation.tables.request import MEAN, check_no_mean
from osad.features.kinds import KINDS
from osad.methods import registry as method_registry
from osad.methods.registry import MethodSpec, coerce, suggestion

SCHEMA = Path("workflow/schemas/params.schema.yaml")
GRID = ("datasets", "settings", "shots", "seeds", "methods")
"""The lists of the parameter ``grid``."""
Changes = Mapping[str, tuple[Any, Any]]
"""Pairs of a hyper-parameter's value and the one it stands against, by name."""


@dataclass(frozen=True)
class Network:
    """A frozen network at one size of its input.

    Attributes:
        backbone: its name.
        image_size: side of its square input, pixels.
        weights_file: local file of the weights, or None.
    """

    backbone: str
    image_size: int
    weights_file: str | None = None

    def __str__(self) -> str:
        """Return what tells the networks of a grid apart, the folder of their features."""
        return f"{self.backbone}-{self.image_size}"

    @property
    def weights(self) -> str:
        """Path of the weights file."""
        return f"data/weights/{get_backbone(self.backbone).file}"


@dataclass(frozen=True)
class Features:
    """What is cached of every image.

    Attributes:
        networks: the first serves all methods, all of them those that read ``pooled``.
        strides: strides of the first network's cached maps, ascending.
        views: training views per image.
        rotation: largest angle of the rotated views, degrees.
    """

    networks: tuple[Network, ...]
    strides: tuple[int, ...]
    views: int
    rotation: float

    @property
    def named(self) -> dict[str, Network]:
        """The networks by their names, in their order."""
        return {str(network): network for network in self.networks}

    @property
    def first(self) -> Network:
        """The network whose maps methods read."""
        return self.networks[0]

    @classmethod
    def from_config(cls, features: Mapping[str, Any]) -> "Features":
        """Convert the parameter ``features``.

        Raises:
            ConfigError: a network is unknown, is there twice, has no such stride or takes no such
                images; two files are given for the weights of one.
        """
        names = [field.name for field in dataclasses.fields(Network)]
        first = Network(**{name: features[name] for name in names})
        further = [Network(**values) for values in features.get("further", ())]
        strides = tuple(features["strides"])
        _check_network(first, strides)
        for number, network in enumerate(further):
            _check_network(network, where=f"features.further.{number}")
            for other in (first, *further[:number]):
                if network.weights != other.weights:
                    continue
                if network.image_size == other.image_size:
                    raise ConfigError(
                        f"params.yaml, features.further.{number}: {network} is there already, as "
                        f"{other}; remove it or give another image_size"
                    )
                if network.weights_file != other.weights_file:
                    raise ConfigError(
                        f"params.yaml, features.further.{number}.weights_file: is "
                        f"{network.weights_file}, that of {other} is {other.weights_file}; both "
                        f"are {network.weights}, give the same"
                    )
        return cls((first, *further), strides, features["views"], float(features["rotation"]))


def _check_network(
    network: Network, strides: tuple[int, ...] = (), where: str = "features"
) -> None:
    """Check that a network has strides, without any those that are pooled, at its image size."""
    try:
        backbone = get_backbone(network.backbone)
        kept = KINDS["plain" if strides else "pooled"].strides(strides, backbone.levels)
        backbone.channels(kept)
        backbone.check_size(network.image_size, kept)
    except ConfigError as error:
        fault = str(error).removeprefix("features.")
        raise ConfigError(f"params.yaml, {where}.{fault}") from error


@dataclass(frozen=True)
class Params:
    """All parameters of a run, checked.

    Attributes:
        results: folder of everything the pipeline makes.
        datasets: ids of the grid's data sets.
        dataset_settings: settings by data set.
        settings: settings of the grid.
        shots: numbers of seen anomalies of the settings general and hard.
        seeds: numbers of the runs.
        methods: ids of the grid's methods, in the tables' order.
        removed: anomalies taken out of the general test set.
        features: what is cached of every image.
        hyper: resolved hyper-parameters by method.
        changes: by method, its hyper-parameters that differ from those of the method that it is a
            variant of, with both values: ``{"prototypes": (8, 32)}``.
        cuts: by method, its hyper-parameters below a full budget, with the full values.
        figures: figures to draw of the grid.
    """

    results: str
    datasets: tuple[str, ...]
    dataset_settings: Mapping[str, Mapping[str, Any]]
    settings: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    removed: int
    features: Features
    hyper: Mapping[str, Mapping[str, Any]]
    changes: Mapping[str, Changes]
    cuts: Mapping[str, Changes]
    figures: tuple[FigureSpec, ...]


def check_schema(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check a configuration against the JSON schema.

    Raises:
        ConfigError: the first violation, with its place, the value and what is allowed.
    """
    import jsonschema

    draft = jsonschema.Draft202012Validator
    # To JSON 10.0 is a whole number; here it would become part of names.
    types = draft.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extended = jsonschema.validators.extend(draft, type_checker=types)  # type: ignore[no-untyped-call]
    validator = extended(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(dict(config)))
    if error is None:
        return
    place = [str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        raise ConfigError(
            f"params.yaml, {'.'.join([*place, unknown])}: unknown key" + suggestion(unknown, known)
        )
    raise ConfigError(f"params.yaml, {'.'.join(place) or 'top level'}: {shortened(error.message)}")


def parse(
    config: Mapping[str, Any],
    schema: Mapping[str, Any],
    files: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> Params:
    """Check a configuration and return it with every default filled in.

    Args:
        config: the merged values.
        schema: of `read_schema`.
        files: name and content of the files that were merged, in this order, for messages.

    Raises:
        ConfigError: an unknown key or name, or a value out of range.
    """
    try:
        return _parse(config, schema)
    except ConfigError as error:
        raise ConfigError(blame(str(error), files)) from error


def _parse(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Params:
    check_plain(config, "params.yaml")
    check_schema(config, schema)
    grid, features = config["grid"], config["features"]
    for name in grid["datasets"]:
        try:
            data_registry.get(name, config["datasets"].get(name))
        except ConfigError as error:
            where = f"datasets.{name}" if name in config["datasets"] else "grid.datasets"
            raise ConfigError(f"params.yaml, {where}: {error}") from error
    variants = config.get("variants", {})
    declared = {name: _declared(name, values) for name, values in variants.items()}
    hyper = {name: _resolve(name, config["methods"], declared) for name in grid["methods"]}
    for name in declared.keys() - hyper.keys():
        _resolve(name, config["methods"], declared)
    for name, resolved in hyper.items():
        base = _spec(name, declared).base
        if base and base not in hyper:
            raise ConfigError(
                f"params.yaml, grid.methods: {name} starts from the checkpoints of {base}, which "
                f"is not there; add {base} or leave {name} out"
            )
        for stride in resolved.get("strides", ()):
            if stride not in features["strides"]:
                raise ConfigError(
                    f"params.yaml, methods.{name}.strides: stride {stride} is not cached; "
                    "add it to features.strides or choose another"
                )
    for name, values in config["methods"].items():
        _spec(name, declared).resolve(values)
    too_many = [shots for shots in grid["shots"] if shots > config["protocol"]["removed"]]
    if too_many:
        raise ConfigError(
            f"params.yaml, grid.shots: {too_many[0]} is more than protocol.removed "
            f"({config['protocol']['removed']}); raise protocol.removed or lower the shots"
        )
    params = Params(
        results=config["results"],
        **{name: tuple(grid[name]) for name in GRID},
        dataset_settings={name: config["datasets"].get(name) or {} for name in grid["datasets"]},
        removed=config["protocol"]["removed"],
        features=Features.from_config(features),
        hyper=hyper,
        changes={
            name: _changes(hyper[name], _resolve(name.split(".")[0], config["methods"], {}))
            for name in grid["methods"]
            if "." in name
        },
        cuts={name: _cuts(hyper[name], _spec(name, declared)) for name in grid["methods"]},
        figures=(),
    )
    specs = {name: _spec(name, declared) for name in params.methods}
    names = _protocol_names(params, {one for spec in specs.values() for one in spec.settings})
    competing = [name for name, spec in specs.items() if not spec.control]
    figures = parse_figures(
        expand_figures(config.get("figures", []), competing=competing, protocols=names),
        where="params.yaml, figures",
        methods=params.methods,
        protocols=names,
    )
    for figure in figures:
        _check_points(figure, params)
    return dataclasses.replace(params, figures=figures)


def _check_points(figure: FigureSpec, params: Params) -> None:
    """Check that the methods of a line figure have the values that they are drawn at."""
    if not figure.field:
        return
    for value, method in figure.points:
        place = f"params.yaml, figures, {figure.name}"
        hyper = params.hyper[method]
        if figure.field not in hyper:
            raise ConfigError(
                f"{place}.parameter.field: {method} has no hyper-parameter {figure.field!r}"
                + suggestion(figure.field, hyper)
            )
        if hyper[figure.field] != value:
            raise ConfigError(
                f"{place}.points: {method} has {figure.field} {hyper[figure.field]!r}, "
                f"not {value:g}; correct one of them"
            )


def _declared(name: str, values: Mapping[str, Any]) -> MethodSpec:
    """Return the description of a variant that the configuration declares."""
    place = f"params.yaml, variants.{name}"
    try:
        base = method_registry.registered(name.split(".")[0])
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    if any(spec.name == name for spec in method_registry.variants(base.name)):
        raise ConfigError(f"{place}: the method's file has a variant of this name; choose another")
    hints = get_type_hints(base.hyper)
    fields = [field.name for field in dataclasses.fields(base.hyper)]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{place}.{key}: unknown hyper-parameter" + suggestion(key, fields))
    overrides = {key: coerce(value, hints[key], f"{place}.{key}") for key, value in values.items()}
    return method_registry.declared(name, overrides)


def _spec(name: str, declared: Mapping[str, MethodSpec]) -> MethodSpec:
    """Return the description of a method that the configuration names."""
    if name in declared:
        return declared[name]
    try:
        return method_registry.registered(name)
    except ConfigError as error:
        near = suggestion(name, [*declared])
        text = f"method {name!r} is unknown{near}" if near.startswith("; did") else error
        raise ConfigError(f"params.yaml, grid.methods: {text}") from error


def _resolve(
    name: str, methods: Mapping[str, Mapping[str, Any]], declared: Mapping[str, MethodSpec]
) -> dict[str, Any]:
    """Return all hyper-parameters of a method; a variant inherits those of its method."""
    spec = _spec(name, declared)
    base = methods.get(name.split(".")[0], {})
    inherited = {key: value for key, value in base.items() if key not in spec.overrides}
    resolved = spec.resolve({**inherited, **methods.get(name, {})})
    spec.build(resolved)
    return resolved


def _changes(values: Mapping[str, Any], others: Mapping[str, Any]) -> Changes:
    """Return the pairs of values that differ, for the names of ``others``."""
    return {name: (values[name], other) for name, other in others.items() if values[name] != other}


def _cuts(values: Mapping[str, Any], spec: MethodSpec) -> Changes:
    """Return the pairs of values below those of a full budget, but not what makes the variant."""
    pairs = _changes(values, spec.full_budget)
    return {n: pair for n, pair in pairs.items() if pair[0] < pair[1] and n not in spec.overrides}


def _protocol_names(params: Params, settings: Collection[str]) -> set[str]:
    """Return the names of all protocols of the grid, and of the means over known classes.

    Raises:
        ConfigError: none has one of the ``settings`` of the methods, or a class is called as the
            tables' averages.
    """
    found = set()
    for dataset in params.datasets:
        for category in data_registry.get(dataset, params.dataset_settings[dataset]).categories:
            for protocol in protocols(params, dataset, category):
                check_no_mean(category, protocol, where=f"params.yaml, datasets.{dataset}")
                found.add(protocol)
    possible = {protocol.setting for protocol in found}
    if not possible & {*settings}:
        raise ConfigError(
            f"params.yaml, grid.settings: {', '.join(params.settings)} give no cell: the data sets "
            f"are for {', '.join(sorted(possible)) or 'none of them'} (hard needs two or more "
            f"defect_classes), the methods for {', '.join(sorted({*settings}))}; add a setting"
        )
    means = {Protocol("hard", p.shots, MEAN) for p in found if p.setting == "hard"}
    return {str(protocol) for protocol in found | means}


def load(root: Path, *overrides: Path) -> Params:
    """Read ``params.yaml`` and further configuration files below ``root``.

    Raises:
        ConfigError: a file is missing, not YAML, or wrong.
    """
    config: dict[str, Any] = {}
    files = [(path.name, read_yaml(path)) for path in (root / "params.yaml", *overrides)]
    for _, content in files:
        merge(config, copy.deepcopy(content))
    return parse(config, read_schema(root), files)


def read_schema(root: Path) -> dict[str, Any]:
    """Read the JSON schema of the parameters."""
    return read_yaml(root / SCHEMA)


def protocols(params: Params, dataset: str, category: str) -> list[Protocol]:
    """Return the protocols of the grid for one category, general first, more shots first.

    Data sets with fewer than two defect classes have no hard setting, and some data sets are not
    used in every setting.
    """
    spec = data_registry.get(dataset, params.dataset_settings.get(dataset))
    settings = [setting for setting in params.settings if setting in spec.protocols]
    shots = sorted(params.shots, reverse=True)
    found = [Protocol("general", count) for count in shots if "general" in settings]
    if "hard" in settings and not spec.single_class(category):
        known_classes = spec.known_classes(category)
        found += [Protocol("hard", count, known) for known in known_classes for count in shots]
    if "normal" in settings:
        found.append(Protocol("normal", 0))
    return found
