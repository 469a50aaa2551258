"""Pixel-level metrics: where in an image the anomalies are.

Maps of position scores are brought to the size of the masks and compared with them pixel by pixel.
Everything here is pure, needs no torch, and uses only operations whose bits are the same on every
processor (single additions and products, sorting, counting).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FPR_LIMIT = 0.3
"""Largest false-positive rate of AUPRO, as in the paper."""
TRUNCATE = 4.0
"""Where the Gaussian ends, in standard deviations."""
UNIT = 2.0**32
"""The Gaussian's weights are multiples of 1/UNIT, so that they sum to exactly 1."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


def resampling(positions: int, size: int, *, sigma: float = 0.0) -> Float64:
    """Return the weights of bilinear upsampling along one axis, followed by a Gaussian.

    Position i covers the pixels of [i, i + 1) * size / positions; its score belongs to the middle
    of them, and beyond the outermost middles scores are constant (half-pixel centres). The
    Gaussian ends at 4 sigma and mirrors at the edges.

    Args:
        positions: number of position scores h.
        size: number of pixels S, at least h.
        sigma: standard deviation of the Gaussian, pixels; 0 for none.

    Returns:
        (S, h) weights; each row sums to 1.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> resampling(2, 4)[:2].tolist()
        [[1.0, 0.0], [0.75, 0.25]]
    """
    if not 1 <= positions <= size:
        raise ValueError(f"{positions} positions cannot be brought to {size} pixels")
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma {sigma} must be 0 or more pixels")
    pixels = np.arange(size)
    middle = np.clip((pixels + 0.5) * positions / size - 0.5, 0, positions - 1)
    lower = np.floor(middle).astype(np.int64)
    upper = np.minimum(lower + 1, positions - 1)
    weights = np.zeros((size, positions))
    weights[pixels, lower] = 1 - (middle - lower)
    weights[pixels, upper] += middle - lower
    radius = int(TRUNCATE * sigma + 0.5)
    if not radius:
        return weights
    smooth = np.zeros_like(weights)
    for offset, weight in zip(range(-radius, radius + 1), gaussian(sigma, radius), strict=True):
        mirrored = (pixels + offset) % (2 * size)
        mirrored = np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
        smooth += weight * weights[mirrored]
    return smooth


def gaussian(sigma: float, radius: int) -> list[float]:
    """Return the 2 * radius + 1 weights of a Gaussian, multiples of 2^-32 that sum to exactly 1.

    The last bits of an exponential differ between processors; the rounding removes them.
    """
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    total = math.fsum(weights)
    whole = [round(UNIT * weight / total) for weight in weights]
    whole[radius] += int(UNIT) - sum(whole)
    return [weight / UNIT for weight in whole]


def upsample(maps: Float32, size: int, *, sigma: float = 0.0) -> Float32:
    """Bring position scores to the size of the image (see `resampling`).

    Args:
        maps: (n, h, w) float32.
        size: side S of the result, pixels.
        sigma: standard deviation of a Gaussian applied afterwards, pixels; 0 for none.

    Returns:
        (n, S, S) float32, computed in float64 and rounded once. A constant map stays exactly
        constant.

    Example:
        >>> upsample(np.array([[[0.0, 1.0]]], np.float32), 4)[0, 0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    bands = _axes(maps, size, sigma)
    result = np.empty((len(maps), size, size), dtype=np.float32)
    for number, values in enumerate(maps):
        result[number] = _enlarge(values, size, bands)
    return result


Band = tuple[slice, Float64]
"""The pixels that a position reaches along one axis, and its weights there."""


def _axes(maps: Float32, size: int, sigma: float) -> tuple[list[Band], list[Band]]:
    """Return what each row and each column of maps contributes to the pixels."""
    height, width = maps.shape[1:]
    return (
        _bands(resampling(height, size, sigma=sigma)),
        _bands(resampling(width, size, sigma=sigma)),
    )


def _enlarge(values: Float32, size: int, bands: tuple[list[Band], list[Band]]) -> Float64:
    """Upsample one map (h, w) to (size, size)."""
    wide = values.astype(np.float64)
    rows = np.zeros((size, wide.shape[1]))
    for position, (band, weights) in enumerate(bands[0]):
        rows[band] += weights[:, None] * wide[position]
    image = np.zeros((size, size))
    for position, (band, weights) in enumerate(bands[1]):
        image[:, band] += rows[:, position, None] * weights
    return image


def _bands(weights: Float64) -> list[Band]:
    """Return the band of each position from all weights (S, h)."""
    bands = []
    for column in weights.T:
        reached = np.flatnonzero(column)
        # Beside a wide neighbour a position can have no pixel only if its weights round to 0.
        band = slice(reached[0], reached[-1] + 1) if len(reached) else slice(0, 0)
        bands.append((band, column[band]))
    return bands


@dataclass(frozen=True, eq=False)
class Pixels:
    """All pixels of a test set, divided by the masks.

    Attributes:
        normal: (N,) float32, scores of the pixels outside the masks, ascending.
        anomalous: (K,) float32, scores of the pixels inside the masks.
        region: (K,) int64, which region each of these belongs to, 0 to R-1. A region is a
            connected component of one mask; pixels that touch at a corner are connected.
    """

    normal: Float32
    anomalous: Float32
    region: NDArray[np.int64]


def collect(
    maps: Float32,
    masks: Sequence[Mask | None],
    *,
    size: int,
    sigma: float = 0.0,
    content: NDArray[np.int32] | None = None,
) -> Pixels:
    """Upsample maps and divide their pixels by the masks.

    At most one image is held at full size besides the result, which takes 4 bytes a pixel.

    Args:
        maps: (n, h, w) float32 position scores.
        masks: for each image the anomalous pixels (S, S), or None for a normal image.
        size: S.
        sigma: see `upsample`.
        content: (n, 2), height and width of the upper left part of each image that counts, pixels;
            all of it without.

    Raises:
        ValueError: shapes or types differ from that, or a score is not finite.
    """
    if maps.ndim != 3 or maps.dtype != np.float32 or len(maps) != len(masks):
        raise ValueError(f"{maps.shape} {maps.dtype} maps do not go with {len(masks)} masks")
    if not np.isfinite(maps).all():
        raise ValueError("a position score is not finite")
    for mask in masks:
        if mask is not None and (mask.shape != (size, size) or mask.dtype != np.bool_):
            raise ValueError(f"mask is {mask.shape} {mask.dtype}, expected ({size}, {size}) bool")
    parts = [(slice(None), slice(None))] * len(maps)
    total = len(maps) * size * size
    if content is not None:
        parts = [(slice(height), slice(width)) for height, width in content.tolist()]
        total = int(content.astype(np.int64).prod(1).sum())
    masks = [mask if mask is None else mask[part] for mask, part in zip(masks, parts, strict=True)]
    n_anomalous = sum(int(np.count_nonzero(mask)) for mask in masks if mask is not None)
    normal = np.empty(total - n_anomalous, dtype=np.float32)
    anomalous = np.empty(n_anomalous, dtype=np.float32)
    region = np.empty(n_anomalous, dtype=np.int64)
    bands = _axes(maps, size, sigma)
    done = n_regions = start = 0
    for number, mask in enumerate(masks):
        image = _enlarge(maps[number], size, bands).astype(np.float32)[parts[number]]
        found = 0 if mask is None else int(np.count_nonzero(mask))
        end = start + image.size - found
        normal[start:end] = image.ravel() if mask is None else image[~mask]
        start = end
        if mask is None:
            continue
        numbers, count = regions(mask)
        anomalous[done : done + found] = image[mask]
        region[done : done + found] = numbers[mask] + (n_regions - 1)
        done, n_regions = done + found, n_regions + count
    normal.sort()
    return Pixels(normal, anomalous, region)


def regions(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the connected regions of a mask from 1, and count them; corners connect."""
    from scipy import ndimage

    numbers, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    return numbers, int(count)


def pixel_auroc(pixels: Pixels) -> float | None:
    """Compute how often an anomalous pixel outranks a normal one; equal scores count one half.

    Returns:
        A value in [0, 1], exact up to one rounding; None when one of the two kinds is absent.

    Source:
        As `osad.evaluation.metrics.auroc`; the same value as scikit-learn's ``roc_auc_score``.
    """
    if not len(pixels.normal) or not len(pixels.anomalous):
        return None
    values, count = np.unique(pixels.anomalous, return_counts=True)
    below = np.searchsorted(pixels.normal, values, side="left")
    up_to = np.searchsorted(pixels.normal, values, side="right")
    # Twice the U statistic, so that the halves of ties stay integers.
    doubled = int(np.sum(count * (below + up_to)))
    return doubled / (2 * len(pixels.normal) * len(pixels.anomalous))


def aupro(pixels: Pixels, *, limit: float = FPR_LIMIT) -> float | None:
    """Compute the area under the per-region overlap curve up to a false-positive rate.

    At each threshold the overlap of a region is the part of its pixels that score at least the
    threshold; PRO is the mean over all regions of all images, and the false-positive rate is the
    part of all normal pixels, of normal and anomalous images, that score at least it. The curve
    has one point for each distinct score, straight lines between them, and ends at ``limit``, on
    the line to the next point; its area is divided by ``limit``.

    All thresholds are used: each anomalous pixel contributes its own step (or, with equal normal
    scores, ramp) of the curve, so that no curve has to be built.

    Args:
        pixels: see `collect`.
        limit: in (0, 1].

    Returns:
        A value in [0, 1]: 1 for a perfect ranking, limit / 2 for constant scores. None when there
        is no region or no normal pixel.

    Raises:
        ValueError: the limit is out of range.

    Source:
        Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021), section 4.3.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit {limit} must lie in (0, 1]")
    if not len(pixels.normal) or not len(pixels.anomalous):
        return None
    values, which = np.unique(pixels.anomalous, return_inverse=True)
    total = len(pixels.normal)
    above = total - np.searchsorted(pixels.normal, values, side="right")
    at_least = total - np.searchsorted(pixels.normal, values, side="left")
    end = limit * total
    # Area above each pixel's own curve: 0 until `above` normal pixels are accepted, 1 from
    # `at_least` on, a straight line between; cut off at `end`.
    cut = end - (end - above) ** 2 / (2 * np.maximum(at_least - above, 1))
    whole = (above + at_least) / 2
    lost = np.where(at_least <= end, whole, np.where(above >= end, end, cut))
    sizes = np.bincount(pixels.region)
    # bincount adds one after the other, so the order of the sums is always the same.
    by_region = np.bincount(pixels.region, weights=lost[which]) / sizes
    area = 1 - math.fsum(by_region) / (len(sizes) * end)
    return min(max(area, 0.0), 1.0)
