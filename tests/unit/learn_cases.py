"""Small generated image sets for the tests of methods: normals, and anomalies that are shifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from osad.core.seeds import torch_generator
from osad.learn.images import ImageSet, Rows, TrainingData

CHANNELS = {16: 12, 32: 24}
SIDES = {16: 8, 32: 4}
VIEWS = 3
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread, as every job of the pipeline does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(tensor: torch.Tensor, index: Sequence[int] | None = None) -> Rows:
    """Return rows of a tensor on the processor, all of them without an index."""
    chosen = range(len(tensor)) if index is None else index
    return Rows(tensor, torch.tensor(list(chosen), dtype=torch.int64), CPU)


class Packs:
    """Cached features of generated images, like open packs of one data set.

    The last ``n_anomalies`` images are anomalous: a quarter of each map is shifted in a fixed
    direction, pseudo anomalies likewise in another one, and their intensity differs.

    Attributes:
        tensors: by kind of view (and stride), over all images.
        n_normals: images before the first anomaly.
    """

    def __init__(self, key: str, n_normals: int, n_anomalies: int) -> None:
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
        pseudo = self.draw((n, VIEWS), 32, generator)
        pseudo += self.patch(32, torch.tensor([2.0, 0.0]).repeat(CHANNELS[32] // 2))
        cutmix = self.draw((n, VIEWS), 32, generator)
        cutmix += self.patch(32, torch.tensor([0.0, 2.0]).repeat(CHANNELS[32] // 2))
        draem = self.draw((n, VIEWS), 32, generator)
        draem += self.patch(32, torch.tensor([2.0, 2.0, 0.0]).repeat(CHANNELS[32] // 3))
        self.tensors |= {
            "rotated": rotated.half(),
            "pseudo": pseudo.half(),
            "cutmix": cutmix.half(),
            "draem": draem.half(),
        }
        pixels = 0.5 + 0.02 * torch.randn(n, 2, generator=generator)
        pixels[anomalous, 0] += 0.2
        self.tensors["pixels"] = pixels

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
        normal = all(number < self.n_normals for number in index)
        synthetic = {
            pack: rows(self.tensors[pack], index) if training and normal else None
            for pack in ("pseudo", "cutmix", "draem")
        }
        label = torch.tensor([int(number >= self.n_normals) for number in index])
        return ImageSet(
            tuple(f"data/raw/made/{number:03d}.png" for number in index),
            {stride: rows(self.tensors[f"s{stride}"], index) for stride in CHANNELS},
            rotated=rows(self.tensors["rotated"], index) if training else None,
            **synthetic,
            pixels=rows(self.tensors["pixels"], index),
            labels=label if labels else None,
        )

    def training(self, normals: Sequence[int], anomalies: Sequence[int], key: str) -> TrainingData:
        """Return training data of these images."""
        return TrainingData(
            self.images(normals, training=True), self.images(anomalies, training=True), key
        )
