"""Step ``features``: compute one feature pack of a data set's category."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from osad.backbones import get_backbone
from osad.core.errors import ConfigError
from osad.data.manifest import Record, read_manifest
from osad.features.extract import extract, preload
from osad.features.kinds import KINDS
from osad.features.packs import write_pack
from osad.features.plan import Task, plan_maps, plan_pixels
from osad.features.tiles import RESIZES, SQUASH

PERIOD = 2.0
"""Seconds between two lines of progress."""
MINIMUM_SIZE = 32


def parse_strides(text: str) -> tuple[int, ...]:
    """Parse ``16,32``.

    Raises:
        ConfigError: the text is not a list of integers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--strides {text!r}: expected integers such as 16,32") from error


def progress_line(pack: str, done: int, total: int, *, seconds: float) -> str:
    """Return a line of progress.

    Example:
        >>> progress_line("plain", 640, 2223, seconds=4.0)
        'features plain 640/2223 images, 160 images/s, 10 s left'
    """
    rate = done / max(seconds, 1e-9)
    left = (total - done) / rate if done else float("inf")
    return f"features {pack} {done}/{total} images, {rate:.0f} images/s, {left:.0f} s left"


def make_progress(pack: str) -> Callable[[int, int], None]:
    """Return a function that writes a line to standard error every 2 s and at the end."""
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PERIOD or done == total:
            last = now
            print(progress_line(pack, done, total, seconds=now - start), file=sys.stderr)

    return report


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check the options.

    Raises:
        ConfigError: a number is out of range, or a pack with maps lacks an option.
    """
    parser = argparse.ArgumentParser(prog="osad features", description=__doc__)
    parser.add_argument("--pack", required=True, choices=KINDS)
    parser.add_argument("--manifest", required=True, help="CSV of the category's images")
    parser.add_argument("--backbone", help="name of the network; not for pixels")
    parser.add_argument("--weights", type=Path, help="its weights file; not for pixels")
    parser.add_argument("--image-size", type=int, help="side of its input, pixels; not for pixels")
    parser.add_argument("--strides", help="maps, for example 16,32; not for pixels")
    most = ", ".join(f"{name} {kind.most}" for name, kind in KINDS.items() if kind.most)
    parser.add_argument("--views", type=int, default=1, help=f"of each image; at most: {most}")
    parser.add_argument("--resize", choices=RESIZES, default=SQUASH, help="to a square, or pad")
    parser.add_argument("--grid", type=int, default=1, help="tiles along each side of the square")
    parser.add_argument("--overlap", type=int, default=0, help="of neighbouring tiles, pixels")
    parser.add_argument("--rotation", type=float, default=180.0, help="largest angle, degrees")
    parser.add_argument("--threads", type=int, default=1, help="processes; bytes do not change")
    parser.add_argument("--gpu", type=int, default=0, help="1 to compute on a GPU")
    parser.add_argument("--output", required=True, type=Path, help="safetensors file to write")
    options = parser.parse_args(argv)
    if KINDS[options.pack].backbone:
        for name in ("backbone", "weights", "image_size", "strides"):
            if getattr(options, name) is None:
                option = name.replace("_", "-")
                raise ConfigError(f"pack {options.pack}: option --{option} is missing")
        if options.image_size < MINIMUM_SIZE:
            raise ConfigError(f"--image-size {options.image_size}: must be {MINIMUM_SIZE} or more")
    if not 0 <= options.rotation <= 180:
        raise ConfigError(f"--rotation {options.rotation}: must lie in [0, 180]")
    for name in ("views", "threads", "grid"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name} {getattr(options, name)}: must be 1 or more")
    return options


def plan(options: argparse.Namespace, records: Sequence[Record], *, device: str) -> Task:
    """Describe what the options ask for."""
    if not KINDS[options.pack].backbone:
        return plan_pixels(records)
    return plan_maps(
        records,
        options.pack,
        backbone=get_backbone(options.backbone),
        weights=options.weights,
        image_size=options.image_size,
        strides=parse_strides(options.strides),
        views=options.views,
        rotation=options.rotation,
        resize=options.resize,
        grid=options.grid,
        overlap=options.overlap,
        device=device,
    )


def main(argv: Sequence[str]) -> list[Path]:
    """Write one feature pack."""
    options = parse(argv)
    from osad.runtime.device import make_deterministic, select_device

    device = select_device(options.gpu if KINDS[options.pack].backbone else 0)
    if device.type != "cpu":
        make_deterministic(1)
    task = plan(options, read_manifest(options.manifest), device=device.type)
    task.check_room(options.output.parent, workers=options.threads)
    preload(task)  # Before the clock of the progress starts.
    tensors = extract(
        task, workers=options.threads, device=device, progress=make_progress(options.pack)
    )
    write_pack(options.output, tensors, task.info)
    return [options.output]
