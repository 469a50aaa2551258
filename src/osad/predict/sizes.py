"""Whether images are of the size and shape of those that a run was trained on.

Every image is resized to the network's square: one of another shape is distorted otherwise, one of
another size shows its defects larger or smaller than the method has seen any. The scores look as
good as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import ExifTags, Image

from osad.data.images import FORMATS

SHAPE, AREA = 1.1, 2.0
"""By which factor the ratio of the sides, and the area, may lie outside of what was trained on."""
TURNED = 5
"""From this EXIF orientation on width and height are exchanged."""

Size = tuple[int, int]
"""Width and height, pixels."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a run's training images.

    Attributes:
        all: one or more.
    """

    all: frozenset[Size]

    @classmethod
    def of(cls, paths: Iterable[str]) -> Sizes | None:
        """Read the headers of images; None where none of them is there."""
        found = frozenset(size for path in paths if (size := size_of(path)))
        return cls(found) if found else None

    def fits(self, size: Size) -> bool:
        """Tell whether a size is about as those that are known.

        Example:
            >>> sizes = Sizes(frozenset({(300, 300), (320, 300)}))
            >>> sizes.fits((400, 380)), sizes.fits((400, 300)), sizes.fits((100, 100))
            (True, False, False)
        """
        return all(
            min(known) / factor <= value <= max(known) * factor
            for value, known, factor in (
                (size[0] / size[1], [width / height for width, height in self.all], SHAPE),
                (size[0] * size[1], [width * height for width, height in self.all], AREA),
            )
        )

    def note(self, paths: Sequence[str]) -> str:
        """Return a sentence on images that do not fit; empty if all do."""
        sizes = {path: size_of(path) for path in paths}
        other = {path: size for path, size in sizes.items() if size and not self.fits(size)}
        if not other:
            return ""
        path, size = next(iter(other.items()))
        least, most = min(self.all), max(self.all)
        trained = _text(least) if least == most else f"{_text(least)} to {_text(most)}"
        return (
            f"{len(other)} of {len(paths)} images are of another size or shape than those of the "
            f"run ({path}: {_text(size)}, the run's: {trained} pixels): what their scores are "
            "worth is not known; take or cut them like the run's"
        )


def size_of(path: str) -> Size | None:
    """Return width and height of an image as it is to be seen; None if its header is damaged."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= TURNED
            return (image.height, image.width) if turned else image.size
    except Exception:  # A damaged header makes decoders raise nearly anything; `read` says what.
        return None


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
