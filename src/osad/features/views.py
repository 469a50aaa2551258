"""Views of a resized image: rotated, and with synthetic defects.

Each view of each image has its own generator (see `make_views`), so adding an image changes no
other, except for views that borrow from a second image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image, Resampling

from osad.core.seeds import numpy_generator
from osad.features import defects
from osad.features.kinds import Kind


def rotate(image: Image, angle: float) -> Image:
    """Rotate about the centre, counter-clockwise by ``angle`` degrees; nearest, black corners.

    Source: the transforms of DRA (Ding et al., CVPR 2022) and its official code.
    """
    return image.rotate(angle, resample=Resampling.NEAREST, fillcolor=(0, 0, 0))


def random_rotation(image: Image, rng: np.random.Generator, limit: float = 180.0) -> Image:
    """Rotate by an angle uniform in [-limit, limit] degrees; 0 leaves the image as it is."""
    return rotate(image, float(rng.uniform(-limit, limit))) if limit else image


def partner(paths: Sequence[str], row: int, *, pack: str, view: int) -> int:
    """Draw which other image of a pack of two or more lends the texture of a view.

    The draw depends on the number of images, too.

    Returns:
        a row that is not ``row``, uniform.
    """
    drawn = int(numpy_generator("partner", pack, paths[row], view).integers(len(paths) - 1))
    return drawn + (drawn >= row)


def make_views(
    image: Image,
    path: str,
    kind: Kind,
    *,
    views: int,
    rotation: float = 180.0,
    sources: Sequence[Image] = (),
) -> list[Image]:
    """Return the views of an image that a pack holds.

    Args:
        image: the resized test view, RGB and square.
        path: the image's path in the manifest, which with the pack's name and the number of the
            view keys the random draws.
        kind: of the pack.
        views: how many.
        rotation: largest angle of the rotations, degrees; view 0 is not rotated, so that rotation
            alone does not tell pseudo anomalies from normals.
        sources: the second image of each view, resized alike, for kinds that need it.
    """
    result = []
    for number in range(views):
        rng = numpy_generator("view", kind.name, path, number)
        view = image
        if kind.defects:
            defect = getattr(defects, kind.defects[number % len(kind.defects)])
            view = defect(image, rng, *sources[number : number + 1])
        result.append(random_rotation(view, rng, rotation) if kind.rotated and number else view)
    return result


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
