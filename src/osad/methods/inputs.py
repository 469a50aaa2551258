"""Reading splits and feature packs into image sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from osad.core.errors import ConfigError, DataError
from osad.data.splits import SplitRow
from osad.features.kinds import KINDS, SYNTHETIC
from osad.features.packs import INTENSITY, POOLED, Pack, level_name
from osad.features.tiles import Frame
from osad.learn.images import ImageSet, Rows
from osad.learn.lazy_torch import torch
from osad.methods.registry import MethodSpec


def open_packs(paths: Iterable[Path], spec: MethodSpec, *, training: bool = True) -> list[Pack]:
    """Open the packs that a method needs, in the order given.

    Args:
        paths: the files.
        spec: the method.
        training: whether for training; scoring needs only those of test images.

    Raises:
        ConfigError: a pack is missing or not needed.
        DataError: a file is damaged, or packs come from different networks (of ``pooled`` packs
            there is one for each network, the others come from the first).
    """
    packs = [*map(Pack.open, paths)]
    needed = spec.packs if training else spec.test_packs
    kinds = [pack.info.pack for pack in packs]
    twice = {kind for kind in kinds if kinds.count(kind) > 1 and not KINDS[kind].pooled}
    if {*kinds} != {*needed} or twice:
        raise ConfigError(
            f"method {spec.name} needs the packs {', '.join(needed) or 'none'}, "
            f"got {', '.join(kinds) or 'none'}"
        )
    maps = {origin(pack) for pack in packs if pack.info.kind.maps}
    pooled = [origin(pack) for pack in packs if pack.info.kind.pooled]
    if len(maps) > 1 or len({*pooled}) < len(pooled) or (maps and pooled and pooled[0] not in maps):
        files = ", ".join(
            f"{pack.path} ({name} at {frame.side} px{frame.options}, weights {digest[:12]})"
            for pack in packs
            for name, digest, frame in [origin(pack)]
            if name
        )
        raise DataError(f"{files}: come from other networks than they should; delete and rerun")
    return packs


def origin(pack: Pack) -> tuple[str, str, Frame]:
    """Return what tells networks apart."""
    return pack.info.backbone, pack.info.weights_sha256, pack.info.frame


def image_set(
    rows: Sequence[SplitRow],
    packs: Iterable[Pack],
    device: torch.device,
    *,
    training: bool,
    labels: bool = False,
) -> ImageSet:
    """Select images from open packs.

    Args:
        rows: images of one role, sorted by path.
        packs: open packs.
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

    maps, views, pooled = {}, {}, []
    for pack in packs:
        kind = pack.info.pack
        if kind == "plain":
            maps = {stride: select(pack, level_name(stride)) for stride in pack.info.strides}
        elif kind == "pixels":
            views[kind] = select(pack, INTENSITY)
        elif pack.info.kind.pooled:
            pooled.append(select(pack, POOLED))
        elif training and not (kind in SYNTHETIC and any(row.label for row in rows)):
            views[kind] = select(pack, level_name(max(pack.info.strides)))
    known = torch.tensor([row.label for row in rows]) if labels else None
    return ImageSet(paths, maps, views, tuple(pooled), known)


def of_role(rows: Iterable[SplitRow], role: str) -> list[SplitRow]:
    """Return the rows of one role, in their order."""
    return [row for row in rows if row.role == role]
