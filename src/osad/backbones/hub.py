"""Weights of timm's networks from the Hugging Face hub or a local file, rewritten in one form.

Whatever the source, the weights are written again as one safetensors file with sorted names, so
that equal weights are equal bytes.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from osad.backbones.registry import Backbone, load_state
from osad.core.errors import CheckError, DataError
from osad.core.files import read_tensors, sha256_file, write_tensors
from osad.core.lazy import lazy
from osad.data.fetch.download import Patience, download

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

HUB_FILE = "model.safetensors"
# torch.hub's convention: a file's name ends with the first digits of its SHA-256.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
_COUNTER = ".num_batches_tracked"


def hub_url(repository: str) -> str:
    """Return the address of the weights; the variable ``HF_ENDPOINT`` names a mirror."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint.rstrip('/')}/{repository}/resolve/main/{HUB_FILE}"


def cached_file(repository: str) -> Path | None:
    """Return the hub's file from its cache on this machine, None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, HUB_FILE)
    return Path(found) if isinstance(found, str) else None


def check_name_hint(path: Path) -> None:
    """Check the digest that a file's name promises, as in ``resnet18-f37072fd.pth``."""
    hint = _HASH_IN_NAME.search(path.name)
    if hint and not (found := sha256_file(path)).startswith(hint.group(1)):
        raise CheckError(
            f"{path}: SHA-256 is {found}, its name promises {hint.group(1)}...; download it again"
        )


def fetch(backbone: Backbone, local: Path | None, target: Path, *, repository: str) -> None:
    """Write the weights as one safetensors file with sorted names and without counters.

    Args:
        backbone: whose weights they are.
        local: a file that a person has downloaded, or None.
        target: the file to write.
        repository: of the hub, such as ``timm/resnet18.tv_in1k``; empty where there is none.

    Raises:
        DataError: the weights cannot be had, or the file holds others.
        CheckError: a file has not the digest that its name promises.
    """
    if not (local or repository):
        raise DataError(
            f"weights of {backbone.name}: timm names no repository of the Hugging Face hub; "
            "download them elsewhere and give the path of the file as features.weights_file"
        )
    source = local or cached_file(repository)
    if source is not None:
        check_name_hint(source)
        _rewrite(backbone, source, target)
        return
    url, wrong = hub_url(repository), ""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        downloaded = Path(folder) / HUB_FILE
        try:
            # Once: the hub's own client tries for 23 s before it says that there is no network.
            download(url, downloaded, patience=Patience(attempts=1))
            wrong = f"{url} gave something else than the weights, or not all of them"
            _rewrite(backbone, downloaded, target)
        except DataError as error:
            raise DataError(
                f"weights of {backbone.name}: {wrong or error}; connect to the network and try "
                f"again, or download that file elsewhere (docs/features.md says which others do) "
                "and give its path as features.weights_file"
            ) from error


def _rewrite(backbone: Backbone, source: Path, target: Path) -> None:
    """Check a file of weights and write it in our form."""
    state = backbone.check(with_counters(load_state(source)), where=source)
    write_tensors(
        target,
        {
            name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in sorted(state.items())
            if not name.endswith(_COUNTER)
        },
        {"backbone": backbone.architecture, "format": 1},
    )


def with_counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add the counters of batches seen that timm expects and inference never reads.

    torchvision's older files do not have them.
    """
    suffix = ".running_mean"
    counters = {
        name.removesuffix(suffix) + _COUNTER: torch.zeros((), dtype=torch.int64)
        for name in state
        if name.endswith(suffix)
    }
    return {**counters, **state}


def read(path: Path) -> dict[str, torch.Tensor]:
    """Read a file that `fetch` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    return with_counters(read_tensors(path))
