"""Upsampling, pixel AUROC and AUPRO: hand-worked values and slow, independent definitions."""

import itertools

import numpy as np
import pytest

from osad.evaluation import localisation
from osad.evaluation.localisation import Pixels, aupro, collect, pixel_auroc, resampling, upsample

# Upsampling


def test_upsampling_by_hand():
    # Middles of the two positions are at 1.0 and 3.0 of four pixels, whose middles are 0.5, 1.5...
    maps = np.array([[[0, 4], [8, 8]]], np.float32)
    expected = [[0, 1, 3, 4], [2, 2.75, 4.25, 5], [6, 6.25, 6.75, 7], [8, 8, 8, 8]]
    assert upsample(maps, 4)[0].tolist() == expected


@pytest.mark.parametrize("shape", [(7, 7, 224), (3, 5, 16), (1, 2, 9), (8, 8, 8)])
def test_upsampling_is_bilinear_interpolation(shape):
    import torch

    *positions, size = shape
    maps = np.random.default_rng(size).normal(size=(3, *positions)).astype(np.float32)
    wide = torch.from_numpy(maps)[:, None].double()
    expected = torch.nn.functional.interpolate(wide, (size, size), mode="bilinear")[:, 0]
    assert upsample(maps, size).dtype == np.float32
    np.testing.assert_allclose(upsample(maps, size), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.6, 4.0, 30.0])
def test_smoothing_is_a_gaussian_filter(sigma):
    from scipy.ndimage import gaussian_filter

    maps = np.random.default_rng(1).normal(size=(2, 4, 4)).astype(np.float32)
    sharp = upsample(maps, 32).astype(float)
    expected = [gaussian_filter(image, sigma, mode="reflect", truncate=4.0) for image in sharp]
    np.testing.assert_allclose(upsample(maps, 32, sigma=sigma), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 1.3, 4.0])
def test_constant_maps_stay_exactly_constant(sigma):
    values = np.array([0.1, -3e-20, 2.5e30, 1 / 3], np.float32)[:, None, None]
    small, large = (np.broadcast_to(values, (4, side, side)) for side in (7, 50))
    assert np.array_equal(upsample(small, 50, sigma=sigma), large)
    assert sum(localisation.gaussian(1.3, 5)) == 1.0


@pytest.mark.parametrize(("positions", "size", "sigma", "message"), [
    (5, 4, 0.0, "5 positions cannot be brought to 4 pixels"),
    (0, 4, 0.0, "0 positions"),
    (2, 4, -1.0, "sigma -1.0"),
    (2, 4, float("nan"), "sigma nan"),
])  # fmt: skip
def test_resampling_refuses(positions, size, sigma, message):
    with pytest.raises(ValueError, match=message):
        resampling(positions, size, sigma=sigma)


# Metrics


def divided(scores, masks) -> Pixels:
    """Divide scores that are at full size already."""
    scores = np.asarray(scores, np.float32)
    masks = [None if mask is None else np.asarray(mask, bool) for mask in masks]
    return collect(scores, masks, size=scores.shape[1])


def test_metrics_by_hand():
    # Ten normal pixels 1..10, a region of 2 pixels and one of 4 that hangs together by corners.
    scores = [[11, 10, 1, 9], [8.5, 9, 12, 2], [3, 4, 7.5, 0], [5, 6, 7, 8]]
    marked = [[1, 0, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    pixels = divided([scores], [marked])
    assert pixels.normal.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert np.bincount(pixels.region).tolist() == [2, 4]
    # Normal pixels below, of 10: 11: 10, 8.5: 8, 9: 8.5, 12: 10, 7.5: 7, 0: 0.
    assert pixel_auroc(pixels) == (10 + 8 + 8.5 + 10 + 7 + 0) / 60
    # The curve ends at 3 accepted normal pixels. A pixel counts from the moment that it is accepted
    # itself; lost until then: 11: 0 of 3, 8.5: 2 | 12: 0, 9: on the way from 1 to 2, so 1.5;
    # 7.5: 3; 0: 3. So 1 - (2/2 + 7.5/4) / (2 * 3).
    assert aupro(pixels) == pytest.approx(1 - (1 + 1.875) / 6, abs=1e-15)
    # With 1.5 accepted the ramp of 9 is cut in its middle: half of its height at the end, so
    # 0.5 * 0.5 / 2 won of 1.5; 8.5 is lost. 1 - (1.5/2 + (1.375 + 1.5 + 1.5)/4) / (2 * 1.5).
    assert aupro(pixels, limit=0.15) == pytest.approx(1 - (0.75 + 4.375 / 4) / 3, abs=1e-15)
    for limit in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="must lie in"):
            aupro(pixels, limit=limit)


def test_perfect_reversed_and_constant_scores():
    marked = np.zeros((2, 5, 5), bool)
    marked[0, 1:3, 1:4] = marked[1, 4, 4] = True
    assert pixel_auroc(divided(marked, marked)) == aupro(divided(marked, marked)) == 1.0
    assert pixel_auroc(divided(~marked, marked)) == aupro(divided(~marked, marked)) == 0.0
    constant = divided(np.full((2, 5, 5), 0.1), marked)
    assert pixel_auroc(constant) == 0.5
    assert aupro(constant) == pytest.approx(0.15, abs=1e-15)
    assert aupro(constant, limit=1.0) == pytest.approx(0.5, abs=1e-15)


def slow_regions(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Find connected regions by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        waiting, region = [left.pop()], []
        while waiting:
            y, x = waiting.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy, dx in itertools.product((-1, 0, 1), repeat=2)} & left
            left -= near
            waiting += near
        regions.append(region)
    return regions


def slow_aupro(scores: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Build the curve threshold by threshold and integrate it."""
    parts = [
        np.array([image[y, x] for y, x in region])
        for image, mask in zip(scores, masks, strict=True)
        for region in slow_regions(mask)
    ]
    normal = scores[~masks]
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted(set(scores.ravel().tolist()), reverse=True):
        rates.append(float(np.mean(normal >= threshold)))
        overlaps.append(float(np.mean([np.mean(part >= threshold) for part in parts])))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(zip(rates, overlaps, strict=True)):
        share = min(1.0, (limit - x0) / (x1 - x0)) if x1 > x0 else 0.0
        area += share * (x1 - x0) * (y0 + (y0 + share * (y1 - y0))) / 2
        if x1 >= limit:
            break
    return area / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("n_levels", [2, 7, 10**6])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_definitions(seed, n_levels, limit):
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng((seed, n_levels))
    masks = draw.random((4, 9, 9)) < draw.choice([0.05, 0.3])
    masks[2] = False
    scores = (draw.integers(0, n_levels, masks.shape) + masks * n_levels // 3).astype(np.float32)
    pixels = divided(scores, [mask if mask.any() else None for mask in masks])
    assert aupro(pixels, limit=limit) == pytest.approx(slow_aupro(scores, masks, limit), abs=1e-12)
    expected = roc_auc_score(masks.ravel(), scores.ravel())
    assert pixel_auroc(pixels) == pytest.approx(expected, abs=1e-12)
    # The order of the images does not matter.
    turned = divided(scores[::-1], masks[::-1])
    assert pixel_auroc(turned) == pixel_auroc(pixels)
    assert aupro(turned, limit=limit) == pytest.approx(aupro(pixels, limit=limit), abs=1e-15)


def test_pixels_of_the_padding_do_not_count():
    scores = np.random.default_rng(0).normal(size=(2, 6, 6)).astype(np.float32)
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:3] = True
    content = np.array([[3, 6], [6, 2]], np.int32)
    found = collect(scores, [mask, None], size=6, content=content)
    bare = np.concatenate([scores[0, :3][~mask[:3]], scores[1, :, :2].ravel()])
    assert np.array_equal(found.normal, np.sort(bare))
    assert np.array_equal(found.anomalous, scores[0, 1:3, 1:3].ravel())
    assert found.region.tolist() == [0] * 4


def test_without_one_kind_of_pixel_there_is_no_value():
    scores = np.random.default_rng(5).random((2, 4, 4))
    for masks in ([None, None], [np.zeros((4, 4)), None], [np.ones((4, 4))] * 2):
        pixels = divided(scores, masks)
        assert pixel_auroc(pixels) is aupro(pixels) is None


def test_maps_are_upsampled_before_they_are_divided():
    draw = np.random.default_rng(6)
    maps = draw.random((3, 4, 4)).astype(np.float32)
    masks = [None, draw.random((16, 16)) < 0.1, None]
    pixels = collect(maps, masks, size=16, sigma=1.5)
    full = upsample(maps, 16, sigma=1.5)
    assert np.array_equal(pixels.anomalous, full[1][masks[1]])
    rest = np.concatenate([full[0].ravel(), full[1][~masks[1]], full[2].ravel()])
    assert np.array_equal(pixels.normal, np.sort(rest))


MAP = np.zeros((1, 2, 2), np.float32)


@pytest.mark.parametrize(("maps", "masks", "message"), [
    (np.zeros((2, 2, 2), np.float32), [None], "1 masks"),
    (np.zeros((1, 2, 2)), [None], "float64 maps"),
    (np.zeros((1, 4), np.float32), [None], "do not go"),
    *((MAP + value, [None], "not finite") for value in (np.float32("nan"), np.float32("inf"))),
    (MAP, [np.zeros((2, 2), bool)], r"expected \(4, 4\) bool"),
    (MAP, [np.zeros((4, 4), np.uint8)], "uint8, expected"),
])  # fmt: skip
def test_bad_input_is_refused(maps, masks, message):
    with pytest.raises(ValueError, match=message):
        collect(maps, masks, size=4)
