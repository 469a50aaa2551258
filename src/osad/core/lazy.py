"""Imports that wait until they are used.

Importing torch costs seconds, and most commands (splits, metrics, tables, audit, the parsing of
the workflow) never compute with it. Modules that do compute write::

    if TYPE_CHECKING:
        import torch
    else:
        torch = lazy("torch")
"""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stand-in for a module that is imported at the first attribute access."""

    def __init__(self, name: str) -> None:
        """Remember the module's name; nothing is imported yet."""
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """Import the module and return its attribute."""
        return getattr(importlib.import_module(self._name), attribute)


def lazy(name: str) -> Any:
    """Return a stand-in for module ``name`` that imports it on first use.

    Example:
        >>> lazy("math").floor(2.5)
        2
    """
    return LazyModule(name)
