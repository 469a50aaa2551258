"""Files of parameters: read without running or unfolding anything, merged, and checked to be plain.

A file may come from anywhere, so size, nesting and the kinds of values are limited here, before
anything walks through them.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError

MAX_BYTES = 1_000_000
"""Larger files are no parameters."""
MAX_VALUES = 100_000
"""More values only come of references to references (``*name``) inside a file."""
MAX_DEPTH = 50
"""Values inside values; more only in a file that contains itself."""
MAX_TEXT = 10_000
"""Characters of a text; all that a job is told has to fit on its command line."""
PLAIN = (str, int, float, bool, type(None))
"""Types of single values; YAML has more, for example dates."""
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
"""Whole numbers that mean what they look like; to YAML 1.1 010 is 8 and 1:30 is 90."""


def shortened(message: str) -> str:
    """Return a message without its middle if it is long, as one that quotes a whole list.

    Example:
        >>> len(shortened("x" * 5000))
        405
    """
    return message if len(message) <= 400 else f"{message[:200]} ... {message[-200:]}"


def _loader(name: str) -> Any:
    """Return the class that reads the YAML file ``name`` and refuses what it may not have."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            node = super().compose_node(parent, index)
            if isinstance(node, yaml.MappingNode):
                self._check_keys(node)
            elif isinstance(node, yaml.ScalarNode):
                whole = node.tag.endswith(":int") and not WHOLE.fullmatch(node.value)
                if whole or (node.tag.endswith(":float") and ":" in node.value):
                    raise ConfigError(
                        f"{name}, line {node.start_mark.line + 1}: {node.value} is another number "
                        "to YAML; write it in decimal digits, or as a text in quotes"
                    )
            return node

        def _check_keys(self, node: yaml.MappingNode) -> None:
            keys: dict[tuple[str, str], yaml.Node] = {}
            for key, _ in node.value:
                first = keys.setdefault((key.tag, str(key.value)), key)
                if first is not key:
                    raise ConfigError(
                        f"{name}, line {key.start_mark.line + 1}: the key {shortened(key.value)!r} "
                        f"is in line {first.start_mark.line + 1} already; give it once"
                    )

    return Loader


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping of plain values (see `check_plain`).

    Raises:
        ConfigError: it is missing, too large, not YAML or no mapping, a key is there twice, or a
            number or value does not mean what it looks like.
    """
    import yaml

    name = path.name
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{name}: has more than {MAX_BYTES} bytes; is it the right file?")
        content = _loader(name)(raw.decode()).get_single_data()
    except OSError as error:
        raise ConfigError(
            f"{name}: cannot be read ({error.strerror}); run from the project's root"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: is not valid YAML ({shortened(str(error))})") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deeply; correct it") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: is not a mapping of keys to values")
    check_plain(content, name)
    return content


def merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Put ``extra`` over ``base`` as Snakemake does: mappings are merged, the rest replaced."""
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def blame(message: str, files: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return a message on merged parameters with the name of the file that has the value.

    Args:
        message: begins with ``params.yaml`` and, after a comma, the place of the value.
        files: name and content of each file, in the order in which they were merged.

    Example:
        >>> blame("params.yaml, grid.seeds.0: -1", [("own.yaml", {"grid": {"seeds": [-1]}})])
        'own.yaml, grid.seeds.0: -1'
    """
    place = re.match(r"params\.yaml, ([^\s:]+)", message)
    for name, content in reversed(files):
        rest, value = place[1] if place else "", content
        while rest and isinstance(value, Mapping):  # Keys may have dots in them.
            keys = [key for key in value if rest == key or rest.startswith(f"{key}.")]
            if not keys:
                break
            rest, value = rest.removeprefix(keys[0]).removeprefix("."), value[keys[0]]
        if place and (not rest or not isinstance(value, Mapping)):
            return message.replace("params.yaml", name, 1)
    return message


def check_plain(config: Mapping[str, Any], name: str) -> None:
    """Check that a configuration holds nothing but plain values, and not too many of them.

    References inside a file are followed: a file of few lines can stand for more values than any
    memory holds, or contain itself.

    Args:
        config: the values.
        name: where they come from, for messages.

    Raises:
        ConfigError: a key is no text, a value is of a kind that JSON does not have, a text is too
            long or has characters that files cannot hold, or there are too many or too deep values;
            the message names the place.
    """
    waiting: list[tuple[str, int, Any]] = [("", 0, config)]
    count = 0
    while waiting:
        place, depth, value = waiting.pop()
        where = f"{name}, {shortened(place) or 'top level'}"
        count += 1
        if count > MAX_VALUES:
            raise ConfigError(
                f"{name}: stands for more than {MAX_VALUES} values; write out what it refers to by "
                "*name"
            )
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"{where}: is nested more than {MAX_DEPTH} deep; does it contain itself by *name?"
            )
        if isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ConfigError(f"{where}: key {key!r} is no text; put it in quotes")
                _check_text(key, f"{where}: key")
                waiting.append((f"{place}.{key}".lstrip("."), depth + 1, item))
        elif isinstance(value, list):
            waiting += [(f"{place}.{number}", depth + 1, item) for number, item in enumerate(value)]
        elif not isinstance(value, PLAIN):
            raise ConfigError(
                f"{where}: a value of type {type(value).__name__} is not possible; put it in quotes"
            )
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: {value!r} is no number to compute with; correct it")
        elif isinstance(value, str):
            _check_text(value, where)


def _check_text(text: str, where: str) -> None:
    if len(text) > MAX_TEXT:
        raise ConfigError(
            f"{where}: {shortened(text)!r} has more than {MAX_TEXT} characters; shorten it"
        )
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n\r":
            raise ConfigError(
                f"{where}: {shortened(text)!r} has the control character {letter!r}; remove it"
            )
