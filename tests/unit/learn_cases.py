"""Small generated image sets, and methods built on them, for the tests of methods."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from osad.core.seeds import torch_generator
from osad.learn import single_head
from osad.learn.images import ImageSet, Rows, TrainingData
from osad.methods import registry
from osad.methods.registry import Method
from osad.methods.trial import CHANNELS as CHANNELS
from osad.methods.trial import SyntheticPacks

Packs = SyntheticPacks
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


def draws(*shape: int, key: str = "draws", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Draw standard normal numbers, keyed on a text."""
    return torch.randn(*shape, generator=torch_generator(key), dtype=dtype)


def build(name: str, **values: Any) -> Method:
    """Return a method or variant with other values, but for those that the variant fixes."""
    spec = registry.get(name)
    free = {key: value for key, value in values.items() if key not in spec.overrides}
    return spec.build(spec.resolve(free))


class Call:
    """The arguments of a method's call of the training loop."""

    def __init__(
        self, name: str, data: TrainingData, monkeypatch: pytest.MonkeyPatch, **values: Any
    ) -> None:
        def keep(state, batches, loss, **options):
            self.batches, self.loss, self.options = list(batches), loss, options
            self.state = {key: value.clone() for key, value in state.items()}
            return self.state

        module = sys.modules[registry.get(name).hyper.__module__]
        caller = module if hasattr(module, "minimise") else single_head
        monkeypatch.setattr(caller, "minimise", keep)
        self.method = build(name, **values)
        self.method.fit(data)

    def counts(self, *, skip: int = 0) -> list[Counter[int]]:
        """Count the labels of each batch, but for its first images."""
        return [Counter(part.labels[skip:].tolist()) for part in self.batches]

    def rates(self, steps: int) -> list[float]:
        """Return the learning rate of each step."""
        return [self.options["lr"] * self.options["schedule"](step) for step in range(steps)]


def images(maps: torch.Tensor, **views: torch.Tensor) -> ImageSet:
    """Return images with maps (n, c, h, w) of stride 32 and training views."""
    paths = tuple(f"{number:03d}.png" for number in range(len(maps)))
    return ImageSet(paths, {32: rows(maps)}, {name: rows(view) for name, view in views.items()})
