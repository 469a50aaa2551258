"""Choosing the device, and making what runs on it reproducible."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from osad.core.errors import ConfigError
from osad.core.lazy import lazy
from osad.runtime.environment import variables

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = lazy("numpy")
    torch = lazy("torch")

FALLBACK_SEED = 0
GRANTED = "OSAD_GPU_GRANTED"
"""Variable that is 1 where a scheduler grants GPUs: a job that was granted one must find it."""


def select_device(gpu: int) -> torch.device:
    """Choose the device for a job.

    The scheduler decides how many GPUs a job may use; a number, not an index. Which GPU that is
    follows from CUDA_VISIBLE_DEVICES, as CUDA itself reads it.

    Args:
        gpu: number of GPUs granted; 0 for the processor, 1 or more for the first visible GPU.

    Returns:
        The CUDA device, or the processor with a warning on standard error if there is no GPU.

    Raises:
        ConfigError: a scheduler granted a GPU (see `GRANTED`) and there is none.
    """
    if gpu >= 1:
        if torch.cuda.is_available():
            return torch.device("cuda")
        why = _why_none()
        if os.environ.get(GRANTED) == "1":
            raise ConfigError(
                f"gpu={gpu} was granted but {why}; nothing was computed: have the scheduler send "
                "such jobs to nodes whose GPU works, or add `--set-resources run:gpu=0 pack:gpu=0`"
            )
        print(f"osad: gpu={gpu} was granted but {why}; using the CPU", file=sys.stderr)
    return torch.device("cpu")


def _why_none() -> str:
    """Return why torch has no GPU to compute on."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if visible_gpus():
        return f"torch's CUDA {torch.version.cuda} does not work with the GPU or its driver"
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} shows none"
    return "there is none"


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """Count the GPUs that a job could use, without importing torch.

    Counts the device files of the NVIDIA driver, or asks ``nvidia-smi`` where there are none,
    and obeys CUDA_VISIBLE_DEVICES: empty or -1 hides all, a list shows as many as it names up to
    its first unknown entry.
    """
    present = sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and chosen.strip() in ("", "-1"):
        return 0
    if present == 0:
        present = _listed_gpus()
    if chosen is None:
        return present
    count = 0
    for entry in (part.strip() for part in chosen.split(",")):
        # CUDA ignores everything from the first invalid index on; other entries are ids.
        known = int(entry) < present if re.fullmatch(r"-?\d+", entry) else bool(entry)
        if not known or entry.startswith("-"):
            break
        count += 1
    return count if present else 0


def _listed_gpus() -> int:
    """Return how many GPUs ``nvidia-smi`` lists, 0 without it."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if listing.returncode != 0:
        return 0
    return sum(1 for line in listing.stdout.splitlines() if line.startswith("GPU "))


def make_deterministic(threads: int = 1) -> None:
    """Make this process compute the same bits on every run on the same kind of device.

    - torch raises an error rather than use an operation without a deterministic form;
    - cuDNN chooses its algorithms by rule, not by timing;
    - matrix products and convolutions use full float32, not TF32, so that a GPU is close to the
      processor;
    - the thread count is fixed, because another one can change the last bits;
    - the global generators have a fixed seed. This is only a safety net: our own draws use
      generators from `osad.core.seeds`.

    - subnormal numbers count as zero: softmax weights are full of them, and a product with them
      is many times slower.

    Memory is not filled before use, as torch's deterministic mode would: our code reads no
    uninitialised memory, and filling doubles the time of a step. The environment of the process
    (`osad.runtime.environment`) does the rest; cuBLAS's variable is set here as well, because
    torch checks it at the first product on a GPU.

    Args:
        threads: number of threads inside an operation, at least 1.
    """
    cublas = "CUBLAS_WORKSPACE_CONFIG"
    os.environ.setdefault(cublas, variables()[cublas])
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(threads)
    random.seed(FALLBACK_SEED)
    np.random.seed(FALLBACK_SEED)  # The old global generator, which other libraries may use.
    torch.manual_seed(FALLBACK_SEED)
