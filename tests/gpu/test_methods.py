"""Every method on a GPU: the same bytes twice, and nearly the numbers of the processor."""

import dataclasses

import pytest
import torch
from learn_cases import Packs

from osad.methods import registry
from osad.methods.checks import difference
from osad.methods.trial import Trial, changed, changed_images

pytestmark = pytest.mark.gpu
PACKS = Packs("methods", 84, 16)
SPECS = {spec.name: spec for spec in registry.all_specs()}


@pytest.mark.parametrize("name", SPECS)
def test_fit_and_score(name, cuda):
    trial = Trial(SPECS[name], PACKS)

    def move(rows):
        return dataclasses.replace(rows, device=cuda)

    def fitted():
        data = trial.data()
        base = data.base and {key: value.to(cuda) for key, value in data.base.items()}
        return trial.build().fit(dataclasses.replace(changed(data, move), base=base))

    first, again = fitted(), fitted()
    assert not difference(first, again)
    images = changed_images(trial.images(), move)
    here, there = (
        trial.build().score({key: value.to(device) for key, value in first.items()}, shown)
        for device, shown in ((torch.device("cpu"), trial.images()), (cuda, images))
    )
    assert torch.equal(there.total, trial.build().score(again, images).total)
    # The same fitted tensors: what training adds to the difference is measured by bench/gpu.py.
    torch.testing.assert_close(there.total.cpu(), here.total, rtol=1e-3, atol=1e-3)
