"""Frozen ImageNet backbones: where their weights come from and how their maps are computed.

To add a backbone, add one module to this package that lists it in ``BACKBONES`` (a tuple of
`osad.backbones.registry.Backbone`), and its line in ``docs/features.md``. Names that none lists
are those of timm's models (`osad.backbones.timm_models`).
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from osad.core.errors import ConfigError

if TYPE_CHECKING:
    from osad.backbones.registry import Backbone

TIMM = f"{__name__}.timm_models"


@functools.cache
def backbones() -> dict[str, tuple[str, Backbone]]:
    """Return the module and the description of every backbone, by its name.

    Raises:
        ConfigError: two have the same name.
    """
    listed: dict[str, tuple[str, Backbone]] = {}
    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        for backbone in getattr(importlib.import_module(info.name), "BACKBONES", ()):
            if backbone.name in listed:
                raise ConfigError(f"{info.name}: backbone {backbone.name!r} is there already")
            listed[backbone.name] = (info.name, backbone)
    return listed


def module(name: str) -> str:
    """Return the module that describes a backbone; errors as `get_backbone`."""
    return _find(name)[0]


def get_backbone(name: str) -> Backbone:
    """Return the backbone of that name, one listed here or a model of timm.

    Raises:
        ConfigError: there is none, or timm's model gives no maps.

    Example:
        >>> get_backbone("resnet18").levels[32]
        512
    """
    return _find(name)[1]


def _find(name: str) -> tuple[str, Backbone]:
    if name in backbones():
        return backbones()[name]
    # Imported by its name: an edit there then reruns nothing of the listed ones.
    return TIMM, importlib.import_module(TIMM).describe(name, tuple(backbones()))
