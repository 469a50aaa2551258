"""Reading and checking the parameters (`params.yaml` and the files of `configs/`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osad.cells import Protocol
from osad.data import registry as data_registry
from osad.errors import ConfigError
from osad.methods import registry as method_registry
from osad.methods.registry import suggestion

SCHEMA = Path("workflow/schemas/params.schema.yaml")


@dataclass(frozen=True)
class Features:
    """What is cached of every image.

    Attributes:
        backbone: name of the frozen network.
        image_size: side of its square input, pixels.
        strides: strides of the cached maps, ascending.
        views: training views per image.
        rotation: largest angle of the rotated views, degrees.
        weights_file: local file of the weights, or None.
    """

    backbone: str
    image_size: int
    strides: tuple[int, ...]
    views: int
    rotation: float
    weights_file: str | None


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


def check_schema(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check a configuration against the JSON schema.

    Raises:
        ConfigError: the first violation, with its place, the value and what is allowed.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(dict(config)))
    if error is None:
        return
    place = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        raise ConfigError(
            f"params.yaml, {place}: unknown key {unknown!r}" + suggestion(str(unknown), known)
        )
    raise ConfigError(f"params.yaml, {place}: {error.message}")


def parse(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Params:
    """Check a configuration and return it with every default filled in.

    Args:
        config: the merged content of the configuration files.
        schema: the JSON schema (see `SCHEMA`).

    Raises:
        ConfigError: an unknown key or name, or a value out of range.
    """
    check_schema(config, schema)
    grid, features = config["grid"], config["features"]
    for name in grid["datasets"]:
        data_registry.get(name, config["datasets"].get(name))
    hyper = {}
    for name in grid["methods"]:
        spec = method_registry.get(name)
        base = config["methods"].get(name.split(".")[0], {})
        inherited = {key: value for key, value in base.items() if key not in spec.overrides}
        resolved = spec.resolve({**inherited, **config["methods"].get(name, {})})
        spec.build(resolved)
        for stride in resolved.get("strides", ()):
            if stride not in features["strides"]:
                raise ConfigError(
                    f"params.yaml, methods.{name}.strides: stride {stride} is not cached; "
                    "add it to features.strides or choose another"
                )
        hyper[name] = resolved
    for name, values in config["methods"].items():
        method_registry.get(name).resolve(values)
    too_many = [shots for shots in grid["shots"] if shots > config["protocol"]["removed"]]
    if too_many:
        raise ConfigError(
            f"params.yaml, grid.shots: {too_many[0]} is more than protocol.removed "
            f"({config['protocol']['removed']}); raise protocol.removed or lower the shots"
        )
    _check_features(features)
    return Params(
        results=config["results"],
        datasets=tuple(grid["datasets"]),
        dataset_settings={name: config["datasets"].get(name) or {} for name in grid["datasets"]},
        settings=tuple(grid["settings"]),
        shots=tuple(grid["shots"]),
        seeds=tuple(grid["seeds"]),
        methods=tuple(grid["methods"]),
        removed=config["protocol"]["removed"],
        features=Features(
            backbone=features["backbone"],
            image_size=features["image_size"],
            strides=tuple(features["strides"]),
            views=features["views"],
            rotation=float(features["rotation"]),
            weights_file=features["weights_file"],
        ),
        hyper=hyper,
    )


def _check_features(features: Mapping[str, Any]) -> None:
    """Check that the backbone exists and has the strides.

    Raises:
        ConfigError: it does not or has not.
    """
    from osad.backbones import get_backbone

    get_backbone(features["backbone"]).channels(features["strides"])


def load(root: Path, *overrides: Path) -> Params:
    """Read ``params.yaml`` and further configuration files below ``root``.

    Raises:
        ConfigError: a file is missing, not YAML, or wrong.
    """
    config = _read_yaml(root / "params.yaml")
    for path in overrides:
        _merge(config, _read_yaml(path))
    return parse(config, read_schema(root))


def read_schema(root: Path) -> dict[str, Any]:
    """Read the JSON schema of the parameters."""
    return _read_yaml(root / SCHEMA)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path.name}: cannot be read ({error.strerror}); run from the project's root"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: is not valid YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: is not a mapping of keys to values")
    return content


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Put ``extra`` over ``base`` as Snakemake does: mappings are merged, the rest replaced."""
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def protocols(params: Params, dataset: str, category: str) -> list[Protocol]:
    """Return the protocols of the grid for one category, general first, more shots first.

    Data sets with fewer than two defect classes have no hard setting.
    """
    spec = data_registry.get(dataset, params.dataset_settings.get(dataset))
    shots = sorted(params.shots, reverse=True)
    found = []
    if "general" in params.settings:
        found += [Protocol("general", count) for count in shots]
    if "hard" in params.settings and not spec.single_class(category):
        found += [
            Protocol("hard", count, known)
            for known in spec.known_classes(category)
            for count in shots
        ]
    if "normal" in params.settings:
        found.append(Protocol("normal", 0))
    return found
