"""Computing feature packs, on several processes, with bytes that do not depend on their number.

The work is cut into chunks of images. Whoever computes a chunk computes it alike: one thread,
batches of exactly 16 views (filled up with black ones). Workers write their rows straight into
memory that they share with the parent.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import mmap
import multiprocessing
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osad.backbones import get_backbone
from osad.backbones.registry import Backbone
from osad.data.images import open_verified
from osad.data.manifest import Record
from osad.errors import DataError, TrainingError
from osad.features.packs import AUGMENTED, INTENSITY, PackInfo, level_name, pack_strides
from osad.features.simulated import (
    SIMULATED,
    SIMULATED_VIEWS,
    make_simulated_views,
    partner,
)
from osad.features.views import HOLDOUT_KINDS, make_views, pixel_statistics, resize
from osad.lazy import lazy

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
else:
    torch = lazy("torch")

BATCH = 16
"""Views per batch: fixed, since another size changes the last bits.

From 16 on, torch computes 1x1 convolutions by oneDNN also with one thread, which is a third faster
(measured) and leaves out MKL, whose bits can differ between vendors.
"""

PR_SET_PDEATHSIG = 1
"""Linux: which signal a process gets when its parent dies."""

Arrays = Mapping[str, NDArray[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Task:
    """What to extract: the description of the pack, and where the weights are.

    Attributes:
        info: the pack's description, complete before anything is computed.
        weights: the weights file; None for ``pixels``.
    """

    info: PackInfo
    weights: Path | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.info.paths)

    @property
    def chunks(self) -> list[range]:
        """Return the rows of each chunk: as many images as fill one batch with views."""
        size = max(BATCH // self.info.views, 1)
        return [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]


def select_records(records: Sequence[Record], pack: str) -> list[Record]:
    """Return the images that a pack holds, in the manifest's order.

    Raises:
        DataError: there is none.
    """
    chosen = [
        record
        for record in records
        if pack in ("pixels", "plain")
        or (record.label == 0 and record.split == "train")
        or (record.label == 1 and pack == "rotated")
    ]
    if not chosen:
        raise DataError(f"pack {pack}: the manifest has no image for it; check its column 'split'")
    return chosen


def plan_pixels(records: Sequence[Record]) -> Task:
    """Describe the extraction of pixel statistics, which needs no network."""
    paths, digests = _identities(records)
    return Task(PackInfo("pixels", paths, digests, device="cpu"))


def number_of_views(pack: str, *, views: int, rotation: float) -> int:
    """Return how many views of an image a pack holds.

    Without rotation the views of ``rotated`` would all be equal, so there is one. Of the simulated
    defects with a second image there are two at most.
    """
    if pack == "rotated" and not rotation:
        return 1
    if pack in SIMULATED:
        return min(SIMULATED_VIEWS, views)
    return {"plain": 1, "holdout": len(HOLDOUT_KINDS)}.get(pack, views)


def plan_maps(
    records: Sequence[Record],
    pack: str,
    *,
    backbone: Backbone,
    weights: Path,
    image_size: int,
    strides: Sequence[int],
    views: int,
    device: str,
    rotation: float = 180.0,
) -> Task:
    """Describe the extraction of feature maps.

    Args:
        records: all images of the manifest.
        pack: any but ``pixels`` (see `osad.features.packs`).
        backbone: the network.
        weights: its weights file, whose digest becomes part of the description.
        image_size: side of the network's input, pixels.
        strides: of the maps, ascending (see `osad.features.packs.pack_strides`).
        views: number of views of ``rotated`` and ``pseudo``; see `number_of_views`.
        device: ``cpu`` or ``cuda``.
        rotation: largest angle of the rotated views, degrees.

    Raises:
        ConfigError: the backbone has no such stride.
        DataError: no image belongs to the pack, only one where a view needs two, or the weights
            file is missing.
        CheckError: the weights file has a wrong digest.
    """
    backbone.channels(strides)
    kept = pack_strides(pack, strides)
    paths, digests = _identities(select_records(records, pack))
    if pack in SIMULATED and len(paths) == 1:
        raise DataError(f"pack {pack}: a view needs two training normals, there is only {paths[0]}")
    info = PackInfo(
        pack,
        paths,
        digests,
        device=device,
        backbone=backbone.name,
        weights_sha256=backbone.check_digest(weights),
        image_size=image_size,
        strides=kept,
        channels=tuple(backbone.channels(kept)),
        views=number_of_views(pack, views=views, rotation=rotation),
        rotation=rotation if pack in AUGMENTED else 0.0,
    )
    return Task(info, weights)


def _identities(records: Sequence[Record]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return paths and digests of images."""
    return tuple(r.path for r in records), tuple(r.sha256 for r in records)


def normalise(views: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Convert views to the network's input.

    Args:
        views: (n, S, S, 3) uint8.
        mean: of the three channels, in [0, 1].
        std: of the three channels, in [0, 1].

    Returns:
        (n, 3, S, S) float32 in channels_last order: (x/255 - mean) / std.
    """
    scaled = views.to(torch.float32).div_(255)
    scaled.sub_(torch.tensor(mean, device=views.device))
    scaled.div_(torch.tensor(std, device=views.device))
    return scaled.permute(0, 3, 1, 2)


def compute_maps(
    model: torch.nn.Module, views: NDArray[np.uint8], *, backbone: Backbone, device: torch.device
) -> Iterator[list[torch.Tensor]]:
    """Compute the maps of views in batches of exactly 16.

    Args:
        model: what `Backbone.build` returned, on the device.
        views: (n, S, S, 3) uint8, RGB.
        backbone: gives mean and standard deviation.
        device: where to compute.

    Yields:
        For each batch of k <= 16 views the float32 maps (k, c, h, w), one per stride.
    """
    for start in range(0, len(views), BATCH):
        part = views[start : start + BATCH]
        # Always 16 views: an image's maps then do not depend on how many others there are.
        full = np.zeros((BATCH, *part.shape[1:]), dtype=np.uint8)
        full[: len(part)] = part
        with torch.inference_mode():
            inputs = normalise(torch.from_numpy(full).to(device), backbone.mean, backbone.std)
            yield [maps[: len(part)] for maps in model(inputs)]


def load_views(task: Task, rows: range) -> NDArray[np.uint8]:
    """Open the images of some rows, checking their digests, and make their views.

    A second image that lends texture is opened and checked in the same way.

    Returns:
        (k * R, S, S, 3) uint8, the views of an image beside each other.

    Raises:
        DataError: an image is missing, damaged or not the one that the manifest lists.
    """
    info = task.info
    interpolation = get_backbone(info.backbone).interpolation

    def opened(row: int) -> Image:
        image = open_verified(Path(info.paths[row]), info.sha256[row])
        return resize(image, info.image_size, interpolation)

    result = []
    for row in rows:
        image, path = opened(row), info.paths[row]
        if info.pack in SIMULATED:
            numbers = range(info.views)
            others = [partner(info.paths, row, pack=info.pack, view=view) for view in numbers]
            views = make_simulated_views(
                image, [*map(opened, others)], path, pack=info.pack, rotation=info.rotation
            )
        else:
            views = make_views(
                image, path, pack=info.pack, views=info.views, rotation=info.rotation
            )
        result += [np.asarray(view, dtype=np.uint8) for view in views]
    return np.stack(result)


def store_maps(
    task: Task,
    rows: range,
    views: NDArray[np.uint8],
    arrays: Arrays,
    *,
    model: torch.nn.Module,
    device: torch.device,
) -> None:
    """Compute the maps of the views of some rows and write them into the arrays as float16."""
    info = task.info
    flat = {
        name: torch.from_numpy(array[rows.start : rows.stop]).flatten(0, array.ndim - 4)
        for name, array in arrays.items()
    }
    start = 0
    batches = compute_maps(model, views, backbone=get_backbone(info.backbone), device=device)
    for batch in batches:
        for stride, maps in zip(info.strides, batch, strict=True):
            target = flat[level_name(stride)][start : start + len(maps)]
            if maps.shape != target.shape:
                raise ValueError(f"maps {tuple(maps.shape)}, expected {tuple(target.shape)}")
            target.copy_(maps)
        start += len(batch[0])


def store_pixels(task: Task, rows: range, arrays: Arrays) -> None:
    """Write the pixel statistics of some rows into the array."""
    for row in rows:
        image = open_verified(Path(task.info.paths[row]), task.info.sha256[row])
        arrays[INTENSITY][row] = pixel_statistics(image)


def shared_arrays(info: PackInfo) -> dict[str, NDArray[Any]]:
    """Return arrays for a pack's tensors in memory that forked processes share, filled with 0."""
    dtype = np.dtype(np.float32 if info.pack == "pixels" else np.float16)
    result = {}
    for name, shape in info.shapes().items():
        memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
        result[name] = np.frombuffer(memory, dtype=dtype).reshape(shape)
    return result


def preload(task: Task) -> None:
    """Import what workers need, once and not in each of them.

    Nothing may be computed before the fork: threads of a computing parent are missing in its
    children.
    """
    for module in ("torch", "timm", "PIL.Image") if task.weights else ("PIL.Image",):
        importlib.import_module(module)


def extract(
    task: Task, *, workers: int, device: torch.device, progress: Progress
) -> dict[str, torch.Tensor]:
    """Compute the tensors of a pack.

    Args:
        task: see `plan_pixels` and `plan_maps`.
        workers: processes (on the CPU) or threads that decode images (on another device); the
            result does not depend on it.
        device: where to compute.
        progress: called with the numbers of images done and in all, after each chunk.

    Returns:
        tensors as `osad.features.packs.write_pack` wants them.

    Raises:
        OsadError: the first problem in the order of the images.
    """
    arrays = shared_arrays(task.info)
    if device.type == "cpu":
        _run_processes(task, arrays, workers=workers, progress=progress)
    else:
        _run_threads(task, arrays, workers=workers, device=device, progress=progress)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _run_threads(
    task: Task, arrays: Arrays, *, workers: int, device: torch.device, progress: Progress
) -> None:
    """Compute in this process while threads decode the images that come next."""
    info = task.info
    assert task.weights is not None
    model = get_backbone(info.backbone).build(task.weights, strides=info.strides).to(device)
    waiting: deque[tuple[range, Future[NDArray[np.uint8]]]] = deque()
    chunks = deque(task.chunks)
    with ThreadPoolExecutor(workers) as pool:
        try:
            while chunks or waiting:
                while chunks and len(waiting) <= 2 * workers:
                    rows = chunks.popleft()
                    waiting.append((rows, pool.submit(load_views, task, rows)))
                rows, future = waiting.popleft()
                store_maps(task, rows, future.result(), arrays, model=model, device=device)
                progress(rows.stop, len(task))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_processes(task: Task, arrays: Arrays, *, workers: int, progress: Progress) -> None:
    """Compute in forked processes, each with one thread."""
    preload(task)
    chunks = task.chunks
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)),
        mp_context=multiprocessing.get_context("fork"),
        initializer=_start_worker,
        initargs=(task, arrays),
    )
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads; the children use none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            futures = [pool.submit(_run_chunk, rows) for rows in chunks]
        for rows, future in zip(chunks, futures, strict=True):
            future.result()
            progress(rows.stop, len(task))
    except BrokenProcessPool as error:
        raise TrainingError(
            f"pack {task.info.pack}: a worker process was killed, probably for want of memory; "
            "run with fewer cores"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Any] = {}


def _start_worker(task: Task, arrays: Arrays) -> None:
    """Prepare a forked process; it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent hears it and stops the pool.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _worker.update(task=task, arrays=arrays)


def _run_chunk(rows: range) -> None:
    """Compute one chunk inside a worker."""
    task, arrays = _worker["task"], _worker["arrays"]
    if task.weights is None:
        store_pixels(task, rows, arrays)
        return
    device = torch.device("cpu")
    if "model" not in _worker:
        from osad.runtime.device import make_deterministic

        make_deterministic(1)
        backbone = get_backbone(task.info.backbone)
        _worker["model"] = backbone.build(task.weights, strides=task.info.strides)
    views = load_views(task, rows)
    store_maps(task, rows, views, arrays, model=_worker["model"], device=device)
