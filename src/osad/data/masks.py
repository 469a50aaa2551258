"""Packs of masks of defects.

A pack ``masks.safetensors`` has one row for each anomalous image of a manifest that has a mask.
Its description holds the digests of the image and of the mask file that each row was made from,
and names the anomalous images that have none. Normal images have no row: all their pixels are
normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osad.core.arrays import read_arrays, write_arrays
from osad.core.errors import CheckError, DataError
from osad.core.files import read_metadata
from osad.core.kinds import fits

FORMAT = 1
TENSOR = "masks"
KINDS = {
    **dict.fromkeys(("paths", "sha256", "mask_sha256", "unmasked"), list[str]), "image_size": int,
}  # fmt: skip
"""What the description holds beside its format."""
REMEDY = "delete it and run the masks step again"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MaskPack:
    """The masks of a data set's category.

    Attributes:
        paths: images with a mask, in the order of the rows.
        sha256: digests of these images.
        mask_sha256: digests of their mask files.
        unmasked: anomalous images without a mask.
        image_size: side S of the masks, pixels.
        bits: (n, S, ceil(S / 8)) uint8, eight pixels a byte, the leftmost in the highest bit.
    """

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    mask_sha256: tuple[str, ...]
    unmasked: tuple[str, ...]
    image_size: int
    bits: NDArray[np.uint8]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.paths)}

    def mask(self, path: str, sha256: str, *, where: Path) -> Mask | None:
        """Return the mask (S, S) of an anomalous image, or None if it has none.

        Raises:
            CheckError: the image is unknown, or the row is of an image of other bytes.
        """
        row = self._rows.get(path)
        if row is None:
            if path in self.unmasked:
                return None
            raise CheckError(f"{where}: does not know the anomalous image {path}; {REMEDY}")
        if self.sha256[row] != sha256:
            raise CheckError(
                f"{where}: the mask of {path} is for an image with sha256 "
                f"{self.sha256[row][:12]}..., the split names {sha256[:12]}...; {REMEDY}"
            )
        return np.unpackbits(self.bits[row], axis=1, count=self.image_size) > 0


def pack_bits(masks: Sequence[Mask], size: int) -> NDArray[np.uint8]:
    """Pack n masks (S, S) into (n, S, ceil(S / 8)) bytes; n may be 0."""
    stacked = np.array(masks, dtype=bool).reshape(len(masks), size, size)
    return np.packbits(stacked, axis=2)


def write_masks(path: Path, pack: MaskPack) -> None:
    """Write a pack of masks."""
    metadata = {name: getattr(pack, name) for name in KINDS} | {"format": FORMAT}
    write_arrays(path, {TENSOR: pack.bits}, metadata)


def read_masks(path: Path) -> MaskPack:
    """Read and check a pack of masks.

    Raises:
        DataError: the file is missing, damaged, of another format, or contradicts itself.
    """
    metadata: dict[str, Any] = read_metadata(path)
    if not fits(metadata, KINDS | {"format": int}) or metadata["format"] != FORMAT:
        raise DataError(f"{path}: does not hold masks of format {FORMAT}; {REMEDY}")
    bits = read_arrays(path).get(TENSOR)
    size, paths = metadata["image_size"], metadata["paths"]
    shape = (len(paths), size, -(-size // 8))
    if bits is None or bits.shape != shape or bits.dtype != np.uint8:
        raise DataError(f"{path}: its masks are not {shape} uint8; {REMEDY}")
    names = [*paths, *metadata["unmasked"]]
    lengths = {len(metadata[name]) for name in ("paths", "sha256", "mask_sha256")}
    if len(lengths) > 1 or len(set(names)) != len(names):
        raise DataError(f"{path}: its paths are not unique or not as many as its digests; {REMEDY}")
    lists = {name: tuple(metadata[name]) for name in KINDS if name != "image_size"}
    return MaskPack(**lists, image_size=size, bits=bits)
