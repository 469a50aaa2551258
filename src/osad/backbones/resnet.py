"""ResNets with torchvision's ImageNet weights (timm's tag ``tv_in1k``), which the papers use.

timm publishes them on the Hugging Face hub, torchvision as ``.pth`` files with the same tensors.
Whatever the source, the weights are written again as one safetensors file with sorted names, so
that equal weights are equal bytes.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from osad.backbones.registry import Backbone, check_state, load_state
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


def hub_url(backbone: Backbone) -> str:
    """Return the address of the weights; the variable ``HF_ENDPOINT`` names a mirror."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint.rstrip('/')}/timm/{backbone.architecture}.tv_in1k/resolve/main/{HUB_FILE}"


def cached_file(backbone: Backbone) -> Path | None:
    """Return the hub's file from its cache on this machine, None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(f"timm/{backbone.architecture}.tv_in1k", HUB_FILE)
    return Path(found) if isinstance(found, str) else None


def check_name_hint(path: Path) -> None:
    """Check the digest that a file's name promises, as in ``resnet18-f37072fd.pth``."""
    hint = _HASH_IN_NAME.search(path.name)
    if hint and not (found := sha256_file(path)).startswith(hint.group(1)):
        raise CheckError(
            f"{path}: SHA-256 is {found}, its name promises {hint.group(1)}...; download it again"
        )


def fetch(backbone: Backbone, local: Path | None, target: Path) -> None:
    """Write the weights as one safetensors file with sorted names and without counters."""
    source = local or cached_file(backbone)
    if source is not None:
        check_name_hint(source)
        _rewrite(backbone, source, target)
        return
    url, wrong = hub_url(backbone), ""
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
                f"again, or download that file or torchvision's {backbone.architecture} ImageNet "
                "weights (.pth) elsewhere and give its path as features.weights_file"
            ) from error


def _rewrite(backbone: Backbone, source: Path, target: Path) -> None:
    """Check a file of weights and write it in our form."""
    state = with_counters(load_state(source))
    check_state(state, backbone.architecture, where=source)
    write_tensors(
        target,
        {
            name: state[name].to(torch.float32).contiguous()
            for name in sorted(state)
            if not name.endswith(_COUNTER)
        },
        {"backbone": backbone.name, "format": 1},
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


def _resnet(name: str, levels: dict[int, int]) -> Backbone:
    """Describe one of torchvision's ResNets."""
    return Backbone(
        name=name,
        architecture=name,
        file=f"{name}.tv_in1k.safetensors",
        sha256="",
        licence="BSD-3-Clause",
        source=f"https://huggingface.co/timm/{name}.tv_in1k",
        image_size=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bilinear",
        levels=levels,
        fetch=fetch,
        read=read,
    )


BACKBONES = (
    _resnet("resnet18", {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}),
    _resnet("wide_resnet50_2", {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048}),
)
