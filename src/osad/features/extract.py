"""Computing feature packs, on several processes, with bytes that do not depend on their number.

The work is cut into chunks of images (see `osad.features.compute`). Workers write their rows
straight into memory that they share with the parent.
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
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osad.backbones import get_backbone
from osad.core.errors import DataError, TrainingError, listed
from osad.core.lazy import lazy
from osad.data.images import open_verified
from osad.features.compute import Arrays, Loaded, load_views, store_maps, store_pixels
from osad.features.packs import PackInfo
from osad.features.plan import Task

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

PR_SET_PDEATHSIG = 1
"""Linux: which signal a process gets when its parent dies."""

Models = dict[tuple[str, tuple[int, ...]], "torch.nn.Module"]
"""Networks by name and strides."""

Progress = Callable[[int, int], None]
"""Told the numbers of images done and in all."""


def shared_arrays(info: PackInfo) -> dict[str, NDArray[Any]]:
    """Return arrays for a pack's tensors in memory that forked processes share, filled with 0."""
    result = {}
    for name, shape in info.shapes().items():
        dtype = torch.zeros(0, dtype=info.dtype(name)).numpy().dtype
        memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
        result[name] = np.frombuffer(memory, dtype=dtype).reshape(shape)
    return result


def preload(task: Task) -> None:
    """Import what workers need, once and not in each of them.

    Nothing may be computed before the fork: threads of a computing parent are missing in its
    children.
    """
    if task.computed:
        importlib.import_module("torch")
        importlib.import_module("timm")


def extract(
    task: Task,
    *,
    workers: int,
    device: torch.device,
    progress: Progress,
    models: Models | None = None,
) -> dict[str, torch.Tensor]:
    """Compute the tensors of a pack.

    Workers are processes (on the CPU) or threads that decode images (beside another device, or
    with ``models``: then this process computes, with one thread, and keeps its networks there); the
    result does not depend on their number. Progress is told after each chunk.

    Returns:
        tensors as `osad.features.packs.write_pack` wants them.

    Raises:
        DataError: images cannot be used; the message says how many and has a line for each, up to
            10.
        OsadError: another problem, the first in the order of the images.
    """
    arrays = shared_arrays(task.info)
    try:
        if models is None and (device.type == "cpu" or not task.computed):
            _run_processes(task, arrays, workers=workers, progress=progress)
        elif not task.computed:
            store_pixels(task, range(len(task)), arrays)
        else:
            models = {} if models is None else models
            key = (task.info.backbone, task.info.strides)
            if key not in models:
                models[key] = _model(task).to(device)
            _run_threads(
                task, arrays, workers=workers, device=device, progress=progress, model=models[key]
            )
    except DataError as error:  # It is that of one image; a person wants to mend all of them.
        if len(faults := _faults(task.info, workers=workers)) < 2:
            raise
        raise DataError(
            f"{len(faults)} of {len(task)} images cannot be used\n{listed(faults)}"
        ) from error
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _faults(info: PackInfo, *, workers: int) -> list[str]:
    """Return what is wrong with the images of a pack, a message for each that cannot be used."""

    def fault(path: str, sha256: str) -> str:
        try:
            open_verified(Path(path), sha256)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(workers) as pool:
        return [*filter(None, pool.map(fault, info.paths, info.sha256))]


def _model(task: Task) -> torch.nn.Module:
    assert task.weights is not None  # noqa: S101 - for mypy: tasks that need a model have them.
    return get_backbone(task.info.backbone).build(task.weights, strides=task.info.strides)


def _run_threads(
    task: Task,
    arrays: Arrays,
    *,
    workers: int,
    device: torch.device,
    progress: Progress,
    model: torch.nn.Module,
) -> None:
    """Compute in this process while threads decode the images that come next."""
    waiting: deque[tuple[range, Future[Loaded]]] = deque()
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
    if not task.computed:
        store_pixels(task, rows, arrays)
        return
    device = torch.device("cpu")
    if "model" not in _worker:
        from osad.runtime.device import make_deterministic

        make_deterministic(1)
        _worker["model"] = _model(task)
    loaded = load_views(task, rows)
    store_maps(task, rows, loaded, arrays, model=_worker["model"], device=device)
