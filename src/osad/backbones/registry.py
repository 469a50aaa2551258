"""What a backbone is, and how its weights become a module that returns feature maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.backbones.folding import fold_batch_norms, fold_same_padding
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_tensors, replacing, sha256_file
from osad.core.lazy import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

timm: Any = lazy("timm")

State = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Backbone:
    """A frozen network with public weights.

    Attributes:
        name: the name in ``params.yaml``.
        architecture: the name of timm's model.
        file: file name of the weights below ``data/weights``.
        sha256: digest of that file; empty where no pinned source exists (then the digest of the
            first use is recorded with every feature pack).
        licence: SPDX identifier of the weights' licence.
        source: where the weights come from, for people.
        image_size: side of the square input that the weights were trained with, pixels.
        mean: of the three channels, of pixels in [0, 1].
        std: of the three channels, of pixels in [0, 1].
        interpolation: ``bicubic`` or ``bilinear``, for resizing.
        levels: number of channels by stride.
        fetch: puts the weights at a path; arguments are the backbone, a local file or None, and
            the path to write.
        read: reads a weights file into a state with timm's names.
        classifier: modules of timm's classifier, whose tensors a weights file may lack or hold in
            other shapes; None where it must have them.
    """

    name: str
    architecture: str
    file: str
    sha256: str
    licence: str
    source: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    levels: Mapping[int, int]
    fetch: Callable[[Backbone, Path | None, Path], None]
    read: Callable[[Path], dict[str, torch.Tensor]]
    classifier: tuple[str, ...] | None = None

    def obtain(self, destination: Path, *, local: Path | None = None) -> None:
        """Put the checked weights file at a path, which appears only when it is complete.

        ``local`` is a file that a person has downloaded; without it the usual source is taken.

        Raises:
            DataError: the source is missing, cannot be reached or is not such a weights file.
            CheckError: a digest is not the expected one.
        """
        if local is not None and not local.is_file():
            raise DataError(f"{local}: is missing; correct features.weights_file")
        with replacing(destination) as temporary:
            self.fetch(self, local, temporary)

    def check_digest(self, path: Path) -> str:
        """Return the SHA-256 of a weights file.

        Raises:
            DataError: the file is missing.
            CheckError: the digest is not the pinned one.
        """
        if not path.is_file():
            raise DataError(f"{path}: weights file is missing; make it with: snakemake {path}")
        digest = sha256_file(path)
        if self.sha256 and digest != self.sha256:
            raise CheckError(
                f"{path}: SHA-256 is {digest}, expected {self.sha256} for backbone {self.name}; "
                f"delete the file and get it again from {self.source}"
            )
        return digest

    def channels(self, strides: Sequence[int]) -> list[int]:
        """Return the number of channels at each stride.

        Raises:
            ConfigError: the backbone has no such stride, or strides do not ascend.
        """
        for stride in strides:
            if stride not in self.levels:
                known = ", ".join(map(str, self.levels))
                raise ConfigError(
                    f"features.strides: {self.name} has no stride {stride}; choose from {known}"
                )
        if not strides or sorted(set(strides)) != list(strides):
            raise ConfigError(f"features.strides: {list(strides)} must be ascending, without twins")
        return [self.levels[stride] for stride in strides]

    def check_size(self, size: int, strides: Sequence[int]) -> None:
        """Check that maps of images of ``size`` x ``size`` pixels have ceil(size / stride) rows.

        The networks listed here take images of any size.

        Raises:
            ConfigError: they have another shape, or the network does not take such images.
        """

    def check(self, state: State, *, where: Path) -> dict[str, torch.Tensor]:
        """Return the tensors of a state that the network has, after `check_state`."""
        return check_state(state, self.architecture, where=where, classifier=self.classifier)

    def build(
        self, weights: Path, *, strides: Sequence[int], trainable: bool = False
    ) -> torch.nn.Module:
        """Build the network for inference: eval mode, float32, channels_last, on the CPU.

        A ``trainable`` one has its layers as they were trained, none folded into another.

        Returns:
            a module from (n, 3, S, S) normalised images to a list of (n, c, ceil(S/stride), ...)
            maps, one per stride.

        Raises:
            ConfigError: the backbone has no such stride.
            DataError: the file is missing, damaged or of another network.
            CheckError: its digest is not the pinned one.
        """
        self.channels(strides)
        self.check_digest(weights)
        state = self.check(self.read(weights), where=weights)
        model = self.network(state, strides, folded=not trainable)
        result: torch.nn.Module = model.eval().to(memory_format=torch.channels_last)
        return result

    def network(
        self, state: State, strides: Sequence[int], *, folded: bool = True
    ) -> torch.nn.Module:
        """Return the network of a checked state, without gradients.

        Where it is to be ``folded``, batch normalisations and paddings become part of the
        convolutions (see `osad.backbones.folding`), which makes the network faster and changes its
        maps only by rounding.
        """
        # On the meta device nothing is drawn or allocated: all values come from the file.
        with torch.device("meta"):
            model: torch.nn.Module = timm.create_model(
                self.architecture,
                pretrained=False,
                features_only=True,
                out_indices=tuple(list(self.levels).index(stride) for stride in strides),
            )
        levels: Any = model.feature_info
        if (levels.reduction(), levels.channels()) != (list(strides), self.channels(strides)):
            raise ConfigError(f"timm's {self.architecture} has other levels; install the lock file")
        state = {key: state[key] for key in model.state_dict()}
        model.load_state_dict(state, strict=True, assign=True)
        model.eval().requires_grad_(False)
        if folded:
            fold_batch_norms(model)
            fold_same_padding(model)
        return model


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a ``.safetensors`` file, or a ``.pth`` file without running any code in it.

    Raises:
        DataError: the file is missing, damaged, or is not a mapping of names to tensors.
    """
    if not path.is_file():
        raise DataError(f"{path}: is missing; put the weights file there")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Of a damaged file torch raises nearly anything.
        raise DataError(
            f"{path}: is damaged or is not a plain file of weights; download it again"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise DataError(
            f"{path}: holds something else than named tensors; give the model's state dict"
        )
    return state


def check_state(
    state: State, architecture: str, *, where: Path, classifier: Sequence[str] | None = None
) -> dict[str, torch.Tensor]:
    """Check that a state has exactly the names and shapes of timm's network.

    Args:
        state: tensors by timm's names.
        architecture: name of timm's model.
        where: the file, for messages.
        classifier: modules whose tensors do not count; None where the classifier must be there.

    Returns:
        the tensors that count.

    Raises:
        DataError: a tensor is missing, has another shape or does not belong to the network.
    """
    options = {} if classifier is None else {"num_classes": 0}
    with torch.device("meta"):
        expected = timm.create_model(architecture, pretrained=False, **options).state_dict()
    remedy = f"give the weights of {architecture}"
    for key, tensor in expected.items():
        if key not in state:
            raise DataError(f"{where}: tensor {key} is missing; {remedy}")
        if state[key].shape != tensor.shape:
            raise DataError(
                f"{where}: tensor {key} has shape {tuple(state[key].shape)}, "
                f"expected {tuple(tensor.shape)}; {remedy}"
            )
    ignored = tuple(f"{name}." for name in classifier or ())
    unknown = [key for key in state if key not in expected and not key.startswith(ignored)]
    if unknown:
        raise DataError(f"{where}: tensor {min(unknown)} does not belong there; {remedy}")
    return {key: state[key] for key in expected}
