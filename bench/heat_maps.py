"""Take the picture of six heat maps that the README shows.

    python bench/heat_maps.py             # of elpv/all/general-m10/dpdl/s0
    python bench/heat_maps.py RUN FILE

No image is picked by hand: of the normal and of the anomalous test images, each in the order of
their scores, those in the middle and at both quarters. Needs the results of the run.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from PIL import Image

from osad.data.images import open_verified
from osad.evaluation import maps
from osad.features.tiles import Frame
from osad.predict.heat import overlay, scale_of

RUN = "elpv/all/general-m10/dpdl/s0"
FILE = "docs/images/heat-maps.png"
QUARTERS = (1, 2, 3)
GAP = 6
"""White around each picture, pixels."""
COLOURS = 128
"""A palette makes the file a third as large."""


def chosen(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return six of a run's scored images: three normal ones, then three anomalous ones."""
    found = []
    for label in "01":
        of_label = [row for row in rows if row["label"] == label]
        ordered = sorted(of_label, key=lambda row: (float(row["score"]), row["path"]))
        found += [ordered[len(ordered) * quarter // 4] for quarter in QUARTERS]
    return found


def main(run: str = RUN, name: str = FILE) -> None:
    """Lay the maps of a run over six of its images, side by side in two rows."""
    found = maps.read(Path(f"results/maps/{run}.safetensors"))
    with Path(f"results/scores/{run}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    normal = found.select([row["path"] for row in rows if row["label"] == "0"])
    scale = scale_of(normal.maps, "normal test images")
    drawn = []
    for row in chosen(rows):
        image = open_verified(Path(row["path"]), row["sha256"]).convert("RGB")
        scores = found.select([row["path"]]).maps[0]
        heat = overlay(image, scores, frame=Frame(found.image_size), scale=scale)
        pair = Image.new("RGB", (2 * image.width, image.height))
        pair.paste(image, (0, 0))
        pair.paste(heat.crop((0, 0, *image.size)), (image.width, 0))
        drawn.append(pair.resize((pair.width * 2 // 3, pair.height * 2 // 3)))
        print(f"{row['path']}: {row['class']}, score {float(row['score']):.3f}")
    width, height = (side + GAP for side in drawn[0].size)
    sheet = Image.new("RGB", (3 * width + GAP, 2 * height + GAP), "white")
    for number, picture in enumerate(drawn):
        sheet.paste(picture, (GAP + number % 3 * width, GAP + number // 3 * height))
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(COLOURS).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:3])
