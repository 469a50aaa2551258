"""Hyper-parameters: default, range and text of each stand in one field of its method's class.

    @dataclass(frozen=True)
    class Mine:
        epochs: int = at_least(1, 50, "passes over the training normals")
        lr: float = positive(1e-3, "learning rate of AdamW")

Texts are plain Markdown. Ranges are checked when a method is built (`MethodSpec.build`), before
anything is computed; tables in the docs and `osad methods --parameters` are made of the fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any


def parameter(default: Any, text: str, limits: str, holds: Callable[[Any], bool]) -> Any:
    """Return a field with a default, a text, and a range that no other helper has.

    Args:
        default: its value where nobody says otherwise.
        text: what it is.
        limits: the range, which completes "must be ...".
        holds: whether a value lies in the range.
    """
    metadata = {"text": text, "limits": limits, "holds": holds}
    return dataclasses.field(default=default, metadata=metadata)


def at_least(least: int, default: int, text: str) -> Any:
    """Return a field whose value is ``least`` or more."""
    return parameter(default, text, f"{least} or more", lambda value: value >= least)


def positive(default: float, text: str) -> Any:
    """Return a field whose value is more than 0."""
    return parameter(default, text, "more than 0", lambda value: value > 0)


def not_negative(default: float, text: str) -> Any:
    """Return a field whose value is 0 or more."""
    return parameter(default, text, "0 or more", lambda value: value >= 0)


def share(default: float, text: str) -> Any:
    """Return a field whose value is a share that is not empty."""
    return parameter(default, text, "in (0, 1]", lambda value: 0 < value <= 1)


def probability(default: float, text: str) -> Any:
    """Return a field whose value is a probability."""
    return parameter(default, text, "in [0, 1]", lambda value: 0 <= value <= 1)


def decay(default: float, text: str) -> Any:
    """Return a field whose value is the decay of a moving average, which 1 would stop."""
    return parameter(default, text, "in [0, 1)", lambda value: 0 <= value < 1)


def real(default: float, text: str) -> Any:
    """Return a field whose value is any finite number."""
    return parameter(default, text, "finite", lambda value: abs(value) < float("inf"))


def flag(default: bool, text: str) -> Any:
    """Return a field that is true or false."""
    return parameter(default, text, "true or false", lambda value: isinstance(value, bool))


def choice(default: Any, text: str, options: Sequence[Any]) -> Any:
    """Return a field whose value is one of some options."""
    names = ", ".join(map(str, options))
    return parameter(default, text, f"one of {names}", lambda value: value in options)


def stride_list(default: tuple[int, ...], text: str) -> Any:
    """Return a field with the strides of cached maps."""
    return parameter(default, text, "one or more strides", lambda value: len(value) > 0)


def check_ranges(hyper: Any) -> None:
    """Check the values of an object whose class has such fields.

    Raises:
        ValueError: the first one that is out of its range, with the value and the range.
    """
    for field in dataclasses.fields(hyper):
        value, meta = getattr(hyper, field.name), field.metadata
        if "holds" in meta and not meta["holds"](value):
            raise ValueError(f"{field.name} is {value!r}, must be {meta['limits']}")


COLUMNS = ("name", "default", "range", "text")


def table(hyper: type[Any], values: Mapping[str, Any]) -> list[list[str]]:
    """Return name, value, range and text of the hyper-parameters of a class, as printed.

    Args:
        hyper: the class.
        values: by name, the defaults of a variant.
    """
    return [
        [
            field.name,
            _printed(values[field.name]),
            field.metadata.get("limits", ""),
            field.metadata.get("text", ""),
        ]
        for field in dataclasses.fields(hyper)
    ]


def _printed(value: Any) -> str:
    """Return a value as YAML takes it: ``true``, ``[16, 32]``, ``0.00001``, ``""``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # YAML takes 1e-05 for a text.
        return format(Decimal(repr(value)), "f")
    return str(list(value)) if isinstance(value, tuple) else str(value) or '""'
