"""Files of parameters: read without running or unfolding anything, merged, and checked to be plain.

A file may come from anywhere, so size, nesting and the kinds of values are limited here, before
anything walks through them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError

MAX_BYTES = 1_000_000
"""Larger files are no parameters."""
MAX_VALUES = 100_000
"""More values only come of references to references (``*name``) inside a file."""
MAX_DEPTH = 50
"""Values inside values; more only in a file that contains itself."""
PLAIN = (str, int, float, bool, type(None))
"""Types of single values; YAML has more, for example dates."""


def shortened(message: str) -> str:
    """Return a message without its middle if it is long, as one that quotes a whole list.

    Example:
        >>> len(shortened("x" * 5000))
        405
    """
    return message if len(message) <= 400 else f"{message[:200]} ... {message[-200:]}"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: it is missing, too large, not YAML or no mapping.
    """
    import yaml

    name = path.name
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{name}: has more than {MAX_BYTES} bytes; is it the right file?")
        content = yaml.safe_load(raw.decode())
    except OSError as error:
        raise ConfigError(
            f"{name}: cannot be read ({error.strerror}); run from the project's root"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: is not valid YAML ({error})") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deeply; correct it") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: is not a mapping of keys to values")
    return content


def merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Put ``extra`` over ``base`` as Snakemake does: mappings are merged, the rest replaced."""
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def check_plain(config: Mapping[str, Any]) -> None:
    """Check that a configuration holds nothing but plain values, and not too many of them.

    References inside a file are followed: a file of few lines can stand for more values than any
    memory holds, or contain itself.

    Raises:
        ConfigError: a key is no text, a value is of a kind that JSON does not have, or there are
            too many or too deep ones; the message names the place.
    """
    waiting: list[tuple[str, int, Any]] = [("", 0, config)]
    count = 0
    while waiting:
        place, depth, value = waiting.pop()
        where = f"params.yaml, {place or 'top level'}"
        count += 1
        if count > MAX_VALUES:
            raise ConfigError(
                f"params.yaml: stands for more than {MAX_VALUES} values; write out what it refers "
                "to by *name"
            )
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"params.yaml, {shortened(place)}: is nested more than {MAX_DEPTH} deep; does it "
                "contain itself by *name?"
            )
        if isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ConfigError(f"{where}: key {key!r} is no text; put it in quotes")
                waiting.append((f"{place}.{key}".lstrip("."), depth + 1, item))
        elif isinstance(value, list):
            waiting += [(f"{place}.{number}", depth + 1, item) for number, item in enumerate(value)]
        elif not isinstance(value, PLAIN):
            raise ConfigError(
                f"{where}: a value of type {type(value).__name__} is not possible; put it in quotes"
            )
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: {value!r} is no number to compute with; correct it")
