"""Frozen ImageNet backbones: where their weights come from and how their maps are computed."""

from __future__ import annotations

from osad.backbones.efficientnet_lite import EFFICIENTNET_LITE0
from osad.backbones.registry import Backbone
from osad.backbones.resnet import RESNET18, WIDE_RESNET50_2
from osad.core.errors import ConfigError

BACKBONES = {
    backbone.name: backbone for backbone in (EFFICIENTNET_LITE0, RESNET18, WIDE_RESNET50_2)
}

__all__ = ["BACKBONES", "Backbone", "get_backbone"]


def get_backbone(name: str) -> Backbone:
    """Return the backbone of that name.

    Raises:
        ConfigError: there is none.

    Example:
        >>> get_backbone("resnet18").levels[32]
        512
    """
    try:
        return BACKBONES[name]
    except KeyError:
        known = ", ".join(BACKBONES)
        raise ConfigError(f"features.backbone: {name!r} is unknown; choose from {known}") from None
