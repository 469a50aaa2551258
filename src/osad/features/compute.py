"""Computing some rows of a feature pack: views of images, and their maps from the network.

Whoever computes a chunk computes it alike: one thread, batches of exactly 16 tiles (filled up with
black ones; a view is one tile, or several, see `osad.features.tiles`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osad.backbones import get_backbone
from osad.backbones.registry import Backbone
from osad.core.lazy import lazy
from osad.data.images import open_verified
from osad.features.packs import CONTENT, IMAGES, INTENSITY, POOLED, level_name
from osad.features.plan import BATCH, Task
from osad.features.tiles import PAD, cut, fold, inside, join
from osad.features.views import make_views, partner, pixel_statistics

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
else:
    torch = lazy("torch")

Arrays = Mapping[str, NDArray[Any]]
"""The tensors of a pack, by name."""
Loaded = tuple[NDArray[np.uint8], list[tuple[int, int]]]
"""Views of some images, and height and width of each image in the square (see `load_views`)."""


def normalise(views: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Convert views (n, S, S, 3) uint8 to the network's input.

    Returns:
        (n, 3, S, S) float32 in channels_last order: (x/255 - mean) / std.
    """
    scaled = views.to(torch.float32).div_(255)
    scaled.sub_(torch.tensor(mean, device=views.device))
    scaled.div_(torch.tensor(std, device=views.device))
    return scaled.permute(0, 3, 1, 2)


def compute_maps(
    model: Callable[[torch.Tensor], list[torch.Tensor]],
    views: NDArray[np.uint8],
    *,
    backbone: Backbone,
    device: torch.device,
) -> Iterator[list[torch.Tensor]]:
    """Compute the maps of views (n, S, S, 3) uint8, RGB, in batches of exactly 16.

    Yields:
        For each batch of k <= 16 views the float32 maps (k, c, h, w), one per stride.
    """
    for start in range(0, len(views), BATCH):
        part = views[start : start + BATCH]
        # Always 16 views: an image's maps then do not depend on how many others there are.
        full = np.zeros((BATCH, *part.shape[1:]), dtype=np.uint8)
        full[: len(part)] = part
        with torch.inference_mode():
            inputs = normalise(torch.from_numpy(full).to(device), backbone.mean, backbone.std)
            yield [maps[: len(part)] for maps in model(inputs)]


def one_by_one(batches: Iterator[list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
    """Yield the maps of batches (k, c, h, w) view by view, (1, c, h, w)."""
    for batch in batches:
        for number in range(len(batch[0])):
            yield [maps[number : number + 1] for maps in batch]


def crop(maps: torch.Tensor, content: tuple[int, int], side: int) -> torch.Tensor:
    """Return the positions (..., h, w) that hold a part of a padded image."""
    height, width = inside(content, side, (maps.shape[-2], maps.shape[-1]))
    return maps[..., :height, :width]


def pool(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return mean and standard deviation over positions of maps (k, c, h, w): (k, 2, sum c)."""
    flat = [part.flatten(2) for part in maps]
    parts = [torch.stack([part.mean(2), part.std(2, unbiased=False)], 1) for part in flat]
    return torch.cat(parts, 2)


def load_views(task: Task, rows: range) -> Loaded:
    """Open the images of some rows, checking their digests, and make their views.

    A second image that lends texture is opened and checked in the same way.

    Returns:
        (k * R, S, S, 3) uint8, the views of an image beside each other, S the side of the square;
        and height and width of each of the k images in it.

    Raises:
        DataError: an image is missing, damaged or not the one that the manifest lists.
    """
    info = task.info
    interpolation = get_backbone(info.backbone).interpolation

    def opened(row: int) -> Image:
        return open_verified(Path(info.paths[row]), info.sha256[row])

    def fitted(image: Image) -> Image:
        return info.frame.fit(image, interpolation)

    result, contents = [], []
    for row in rows:
        path = info.paths[row]
        others = [
            partner(info.paths, row, pack=info.pack, view=view)
            for view in range(info.views if info.kind.second_image else 0)
        ]
        image = opened(row)
        contents.append(info.frame.content(*image.size))
        views = make_views(
            fitted(image),
            path,
            info.kind,
            views=info.views,
            rotation=info.rotation,
            sources=[fitted(opened(other)) for other in others],
        )
        result += [np.asarray(view, dtype=np.uint8) for view in views]
    return np.stack(result), contents


def store_maps(
    task: Task,
    rows: range,
    loaded: Loaded,
    arrays: Arrays,
    *,
    model: torch.nn.Module,
    device: torch.device,
) -> None:
    """Compute the maps of the views of some rows and write them, or what is pooled of them.

    ``loaded`` is what `load_views` gave for them.
    """
    info, side = task.info, task.info.frame.side
    views, contents = loaded
    backbone = get_backbone(info.backbone)
    tiles = compute_maps(model, cut(views, info.frame), backbone=backbone, device=device)
    batches = join(tiles, info.frame)
    if info.resize == PAD:
        batches = one_by_one(batches)
    if info.kind.pooled:
        pooled = torch.from_numpy(arrays[POOLED][rows.start : rows.stop])
        if info.resize == PAD:
            batches = (
                [crop(part, content, side) for part in maps]
                for maps, content in zip(batches, contents, strict=True)
            )
        pooled.copy_(torch.cat([pool(maps) for maps in batches]))
        return
    flat = {
        name: torch.from_numpy(array[rows.start : rows.stop]).flatten(0, array.ndim - 4)
        for name, array in arrays.items()
        if name != CONTENT
    }
    if CONTENT in arrays:
        arrays[CONTENT][rows.start : rows.stop] = contents
    start = 0
    for batch in batches:
        # Defects may lie in the mirrored border, and rotation moves it.
        if info.resize == PAD and not info.kind.defects and start % info.views == 0:
            content = contents[start // info.views]
            batch = [fold(maps, content, side) for maps in batch]
        for stride, maps in zip(info.strides, batch, strict=True):
            target = flat[level_name(stride)][start : start + len(maps)]
            if maps.shape != target.shape:
                raise ValueError(f"maps {tuple(maps.shape)}, expected {tuple(target.shape)}")
            target.copy_(maps)
        start += len(batch[0])


def store_pixels(task: Task, rows: range, arrays: Arrays) -> None:
    """Write the pixel statistics of some rows, or the images as squares, into the array."""
    if task.info.kind.raw:
        arrays[IMAGES][rows.start : rows.stop] = load_views(task, rows)[0]
        return
    for row in rows:
        image = open_verified(Path(task.info.paths[row]), task.info.sha256[row])
        arrays[INTENSITY][row] = pixel_statistics(image)
