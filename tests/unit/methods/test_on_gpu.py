"""Every method on the pretended GPU (`fake_gpu`): no tensor is on the wrong side."""

import dataclasses

import pytest
import torch
from fake_gpu import GPU, FakeGpu, needs_no_gpu
from learn_cases import Packs, placed, placed_training

from osad.methods import registry
from osad.methods.trial import Trial

pytestmark = needs_no_gpu
PACKS = Packs("methods", 84, 16)
FEW = {"epochs": 1, "iterations": 2, "predictor_steps": 1}
"""Even of variants that fix them: every line runs in the first steps."""
SPECS = {spec.name: spec for spec in registry.all_specs()}


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    """Torch as jobs have it: what has no deterministic form on a GPU is refused."""
    torch.use_deterministic_algorithms(True)
    monkeypatch.setattr("torch.utils.deterministic.fill_uninitialized_memory", False)
    yield
    torch.use_deterministic_algorithms(False)


def built(trial):
    method = trial.build()
    few = {name: value for name, value in FEW.items() if hasattr(method, name)}
    return dataclasses.replace(method, **few)


@pytest.mark.parametrize("name", SPECS)
def test_fit_and_score(name):
    trial = Trial(SPECS[name], PACKS)
    data = trial.data()
    with FakeGpu() as gpu:
        state = built(trial).fit(placed_training(data, GPU))
        state = {key: value.cpu() for key, value in state.items()}  # As the step writes them.
        given = {key: value.to(GPU) for key, value in state.items()}
        scores = built(trial).score(given, placed(trial.images(), GPU))
        total = scores.total.cpu()
    # Nothing but products is computed in another way here than on the processor.
    expected = built(trial).score(state, trial.images()).total
    torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-3)
    if SPECS[name].packs:
        assert scores.total.device == GPU
        assert gpu.used
