"""What a feature pack consists of, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from osad.backbones.registry import Backbone
from osad.core.errors import DataError
from osad.data.manifest import Record
from osad.features.kinds import KINDS
from osad.features.packs import PackInfo
from osad.features.tiles import SQUASH, Frame
from osad.runtime.memory import check_disk, check_memory, gigabytes

BATCH = 16
"""Views per batch: fixed, since another size changes the last bits.

From 16 on, torch computes 1x1 convolutions by oneDNN also with one thread, which is a third faster
(measured) and leaves out MKL, whose bits can differ between vendors.
"""


@dataclass(frozen=True)
class Task:
    """What to extract: the description of the pack, and the weights file (None for ``pixels``)."""

    info: PackInfo
    weights: Path | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.info.paths)

    @property
    def bytes(self) -> int:
        """Size of the pack's tensors."""
        shapes = self.info.shapes().items()
        return sum(self.info.dtype(name).itemsize * math.prod(shape) for name, shape in shapes)

    @property
    def computed(self) -> bool:
        """Whether a network computes it."""
        return self.weights is not None and not self.info.kind.raw

    def check_room(self, folder: Path, *, workers: int) -> None:
        """Check beforehand that the pack fits into memory and into a folder.

        Each worker holds, besides the pack that all share, the views of a chunk, their tiles and
        the maps of one view, before and after they are put together.

        Raises:
            ConfigError: it does not fit.
        """
        info = self.info
        views = len(self.chunks[0]) * info.views
        places = [(info.frame.side // stride) ** 2 for stride in info.strides]
        maps = sum(c * count for c, count in zip(info.channels, places, strict=True))
        each = views * 3 * info.frame.side**2 * (1 + (info.grid > 1)) + 2 * 4 * maps
        working = min(workers, len(self.chunks)) * each
        what = (
            f"pack {info.pack}: {len(self)} images of {info.frame.side} x {info.frame.side} pixels"
        )
        remedy = "lower features.tiles.grid, image_size or views, leave out small strides"
        check_memory(
            self.bytes + working,
            what=f"{what} (pack {gigabytes(self.bytes)}, computing {gigabytes(working)})",
            remedy=f"{remedy}, use fewer cores",
        )
        check_disk(self.bytes, folder, what=what, remedy=remedy)

    @property
    def chunks(self) -> list[range]:
        """Return the rows of each chunk: as many images as fill one batch with tiles."""
        size = max(BATCH // (self.info.views * self.info.grid**2), 1)
        return [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]


def select_records(records: Sequence[Record], pack: str) -> list[Record]:
    """Return the images that a pack holds, in the manifest's order.

    Raises:
        DataError: there is none.
    """
    kind = KINDS[pack]
    chosen = [
        record
        for record in records
        if kind.all_images
        or (record.label == 0 and record.split == "train")
        or (record.label == 1 and kind.anomalies)
    ]
    if not chosen:
        raise DataError(f"pack {pack}: the manifest has no image for it; check its column 'split'")
    return chosen


def plan_pixels(records: Sequence[Record]) -> Task:
    """Describe the extraction of pixel statistics, which needs no network."""
    return Task(PackInfo("pixels", *identities(records), device="cpu"))


def plan_maps(
    records: Sequence[Record],
    pack: str,
    *,
    backbone: Backbone,
    weights: Path,
    image_size: int,
    strides: Sequence[int],
    views: int,
    device: str,
    rotation: float = 180.0,
    resize: str = SQUASH,
    grid: int = 1,
    overlap: int = 0,
) -> Task:
    """Describe the extraction of feature maps from all images of a manifest.

    The digest of the weights becomes part of the description. ``image_size`` is the side of the
    network's input, pixels; ``rotation`` the largest angle of the rotated views, degrees;
    ``resize``, ``grid`` and ``overlap`` are those of `osad.features.tiles.Frame`. Of the
    strides, ascending, and the number of views see `Kind.strides` and `Kind.views`.

    Raises:
        ConfigError: the backbone has no such stride or takes no images of that size, or tiles do
            not fit together.
        DataError: no image belongs to the pack, only one where a view needs two, or the weights
            file is missing.
        CheckError: the weights file has a wrong digest.
    """
    kind = KINDS[pack]
    kept = kind.strides(strides, backbone.levels)
    channels = tuple(backbone.channels(kept))
    backbone.check_size(image_size, kept)
    Frame(image_size, resize, grid, overlap).check(kept)
    paths, digests = identities(select_records(records, pack))
    if kind.second_image and len(paths) == 1:
        raise DataError(f"pack {pack}: a view needs two training normals, there is only {paths[0]}")
    info = PackInfo(
        pack,
        paths,
        digests,
        device=device,
        backbone=backbone.name,
        weights_sha256=backbone.check_digest(weights),
        image_size=image_size,
        strides=kept,
        channels=channels,
        views=kind.views(views, rotation=rotation),
        rotation=rotation if kind.rotated else 0.0,
        resize=resize,
        grid=grid,
        overlap=overlap if grid > 1 else 0,
    )
    return Task(info, weights)


def identities(records: Sequence[Record]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return paths and digests of images."""
    return tuple(r.path for r in records), tuple(r.sha256 for r in records)
