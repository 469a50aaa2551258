"""How an image becomes the network's inputs: stretched or padded to a square, whole or in tiles.

A square of ``grid`` x ``grid`` tiles, each of the network's size, has overlaps of ``overlap``
pixels. Each tile passes the network by itself; of the maps of two that overlap each gives the half
on its own side, so that every position comes from the tile whose border is farther away.

A padded image lies in the upper left corner of the square; the rest mirrors it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osad.core.errors import ConfigError
from osad.core.lazy import lazy

if TYPE_CHECKING:
    import PIL.Image as pil
    import torch
else:
    pil, torch = lazy("PIL.Image"), lazy("torch")

SQUASH, PAD = "squash", "pad"
RESIZES = (SQUASH, PAD)


@dataclass(frozen=True)
class Frame:
    """The square that an image is brought to.

    Attributes:
        size: side of the network's input, pixels.
        resize: ``squash`` stretches the image to the square, ``pad`` keeps its aspect.
        grid: tiles along each side.
        overlap: pixels that neighbouring tiles share; 0 for one tile.
    """

    size: int
    resize: str = SQUASH
    grid: int = 1
    overlap: int = 0

    @property
    def side(self) -> int:
        """Side of the square, pixels.

        Example:
            >>> Frame(224).side, Frame(224, grid=4, overlap=32).side
            (224, 800)
        """
        return self.grid * self.size - (self.grid - 1) * self.overlap

    @property
    def options(self) -> str:
        """What of it is not as by default, as options of the features step."""
        changed = {n: getattr(self, n) for n in USUAL if getattr(self, n) != USUAL[n]}
        return "".join(f" --{name} {value}" for name, value in changed.items())

    def check(self, strides: Sequence[int]) -> None:
        """Check that tiles fit together at strides.

        Raises:
            ConfigError: they do not; the message begins with ``features.``.
        """
        if self.grid == 1:
            return
        if not 0 <= self.overlap < self.size:
            raise ConfigError(
                f"features.tiles.overlap: {self.overlap} must be less than image_size {self.size}"
            )
        for name, value in (("image_size", self.size), ("tiles.overlap", self.overlap)):
            for stride in strides:
                if value % stride:
                    raise ConfigError(
                        f"features.{name}: {value} is no multiple of the stride {stride}, so the "
                        f"maps of tiles do not fit together; choose {value // stride * stride} or "
                        f"{-(-value // stride) * stride}"
                    )

    def content(self, width: int, height: int) -> tuple[int, int]:
        """Return height and width of an image inside the square, pixels.

        Example:
            >>> Frame(200).content(400, 100), Frame(200, PAD).content(400, 100)
            ((200, 200), (50, 200))
        """
        if self.resize == SQUASH:
            return self.side, self.side
        longer = max(width, height)
        return (
            max((2 * height * self.side + longer) // (2 * longer), 1),
            max((2 * width * self.side + longer) // (2 * longer), 1),
        )

    def fit(self, image: pil.Image, interpolation: str) -> pil.Image:
        """Bring an RGB image to the square.

        Interpolations are ``bicubic`` and ``bilinear``; both average when they shrink.
        """
        height, width = self.content(*image.size)
        small = image.resize((width, height), pil.Resampling[interpolation.upper()])
        if (height, width) == (self.side, self.side):
            return small
        rows, columns = (mirrored(length, self.side) for length in (height, width))
        return pil.fromarray(np.asarray(small)[rows][:, columns])


USUAL: dict[str, Any] = {field.name: field.default for field in fields(Frame)[1:]}
"""What a frame is besides its size where nobody says otherwise."""


def mirrored(length: int, size: int) -> NDArray[np.int64]:
    """Return which of ``length`` places each of ``size`` has that mirror them at the end.

    Example:
        >>> mirrored(3, 8).tolist()
        [0, 1, 2, 2, 1, 0, 0, 1]
    """
    return np.pad(np.arange(length), (0, size - length), mode="symmetric")


def cut(views: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """Cut views (n, side, side, 3) into tiles (n grid^2, S, S, 3), row by row."""
    if frame.grid == 1:
        return views
    starts = [number * (frame.size - frame.overlap) for number in range(frame.grid)]
    return np.stack(
        [
            view[top : top + frame.size, left : left + frame.size]
            for view in views
            for top in starts
            for left in starts
        ]
    )


def join(batches: Iterable[list[torch.Tensor]], frame: Frame) -> Iterator[list[torch.Tensor]]:
    """Put the maps of tiles together.

    Args:
        batches: for each batch of tiles the maps (k, c, h, w), one per stride.
        frame: of the tiles; with one tile the batches are given as they come.

    Yields:
        for each view its maps (1, c, H, W), one per stride.
    """
    if frame.grid == 1:
        yield from batches
        return
    waiting: list[list[torch.Tensor]] = []
    for batch in batches:
        for number in range(len(batch[0])):
            waiting.append([maps[number] for maps in batch])
            if len(waiting) == frame.grid**2:
                yield [_joined(parts, frame) for parts in zip(*waiting, strict=True)]
                waiting = []


def _joined(parts: Sequence[torch.Tensor], frame: Frame) -> torch.Tensor:
    """Join the maps (c, m, m) of the tiles of one view at one stride."""
    positions = parts[0].shape[1]
    shared = frame.overlap * positions // frame.size

    def kept(number: int) -> slice:
        start = shared // 2 if number else 0
        end = shared - shared // 2 if number < frame.grid - 1 else 0
        return slice(start, positions - end)

    numbers = range(frame.grid)
    rows = [
        torch.cat([parts[down * frame.grid + x][:, kept(down), kept(x)] for x in numbers], 2)
        for down in numbers
    ]
    return torch.cat(rows, 1)[None]


def inside(content: Sequence[int], side: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of a map hold a part of the image.

    Args:
        content: height and width of the image in the square, pixels.
        side: of the square, pixels.
        size: height and width of the map.

    Example:
        >>> inside((50, 200), 200, (4, 4))
        (1, 4)
    """
    height, width = (-(-part * n // side) for part, n in zip(content, size, strict=True))
    return height, width


def fold(maps: torch.Tensor, content: Sequence[int], side: int) -> torch.Tensor:
    """Give each position beyond the image the features of the position that it mirrors.

    So no score of a position can come from the padding.

    Args:
        maps: (..., h, w).
        content: height and width of the image in the square, pixels.
        side: of the square, pixels.
    """
    size = maps.shape[-2], maps.shape[-1]
    rows, columns = (
        torch.from_numpy(mirrored(length, whole)).to(maps.device)
        for length, whole in zip(inside(content, side, size), size, strict=True)
    )
    return maps[..., rows, :][..., columns]
