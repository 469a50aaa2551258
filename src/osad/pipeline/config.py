"""Reading and checking the parameters (`params.yaml` and the files of `configs/`)."""

import dataclasses
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from osad.core.cells import Protocol
from osad.core.config_files import blame, check_plain, merge, read_yaml, shortened
from osad.core.errors import ConfigError
from osad.data import registry as data_registry
from osad.evaluation.figures.request import FigureSpec, expand_figures, parse_figures
from osad.evaluation.tables.request import MEAN, check_no_mean
from osad.methods import registry as method_registry
from osad.methods.registry import MethodSpec, coerce, suggestion
from osad.pipeline.networks import Features

SCHEMA = Path("workflow/schemas/params.schema.yaml")
GRID = ("datasets", "settings", "shots", "seeds", "methods")
"""The lists of the parameter ``grid``."""
Changes = Mapping[str, tuple[Any, Any]]
"""Pairs of a hyper-parameter's value and the one it stands against, by name."""


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
        part: ``K/N`` where this machine makes the K-th of N parts, else empty.
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
    part: str = ""


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
    error = jsonschema.exceptions.best_match(extended(schema).iter_errors(dict(config)))
    if error is None:
        return
    place = [str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        place, text = [*place, shortened(unknown)], "unknown key" + suggestion(unknown, known)
    else:
        place, text = place or ["top level"], shortened(error.message)
        if error.validator == "pattern" and isinstance(error.schema, dict):
            text += f"; it is: {error.schema.get('description', 'a text of that form')}"
    raise ConfigError(f"params.yaml, {'.'.join(place)}: {text}")


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
        raise ConfigError(shortened(blame(str(error), files))) from error


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
        _spec(name, declared, f"methods.{name}").resolve(values)
    most, removed = max(grid["shots"]), config["protocol"]["removed"]
    if most > removed:
        raise ConfigError(
            f"params.yaml, grid.shots: {most} is more than protocol.removed ({removed}); raise "
            "protocol.removed or lower the shots"
        )
    trained = [name for name in hyper if _spec(name, declared).on_images]
    network = Features.from_config(features)
    if trained and network.first.frame.options:
        raise ConfigError(
            f"params.yaml, grid.methods: {trained[0]} is trained on whole images as squares; leave "
            "features.resize and features.tiles out, or leave it out"
        )
    params = Params(
        results=config["results"],
        part=_part(config.get("part", "")),
        **{name: tuple(grid[name]) for name in GRID},
        dataset_settings={name: config["datasets"].get(name) or {} for name in grid["datasets"]},
        removed=removed,
        features=network,
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


def _part(text: str) -> str:
    """Check which of how many parts this is."""
    number, _, count = text.partition("/")
    if text and int(number) > int(count):
        raise ConfigError(f"params.yaml, part: {text} is beyond the last part; count from 1")
    return text


def _check_points(figure: FigureSpec, params: Params) -> None:
    """Check that the methods of a line figure have the values that they are drawn at."""
    for value, method in figure.points if figure.field else ():
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


def _spec(name: str, declared: Mapping[str, MethodSpec], place: str = "grid.methods") -> MethodSpec:
    """Return the description of a method that the configuration names, in some place."""
    if name in declared:
        return declared[name]
    try:
        return method_registry.registered(name)
    except ConfigError as error:
        near = suggestion(name, [*declared])
        text = f"method {name!r} is unknown{near}" if near.startswith("; did") else error
        more = "; a variant is declared below variants" if "." in name else ""
        raise ConfigError(f"params.yaml, {place}: {text}{more}") from error


def _resolve(
    name: str, methods: Mapping[str, Mapping[str, Any]], declared: Mapping[str, MethodSpec]
) -> dict[str, Any]:
    """Return all hyper-parameters of a method; a variant inherits those of its method.

    One that is trained on images does not: its recipe is another.
    """
    spec = _spec(name, declared)
    base = {} if spec.on_images else methods.get(name.split(".")[0], {})
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


def load(root: Path, *overrides: Path, part: str = "") -> Params:
    """Read ``params.yaml`` and further configuration files below ``root``.

    Args:
        root: the project's folder.
        overrides: files that are laid over it, in this order.
        part: ``K/N`` for a part of the grid.

    Raises:
        ConfigError: a file is missing, not YAML, or wrong.
    """
    config: dict[str, Any] = {}
    files = [(path.name, read_yaml(path)) for path in (root / "params.yaml", *overrides)]
    for _, content in files:
        merge(config, content)
    config |= {"part": part} if part else {}
    return parse(config, read_schema(root), files)


def read_schema(root: Path) -> dict[str, Any]:
    """Read the JSON schema of the parameters.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    import jsonschema

    schema = read_yaml(root / SCHEMA)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # Of patterns that hardly are any.
            jsonschema.Draft202012Validator.check_schema(schema)
    except (jsonschema.SchemaError, FutureWarning) as error:
        raise ConfigError(
            f"{SCHEMA}: is no JSON schema ({shortened(getattr(error, 'message', str(error)))}); "
            f"restore it with `git checkout {SCHEMA}`"
        ) from error
    return schema


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
