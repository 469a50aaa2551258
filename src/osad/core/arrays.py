"""Files of NumPy arrays with a JSON description (safetensors), read and written without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osad.core.errors import DataError
from osad.core.files import METADATA_KEY, replacing


def write_arrays(
    path: Path | str, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> None:
    """Write arrays and a JSON description as one safetensors file.

    The description is read back by `osad.core.files.read_metadata`.
    """
    from safetensors.numpy import save_file

    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False)
    dense = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as temporary:
        save_file(dense, temporary, metadata={METADATA_KEY: text})


def read_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read all arrays of a safetensors file into memory.

    Raises:
        DataError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); restore the file") from error
    except SafetensorError as error:
        raise DataError(f"{path}: is damaged ({error}); delete it and rerun") from error
    return arrays
