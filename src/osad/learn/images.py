"""Sets of images as the methods see them: rows of cached, memory-mapped feature packs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from osad.core.lazy import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


@dataclass(frozen=True)
class Rows:
    """Some rows of a tensor that stays on disk until rows are taken.

    Attributes:
        tensor: (N, ...) float16 or float32, usually memory-mapped.
        index: (n,) int64, the rows that belong to this set, in its order.
        device: where taken rows are put.
    """

    tensor: torch.Tensor
    index: torch.Tensor
    device: torch.device

    def __len__(self) -> int:
        """Return the number of rows n."""
        return len(self.index)

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


@dataclass(frozen=True)
class ImageSet:
    """Images of one role (training normals, training anomalies or test images).

    Attributes:
        paths: n image paths, sorted.
        maps: by stride, plain views (n, c, h, w).
        rotated: training views (n, R, c, h, w) of the deepest stride; view 0 is unrotated.
        pseudo: pseudo-anomalous (CutMix) views (n, R, c, h, w), of training normals only.
        cutmix: views (n, R, c, h, w) with a patch of another normal, of training normals only.
        draem: views (n, R, c, h, w) with blobs of foreign texture, of training normals only.
        pixels: (n, 2), mean and standard deviation of the original image's intensity in [0, 1].
        labels: (n,) int64 in {0, 1}; of test images only for methods that ask for it (controls).
    """

    paths: tuple[str, ...]
    maps: Mapping[int, Rows] = field(default_factory=dict)
    rotated: Rows | None = None
    pseudo: Rows | None = None
    cutmix: Rows | None = None
    draem: Rows | None = None
    pixels: Rows | None = None
    labels: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images n."""
        return len(self.paths)

    @property
    def deepest(self) -> Rows:
        """Plain views of the deepest stride, (n, c, h, w)."""
        return self.maps[max(self.maps)]

    def need(self, name: str) -> Rows:
        """Return the views of a pack that the method declared, for example ``rotated``."""
        rows: Rows | None = getattr(self, name)
        if rows is None:
            raise ValueError(f"image set has no {name}: add it to the method's packs")
        return rows


@dataclass(frozen=True)
class TrainingData:
    """What a method is fitted on.

    Attributes:
        normal: the training normals (at least one).
        anomaly: the seen anomalies (none in the ``normal`` setting).
        key: text that keys every random draw of the fit, usually the cell's id.
        base: the fitted tensors of the method's base, for methods that have one.
    """

    normal: ImageSet
    anomaly: ImageSet
    key: str
    base: Mapping[str, torch.Tensor] | None = None


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


State = dict[str, "torch.Tensor"]
"""What a fit returns and a checkpoint holds: named tensors."""
