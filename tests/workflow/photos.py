"""Images of a user, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from projects import IMAGES


def photo(number: int, kind: str) -> Image.Image:
    """Make an image of grey noise, different for each number, with a bright or dark defect."""
    generator = np.random.default_rng(number)
    noise = 128 + 12 * generator.standard_normal((48, 48, 3))
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    x, y = (int(value) for value in generator.integers(8, 28, 2))
    if kind == "scratch":
        ImageDraw.Draw(image).line((x, y, x + 14, y + 10), fill=(250, 250, 250), width=3)
    if kind == "dent":
        ImageDraw.Draw(image).ellipse((x, y, x + 12, y + 12), fill=(20, 20, 20))
    return image


def draw(root: Path) -> Path:
    """Fill a folder with images and return it."""
    number = 0
    for folder, count in IMAGES.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            number += 1
            photo(number, folder.split("/")[1]).save(root / folder / f"{index:03}.png")
    return root
