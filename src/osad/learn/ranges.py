"""Ranges of hyper-parameters, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def check_ranges(
    hyper: Any,
    *,
    counts: Sequence[str] = (),
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    probabilities: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Check hyper-parameters by name.

    Args:
        hyper: object with the hyper-parameters as attributes.
        counts: must be 1 or more.
        positive: must be more than 0.
        not_negative: must be 0 or more.
        probabilities: must lie in [0, 1].
        shares: must lie in (0, 1].

    Raises:
        ValueError: the first one that is out of its range, with the value and the range.

    Example:
        >>> from types import SimpleNamespace
        >>> check_ranges(SimpleNamespace(epochs=0), counts=["epochs"])
        Traceback (most recent call last):
        ...
        ValueError: epochs is 0, must be 1 or more
    """
    rules: tuple[tuple[Sequence[str], Callable[[float], bool], str], ...] = (
        (counts, lambda value: value >= 1, "be 1 or more"),
        (positive, lambda value: value > 0, "be more than 0"),
        (not_negative, lambda value: value >= 0, "be 0 or more"),
        (probabilities, lambda value: 0 <= value <= 1, "lie in [0, 1]"),
        (shares, lambda value: 0 < value <= 1, "lie in (0, 1]"),
    )
    for names, holds, text in rules:
        for name in names:
            value = getattr(hyper, name)
            if not holds(value):
                raise ValueError(f"{name} is {value}, must {text}")
