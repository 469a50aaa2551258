"""Feature packs: one safetensors file per kind, read without loading it into memory.

``pixels`` has the tensor ``intensity`` (n, 2) float32: mean and standard deviation; ``pooled`` has
``pooled`` (n, 2, c) float32, the same of each channel over positions, the channels of all strides
beside each other. The other kinds (`osad.features.kinds`) have ``s{stride}`` float16 for each
stride: (n, c, h, w) with one view of each image, (n, R, c, h, w) with several. ``plain`` of padded
images also has ``content`` (n, 2) int32, height and width of each image in the square. ``images``
has ``images`` (n, S, S, 3) uint8, RGB, the images as squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_metadata, write_tensors
from osad.core.kinds import fits
from osad.core.lazy import lazy
from osad.features.kinds import KINDS, Kind
from osad.features.tiles import PAD, RESIZES, SQUASH, USUAL, Frame

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

FORMAT = 1
INTENSITY, POOLED, CONTENT, IMAGES = "intensity", "pooled", "content", "images"
REMEDY = "delete it and run the features step again"


def level_name(stride: int) -> str:
    """Return the name of a stride's tensor.

    Example:
        >>> level_name(32)
        's32'
    """
    return f"s{stride}"


@dataclass(frozen=True)
class PackInfo:
    """Description of a pack, stored in the file.

    Attributes:
        pack: name of its kind.
        paths: of the images, in the order of the rows.
        sha256: digests of the images, in the same order.
        device: type of the device that computed it, ``cpu`` or ``cuda``.
        backbone: its name; empty for ``pixels``, like all that follows.
        weights_sha256: digest of the backbone's weights file.
        image_size: side of the network's input, pixels.
        strides: of the tensors.
        channels: of the tensors.
        views: number of views of each image.
        rotation: largest angle of the rotated views, degrees.
        format: version of the file format.
        resize: how images become squares, ``squash`` or ``pad``; this and what follows is left out
            of the file where it is the default.
        grid: tiles along each side of the square.
        overlap: pixels that neighbouring tiles share.
    """

    pack: str
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    device: str
    backbone: str = ""
    weights_sha256: str = ""
    image_size: int = 0
    strides: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    views: int = 1
    rotation: float = 0.0
    format: int = FORMAT
    resize: str = SQUASH
    grid: int = 1
    overlap: int = 0

    @property
    def frame(self) -> Frame:
        """The square that images are brought to."""
        return Frame(self.image_size, self.resize, self.grid, self.overlap)

    @property
    def kind(self) -> Kind:
        """The kind of the pack."""
        return KINDS[self.pack]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tensors by name."""
        rows = len(self.paths)
        if not self.kind.backbone:
            return {INTENSITY: (rows, 2)}
        if self.kind.pooled:
            return {POOLED: (rows, 2, sum(self.channels))}
        if self.kind.raw:
            return {IMAGES: (rows, self.frame.side, self.frame.side, 3)}
        leading = (rows,) if self.kind.most == 1 else (rows, self.views)
        sides = {stride: -(-self.frame.side // stride) for stride in self.strides}
        maps: dict[str, tuple[int, ...]] = {
            level_name(stride): (*leading, channels, sides[stride], sides[stride])
            for stride, channels in zip(self.strides, self.channels, strict=True)
        }
        told = self.resize == PAD and self.kind.every_stride and self.kind.all_images
        return maps | ({CONTENT: (rows, 2)} if told else {})

    def dtype(self, name: str = "") -> torch.dtype:
        """Return the type of a tensor."""
        if name == CONTENT:
            return torch.int32
        if self.kind.raw:
            return torch.uint8
        return torch.float16 if self.kind.maps else torch.float32

    def described(self) -> dict[str, Any]:
        """Return the description in the file; what is new and as by default is left out."""
        return {n: v for n, v in asdict(self).items() if n not in USUAL or v != USUAL[n]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, where: Path) -> PackInfo:
        """Check and convert the description in a file.

        Raises:
            DataError: the content is not that of a pack of this version.
        """
        content, version = USUAL | {**content}, content.get("format")
        if (
            version != FORMAT
            or not fits(content, get_type_hints(cls))
            or content["pack"] not in KINDS
            or len(content["channels"]) != len(content["strides"])
            or min(content["strides"], default=1) < 1
            or content["resize"] not in RESIZES
            or not (content["grid"] >= 1 and content["overlap"] >= 0)
        ):
            raise DataError(
                f"{where}: is not a feature pack of format {FORMAT} (it has {version}); {REMEDY}"
            )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
        return cls(**values)


def write_pack(path: Path, tensors: Mapping[str, torch.Tensor], info: PackInfo) -> None:
    """Write a pack of contiguous CPU tensors of the shapes `PackInfo.shapes`.

    Raises:
        CheckError: a value is infinite or not a number.
        ValueError: names, shapes or types are not those of the description.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != info.shapes() or any(t.dtype != info.dtype(n) for n, t in tensors.items()):
        raise ValueError(f"tensors {shapes} do not fit the description {info.shapes()}")
    for name, tensor in tensors.items():
        for row, image in enumerate(info.paths):
            if not bool(torch.isfinite(tensor[row]).all()):
                raise CheckError(
                    f"{image}: its {name} features of {info.backbone} are not finite; check the "
                    "image and the weights file"
                )
    write_tensors(path, tensors, info.described())


@dataclass(frozen=True)
class Pack:
    """An open pack; its tensors stay on disk until rows are taken.

    Attributes:
        path: the file.
        info: its description.
    """

    path: Path
    info: PackInfo
    _tensors: Mapping[str, torch.Tensor] = field(repr=False, compare=False)
    _positions: Mapping[str, int] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path | str) -> Pack:
        """Open a pack and check that its tensors fit its description.

        Raises:
            DataError: the file is missing, damaged, of another format, or contradicts itself.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        info = PackInfo.from_json(read_metadata(path), where=path)
        try:
            with safe_open(path, framework="pt") as stream:
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: is damaged ({error}); {REMEDY}") from error
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        right = all(tensor.dtype == info.dtype(name) for name, tensor in tensors.items())
        if shapes != info.shapes() or not right or len(info.sha256) != len(info.paths):
            raise DataError(
                f"{path}: holds tensors {shapes}, its description says {info.shapes()}; {REMEDY}"
            )
        positions = {name: row for row, name in enumerate(info.paths)}
        return cls(path, info, tensors, positions)

    def tensor(self, name: str) -> torch.Tensor:
        """Return a memory-mapped tensor (see the module's text); do not write to it.

        Raises:
            ConfigError: the pack has no such tensor.
        """
        if name not in self._tensors:
            raise ConfigError(
                f"{self.path}: has no tensor {name!r}, only {', '.join(self._tensors)}; "
                "add the stride to features.strides"
            )
        return self._tensors[name]

    def rows(self, paths: Sequence[str], sha256s: Sequence[str]) -> torch.Tensor:
        """Return the rows of k images, by their paths and their digests in the split.

        Returns:
            (k,) int64.

        Raises:
            CheckError: an image is not in the pack, or its features were computed from a file of
                another digest.
        """
        rows = []
        for path, digest in zip(paths, sha256s, strict=True):
            row = self._positions.get(path)
            if row is None:
                raise CheckError(f"{self.path}: has no features of {path}; {REMEDY}")
            if self.info.sha256[row] != digest:
                raise CheckError(
                    f"{self.path}: the features of {path} come from a file with SHA-256 "
                    f"{self.info.sha256[row]}, the split names {digest}; {REMEDY}"
                )
            rows.append(row)
        return torch.tensor(rows, dtype=torch.int64)
