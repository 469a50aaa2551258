"""Whether what was read from a file has the types that it should have."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin


def fits(value: object, kind: Any) -> bool:
    """Tell whether a value of JSON is of a type.

    Args:
        value: what was read.
        kind: ``int``, ``str | None``, ``list[str]`` (``tuple[str, ...]`` is the same), ``dict[str,
            int]`` or, for an object with just these keys, types by key. Whole numbers are
            ``float`` too, but true and false are no numbers.

    Example:
        >>> fits({"a": [1]}, {"a": list[float]}), fits([True], list[int]), fits({}, {"a": str})
        (True, False, False)
    """
    if isinstance(kind, Mapping):
        if not isinstance(value, dict) or value.keys() != kind.keys():
            return False
        return all(fits(item, kind[key]) for key, item in value.items())
    outer, inner = get_origin(kind) or kind, get_args(kind)
    if outer is UnionType:
        return any(fits(value, one) for one in inner)
    if outer in (list, tuple):
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if outer is dict:
        return isinstance(value, dict) and all(fits(item, inner[1]) for item in value.values())
    return kind is Any or type(value) is kind or (kind is float and type(value) is int)
