"""Variants that are trained on images: hyper-parameters that they have besides their method's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from osad.methods.fields import choice, parameter

SCALES = choice(2, "1, or 2 to see images at half their size, too", (1, 2))
"""A field of methods that average their heads over scales."""


@dataclass(frozen=True)
class OnImages:
    """How a backbone is trained, and what of it is kept."""

    rotation: float = parameter(
        180.0,
        "largest angle of training views, degrees",
        "in [0, 180]",
        lambda value: 0 <= value <= 180,
    )
    precision: str = choice(
        "float32", "of the backbone; bfloat16 is mixed precision", ("float32", "bfloat16")
    )
    keep: str = choice(
        "all",
        "what the checkpoint holds; without the backbone (heads) it cannot score new images",
        ("all", "heads"),
    )


def on_images(hyper: type[Any], defaults: Mapping[str, Any]) -> type[Any]:
    """Return a method's class of hyper-parameters for a variant that is trained on images.

    Args:
        hyper: of the method on cached features.
        defaults: what differs: new defaults of its fields, or fields.

    Raises:
        KeyError: a default is of a field that the method has not.
    """
    hints = get_type_hints(hyper)
    own = {field.name: field for field in dataclasses.fields(hyper)}
    changed: list[tuple[str, Any, Any]] = []
    for name, value in defaults.items():
        if isinstance(value, dataclasses.Field):
            value = dataclasses.field(default=value.default, metadata=value.metadata)
        else:
            value = dataclasses.field(default=value, metadata=own[name].metadata)
        changed.append((name, hints.get(name, type(value.default)), value))
    made = dataclasses.make_dataclass(
        f"{hyper.__name__}OnImages", changed, bases=(hyper, OnImages), frozen=True
    )
    made.__module__ = hyper.__module__
    made.__doc__ = f"{(hyper.__doc__ or '').splitlines()[0]} Its backbone is trained, too."
    return made
