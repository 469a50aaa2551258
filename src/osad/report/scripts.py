"""Data as scripts: a page opened from a disk may load scripts beside it, but read no other files.

A file holds one call, ``osad.NAME(VALUE);``, which hands the value to the page's own script.
"""

import json
from typing import Any


def script(name: str, value: Any) -> str:
    r"""Return a value as a script that calls ``osad.NAME`` with it; equal values, equal texts.

    Raises:
        ValueError: the value holds NaN or infinity.

    Example:
        >>> script("cell", {"b": 1, "a": "<&>"})
        'osad.cell({"a":"<&>","b":1});\n'
    """
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return f"osad.{name}({text});\n"
