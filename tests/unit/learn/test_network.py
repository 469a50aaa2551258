"""A network in training: its gradients, its maps, the views that it learns from, its memory."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learn_cases import Call, Packs

from osad.backbones import get_backbone
from osad.core.errors import ConfigError, TrainingError
from osad.core.files import write_tensors
from osad.features import defects
from osad.features.augment import augmented
from osad.features.compute import normalise
from osad.features.kinds import KINDS
from osad.features.views import make_views
from osad.learn import journal as journals
from osad.learn import network
from osad.learn.batches import Batch, averaged
from osad.learn.images import State, TrainingData
from osad.learn.journal import Journal
from osad.learn.network import KINDS_DRAWN
from osad.methods import registry
from osad.methods.trial import Trial
from osad.runtime import memory

TRAINED = ("dra", "devnet", "flos", "saoe", "mlep", "dpdl")
PACKS = Packs("network", 24, 8)
NORMALS, ANOMALIES = tuple(range(20)), (24, 25, 26)
RESNET = get_backbone("resnet18")
ONE_STEP = {
    "epochs": 1, "iterations": 1, "batch": 12, "head_width": 8, "holistic_width": 8,
    "residual_width": 4, "prototypes": 3, "codebook_samples": 60, "embedding": 4,
}  # fmt: skip


def data_of(name: str, scales: int = 1) -> TrainingData:
    trial = Trial(registry.get(name), PACKS)
    trial.network = dataclasses.replace(trial.network, scales=scales)
    return trial.data(NORMALS, ANOMALIES)


def call(name: str, monkeypatch: pytest.MonkeyPatch, scales: int = 1) -> Call:
    fields = registry.get(name).resolve()
    own = {key: value for key, value in ONE_STEP.items() if key in fields}
    return Call(name, data_of(name, scales), monkeypatch, **own)


def inputs_of(data: TrainingData, drawn: torch.Tensor) -> torch.Tensor:
    """Return the network's input for drawn views, image by image."""
    images = []
    for role, kind, row, view in drawn.tolist():
        part = (data.normal, data.anomaly)[role]
        picture = PACKS.tensors["images"][(NORMALS, ANOMALIES)[role][row]].permute(2, 0, 1)
        images.append(augmented(picture, part.paths[row], KINDS_DRAWN[kind], view, rotation=180.0))
    return normalise(torch.stack(images).permute(0, 2, 3, 1), RESNET.mean, RESNET.std)


def with_gradients(state: State) -> State:
    return {
        name: value.clone().requires_grad_("whiten" not in name and "running" not in name)
        for name, value in state.items()
    }


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_gives_heads_the_gradient_of_the_frozen_form_on_the_same_maps(name, monkeypatch):
    made = call(f"{name}.images", monkeypatch)
    frozen = call(name, monkeypatch)
    batch, data = made.batches[0], data_of(f"{name}.images")
    tensors = with_gradients(made.state)
    made.loss(tensors, batch.through(tensors)).backward()

    module = copy.deepcopy(data.normal.network.module).train()
    maps = module(inputs_of(data, batch.features))[0].detach()
    vectors = maps.flatten(2).transpose(1, 2) - made.state["whiten.mean"]
    vectors = vectors @ made.state["whiten.matrix"]
    heads = {key: value for key, value in made.state.items() if key in frozen.state}
    expected = with_gradients(frozen.state | heads)
    loss = frozen.loss
    if name == "dpdl":
        loss = dataclasses.replace(loss, codes=made.loss.codes)
    loss(expected, Batch(vectors.mean(1) if name == "mlep" else vectors, batch.labels)).backward()

    trained = [key for key in heads if "running" not in key]
    assert len(trained) >= 2
    for key in trained:
        torch.testing.assert_close(tensors[key].grad, expected[key].grad, rtol=1e-3, atol=1e-5)
    moved = tensors["backbone.layers.1.running_mean"]
    norm: Any = module.get_submodule("layers.1")
    torch.testing.assert_close(moved, norm.running_mean, rtol=1e-4, atol=1e-5)
    for part in ("layers.0.weight", "layers.1.weight", "layers.3.weight"):
        assert tensors[f"backbone.{part}"].grad.abs().max() > 0
    assert "fixed" not in made.options or not any("backbone" in n for n in made.options["fixed"])


def test_losses_of_two_scales_are_those_of_the_mean_of_their_scores(monkeypatch):
    made = call("devnet.images", monkeypatch, scales=2)
    batch = made.batches[0].through(made.state)
    data = data_of("devnet.images")
    drawn = made.batches[0].features
    small = F.interpolate(inputs_of(data, drawn), scale_factor=0.5, mode="nearest")
    module = copy.deepcopy(data.normal.network.module).train()
    module(inputs_of(data, drawn))
    maps = module(small)[0]
    white = maps.flatten(2).transpose(1, 2) - made.state["whiten.mean"]
    torch.testing.assert_close(
        batch.coarse[0], white @ made.state["whiten.matrix"], rtol=1e-3, atol=1e-3
    )
    assert [part.shape[1] for part in batch.scales] == [4, 1]
    scores = [
        (x @ made.state["head.weight"][0] + made.state["head.bias"]).abs().max(1).values
        for x in batch.scales
    ]
    mean = (scores[0] + scores[1]) / 2
    terms = torch.where(batch.labels > 0, (5 - mean).clamp_min(0), mean)
    assert made.loss(made.state, batch).item() == pytest.approx(terms.mean().item(), rel=1e-5)


def test_averages_of_scales_by_hand():
    one = torch.tensor([1.0, 2.0])
    assert averaged([one]) is one
    assert averaged([{"a": one}, {"a": 3 * one}])["a"].tolist() == [2.0, 4.0]


def test_trained_maps_are_those_of_running_statistics_and_of_an_image_alone():
    trial = Trial(registry.get("devnet.images"), PACKS)
    images, made = trial.images(range(20)), trial.network
    state = made.initial()
    assert not any(name.endswith("num_batches_tracked") for name in state)
    state["backbone.layers.1.running_mean"] = torch.linspace(-1, 1, 12)
    bound = images.through(state)
    module = copy.deepcopy(made.module).eval()
    module.layers[1].running_mean.copy_(torch.linspace(-1, 1, 12))
    inputs = normalise(PACKS.tensors["images"][:20], RESNET.mean, RESNET.std)
    with torch.no_grad():
        expected = module(inputs)[0]
        small = module(F.interpolate(inputs, size=32, mode="nearest"))[0]
    torch.testing.assert_close(bound.deepest.take(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bound.coarse[0].take(), small, rtol=1e-4, atol=1e-4)
    assert (bound.deepest.size, bound.coarse[0].size, bound.deepest.channels) == (
        (2, 2),
        (1, 1),
        24,
    )
    alone = bound.deepest.take(torch.tensor([3]))
    first = trial.images([3]).through(state).deepest.take()
    assert torch.equal(alone, first)
    low = dataclasses.replace(made, precision="bfloat16").maps(state, inputs)
    assert low.dtype == torch.float32
    exact = made.maps(state, inputs)
    assert 0 < (low - exact).abs().max() < 0.05 * exact.abs().max()


def test_views_are_those_of_the_cached_packs_made_by_torchvision():
    from PIL import Image

    from osad.core.seeds import numpy_generator

    smooth = np.add.outer(np.arange(96), np.arange(96))[..., None] * np.array([1, 0.6, 0.3])
    image = Image.fromarray((20 + smooth).astype(np.uint8))
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    for kind in KINDS_DRAWN:
        for number in (1, 2):
            expected = make_views(image, "a.png", KINDS[kind], views=3, rotation=90.0)[number]
            found = augmented(tensor, "a.png", kind, number, rotation=90.0).permute(1, 2, 0)
            distance = np.abs(found.numpy().astype(int) - np.asarray(expected).astype(int))
            assert np.mean(distance > 6) < 0.04
            assert found.dtype == torch.uint8
    assert torch.equal(augmented(tensor, "a.png", "rotated", 5, rotation=0.0), tensor)
    other = augmented(tensor, "a.png", "pseudo", 5, rotation=0.0)
    where = (other != tensor).any(0).nonzero()
    source, target, size = defects.cutmix_places(
        (96, 96), numpy_generator("view", "pseudo", "a.png", 5)
    )
    assert source != target
    low, high = where.amin(0).tolist(), where.amax(0).tolist()
    assert low[0] >= target[1]
    assert high[0] < target[1] + size[1]
    assert low[1] >= target[0]
    assert high[1] < target[0] + size[0]


def test_memory_of_a_step_is_counted_beforehand(monkeypatch):
    """Kept are the image, and thrice the 12 x 8 x 8 values of the first convolution."""
    made = dataclasses.replace(Trial(registry.get("dpdl.images"), PACKS).network, scales=1)
    (two, _), (three, largest) = (network._kept(made, n) for n in (2, 3))
    assert three - two == 4 * (3 * 64 * 64 + 3 * 12 * 8 * 8)
    assert largest == 4 * 3 * 3 * 64 * 64
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000)
    with pytest.raises(ConfigError, match=r"a step on 50 images of 64 x 64 pixels: needs 0.0.* GB"):
        network.check_room(made, 50)


def test_a_state_of_heads_alone_is_refused():
    trial = Trial(registry.get("devnet.images"), PACKS)
    with pytest.raises(ConfigError, match=r"holds the heads alone, .* keep to all and train again"):
        trial.images().through({"head.weight": torch.zeros(1, 24)})


class Interrupted(Exception):
    """The power has gone."""


@pytest.mark.parametrize("name", ["dra.images", "dpdl.images"])
def test_an_interrupted_training_goes_on_to_the_same_bits(name, tmp_path, monkeypatch, capsys):
    trial = Trial(registry.get(name), PACKS)
    method: Any = trial.build(epochs=3, iterations=2)
    whole = method.fit(trial.data(NORMALS, ANOMALIES))

    def fit(key: str = "key") -> State:
        journal = Journal(tmp_path / "kept.safetensors", key, 3, 2, now=iter(range(99)).__next__)
        data = dataclasses.replace(trial.data(NORMALS, ANOMALIES), journal=journal)
        return method.fit(data)

    usual = write_tensors

    def cut(path: Any, tensors: State, metadata: Any) -> None:
        usual(path, tensors, metadata)
        if int(tensors["step"]) == 4:
            raise Interrupted

    monkeypatch.setattr(journals, "write_tensors", cut)
    with pytest.raises(Interrupted):
        fit()
    monkeypatch.setattr(journals, "write_tensors", usual)
    assert "training: epoch 1/3, 0.50 s a step, 0.0 min left\n" in capsys.readouterr().err
    before = (tmp_path / "kept.safetensors").read_bytes()
    went_on = fit()
    said = capsys.readouterr().err
    assert said.startswith("training: goes on after epoch 2 of 3\ntraining: epoch 3/3")
    assert [key for key in whole if not torch.equal(whole[key], went_on[key])] == []
    # A file of another training, or a damaged one, does not count.
    for content, key in ((before, "other"), (before[:-9], "key")):
        (tmp_path / "kept.safetensors").write_bytes(content)
        assert torch.equal(fit(key)["whiten.mean"], whole["whiten.mean"])
        assert "goes on" not in capsys.readouterr().err
    Journal(tmp_path / "kept.safetensors", "key", 3, 2).close()
    assert not [*tmp_path.iterdir()]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_says_at_which_step():
    trial = Trial(registry.get("devnet.images"), PACKS)
    with pytest.raises(TrainingError, match=r"loss is nan at step|loss is inf at step"):
        trial.build(lr=1e30, epochs=2, iterations=3).fit(trial.data(NORMALS, ANOMALIES))


def test_ahl_s_views_are_of_its_base_s_backbone():
    trial = Trial(registry.get("ahl.devnet_images"), PACKS)
    data = trial.data(NORMALS, ANOMALIES)
    state = dict(data.base)
    seen = data.viewed(state, ("rotated", "pseudo", "cutmix", "draem"), 2)
    assert {*seen.normal.views} == {"rotated", "pseudo", "cutmix", "draem"}
    assert {*seen.anomaly.views} == {"rotated"}
    rotated = seen.anomaly.need("rotated")
    assert rotated.tensor.shape == (3, 2, 24, 2, 2)
    plain = data.anomaly.through(state).deepest.take()
    torch.testing.assert_close(rotated.take()[:, 0], plain, rtol=2e-3, atol=2e-3)
    start = data.anomaly.deepest.take()
    assert (plain - start).abs().max() > 0.01
