"""What is odd about images that can be decoded: told with numbers and names, not refused."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from osad.core.errors import listed
from osad.core.files import sha256_bytes
from osad.data.images import FORMATS, depth

CONSTANT = "have one colour only, nothing is seen"
MASKS = "have only black and white pixels, as masks have"
DIM = "use less than an eighth of their 16 bits and become dark; scale them if so few were recorded"
PROFILE = "have a colour profile or a gamma other than sRGB's, which is not applied"
CMYK = "have CMYK colours, which a formula converts and no profile"
SRGB_GAMMA = 0.45455
LARGE = (
    "are masks that mark more than half of their image; what is not 0 is marked, not what is black"
)
SAME = (
    "have the pixels of another file of other bytes; only equal bytes are kept out of the test "
    "images of a run that was trained on them"
)
EMPTY = "are masks that mark no pixel; their images count as images without a mask"


@dataclass(frozen=True)
class Remarks:
    """Names of files by what is odd about them.

    Attributes:
        found: by remark.
        kinds: by format, depth and mode, as in ``PNG of 8-bit RGB``.
        pixels: by digest of the pixels, a name by digest of the file.
    """

    found: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    kinds: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    pixels: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, name: str, content: bytes, pixels: Image.Image) -> None:
        """Look at an image: its file, and its pixels as `osad.data.images.decode` gives them."""
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            bits, mode = depth(content, image), image.mode.partition(";")[0]
            form = "JPEG" if image.format == "MPO" else image.format
            profile = image.info.get("icc_profile") or b"sRGB"
            gamma = (
                0.0 if "srgb" in image.info else image.info.get("gamma", SRGB_GAMMA) - SRGB_GAMMA
            )
        self.kinds[f"{form} of {bits}-bit {mode}"].append(name)
        shown = sha256_bytes(f"{pixels.size}".encode() + pixels.tobytes())
        self.pixels[shown][sha256_bytes(content)] = name
        colours = [colour for _, colour in pixels.getcolors(2) or ()]
        if len(colours) == 1:
            self.found[CONSTANT].append(name)
        elif set(colours) == {(0, 0, 0), (255, 255, 255)}:
            self.found[MASKS].append(name)
        if mode == "CMYK":
            self.found[CMYK].append(name)
        if bits == 16 and np.asarray(pixels).max() < 32:
            self.found[DIM].append(name)
        # Texts in profiles are ASCII or, later, UTF-16.
        if b"sRGB" not in profile.replace(b"\0", b"") or abs(gamma) > 0.01:
            self.found[PROFILE].append(name)

    def lines(self) -> list[str]:
        """Return a line for each remark, with how many and which files, up to 10."""
        lines = [
            f"{len(names)} files {remark}: {listed(sorted(names), between=', ')}"
            for remark, names in sorted(self.found.items())
        ]
        if same := [sorted(names.values()) for names in self.pixels.values() if len(names) > 1]:
            groups = listed(sorted(map(" = ".join, same)), between=", ")
            lines.append(f"{sum(map(len, same))} files {SAME}: {groups}")
        if len(self.kinds) > 1:
            kinds = (f"{len(n)} {kind} (first {min(n)})" for kind, n in sorted(self.kinds.items()))
            text = "images are of several kinds, by which alone a method can tell them apart"
            lines.append(f"{text}: {', '.join(kinds)}")
        return lines
