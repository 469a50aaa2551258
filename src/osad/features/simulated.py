"""Views with synthetic defects that take foreign texture from a second image.

They simulate anomalies of other kinds than `osad.features.views.cutmix` does. The second image is
another training normal of the same pack: the texture data set that DRAEM uses is not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osad.core.seeds import numpy_generator
from osad.features.views import cutmix, perlin_noise, random_rotation, shuffle_tiles, turn_hue

if TYPE_CHECKING:
    from PIL.Image import Image

SIMULATED = ("cutmix", "draem")
"""Packs whose views need a second image."""
SIMULATED_VIEWS = 2

LARGEST_EXPONENT = 5
THRESHOLD = 0.5
LEAST_SHARE = 0.002
OPERATIONS = 3
LARGEST_WEIGHT = 0.8


def partner(paths: Sequence[str], row: int, *, pack: str, view: int) -> int:
    """Draw which other image of a pack lends the texture of a view.

    Args:
        paths: of all images of the pack, two or more; the draw depends on their number too.
        row: of the image whose view it is.
        pack: ``cutmix`` or ``draem``.
        view: number of the view.

    Returns:
        a row that is not ``row``, uniform.
    """
    drawn = int(numpy_generator("partner", pack, paths[row], view).integers(len(paths) - 1))
    return drawn + (drawn >= row)


def make_simulated_views(
    image: Image, others: Sequence[Image], path: str, *, pack: str, rotation: float
) -> list[Image]:
    """Return one view of an image for each second image.

    Args:
        image: the resized test view, RGB and square.
        others: the second images of the views, resized alike.
        path: the image's path in the manifest, which with the pack's name and the number of the
            view keys the random draws.
        pack: ``cutmix`` or ``draem``.
        rotation: largest angle of the rotations, degrees; view 0 is not rotated.
    """
    kind: Callable[[Image, Image, np.random.Generator], Image]
    kind = {"cutmix": foreign_cutmix, "draem": draem_blend}[pack]
    result = []
    for number, other in enumerate(others):
        rng = numpy_generator("view", pack, path, number)
        view = kind(image, other, rng)
        result.append(random_rotation(view, rng, rotation) if number else view)
    return result


def foreign_cutmix(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Paste a jittered rectangle of a second image of the same size at a random place.

    Source: AHL (Zhu et al., CVPR 2024), "CutMix"; geometry and jitter as in `cutmix`.
    """
    return cutmix(image, rng, source=other)


def draem_mask(size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw blobs: where rotated gradient noise is above one half.

    The noise has 2^U{0..5} lattice cells along each axis and is scaled by the root of 2, so that
    it fills [-1, 1]; the mask is turned by an angle uniform in [-90, 90] degrees.

    Args:
        size: side, pixels.
        rng: draws everything.

    Returns:
        (size, size) bool.

    Source: DRAEM (Zavrtanik et al., ICCV 2021), section 3.3. Deviation: masks that cover less than
    0.2 % are drawn again, since their views would be normal images.
    """
    from PIL import Image as pil

    while True:
        exponents = rng.integers(0, LARGEST_EXPONENT, size=2, endpoint=True).tolist()
        cells = (1 << exponents[0], 1 << exponents[1])
        # Rounded, because the last bits of sines differ between processors.
        noise = (math.sqrt(2) * perlin_noise(size, cells, rng)).round(9)
        blobs = pil.fromarray(np.where(noise > THRESHOLD, 255, 0).astype(np.uint8))
        mask: NDArray[np.bool_] = np.asarray(blobs.rotate(float(rng.uniform(-90.0, 90.0)))) > 0
        if mask.mean() >= LEAST_SHARE:
            return mask


def draem_blend(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Blend the texture of a second image into blobs of an image.

    Inside the mask (`draem_mask`) a pixel is beta x + (1 - beta) t with beta uniform in [0, 0.8],
    x the image and t the texture (`texture`); outside it stays as it is.

    Args:
        image: RGB and square.
        other: of the same size.
        rng: draws everything.

    Source: DRAEM (Zavrtanik et al., ICCV 2021), equation 1, as AHL (Zhu et al., CVPR 2024) uses
    it. Deviation: the texture is another normal image instead of one of the DTD data set.
    """
    from PIL import Image as pil

    mask = draem_mask(image.width, rng)
    beta = float(rng.uniform(0.0, LARGEST_WEIGHT))
    original = np.asarray(image)
    mixed = beta * original + (1 - beta) * np.asarray(texture(other, rng))
    return pil.fromarray(np.where(mask[:, :, None], np.rint(mixed).astype(np.uint8), original))


def texture(image: Image, rng: np.random.Generator) -> Image:
    """Shuffle the 4 x 4 tiles of an image, then apply three different ones of ten operations.

    The operations: gamma, brightness (factor and offset), sharpness, hue and saturation,
    solarisation, posterisation, inversion, automatic contrast, equalisation, rotation.

    Source: the augmentations of DRAEM (Zavrtanik et al., ICCV 2021). Deviation: the tiles are
    shuffled, since an image of the same product at the same place would hardly be foreign.
    """
    image = shuffle_tiles(image, rng)
    for number in rng.choice(len(_OPERATIONS), size=OPERATIONS, replace=False).tolist():
        image = _OPERATIONS[number](image, rng)
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
    from PIL import ImageEnhance

    return ImageEnhance.Sharpness(image).enhance(float(rng.uniform(0.0, 3.0)))


def _hue(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageEnhance

    turned = turn_hue(image, float(rng.uniform(-0.2, 0.2)))
    return ImageEnhance.Color(turned).enhance(float(rng.uniform(0.5, 1.5)))


def _solarise(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, int(rng.integers(32, 128, endpoint=True)))


def _posterise(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageOps

    return ImageOps.posterize(image, int(rng.integers(1, 5, endpoint=True)))


def _invert(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageOps

    return ImageOps.invert(image)


def _contrast(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalise(image: Image, rng: np.random.Generator) -> Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


def _turn(image: Image, rng: np.random.Generator) -> Image:
    return image.rotate(float(rng.uniform(-45.0, 45.0)))


_OPERATIONS: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    _gamma,
    _brightness,
    _sharpness,
    _hue,
    _solarise,
    _posterise,
    _invert,
    _contrast,
    _equalise,
    _turn,
)
