"""A network in training: images become features inside the step that learns from them.

Methods see the same maps and position vectors as of cached packs. Training views are numbers, drawn
as the numbers of cached views are, until a step needs them: then images are read, augmented and
brought through the network with the tensors of the step's state.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osad.backbones.registry import Backbone
from osad.core.errors import ConfigError
from osad.features.augment import ENDLESS, augmented
from osad.features.compute import compute_maps, normalise
from osad.features.kinds import KINDS, Kind
from osad.features.views import make_views, partner
from osad.learn.gaussian import whiten
from osad.learn.images import BACKBONE, ImageSet, Rows, State
from osad.learn.lazy_torch import F, torch
from osad.runtime.memory import check_memory, gigabytes

COUNTER = "num_batches_tracked"
"""Of batch normalisations; it changes nothing and is left out."""
KINDS_DRAWN = ("rotated", "pseudo")
FEW = 4
"""Views of an image that stand for all where a mean over views is asked for."""


@dataclass(frozen=True)
class MadeRows(Rows):
    """Maps that a network makes of images when they are taken.

    Attributes:
        make: turns images (k, S, S, 3) uint8 into maps (k, c, h, w).
        shape: c, h and w.
    """

    make: Callable[[torch.Tensor], torch.Tensor]
    shape: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.shape[1:]

    @property
    def channels(self) -> int:
        """Number of channels of the maps."""
        return self.shape[0]

    def take(
        self, rows: torch.Tensor | slice | None = None, *, views: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return maps (k, c, h, w) float32 on the device; see `Rows.take`."""
        return self.make(self.tensor[self.index if rows is None else self.index[rows]])


@dataclass(frozen=True)
class Drawn(Rows):
    """Training views that are made when a step needs them.

    Attributes:
        code: numbers of the set of images, 0 the normals, 1 the anomalies, and of the view's kind
            in `KINDS_DRAWN`.
    """

    code: tuple[int, int]

    @property
    def views(self) -> int:
        """Number of views of an image: as many as are drawn."""
        return ENDLESS

    def take(
        self, rows: torch.Tensor | slice | None = None, *, views: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return codes, rows and views (k, 4) int64; without views, of `FEW` (k, FEW, 4)."""
        chosen = torch.arange(len(self))
        chosen = chosen if rows is None else chosen[rows]
        if views is None:
            shape = (len(chosen), FEW)
            chosen, views = chosen[:, None].expand(shape), torch.arange(FEW).expand(shape)
        code = [torch.full_like(chosen, number) for number in self.code]
        return torch.stack([*code, chosen, views], -1)


@dataclass(frozen=True, eq=False)
class Network:
    """A backbone whose tensors are those of a state.

    Attributes:
        module: gives one map a stride of normalised images; the last is taken. Its own tensors are
            those that training starts from.
        backbone: what it is.
        channels: of the maps.
        side: of the images, pixels.
        stride: of the maps.
        device: where it computes.
        scales: 2 where it sees images at half their size, too.
        rotation: largest angle of training views, degrees.
        precision: ``float32``, or ``bfloat16`` for mixed precision.
    """

    module: torch.nn.Module
    backbone: Backbone
    channels: int
    side: int
    stride: int
    device: torch.device
    scales: int = 1
    rotation: float = 180.0
    precision: str = "float32"

    def initial(self) -> State:
        """Return the tensors that training starts from, with `BACKBONE` before their names."""
        tensors = self.module.state_dict().items()
        return {f"{BACKBONE}{n}": t.detach() for n, t in tensors if not n.endswith(COUNTER)}

    def maps(self, state: State, inputs: torch.Tensor, scale: int = 0) -> torch.Tensor:
        """Return the maps (k, c, h, w) of normalised images at a scale, 1 for half the size.

        The module is in its present mode, training or not.

        Source:
            DRA (arXiv 2203.14506), released code: the smaller image is interpolated, nearest.
        """
        own = {
            name.removeprefix(BACKBONE): value
            for name, value in state.items()
            if name.startswith(BACKBONE)
        }
        if scale:
            inputs = F.interpolate(inputs, size=self.side // 2, mode="nearest")
        low = (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.precision != "float32"
            else None
        )
        with low or contextlib.nullcontext():
            maps: torch.Tensor = torch.func.functional_call(self.module, own, (inputs,))[-1]
        widened: torch.Tensor = maps.float()
        return widened

    def bound(self, images: ImageSet, state: State) -> ImageSet:
        """Return a set of images with the maps that a state gives (see `ImageSet.through`).

        Raises:
            ConfigError: the state has no tensors of the network.
        """
        pictures = _pictures(images)
        check_kept(state)
        fine, *coarse = (
            MadeRows(
                pictures.tensor,
                pictures.index,
                pictures.device,
                functools.partial(self._scored, state, scale=scale),
                (self.channels, *2 * (self._positions(scale),)),
            )
            for scale in range(self.scales)
        )
        return replace(images, maps={self.stride: fine}, coarse=tuple(coarse))

    def _positions(self, scale: int) -> int:
        return -(-(self.side // 2 if scale else self.side) // self.stride)

    def _scored(self, state: State, pictures: torch.Tensor, *, scale: int = 0) -> torch.Tensor:
        """Return maps of images (k, S, S, 3) uint8 without gradient, by the running statistics.

        Batches are those of `osad.features.compute.compute_maps`, so that the maps of an image do
        not depend on the others.
        """
        self.module.eval()
        batches = compute_maps(
            lambda inputs: [self.maps(state, inputs, scale)],
            pictures.numpy(),
            backbone=self.backbone,
            device=self.device,
        )
        # Joined outside of inference mode, the result is like any tensor.
        return torch.cat([maps for (maps,) in batches])

    def vectors(
        self, state: State, sets: Sequence[ImageSet], drawn: torch.Tensor, *, training: bool
    ) -> list[torch.Tensor]:
        """Make drawn views of two sets of images and their vectors; see `TrainingData.vectors`."""
        if training:
            check_room(self, len(drawn))
        opened = [_pictures(sets[s]).tensor[_pictures(sets[s]).index[row]]
                  for s, _, row, _ in drawn.tolist()]  # fmt: skip
        batch = torch.stack(opened)
        if self.device.type == "cuda":  # The copy then runs beside what the device still computes.
            batch = batch.pin_memory()
        images = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        views = [
            augmented(image, sets[s].paths[row], KINDS_DRAWN[kind], view, rotation=self.rotation)
            for image, (s, kind, row, view) in zip(images, drawn.tolist(), strict=True)
        ]
        # In this order in memory, too: convolutions then take a third less time.
        channels_last = torch.stack(views).permute(0, 2, 3, 1).contiguous()
        inputs = normalise(channels_last, self.backbone.mean, self.backbone.std)
        self.module.train(training)
        with torch.set_grad_enabled(training):
            return [whiten(state, self.maps(state, inputs, s)) for s in range(self.scales)]

    def joined(self, images: ImageSet, *, role: int | None = None) -> ImageSet:
        """Return a set of pictures with this network and the maps that it starts with.

        Args:
            images: with pictures.
            role: of training images 0, normal, or 1, anomalous; they have training views.
        """
        views, pictures = dict(images.views), _pictures(images)
        for number, kind in enumerate(() if role is None else KINDS_DRAWN[: 2 - role]):
            code = (role or 0, number)
            views[kind] = Drawn(pictures.tensor, pictures.index, pictures.device, code)
        return replace(images, views=views, network=self).through(self.initial())

    def viewed(self, images: ImageSet, state: State, names: Sequence[str], asked: int) -> ImageSet:
        """Return a set with maps and views as if they were cached; see `TrainingData.viewed`."""
        views = {name: self._views(images, state, KINDS[name], asked) for name in names}
        return replace(images.through(state), views=views)

    def _views(self, images: ImageSet, state: State, kind: Kind, asked: int) -> Rows:
        """Return the maps (n, R, c, h, w) float16 of the views of a kind, in memory."""
        from PIL import Image

        pictures, n_views = _pictures(images), kind.views(asked, rotation=self.rotation)
        if kind.second_image and len(images) == 1:
            raise ConfigError(f"views {kind.name}: need two training normals, there is only one")

        def picture(row: int) -> Any:
            return Image.fromarray(pictures.tensor[pictures.index[row]].numpy())

        parts = []
        for row, path in enumerate(images.paths):
            others = [
                partner(images.paths, row, pack=kind.name, view=view)
                for view in range(n_views if kind.second_image else 0)
            ]
            made = make_views(
                picture(row),
                path,
                kind,
                views=n_views,
                rotation=self.rotation,
                sources=[picture(other) for other in others],
            )
            stacked = np.stack([np.asarray(view) for view in made])
            parts.append(self._scored(state, torch.from_numpy(stacked)).half())
        return Rows(torch.stack(parts), torch.arange(len(parts)), pictures.device)


def _pictures(images: ImageSet) -> Rows:
    assert images.pictures is not None  # noqa: S101 - for mypy.
    return images.pictures


def check_kept(state: Mapping[str, Any], where: Path | str = "the checkpoint") -> None:
    """Check that a state has the tensors of a backbone.

    Raises:
        ConfigError: it has not, since its run kept only the heads.
    """
    if not any(name.startswith(BACKBONE) for name in state):
        raise ConfigError(
            f"{where}: holds the heads alone, without the backbone that was trained with them; set "
            "the method's hyper-parameter keep to all and train again"
        )


@functools.cache
def check_room(network: Network, n: int) -> None:
    """Check, once, that a training step on ``n`` images fits into the memory of its device.

    What the step keeps for its gradient is counted without computing it. To this come two gradients
    as large as the largest of it, and tensors, gradients and the two moments of Adam.

    Raises:
        ConfigError: it does not fit.
    """
    # Not of one image: a batch normalisation takes none with a single position.
    (two, _), (three, largest) = (_kept(network, images) for images in (2, 3))
    needed = n * (three - two) + 2 * n * largest // 3
    needed += 4 * sum(value.numel() * value.element_size() for value in network.initial().values())
    what = f"a step on {n} images of {network.side} x {network.side} pixels"
    remedy = "lower the method's batch or features.image_size"
    if network.device.type != "cuda":
        check_memory(needed, what=what, remedy=remedy)
    elif needed > (free := torch.cuda.mem_get_info(network.device)[0]):
        raise ConfigError(
            f"{what}: needs {gigabytes(needed)} of the GPU's memory, {gigabytes(free)} are free; "
            f"{remedy}"
        )


def _kept(network: Network, n: int) -> tuple[int, int]:
    """Return the bytes that a step on n images keeps for its gradient, and of the largest tensor.

    Nothing is computed: the network is on the meta device.
    """
    module = copy.deepcopy(network.module).to("meta").train().requires_grad_(True)
    meta = replace(network, module=module)
    sizes = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        inputs = torch.empty(n, 3, network.side, network.side, device="meta")
        for scale in range(network.scales):
            meta.maps({}, inputs, scale)
    return sum(sizes), max(sizes)
