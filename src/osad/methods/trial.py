"""Small generated features, and one method tried on them: for checks and tests of methods."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from osad.backbones import get_backbone
from osad.core.seeds import torch_generator
from osad.features.kinds import PACKS, SYNTHETIC
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.methods import registry
from osad.methods.inputs import NETWORK
from osad.methods.registry import Method, MethodSpec

CHANNELS = {16: 12, 32: 24}
SIDES = {16: 8, 32: 4}
VIEWS = 3
SIDE = 64
"""Of generated images, pixels."""
NORMALS, ANOMALIES = tuple(range(64)), (84, 85, 86, 87)
TEST_NORMALS, TEST_ANOMALIES = tuple(range(64, 84)), tuple(range(88, 100))
BUDGET = {
    "epochs": 2, "iterations": 6, "batch": 12, "lr": 1e-2, "adapter": 8, "head_width": 16,
    "holistic_width": 16, "residual_width": 8, "prototypes": 4, "codebook_samples": 200,
    "candidates": 200, "coreset": 20, "projection": 8, "width": 16, "blocks": 1,
}  # fmt: skip
"""Values of a trial for hyper-parameters of these names: seconds instead of minutes."""
EPOCHS = 10
"""At most, of variants that have a number of their own: as many as their learning rates need."""


class SyntheticPacks:
    """Features of generated images, like open packs of one data set.

    The last ``n_anomalies`` images are anomalous: a quarter of each map is shifted in a fixed
    direction, views with synthetic defects likewise in others, and their intensity differs.

    Attributes:
        tensors: by kind of view (``s16``, ``s32`` for plain ones), over all images.
        n_normals: images before the first anomaly.
    """

    def __init__(self, key: str, n_normals: int, n_anomalies: int) -> None:
        """Draw all features, keyed on ``key``."""
        self.n_normals, n = n_normals, n_normals + n_anomalies
        self.tensors: dict[str, torch.Tensor] = {}
        generator = torch_generator(key)
        anomalous = torch.arange(n) >= n_normals
        for stride, channels in CHANNELS.items():
            plain = self.draw((n,), stride, generator)
            plain[anomalous] += self.patch(stride, torch.ones(channels))
            self.tensors[f"s{stride}"] = plain.half()
        rotated = self.draw((n, VIEWS), 32, generator)
        rotated[anomalous] += self.patch(32, torch.ones(CHANNELS[32]))
        self.tensors["rotated"] = rotated.half()
        directions = itertools.cycle([(2.0, 0.0), (0.0, 2.0), (2.0, 2.0, 0.0)])
        for kind, direction in zip((k for k in PACKS if k in SYNTHETIC), directions, strict=False):
            repeated = torch.tensor(direction).repeat(CHANNELS[32] // len(direction))
            views = self.draw((n, VIEWS), 32, generator) + self.patch(32, repeated)
            self.tensors[kind] = views.half()
        pixels = 0.5 + 0.02 * torch.randn(n, 2, generator=generator)
        pixels[anomalous, 0] += 0.2
        self.tensors["pixels"] = pixels
        flat = [self.tensors[f"s{stride}"].float().flatten(2) for stride in CHANNELS]
        moments = [torch.stack([x.mean(2), x.std(2)], 1) for x in flat]
        self.tensors["pooled"] = torch.cat(moments, 2)
        further = torch.randn(n, 2, 10, generator=generator)
        further[anomalous] += 1
        self.tensors["further"] = further
        pictures = 120 + 10 * torch.randn(n, SIDE, SIDE, 3, generator=generator)
        pictures[anomalous, : SIDE // 2, : SIDE // 2, 0] += 80
        self.tensors["images"] = pictures.clamp(0, 255).to(torch.uint8)

    @staticmethod
    def draw(shape: tuple[int, ...], stride: int, generator: torch.Generator) -> torch.Tensor:
        """Draw correlated features around a mean, (*shape, c, h, w)."""
        channels, side = CHANNELS[stride], SIDES[stride]
        noise = torch.randn(*shape, channels, side, side, generator=generator)
        mixed = 0.8 * noise + 0.6 * noise.roll(1, dims=-3)
        return 2 + mixed * torch.linspace(0.5, 1.5, channels)[:, None, None]

    @staticmethod
    def patch(stride: int, direction: torch.Tensor) -> torch.Tensor:
        """Return a shift of the upper left quarter of a map, (c, h, w)."""
        side = SIDES[stride]
        shift = torch.zeros(len(direction), side, side)
        shift[:, : side // 2, : side // 2] = 2 * direction[:, None, None]
        return shift

    def images(
        self, index: Sequence[int], *, training: bool = False, labels: bool = False
    ) -> ImageSet:
        """Select images; views with synthetic defects only for sets without anomalies."""

        def rows(name: str) -> Rows:
            chosen = torch.tensor(list(index), dtype=torch.int64)
            return Rows(self.tensors[name], chosen, torch.device("cpu"))

        normal = all(number < self.n_normals for number in index)
        names = ["pixels", *(["rotated"] if training else [])]
        names += [kind for kind in PACKS if kind in SYNTHETIC and training and normal]
        label = torch.tensor([int(number >= self.n_normals) for number in index])
        return ImageSet(
            tuple(f"data/raw/made/{number:03d}.png" for number in index),
            {stride: rows(f"s{stride}") for stride in CHANNELS},
            {name: rows(name) for name in names},
            (rows("pooled"), rows("further")),
            label if labels else None,
            rows("images"),
        )

    def training(self, normals: Sequence[int], anomalies: Sequence[int], key: str) -> TrainingData:
        """Return training data of these images."""
        return TrainingData(
            self.images(normals, training=True), self.images(anomalies, training=True), key
        )


@dataclass
class Trial:
    """One method or variant with a small budget, and the features that it may see.

    Attributes:
        spec: the method.
        packs: features of 84 normals and 16 anomalies.
    """

    spec: MethodSpec
    packs: SyntheticPacks = field(default_factory=lambda: SyntheticPacks("methods", 84, 16))
    _fits: dict[Any, State] = field(default_factory=dict)

    @cached_property
    def base(self) -> Trial | None:
        """The trial of the method's base, for methods that have one."""
        return Trial(registry.get(self.spec.base), self.packs) if self.spec.base else None

    def build(self, **values: Any) -> Method:
        """Return the method with a small budget, and with other values where given."""
        small = {
            item.name: BUDGET[item.name]
            for item in dataclasses.fields(self.spec.hyper)
            if item.name in BUDGET.keys() - self.spec.overrides.keys()
            and type(item.default) is type(BUDGET[item.name])
            and item.metadata.get("holds", bool)(BUDGET[item.name])
        }
        method: Any = self.spec.build(self.spec.resolve(small | values))
        if "epochs" in self.spec.overrides:
            method = dataclasses.replace(method, epochs=min(method.epochs, EPOCHS))
        built: Method = method
        return built

    def data(
        self,
        normals: Sequence[int] = NORMALS,
        anomalies: Sequence[int] = ANOMALIES,
        key: str = "cell",
    ) -> TrainingData:
        """Return what the method may see: the packs that it declares, and its fitted base."""
        data = self.packs.training(normals, anomalies, key)
        return dataclasses.replace(
            data,
            normal=self.declared(data.normal, 0),
            anomaly=self.declared(data.anomaly, 1),
            base=self.base.fit(normals, anomalies, key) if self.base else None,
        )

    @cached_property
    def network(self) -> Any:
        """A small network, for methods that have one of their own."""
        method: Any = self.build()
        return importlib.import_module(NETWORK).Network(
            small_network(), get_backbone("resnet18"), CHANNELS[32], SIDE, 32, torch.device("cpu"),
            scales=getattr(method, "scales", 1),
        )  # fmt: skip

    def declared(self, images: ImageSet, role: int | None = None) -> ImageSet:
        """Leave out the packs that the method does not declare, and labels unless it is shown.

        ``role`` is that of training images, 0 normal and 1 anomalous.
        """
        packs = self.spec.packs
        chosen = dataclasses.replace(
            images,
            maps=images.maps if "plain" in packs else {},
            views={name: rows for name, rows in images.views.items() if name in packs},
            pooled=images.pooled if "pooled" in packs else (),
            labels=images.labels if self.spec.sees_test_labels else None,
            pictures=images.pictures if self.spec.on_images else None,
        )
        if not self.spec.on_images:
            return chosen
        joined: ImageSet = self.network.joined(chosen, role=role)
        return joined

    def images(self, index: Sequence[int] = TEST_NORMALS + TEST_ANOMALIES) -> ImageSet:
        """Return test images as the method is shown them."""
        return self.declared(self.packs.images(index, labels=True))

    def fit(
        self,
        normals: Sequence[int] = NORMALS,
        anomalies: Sequence[int] = ANOMALIES,
        key: str = "cell",
    ) -> State:
        """Fit the method, once for the same arguments."""
        arguments = (tuple(normals), tuple(anomalies), key)
        if arguments not in self._fits:
            self._fits[arguments] = self.build().fit(self.data(*arguments))
        return self._fits[arguments]

    def score(self, images: ImageSet | None = None) -> Scores:
        """Score images, all test images if none are given, with the usual fit."""
        return self.scored(self.fit(), self.images() if images is None else images)

    def scored(self, state: State, images: ImageSet | None = None) -> Scores:
        """Score images with a fit."""
        images = self.images() if images is None else images
        return self.build().score(state, images.through(state))


def small_network() -> torch.nn.Module:
    """Return a network of two convolutions that gives one map, at stride 32."""

    class Levels(torch.nn.Module):
        """A network that gives a list of maps."""

        def __init__(self) -> None:
            """Keep the layers."""
            super().__init__()
            self.layers = layers

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            """Return the maps of images (n, 3, S, S)."""
            return [self.layers(images)]

    generator = torch_generator("network")
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 12, 8, stride=8),
        torch.nn.BatchNorm2d(12),
        torch.nn.ReLU(),
        torch.nn.Conv2d(12, CHANNELS[32], 4, stride=4),
    )
    for value in layers.parameters():
        with torch.no_grad():
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return Levels()


def _role(images: ImageSet) -> int | None:
    """Return the role of training images; None of others."""
    if "rotated" not in images.views:
        return None
    return int("pseudo" not in images.views)


def spoilt(rows: Rows, step: int) -> Rows:
    """Return a copy in which the features of every ``step``-th image are no numbers."""
    tensor = rows.tensor.clone()
    tensor[rows.index[::step]] = math.nan
    return dataclasses.replace(rows, tensor=tensor)


def changed_images(
    images: ImageSet, function: Callable[[Rows], Rows], packs: Sequence[str] = ()
) -> ImageSet:
    """Return a set whose rows are changed by a function, all or those of some packs."""
    maps, views, pictures = images.maps, images.views, images.pictures
    if images.network is not None and pictures is not None:
        changed = dataclasses.replace(images, pictures=function(pictures), views={})
        return images.network.joined(changed, role=_role(images))
    return dataclasses.replace(
        images,
        maps={k: function(v) if not packs or "plain" in packs else v for k, v in maps.items()},
        views={k: function(v) if not packs or k in packs else v for k, v in views.items()},
        pooled=tuple(function(v) if not packs or "pooled" in packs else v for v in images.pooled),
    )


def changed(data: TrainingData, function: Callable[[Rows], Rows]) -> TrainingData:
    """Return training data whose rows are changed by a function."""
    normal, anomaly = (changed_images(part, function) for part in (data.normal, data.anomaly))
    return dataclasses.replace(data, normal=normal, anomaly=anomaly)
