"""Write ``roc.ipynb`` from ``roc.py``: ``# %%`` begins a cell, with ``[markdown]`` one of text.

python examples/notebook.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

SCRIPT = Path(__file__).with_name("roc.py")


def notebook(script: str) -> str:
    """Return the text of a notebook (format 4.5) without outputs."""
    cells: list[dict[str, object]] = []
    _, *parts = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)
    for number, (kind, body) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        text = "markdown" in kind
        body = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if text else body
        cells.append(
            {"cell_type": "markdown" if text else "code", "id": f"cell-{number}", "metadata": {}}
            | ({} if text else {"execution_count": None, "outputs": []})
            | {"source": body.strip().splitlines(keepends=True)}
        )
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    text = notebook(SCRIPT.read_text(encoding="utf-8"))
    SCRIPT.with_suffix(".ipynb").write_text(text, encoding="utf-8")
