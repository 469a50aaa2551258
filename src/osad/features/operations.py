"""Operations on the pixels of an image, of which synthetic defects are made.

All functions are pure: random ones draw from the generator that they are given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image as pil
from PIL import ImageEnhance, ImageOps
from PIL.Image import Image

JITTER = 0.1
HUE = 3
"""Number of the hue's operation in `color_jitter`."""
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def color_jitter(image: Image, rng: np.random.Generator, *, strength: float = JITTER) -> Image:
    """Change brightness, contrast, saturation and hue in random order.

    The first three factors are uniform in [1 - strength, 1 + strength]; the hue is turned by a
    part of the circle that is uniform in [-strength, strength], in steps of 1/255.

    Drawn are the order, then the four amounts in the order of the operations' names above. The
    strength is in [0, 0.5].

    Source: the definition of ``ColorJitter`` in torchvision.
    """
    for operation, amount in jitter_amounts(rng, strength):
        if operation == HUE:
            image = turn_hue(image, amount)
        else:
            image = _ENHANCERS[operation](image).enhance(amount)
    return image


def jitter_amounts(rng: np.random.Generator, strength: float) -> list[tuple[int, float]]:
    """Draw the operations of `color_jitter`, numbered as named there, and their amounts."""
    order = rng.permutation(4)
    amounts = [*rng.uniform(1 - strength, 1 + strength, size=3), rng.uniform(-strength, strength)]
    return [(int(operation), float(amounts[operation])) for operation in order]


def turn_hue(image: Image, turn: float) -> Image:
    """Turn the hue by ``turn`` of the colour circle, for example 1/3 from red to green."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue, dtype=np.int64) + int(turn * 255)) % 256
    channels = (pil.fromarray(turned.astype(np.uint8)), saturation, value)
    return pil.merge("HSV", channels).convert("RGB")


def shuffle_tiles(image: Image, rng: np.random.Generator) -> Image:
    """Return an image with its 4 x 4 tiles in random order; rests at the border stay in place."""
    tile = image.width // 4
    result = image.copy()
    for target, source in enumerate(rng.permutation(16).tolist()):
        left, top = source % 4 * tile, source // 4 * tile
        patch = image.crop((left, top, left + tile, top + tile))
        result.paste(patch, (target % 4 * tile, target // 4 * tile))
    return result


def texture(image: Image, rng: np.random.Generator) -> Image:
    """Shuffle the 4 x 4 tiles of an image, then apply three different ones of ten operations.

    The operations: gamma, brightness (factor and offset), sharpness, hue and saturation,
    solarisation, posterisation, inversion, automatic contrast, equalisation, rotation.

    Source: the augmentations of DRAEM (Zavrtanik et al., ICCV 2021). Deviation: the tiles are
    shuffled, since an image of the same product at the same place would hardly be foreign.
    """
    image = shuffle_tiles(image, rng)
    operations = list(_TEXTURES.values())
    for number in rng.choice(len(operations), size=3, replace=False).tolist():
        image = operations[number](image, rng)
    return image


def _gamma(image: Image, rng: np.random.Generator) -> Image:
    exponents = rng.uniform(0.5, 2.0, size=3).tolist()
    # Rounded twice: powers may differ in the last bits between processors.
    table = [round(round(255 * (v / 255) ** e, 6)) for e in exponents for v in range(256)]
    return image.point(table)


def _brightness(image: Image, rng: np.random.Generator) -> Image:
    factor, offset = float(rng.uniform(0.8, 1.2)), int(rng.integers(-30, 30, endpoint=True))
    values = [min(max(round(factor * value + offset), 0), 255) for value in range(256)]
    return image.point(values * 3)


def _sharpness(image: Image, rng: np.random.Generator) -> Image:
    return ImageEnhance.Sharpness(image).enhance(float(rng.uniform(0.0, 3.0)))


def _hue(image: Image, rng: np.random.Generator) -> Image:
    turned = turn_hue(image, float(rng.uniform(-0.2, 0.2)))
    return ImageEnhance.Color(turned).enhance(float(rng.uniform(0.5, 1.5)))


_TEXTURES: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "gamma": _gamma,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "hue": _hue,
    "solarise": lambda image, rng: ImageOps.solarize(
        image, int(rng.integers(32, 128, endpoint=True))
    ),
    "posterise": lambda image, rng: ImageOps.posterize(
        image, int(rng.integers(1, 5, endpoint=True))
    ),
    "invert": lambda image, _: ImageOps.invert(image),
    "contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise": lambda image, _: ImageOps.equalize(image),
    "turn": lambda image, rng: image.rotate(float(rng.uniform(-45.0, 45.0))),
}
