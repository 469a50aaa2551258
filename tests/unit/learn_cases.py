"""Small generated image sets, and methods built on them, for the tests of methods."""

import copy
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from osad.core.seeds import torch_generator
from osad.evaluation.metrics import auroc
from osad.learn import single_head
from osad.learn.images import ImageSet, Rows, State, TrainingData
from osad.methods import registry
from osad.methods.trial import CHANNELS as CHANNELS
from osad.methods.trial import SyntheticPacks, changed_images

Packs = SyntheticPacks
CPU = torch.device("cpu")
PACKS = Packs("equations", 24, 8)
DATA = PACKS.training(range(20), [24, 25, 26], "cell")
SHOWN = PACKS.images([20, 21, 22, 28, 29, 30, 31])
"""Images that no fit on DATA has seen, three normal and four anomalous."""


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


def placed(images: ImageSet, device: torch.device) -> ImageSet:
    """Return images on a device, with the network that they are for, if there is one."""
    if network := images.network:
        module = copy.deepcopy(network.module).to(device)
        network = dataclasses.replace(network, device=device, module=module)
    return changed_images(
        dataclasses.replace(images, network=network),
        lambda moved: dataclasses.replace(moved, device=device),
    )


def placed_training(data: TrainingData, device: torch.device) -> TrainingData:
    """Return training data on a device, with the base that the fit starts from."""
    return dataclasses.replace(
        data,
        normal=placed(data.normal, device),
        anomaly=placed(data.anomaly, device),
        base=data.base and {key: value.to(device) for key, value in data.base.items()},
    )


def draws(*shape: int, key: str = "draws", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Draw standard normal numbers, keyed on a text."""
    return torch.randn(*shape, generator=torch_generator(key), dtype=dtype)


def build(name: str, **values: Any) -> Any:
    """Return a method or variant with other values, but for those that the variant fixes.

    Of any class: tests look at fields that only some have."""
    spec = registry.get(name)
    free = {key: value for key, value in values.items() if key not in spec.overrides}
    return spec.build(spec.resolve(free))


def auroc_of(low: torch.Tensor, high: torch.Tensor) -> float:
    """Return the AUROC of scores of normal images and of anomalous ones."""
    value = auroc(torch.cat([low, high]).numpy(), [0] * len(low) + [1] * len(high))
    assert value is not None
    return value


def double(state: State) -> State:
    return {name: value.double() for name, value in state.items()}


def white(state: State, images: ImageSet) -> torch.Tensor:
    """Return the whitened vectors (n, P, c) of the deepest maps, by their equation."""
    vectors = images.deepest.take().double().flatten(2).transpose(1, 2)
    return (vectors - state["whiten.mean"].double()) @ state["whiten.matrix"].double()


def layers(state: State, first: str, second: str, x: torch.Tensor) -> torch.Tensor:
    """Return two affine maps of vectors with a ReLU between them."""
    hidden = (x @ state[f"{first}.weight"].T + state[f"{first}.bias"]).relu()
    return hidden @ state[f"{second}.weight"].T + state[f"{second}.bias"]


def adapted(state: State, x: torch.Tensor) -> torch.Tensor:
    """Return the sum of vectors and their bottleneck."""
    return x + layers(state, "adapter.down", "adapter.up", x)


def mixture(means: torch.Tensor, std: torch.Tensor, logits: torch.Tensor) -> MixtureSameFamily:
    """Return torch's mixture of Gaussians with diagonal covariances."""
    parts = Independent(Normal(means, std.expand_as(means)), 1)
    return MixtureSameFamily(Categorical(logits=logits), parts)


class Call:
    """The arguments of a method's call of the training loop."""

    def __init__(
        self, name: str, data: TrainingData, monkeypatch: pytest.MonkeyPatch, **values: Any
    ) -> None:
        def keep(state: State, batches: Any, loss: Any, **options: Any) -> Any:
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


def bounded(values: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Standardise a head's scores on those of training normals; none is below the least of them."""
    return (values.clamp_min(reference.min()) - reference.mean()) / reference.std(unbiased=False)


def check_scales(method: Any, names: Sequence[str], left_out: str = "") -> None:
    """Check that a method's heads are standardised on the training normals, and then added.

    Of the head ``left_out`` the statistics are those of normals left out, taken as they are.
    """
    state = method.fit(DATA)
    raw, normal = (
        dataclasses.replace(method, standardised=False).score(state, images).heads
        for images in (SHOWN, DATA.normal)
    )
    found = method.score(state, SHOWN)
    total = np.zeros(len(SHOWN))
    for name in names:
        reference = normal[name].double().numpy()
        least, mean, std = np.min(reference), np.mean(reference), np.std(reference)
        if name == left_out:
            least, mean, std = (
                state[f"scale.{name}.{key}"].item() for key in ("least", "mean", "std")
            )
        value = (np.maximum(raw[name].numpy(), least) - mean) / std
        np.testing.assert_allclose(found.heads[name], value, rtol=1e-4, atol=1e-4)
        total += value
    np.testing.assert_allclose(found.total, total, rtol=1e-4, atol=1e-3)
