"""Every method on a GPU: the same bytes twice, and nearly the numbers of the processor."""

import pytest
import torch
from learn_cases import CPU, Packs, placed, placed_training

from osad.methods import registry
from osad.methods.checks import difference
from osad.methods.trial import Trial

pytestmark = pytest.mark.gpu
PACKS = Packs("methods", 84, 16)
SPECS = {spec.name: spec for spec in registry.all_specs()}


@pytest.mark.parametrize("name", SPECS)
def test_fit_and_score(name, cuda):
    trial = Trial(SPECS[name], PACKS)
    first, again = (trial.build().fit(placed_training(trial.data(), cuda)) for _ in range(2))
    assert not difference(first, again)

    def scored(state, device):
        moved = {key: value.to(device) for key, value in state.items()}
        return trial.scored(moved, placed(trial.images(), device)).total.cpu()

    there = scored(first, cuda)
    assert torch.equal(there, scored(again, cuda))
    # The same fitted tensors: what training adds to the difference is measured by bench/gpu.py.
    torch.testing.assert_close(there, scored(first, CPU), rtol=1e-3, atol=1e-3)
