"""Kinds of feature packs, one record each. Whatever lists packs reads them here.

To add a kind, add a record, the function of its defect to `osad.features.defects` if it has a new
one, and a field of `osad.learn.images.ImageSet` if methods are to read it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

POOLED_FROM = 8
"""Smallest stride that is pooled: finer maps hold edges rather than parts of objects."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of feature pack.

    Attributes:
        name: of the pack and of the field of an `osad.learn.images.ImageSet`.
        backbone: it comes from a network, or is for one; otherwise it holds statistics of pixels.
        raw: it holds the images themselves, uint8, as the network's input has them.
        all_images: it holds every image; otherwise views of training normals.
        anomalies: it holds all anomalies, too.
        every_stride: it holds every stride; otherwise the deepest only, since the files of
            several views would be the largest by far.
        pooled: it holds mean and standard deviation over positions instead of maps, at every
            stride from `POOLED_FROM` on, and there is one for each network of the grid;
            otherwise one for the first network alone.
        defects: functions of `osad.features.defects` by name; the views take turns.
        second_image: the defects take texture from another image of the pack.
        rotated: views from the second on are turned by a random angle.
        least: smallest number of views, whatever is asked for.
        most: largest number of views; None for as many as are asked for.
        for_methods: methods may read it.
    """

    name: str
    backbone: bool = True
    raw: bool = False
    all_images: bool = False
    anomalies: bool = False
    every_stride: bool = False
    pooled: bool = False
    defects: tuple[str, ...] = ()
    second_image: bool = False
    rotated: bool = False
    least: int = 1
    most: int | None = None
    for_methods: bool = True

    @property
    def maps(self) -> bool:
        """Whether it holds maps, or images that maps are made of; otherwise statistics."""
        return self.backbone and not self.pooled

    def views(self, asked: int, *, rotation: float) -> int:
        """Return how many views of an image the pack holds, of those asked for.

        Example:
            >>> [KINDS[name].views(4, rotation=0.0) for name in ("rotated", "pseudo", "draem")]
            [1, 4, 2]
        """
        if not self.defects and not (self.rotated and rotation):
            return 1  # Further ones would be equal.
        return max(self.least, asked if self.most is None else min(asked, self.most))

    def strides(self, asked: Sequence[int], levels: Collection[int]) -> tuple[int, ...]:
        """Return the strides that the pack holds, of those asked for or, pooled, of all levels.

        Example:
            >>> [KINDS[name].strides([16, 32], [4, 8, 16, 32]) for name in ("plain", "pooled")]
            [(16, 32), (8, 16, 32)]
        """
        if self.pooled:
            return tuple(stride for stride in levels if stride >= POOLED_FROM) or (max(levels),)
        return tuple(asked) if self.every_stride else (max(asked),)


_kinds = (
    Kind(name="pixels", backbone=False, all_images=True, most=1),
    Kind(name="plain", all_images=True, every_stride=True, most=1),
    Kind(name="pooled", all_images=True, pooled=True, most=1),
    Kind(name="rotated", anomalies=True, rotated=True),
    Kind(name="pseudo", defects=("cutmix",), rotated=True),
    Kind(name="cutmix", defects=("cutmix",), second_image=True, rotated=True, most=2),
    Kind(name="draem", defects=("draem_blend",), second_image=True, rotated=True, most=2),
    Kind(name="images", raw=True, all_images=True, most=1),
    # To choose hyper-parameters by defects that no method is trained on.
    Kind(
        name="holdout",
        every_stride=True,
        defects=("cutpaste_scar", "perlin_blend"),
        least=2,
        most=2,
        for_methods=False,
    ),
)
KINDS = {kind.name: kind for kind in _kinds}
"""The kinds by name, in the order in which packs are computed."""

PACKS = tuple(kind.name for kind in _kinds if kind.for_methods)
"""Packs that methods may read."""

TEST_PACKS = tuple(kind.name for kind in _kinds if kind.all_images)
"""Packs that hold every image, also test images; the others hold views of training images."""

SYNTHETIC = tuple(kind.name for kind in _kinds if kind.defects)
"""Packs of training normals with synthetic defects."""
