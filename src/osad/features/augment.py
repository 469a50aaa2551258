"""Random views of images in training, made on the data's device by torchvision's transforms.

They are the views of `osad.features.views`, drawn anew for every step instead of cached: the
numbers drawn are the same functions of a generator, the operations torchvision's instead of
Pillow's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from osad.core.lazy import lazy
from osad.core.seeds import numpy_generator
from osad.features.defects import cutmix_places
from osad.features.operations import JITTER, jitter_amounts

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

transforms: Any = lazy("torchvision.transforms.v2")
functional: Any = lazy("torchvision.transforms.v2.functional")

ENDLESS = 2**31
"""Number of views of an image: each draw is a new one."""


def augmented(
    image: torch.Tensor, path: str, kind: str, view: int, *, rotation: float
) -> torch.Tensor:
    """Return a view of an image (3, S, S) uint8: CutMix for ``pseudo``, then a rotation.

    Args:
        image: the image.
        path: its path in the manifest, which with the kind and the view keys all draws.
        kind: ``rotated`` or ``pseudo``.
        view: number of the view, below `ENDLESS`.
        rotation: largest angle, degrees; nearest, black corners.

    Source:
        DRA (arXiv 2203.14506), released training recipe.
    """
    rng = numpy_generator("view", kind, path, view)
    if kind == "pseudo":
        image = cutmix(image, rng)
    if not rotation:
        return image
    nearest = transforms.InterpolationMode.NEAREST
    angle = float(rng.uniform(-rotation, rotation))
    turned: torch.Tensor = functional.rotate(image, angle, interpolation=nearest, fill=0)
    return turned


def cutmix(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Do what `osad.features.defects.cutmix` does with an image (3, S, S) uint8."""
    height, width = image.shape[1:]
    source, target, size = cutmix_places((width, height), rng)
    patch = functional.crop(image, source[1], source[0], size[1], size[0])
    operations = (
        functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation,
        functional.adjust_hue,
    )  # fmt: skip
    for operation, amount in jitter_amounts(rng, JITTER):
        patch = operations[operation](patch, amount)
    result = image.clone()
    result[:, target[1] : target[1] + size[1], target[0] : target[0] + size[0]] = patch
    return result
