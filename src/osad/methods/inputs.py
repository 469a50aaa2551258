"""Reading splits and feature packs into image sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from osad.core.errors import ConfigError, DataError
from osad.data.splits import SplitRow
from osad.features.kinds import SYNTHETIC
from osad.features.packs import INTENSITY, Pack, level_name
from osad.learn.images import ImageSet, Rows
from osad.learn.lazy_torch import torch
from osad.methods.registry import MethodSpec


def open_packs(
    paths: Iterable[Path], spec: MethodSpec, *, training: bool = True
) -> dict[str, Pack]:
    """Open the packs that a method needs, by kind.

    Args:
        paths: the files.
        spec: the method.
        training: whether for training; scoring needs only those of test images.

    Raises:
        ConfigError: a pack is missing or not needed.
        DataError: a file is damaged, or packs come from different backbones.
    """
    packs = {pack.info.pack: pack for pack in map(Pack.open, paths)}
    needed = spec.packs if training else spec.test_packs
    if packs.keys() != set(needed):
        raise ConfigError(
            f"method {spec.name} needs the packs {', '.join(needed) or 'none'}, "
            f"got {', '.join(packs) or 'none'}"
        )
    origins = {
        (pack.info.backbone, pack.info.weights_sha256, pack.info.image_size): pack.path
        for pack in packs.values()
        if pack.info.backbone
    }
    if len(origins) > 1:
        files = " and ".join(str(path) for path in origins.values())
        raise DataError(f"{files}: come from different backbones; delete them and rerun")
    return packs


def image_set(
    rows: Sequence[SplitRow],
    packs: dict[str, Pack],
    device: torch.device,
    *,
    training: bool,
    labels: bool = False,
) -> ImageSet:
    """Select images from open packs.

    Args:
        rows: images of one role, sorted by path.
        packs: open packs by kind.
        device: where features are put when they are taken.
        training: give the training views too (those with synthetic defects only where the packs
            hold the images, that is of normals).
        labels: give the labels (only controls may see those of test images).

    Raises:
        CheckError: an image is not in a pack, or its features are those of other bytes.
    """
    paths = tuple(row.path for row in rows)
    digests = [row.sha256 for row in rows]

    def select(pack: Pack, name: str) -> Rows:
        return Rows(pack.tensor(name), pack.rows(paths, digests), device)

    maps, views = {}, {}
    for kind, pack in packs.items():
        if kind == "plain":
            maps = {stride: select(pack, level_name(stride)) for stride in pack.info.strides}
        elif kind == "pixels":
            views[kind] = select(pack, INTENSITY)
        elif training and not (kind in SYNTHETIC and any(row.label for row in rows)):
            views[kind] = select(pack, level_name(max(pack.info.strides)))
    known = torch.tensor([row.label for row in rows]) if labels else None
    return ImageSet(paths, maps, views, known)


def of_role(rows: Iterable[SplitRow], role: str) -> list[SplitRow]:
    """Return the rows of one role, in their order."""
    return [row for row in rows if row.role == role]
