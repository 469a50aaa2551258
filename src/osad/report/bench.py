"""Measured times and memory, as ``bench/bench.py --json`` writes them."""

import math
from collections.abc import Mapping
from typing import Any

from osad.core.errors import DataError
from osad.evaluation.tables.request import Request

NUMBERS = ("cell_s", "cpu_s", "peak_mb")
"""Seconds of one run in a process of its own, seconds of processors, megabytes."""


def check_bench(value: object, request: Request, *, where: str) -> dict[str, Any]:
    """Check a file of measurements and return it with printed names of the methods.

    Args:
        value: object with ``machine`` (in words, no host's name) and ``cells``: by method an
            object of `NUMBERS` and ``per`` (what the numbers are of).
        request: the grid, with the titles of methods.
        where: name of the file, for messages.

    Returns:
        ``machine`` and ``rows``: ``id`` and ``method`` (as printed), the numbers, and ``per``.

    Raises:
        DataError: something is missing or no number.
    """
    remedy = "measure again with bench/bench.py --json"
    if not isinstance(value, Mapping) or not isinstance(value.get("machine"), str):
        raise DataError(f"{where}: is not a file of measurements; {remedy}")
    cells = value.get("cells")
    if not isinstance(cells, Mapping):
        raise DataError(f"{where}: has no object cells; {remedy}")
    rows = []
    for method, numbers in cells.items():
        for name in NUMBERS:
            number = numbers.get(name) if isinstance(numbers, Mapping) else None
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise DataError(f"{where}: {method}.{name} is {number!r}, not a number; {remedy}")
        row = {name: f"{numbers[name]:.1f}" for name in NUMBERS}
        title = request.title(method)
        rows.append({"id": method, "method": title, **row, "per": str(numbers.get("per", "cell"))})
    return {"machine": value["machine"], "rows": rows}
