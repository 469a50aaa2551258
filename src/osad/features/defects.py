"""Synthetic defects, drawn on an image of a training normal.

All functions are pure: random ones draw from the generator that they are given. A ``source`` is a
second image, another training normal of the same pack: the texture data set that DRAEM uses is not
at hand.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as pil
from PIL.Image import Image

from osad.features.operations import color_jitter, shuffle_tiles, texture

CUTMIX_AREA = (0.02, 0.15)
CUTMIX_ASPECT = (0.3, 1 / 0.3)
SCAR_WIDTH = (2 / 256, 16 / 256)
SCAR_LENGTH = (10 / 256, 25 / 256)
NOISE_AREA = (0.02, 0.15)
LARGEST_EXPONENT = 5
THRESHOLD = 0.5
LEAST_SHARE = 0.002
LARGEST_WEIGHT = 0.8

Place = tuple[int, int]


def cutmix(image: Image, rng: np.random.Generator, source: Image | None = None) -> Image:
    """Paste a jittered rectangle of an image at another place of the same image.

    With ``source``, an image of the same size, the rectangle comes from there. The area is uniform
    in [0.02, 0.15] of the image's, the logarithm of width over height uniform in
    [log 0.3, log 1/0.3]; source and target corner are uniform and independent.

    Source: DRA (Ding et al., CVPR 2022), official code ``datasets/cutmix.py``; with ``source``, AHL
    (Zhu et al., CVPR 2024), "CutMix". Deviation: width and height are not swapped there and back,
    which is the same for square images.
    """
    (left, top), (target_left, target_top), (cut_width, cut_height) = cutmix_places(image.size, rng)
    patch = (source or image).crop((left, top, left + cut_width, top + cut_height))
    result = image.copy()
    result.paste(color_jitter(patch, rng), (target_left, target_top))
    return result


def cutmix_places(size: tuple[int, int], rng: np.random.Generator) -> tuple[Place, Place, Place]:
    """Draw the source's corner, the target's corner, and the rectangle's size (see `cutmix`).

    All are (across, down), pixels; ``size`` is that of the image.
    """
    width, height = size
    area = float(rng.uniform(*CUTMIX_AREA)) * width * height
    aspect = math.exp(rng.uniform(math.log(CUTMIX_ASPECT[0]), math.log(CUTMIX_ASPECT[1])))
    cut_width = min(max(round(math.sqrt(area * aspect)), 1), width)
    cut_height = min(max(round(math.sqrt(area / aspect)), 1), height)
    left, target_left = rng.integers(0, width - cut_width, size=2, endpoint=True).tolist()
    top, target_top = rng.integers(0, height - cut_height, size=2, endpoint=True).tolist()
    return (left, top), (target_left, target_top), (cut_width, cut_height)


def cutpaste_scar(image: Image, rng: np.random.Generator) -> Image:
    """Paste a thin, rotated, jittered strip of an image at another place of the same image.

    At 256 pixels the strip is 2 to 16 wide and 10 to 25 long, in proportion at other sizes, and is
    rotated by an angle uniform in [-45, 45] degrees.

    Source: CutPaste (Li et al., CVPR 2021), "CutPaste-Scar".
    """
    width, height = image.size
    strip_width = min(max(round(float(rng.uniform(*SCAR_WIDTH)) * width), 1), width)
    strip_height = min(max(round(float(rng.uniform(*SCAR_LENGTH)) * height), 1), height)
    left = int(rng.integers(0, width - strip_width, endpoint=True))
    top = int(rng.integers(0, height - strip_height, endpoint=True))
    strip = image.crop((left, top, left + strip_width, top + strip_height))
    strip = color_jitter(strip, rng)
    angle = float(rng.uniform(-45.0, 45.0))
    mask = pil.new("L", strip.size, 255).rotate(angle, expand=True)
    strip = strip.rotate(angle, expand=True)
    target_left = int(rng.integers(0, max(width - strip.width, 0), endpoint=True))
    target_top = int(rng.integers(0, max(height - strip.height, 0), endpoint=True))
    result = image.copy()
    result.paste(strip, (target_left, target_top), mask)
    return result


def perlin_noise(
    size: int, cells: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return gradient noise on a square of ``cells`` lattice cells down and across.

    The angle of the gradient at each lattice point is drawn.

    Returns:
        (size, size) float64 in [-1, 1], 0 at lattice points.

    Source: Perlin, "Improving noise", 2002, with one octave.
    """
    angles = rng.uniform(0.0, 2.0 * math.pi, size=(cells[0] + 1, cells[1] + 1))
    gradients = (np.sin(angles), np.cos(angles))
    positions = [np.arange(size) * count / size for count in cells]
    base = [
        np.minimum(position.astype(np.int64), count - 1)
        for position, count in zip(positions, cells, strict=True)
    ]
    offsets = [position - start for position, start in zip(positions, base, strict=True)]
    fades = [offset**3 * (offset * (offset * 6 - 15) + 10) for offset in offsets]
    result = np.zeros((size, size))
    for down in (0, 1):
        for across in (0, 1):
            corner = np.ix_(base[0] + down, base[1] + across)
            dot = gradients[0][corner] * (offsets[0] - down)[:, None]
            dot += gradients[1][corner] * (offsets[1] - across)[None, :]
            weight_down = fades[0] if down else 1 - fades[0]
            weight_across = fades[1] if across else 1 - fades[1]
            result += dot * weight_down[:, None] * weight_across[None, :]
    return result


def perlin_blend(image: Image, rng: np.random.Generator) -> Image:
    """Blend irregular blobs of a shuffled, recoloured copy of an image into the image.

    The blobs are where gradient noise is highest: 2 to 15 % of the area, share uniform. The copy
    is the image cut into 4 x 4 tiles in random order, jittered with strength 0.3; its opacity in
    the blobs is uniform in [0.3, 1].

    The image is RGB and square, at least 8 pixels wide.

    Source: after DRAEM (Zavrtanik et al., ICCV 2021). Deviations: the texture comes from the image
    itself instead of another data set, and the blobs' area is drawn instead of their threshold.
    """
    size = image.width
    exponents = rng.integers(1, 4, size=2, endpoint=True).tolist()
    noise = perlin_noise(size, (1 << exponents[0], 1 << exponents[1]), rng)
    share = float(rng.uniform(*NOISE_AREA))
    count = max(round(share * size * size), 1)
    mask = np.zeros(size * size, dtype=bool)
    # Rounded, because the last bits of sines differ between processors.
    mask[np.argsort(-noise.round(9), axis=None, kind="stable")[:count]] = True
    recoloured = color_jitter(shuffle_tiles(image, rng), rng, strength=0.3)
    opacity = float(rng.uniform(0.3, 1.0))
    weight = (opacity * mask).reshape(size, size, 1)
    mixed = np.asarray(image) * (1 - weight) + np.asarray(recoloured) * weight
    return pil.fromarray(np.rint(mixed).astype(np.uint8))


def draem_mask(size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw blobs: where rotated gradient noise is above one half.

    The noise has 2^U{0..5} lattice cells along each axis and is scaled by the root of 2, so that
    it fills [-1, 1]; the mask is turned by an angle uniform in [-90, 90] degrees.

    Returns:
        (size, size) bool.

    Source: DRAEM (Zavrtanik et al., ICCV 2021), section 3.3. Deviation: masks that cover less than
    0.2 % are drawn again, since their views would be normal images.
    """
    while True:
        exponents = rng.integers(0, LARGEST_EXPONENT, size=2, endpoint=True).tolist()
        cells = (1 << exponents[0], 1 << exponents[1])
        # Rounded, because the last bits of sines differ between processors.
        noise = (math.sqrt(2) * perlin_noise(size, cells, rng)).round(9)
        blobs = pil.fromarray(np.where(noise > THRESHOLD, 255, 0).astype(np.uint8))
        mask: NDArray[np.bool_] = np.asarray(blobs.rotate(float(rng.uniform(-90.0, 90.0)))) > 0
        if mask.mean() >= LEAST_SHARE:
            return mask


def draem_blend(image: Image, rng: np.random.Generator, source: Image) -> Image:
    """Blend the texture of a second image into blobs of an image.

    Inside the mask (`draem_mask`) a pixel is beta x + (1 - beta) t with beta uniform in [0, 0.8],
    x the image and t the texture (`texture`); outside it stays as it is.

    Both images are RGB, square and of the same size.

    Source: DRAEM (Zavrtanik et al., ICCV 2021), equation 1, as AHL (Zhu et al., CVPR 2024) uses
    it. Deviation: the texture is another normal image instead of one of the DTD data set.
    """
    mask = draem_mask(image.width, rng)
    beta = float(rng.uniform(0.0, LARGEST_WEIGHT))
    original = np.asarray(image)
    mixed = beta * original + (1 - beta) * np.asarray(texture(source, rng))
    return pil.fromarray(np.where(mask[:, :, None], np.rint(mixed).astype(np.uint8), original))
