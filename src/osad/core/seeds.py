"""Random numbers that depend on names, not on the order of work.

Every random draw of the benchmark comes from a generator keyed on a text (for example a cell's id
and a purpose) and an optional counter (for example the training iteration). Adding a cell,
running cells in another order or on more cores therefore changes no other cell.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from osad.core.lazy import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")


def derive_seed(*names: str | int) -> int:
    """Derive a seed in [0, 2**63) from names, by SHA-256 of their text.

    Args:
        *names: parts of the key, for example a cell id and a purpose.

    Example:
        >>> derive_seed("a", 1) == derive_seed("a", 1), derive_seed("a", 1) == derive_seed("a", 2)
        (True, False)
    """
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(*names: str | int) -> np.random.Generator:
    """Return a counter-based (Philox) NumPy generator keyed on ``names``."""
    return np.random.Generator(np.random.Philox(key=derive_seed(*names)))


def torch_generator(*names: str | int) -> torch.Generator:
    """Return a CPU torch generator keyed on ``names``.

    Draws are made on the CPU also when the computation is on a GPU, so that they do not depend on
    the device.
    """
    return torch.Generator().manual_seed(derive_seed(*names))
