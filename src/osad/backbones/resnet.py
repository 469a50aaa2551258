"""ResNets with torchvision's ImageNet weights (timm's tag ``tv_in1k``), which the papers use.

timm publishes them on the Hugging Face hub, torchvision as ``.pth`` files with the same tensors.
"""

from __future__ import annotations

import functools

from osad.backbones import hub
from osad.backbones.registry import Backbone


def _resnet(name: str, levels: dict[int, int]) -> Backbone:
    """Describe one of torchvision's ResNets."""
    repository = f"timm/{name}.tv_in1k"
    return Backbone(
        name=name,
        architecture=name,
        file=f"{name}.tv_in1k.safetensors",
        sha256="",
        licence="BSD-3-Clause",
        source=f"https://huggingface.co/{repository}",
        image_size=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bilinear",
        levels=levels,
        fetch=functools.partial(hub.fetch, repository=repository),
        read=hub.read,
    )


BACKBONES = (
    _resnet("resnet18", {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}),
    _resnet("wide_resnet50_2", {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048}),
)
