"""Open-set supervised image anomaly detection as a reproducible, data-versioned benchmark.

Importing this package is cheap on purpose: numerical libraries are imported by the modules
that compute, when they compute. `load` scores images with a trained cell (`osad.predict.model`).
"""

from __future__ import annotations

import time

STARTED = time.time()
"""When this process began to read the package."""
TYPE_CHECKING = False  # `typing` takes a while to import, and jobs' clients import this package.
if TYPE_CHECKING:
    from osad.predict.model import load

__all__ = ["load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `load` when it is asked for."""
    if name == "load":
        from osad.predict.model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
