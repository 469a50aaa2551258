"""Sets of images as the methods see them: rows of cached, memory-mapped feature packs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from osad.features.kinds import SYNTHETIC
from osad.learn.lazy_torch import torch

if TYPE_CHECKING:
    from osad.learn.journal import Journal
    from osad.learn.network import Network

State = dict[str, "torch.Tensor"]
"""What a fit returns and a checkpoint holds: named tensors."""
BACKBONE = "backbone."
"""Start of the names of the tensors of a backbone in training."""


POSITIONS = 2**18
"""Most positions of maps in a batch, whatever the number of images."""


def batched(n: int, size: int = 64, *, positions: int = 1) -> list[slice]:
    """Return slices of at most ``size`` that cover range(n), for work in constant memory.

    They are smaller where an image has so many ``positions`` that a batch has over `POSITIONS`.

    Example:
        >>> batched(100), batched(3, positions=125 * 1000)
        ([slice(0, 64, None), slice(64, 100, None)], [slice(0, 2, None), slice(2, 3, None)])
    """
    size = max(min(size, POSITIONS // positions), 1)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


@dataclass(frozen=True)
class Rows:
    """Some rows of a tensor that stays on disk until rows are taken.

    Attributes:
        tensor: (N, ...) float16, float32 or uint8, usually memory-mapped.
        index: (n,) int64, the rows that belong to this set, in its order.
        device: where taken rows are put.
    """

    tensor: torch.Tensor
    index: torch.Tensor
    device: torch.device

    def __len__(self) -> int:
        """Return the number of rows n."""
        return len(self.index)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.tensor.shape[-2], self.tensor.shape[-1]

    @property
    def channels(self) -> int:
        """Number of channels of the maps."""
        return self.tensor.shape[-3]

    @property
    def views(self) -> int:
        """Number of views of an image, for tensors (N, R, ...)."""
        return self.tensor.shape[1]

    def take(
        self, rows: torch.Tensor | slice | None = None, *, views: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return rows as float32 on the device.

        Args:
            rows: (k,) int64 positions within this set, or a slice; all when None.
            views: (k,) int64, which view of each row to take, for tensors (N, R, ...).

        Returns:
            (k, ...) float32; without the view axis when ``views`` is given.
        """
        index = self.index if rows is None else self.index[rows]
        taken = self.tensor[index] if views is None else self.tensor[index, views]
        return taken.to(self.device, torch.float32)

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Apply a function (k, ...) -> (k, ...) to parts of the rows and join the results."""
        return torch.cat([function(self.take(part)) for part in self._parts()])

    def map_parts(self, function: Callable[[torch.Tensor], State]) -> State:
        """Do the same with a function that returns several tensors by name."""
        parts = [function(self.take(part)) for part in self._parts()]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _parts(self) -> list[slice]:
        maps = self.tensor.ndim == 4
        return batched(len(self), positions=math.prod(self.size) if maps else 1)


@dataclass(frozen=True)
class ImageSet:
    """Images of one role (training normals, training anomalies or test images).

    Attributes:
        paths: n image paths, sorted.
        maps: by stride, plain views (n, c, h, w).
        views: by pack. Of training images, maps (n, R, c, h, w) of the deepest stride: ``rotated``
            (view 0 is not) and, of normals only, ``pseudo`` (CutMix), ``cutmix`` (a patch of
            another normal), ``draem`` (blobs of foreign texture). Of all images ``pixels`` (n, 2),
            mean and standard deviation of the original image's intensity in [0, 1].
        pooled: mean and standard deviation of each channel over positions, (n, 2, c), from each
            of the grid's networks, for methods that declare ``pooled``.
        labels: (n,) int64 in {0, 1}; of test images only for methods that ask for it (controls).
        pictures: the images themselves, (n, S, S, 3) uint8, for methods with a network of their
            own, from which maps and training views then come.
        network: that network.
        coarse: maps of the deepest stride of the image at half its size, where the network sees
            both.
    """

    paths: tuple[str, ...]
    maps: Mapping[int, Rows] = field(default_factory=dict)
    views: Mapping[str, Rows] = field(default_factory=dict)
    pooled: tuple[Rows, ...] = ()
    labels: torch.Tensor | None = None
    pictures: Rows | None = None
    network: Network | None = None
    coarse: tuple[Rows, ...] = ()

    def __len__(self) -> int:
        """Return the number of images n."""
        return len(self.paths)

    @property
    def scales(self) -> tuple[Rows, ...]:
        """The deepest maps at each scale, the finest first."""
        return (self.deepest, *self.coarse)

    def through(self, state: State) -> ImageSet:
        """Return the set with the maps of its network with the tensors ``backbone.*`` of a state.

        A set of cached maps is returned as it is.
        """
        return self if self.network is None else self.network.bound(self, state)

    @property
    def deepest(self) -> Rows:
        """Plain views of the deepest stride, (n, c, h, w)."""
        return self.maps[max(self.maps)]

    def need(self, name: str) -> Rows:
        """Return the views of a pack that the method declared, for example ``rotated``."""
        if name not in self.views:
            raise ValueError(f"image set has no {name}: add it to the method's packs")
        return self.views[name]


@dataclass(frozen=True)
class TrainingData:
    """What a method is fitted on.

    Attributes:
        normal: the training normals (at least one).
        anomaly: the seen anomalies (none in the ``normal`` setting).
        key: text that keys every random draw of the fit, usually the cell's id.
        base: the fitted tensors of the method's base, for methods that have one.
        journal: keeps what an interrupted training goes on from; None where nothing is kept.
    """

    normal: ImageSet
    anomaly: ImageSet
    key: str
    base: Mapping[str, torch.Tensor] | None = None
    journal: Journal | None = None

    def started(self, white: State) -> State:
        """Return what is trained besides heads, and the whitening between the two.

        Nothing where maps are cached: they are whitened beforehand (see `whitened_training`).
        """
        network = self.normal.network
        return {} if network is None else network.initial() | white

    def vectors(self, state: State, drawn: torch.Tensor, *, training: bool) -> list[torch.Tensor]:
        """Return whitened position vectors (k, P, c), one tensor a scale, of drawn training views.

        Args:
            state: with the tensors of `started`.
            drawn: (k, 4) int64, what `osad.learn.network.Drawn` gives instead of features.
            training: normalise by the batch, and move the running statistics in ``state``.
        """
        assert self.normal.network is not None  # noqa: S101 - for mypy: nothing is drawn without.
        return self.normal.network.vectors(
            state, (self.normal, self.anomaly), drawn, training=training
        )

    def viewed(self, state: State, names: Sequence[str], asked: int) -> TrainingData:
        """Return data whose maps and views are those of a trained network, as if they were cached.

        Data of cached packs are returned as they are.

        Args:
            state: with the tensors of the network.
            names: kinds of views; those with defects are made of normals alone.
            asked: number of views of each.
        """
        network = self.normal.network
        if network is None:
            return self
        plain = [name for name in names if name not in SYNTHETIC]
        return replace(
            self,
            normal=network.viewed(self.normal, state, names, asked),
            anomaly=network.viewed(self.anomaly, state, plain, asked),
        )

    def with_views(self, function: Callable[[Rows], Rows]) -> TrainingData:
        """Return the same data with every training view (n, R, ...) changed by a function.

        Those that a network is yet to see (`osad.learn.network.Drawn`) stay.
        """
        if self.normal.network is not None:
            return self

        def change(images: ImageSet) -> ImageSet:
            views = {
                name: function(rows) if len(rows) and name != "pixels" else rows
                for name, rows in images.views.items()
            }
            return replace(images, views=views)

        return replace(self, normal=change(self.normal), anomaly=change(self.anomaly))


@dataclass(frozen=True)
class Scores:
    """Anomaly scores of a set of images.

    Attributes:
        total: (n,) float32, higher is more anomalous.
        heads: the parts that the total is made of, each (n,) float32 and oriented like the total.
        maps: (n, h, w) float32, anomaly scores of the positions of the feature map, for methods
            that give anomaly maps. They rank positions within the set; the total is not
            necessarily a function of them.
    """

    total: torch.Tensor
    heads: Mapping[str, torch.Tensor] = field(default_factory=dict)
    maps: torch.Tensor | None = None
