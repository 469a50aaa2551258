"""Reading splits and feature packs into image sets."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osad.backbones import get_backbone
from osad.core.errors import CheckError, ConfigError, DataError
from osad.data.splits import SplitRow
from osad.features.kinds import KINDS, SYNTHETIC
from osad.features.packs import IMAGES, INTENSITY, POOLED, Pack, level_name
from osad.features.tiles import Frame
from osad.learn.images import ImageSet, Rows
from osad.learn.lazy_torch import torch
from osad.methods.registry import Method, MethodSpec

if TYPE_CHECKING:
    from osad.learn.network import Network

NETWORK = "osad.learn.network"
"""Imported by its name: an edit there reruns nothing of methods on cached features."""


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

    maps, views, pooled, pictures = {}, {}, [], None
    for pack in packs:
        kind = pack.info.pack
        if kind == "plain":
            maps = {stride: select(pack, level_name(stride)) for stride in pack.info.strides}
        elif kind == "pixels":
            views[kind] = select(pack, INTENSITY)
        elif pack.info.kind.raw:
            pictures = select(pack, IMAGES)
        elif pack.info.kind.pooled:
            pooled.append(select(pack, POOLED))
        elif training and not (kind in SYNTHETIC and any(row.label for row in rows)):
            views[kind] = select(pack, level_name(max(pack.info.strides)))
    known = torch.tensor([row.label for row in rows]) if labels else None
    return ImageSet(paths, maps, views, tuple(pooled), known, pictures)


def open_network(
    packs: Iterable[Pack], method: Method, device: torch.device, weights: Path | None = None
) -> Network | None:
    """Return the network that a method's images are for; None for methods on cached features.

    Args:
        packs: open packs of the method.
        method: with the hyper-parameters of `osad.methods.images`.
        device: where it computes.
        weights: its weights file, if not at its usual place.

    Raises:
        ConfigError: images are padded or cut into tiles.
        DataError: the weights file is missing or damaged.
        CheckError: the weights are not those that the pack was made for.
    """
    info = next((pack.info for pack in packs if pack.info.kind.raw), None)
    if info is None:
        return None
    if info.frame.options:
        raise ConfigError(
            f"features: a network is trained on whole images as squares, not with"
            f"{info.frame.options}; leave features.tiles and features.resize as they are by default"
        )
    backbone = get_backbone(info.backbone)
    file = weights or Path("data/weights") / backbone.file
    if (digest := backbone.check_digest(file)) != info.weights_sha256:
        raise CheckError(
            f"{file}: SHA-256 is {digest[:12]}..., that of the images' pack is "
            f"{info.weights_sha256[:12]}...; run the features step again"
        )
    module = backbone.build(file, strides=info.strides, trainable=True).to(device)
    network: Network = importlib.import_module(NETWORK).Network(
        module,
        backbone,
        info.channels[-1],
        info.image_size,
        info.strides[-1],
        device,
        scales=getattr(method, "scales", 1),
        rotation=getattr(method, "rotation"),  # noqa: B009 - for mypy: not of all methods.
        precision=getattr(method, "precision"),  # noqa: B009
    )
    return network


def of_role(rows: Iterable[SplitRow], role: str) -> list[SplitRow]:
    """Return the rows of one role, in their order."""
    return [row for row in rows if row.role == role]
