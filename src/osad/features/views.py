"""Views of an image: resized, rotated, and with synthetic defects.

All functions are pure: random ones draw from the generator that they are given. Each view of each
image has its own generator (see `make_views`), so adding an image changes no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osad.core.seeds import numpy_generator

if TYPE_CHECKING:
    from PIL.Image import Image

CUTMIX_AREA = (0.02, 0.15)
CUTMIX_ASPECT = (0.3, 1 / 0.3)
JITTER = 0.1
SCAR_WIDTH = (2 / 256, 16 / 256)
SCAR_LENGTH = (10 / 256, 25 / 256)
NOISE_AREA = (0.02, 0.15)
HOLDOUT_KINDS = ("scar", "perlin")


def resize(image: Image, size: int, interpolation: str) -> Image:
    """Resize to ``size`` x ``size`` pixels, whatever the aspect ratio.

    Args:
        image: RGB.
        size: side of the result, pixels.
        interpolation: ``bicubic`` or ``bilinear``; both average when they shrink.
    """
    from PIL.Image import Resampling

    return image.resize((size, size), Resampling[interpolation.upper()])


def rotate(image: Image, angle: float) -> Image:
    """Rotate about the centre, counter-clockwise by ``angle`` degrees; nearest, black corners.

    Source: the transforms of DRA (Ding et al., CVPR 2022) and its official code.
    """
    from PIL.Image import Resampling

    return image.rotate(angle, resample=Resampling.NEAREST, fillcolor=(0, 0, 0))


def random_rotation(image: Image, rng: np.random.Generator, limit: float = 180.0) -> Image:
    """Rotate by an angle uniform in [-limit, limit] degrees; 0 leaves the image as it is."""
    return rotate(image, float(rng.uniform(-limit, limit))) if limit else image


def color_jitter(image: Image, rng: np.random.Generator, *, strength: float = JITTER) -> Image:
    """Change brightness, contrast, saturation and hue in random order.

    The first three factors are uniform in [1 - strength, 1 + strength]; the hue is turned by a
    part of the circle that is uniform in [-strength, strength], in steps of 1/255.

    Args:
        image: RGB.
        rng: draws the order, then the four amounts in the order of the operations' names above.
        strength: in [0, 0.5].

    Source: the definition of ``ColorJitter`` in torchvision.
    """
    order = rng.permutation(4)
    factors = rng.uniform(1 - strength, 1 + strength, size=3)
    turn = float(rng.uniform(-strength, strength))
    for operation in order:
        if operation == 3:
            image = turn_hue(image, turn)
        else:
            image = _enhance(image, int(operation), float(factors[operation]))
    return image


def _enhance(image: Image, operation: int, factor: float) -> Image:
    """Scale brightness (0), contrast (1) or saturation (2) by a factor; 1 changes nothing."""
    from PIL import ImageEnhance

    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    return kinds[operation](image).enhance(factor)


def turn_hue(image: Image, turn: float) -> Image:
    """Turn the hue by ``turn`` of the colour circle, for example 1/3 from red to green."""
    from PIL import Image as pil

    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue, dtype=np.int64) + int(turn * 255)) % 256
    merged = pil.merge("HSV", (pil.fromarray(turned.astype(np.uint8)), saturation, value))
    return merged.convert("RGB")


def cutmix(image: Image, rng: np.random.Generator, *, source: Image | None = None) -> Image:
    """Paste a jittered rectangle of an image at another place of the same image.

    With ``source``, an image of the same size, the rectangle comes from there. The area is uniform
    in [0.02, 0.15] of the image's, the logarithm of width over height uniform in
    [log 0.3, log 1/0.3]; source and target corner are uniform and independent.

    Source: DRA (Ding et al., CVPR 2022), official code ``datasets/cutmix.py``. Deviation: width
    and height are not swapped there and back, which is the same for square images.
    """
    width, height = image.size
    area = float(rng.uniform(*CUTMIX_AREA)) * width * height
    aspect = math.exp(rng.uniform(math.log(CUTMIX_ASPECT[0]), math.log(CUTMIX_ASPECT[1])))
    cut_width = min(max(round(math.sqrt(area * aspect)), 1), width)
    cut_height = min(max(round(math.sqrt(area / aspect)), 1), height)
    left, target_left = rng.integers(0, width - cut_width, size=2, endpoint=True).tolist()
    top, target_top = rng.integers(0, height - cut_height, size=2, endpoint=True).tolist()
    patch = (source or image).crop((left, top, left + cut_width, top + cut_height))
    result = image.copy()
    result.paste(color_jitter(patch, rng), (target_left, target_top))
    return result


def cutpaste_scar(image: Image, rng: np.random.Generator) -> Image:
    """Paste a thin, rotated, jittered strip of an image at another place of the same image.

    At 256 pixels the strip is 2 to 16 wide and 10 to 25 long, in proportion at other sizes, and is
    rotated by an angle uniform in [-45, 45] degrees.

    Source: CutPaste (Li et al., CVPR 2021), "CutPaste-Scar".
    """
    from PIL import Image as pil

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
    """Return gradient noise on a square.

    Args:
        size: side, pixels.
        cells: number of lattice cells down and across.
        rng: draws the angle of the gradient at each lattice point.

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

    Args:
        image: RGB and square, at least 8 pixels wide.
        rng: draws everything.

    Source: after DRAEM (Zavrtanik et al., ICCV 2021). Deviations: the texture comes from the image
    itself instead of another data set, and the blobs' area is drawn instead of their threshold.
    """
    from PIL import Image as pil

    size = image.width
    exponents = rng.integers(1, 4, size=2, endpoint=True).tolist()
    noise = perlin_noise(size, (1 << exponents[0], 1 << exponents[1]), rng)
    share = float(rng.uniform(*NOISE_AREA))
    count = max(round(share * size * size), 1)
    mask = np.zeros(size * size, dtype=bool)
    # Rounded, because the last bits of sines differ between processors.
    mask[np.argsort(-noise.round(9), axis=None, kind="stable")[:count]] = True
    texture = color_jitter(shuffle_tiles(image, rng), rng, strength=0.3)
    opacity = float(rng.uniform(0.3, 1.0))
    weight = (opacity * mask).reshape(size, size, 1)
    mixed = np.asarray(image) * (1 - weight) + np.asarray(texture) * weight
    return pil.fromarray(np.rint(mixed).astype(np.uint8))


def shuffle_tiles(image: Image, rng: np.random.Generator) -> Image:
    """Return an image with its 4 x 4 tiles in random order; rests at the border stay in place."""
    tile = image.width // 4
    result = image.copy()
    for target, source in enumerate(rng.permutation(16).tolist()):
        left, top = source % 4 * tile, source // 4 * tile
        patch = image.crop((left, top, left + tile, top + tile))
        result.paste(patch, (target % 4 * tile, target // 4 * tile))
    return result


def make_views(
    image: Image, path: str, *, pack: str, views: int, rotation: float = 180.0
) -> list[Image]:
    """Return the views of an image that a pack holds.

    Args:
        image: the resized test view, RGB and square.
        path: the image's path in the manifest, which with the pack's name and the number of the
            view keys the random draws.
        pack: ``plain`` (the image itself), ``rotated`` (view 0 is the image itself, the others are
            randomly rotated), ``pseudo`` (each view has its own CutMix defect; view 0 is not
            rotated, the others are) or ``holdout`` (one scar, one blob defect).
        views: how many.
        rotation: largest angle of the rotations, degrees.
    """
    generators = [numpy_generator("view", pack, path, number) for number in range(views)]
    if pack == "plain":
        return [image]
    if pack == "rotated":
        return [image, *(random_rotation(image, rng, rotation) for rng in generators[1:])]
    if pack == "pseudo":
        mixed = [cutmix(image, rng) for rng in generators]
        rotated = zip(mixed[1:], generators[1:], strict=True)
        return [mixed[0], *(random_rotation(view, rng, rotation) for view, rng in rotated)]
    kinds: tuple[Callable[[Image, np.random.Generator], Image], ...] = (cutpaste_scar, perlin_blend)
    return [kind(image, rng) for kind, rng in zip(kinds, generators, strict=True)]


def pixel_statistics(image: Image) -> tuple[float, float]:
    """Return mean and (population) standard deviation of all values of an image, in [0, 1].

    Sums are exact integers, so the result does not depend on their order.

    Example:
        >>> from PIL import Image
        >>> pixel_statistics(Image.new("RGB", (2, 2), (255, 255, 255)))
        (1.0, 0.0)
    """
    values = np.asarray(image, dtype=np.int64)
    total, squares, count = int(values.sum()), int((values * values).sum()), values.size
    variance = (count * squares - total * total) / (count * count)
    return total / count / 255, math.sqrt(variance) / 255
