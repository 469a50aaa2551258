"""Functions of Snakemake, found only where they are as a patch expects them."""

import functools
import importlib
import inspect
from typing import Any

KNOWN = "9.27"
"""The version of Snakemake that the patches were written for."""


class UnknownError(Exception):
    """Snakemake is not as a patch expects it; the message names the function."""


def find(module: str, name: str, parameters: str) -> tuple[Any, Any]:
    """Return a function of Snakemake after what holds it, a class or a module.

    Args:
        module: where it is.
        name: its name, with that of the class.
        parameters: what it must take, in this order.

    Raises:
        UnknownError: there is none, it takes something else, or Snakemake is another version.
    """
    from snakemake import __version__

    *path, last = name.split(".")
    try:
        holder = functools.reduce(getattr, path, importlib.import_module(module))
        function: Any = vars(holder)[last]  # Not what a class has from another.
        function = function.fget if isinstance(function, property) else function
        taken = list(inspect.signature(function).parameters)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError):
        raise UnknownError(name) from None
    check(name, taken == parameters.split() and __version__.startswith(f"{KNOWN}."))
    return holder, function


def check(name: str, as_expected: bool) -> None:
    """Leave the patch of a function out unless what it uses is as expected.

    Raises:
        UnknownError: it is not.
    """
    if not as_expected:
        raise UnknownError(name)
