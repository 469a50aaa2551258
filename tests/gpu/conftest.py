"""What needs a CUDA device is skipped without one; tests/unit tries the same on a pretended GPU."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def cuda():
    """The device, with torch as jobs have it."""
    import torch

    from osad.runtime.device import make_deterministic

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    make_deterministic()
    yield torch.device("cuda")
    torch.use_deterministic_algorithms(False)
