"""torch, imported at its first use: importing it costs seconds (see `osad.core.lazy`).

from osad.learn.lazy_torch import F, torch
"""

from typing import TYPE_CHECKING

from osad.core.lazy import lazy

if TYPE_CHECKING:
    import torch as torch
    import torch.nn.functional as F
else:
    torch, F = lazy("torch"), lazy("torch.nn.functional")

__all__ = ["F", "torch"]
