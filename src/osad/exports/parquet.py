"""All cells as one table of Apache Parquet, which pandas and many other programs read."""

import importlib.util
from pathlib import Path

from osad.core.errors import ConfigError
from osad.exports.numbers import Numbers

NAME = "cells.parquet"


def check_installed() -> None:
    """Check that pyarrow, an optional dependency, is there.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(
            "pyarrow is not installed, and Parquet needs it: python -m pip install '.[parquet]'"
        )


def write(numbers: Numbers, folder: Path) -> None:
    """Write `NAME`: the columns of ``cells.csv`` with their types, and those of the digests.

    A cell that failed or was skipped has its row, with missing numbers and its reason.
    """
    numbers.frame.to_parquet(folder / NAME, engine="pyarrow", index=False)
