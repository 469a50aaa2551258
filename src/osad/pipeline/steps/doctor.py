"""Describe how jobs compute on this machine: ``osad.runtime.job doctor --output FILE``.

The report holds versions, the kind of device, the variables of the environment and, unless
``--quick`` is given, digests of a small trial computation. It has no time, host or path: two jobs
that compute alike write the same bytes, so comparing two reports answers whether they do.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad import __version__
from osad.core.files import write_json
from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn.products import gram
from osad.runtime.device import make_deterministic, select_device, visible_gpus
from osad.runtime.environment import variables

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

PACKAGES = ("numpy", "safetensors", "torch")


def describe() -> dict[str, Any]:
    """Return facts of this process that need no torch."""
    return {
        "environment": {name: os.environ.get(name) for name in sorted(variables())},
        "gpus": visible_gpus(),
        "machine": platform.machine(),
        "osad": __version__,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        # Depends on PYTHONHASHSEED as the interpreter had it when it started.
        "hash": hash("osad"),
        "system": platform.system(),
    }


def digest(tensor: torch.Tensor) -> str:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def trial(device: torch.device) -> dict[str, str]:
    """Run a small computation of each kind that methods use and return digests of the results.

    Returns:
        The digests by name; equal on devices of the same kind.
    """
    generator = torch_generator("doctor")
    images = torch.randn(8, 3, 32, 32, generator=generator).to(device)
    layer = torch.nn.Conv2d(3, 16, 3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    layer = layer.to(device)
    convolved: torch.Tensor = layer(images)
    features = convolved.flatten(1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    gram(features).logsumexp(dim=1).mean().backward()
    optimiser.step()
    return {
        "convolution": digest(convolved),
        "product": digest(gram(features)),
        "trained": digest(layer.weight),
        "global_generator": digest(torch.rand(16)),
    }


def main(argv: list[str]) -> list[Path]:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="osad doctor", description=__doc__)
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--gpu", type=int, default=0, help="number of GPUs granted")
    parser.add_argument("--quick", action="store_true", help="no trial computation, no torch")
    parser.add_argument(
        "--sleep", type=float, default=0.0, metavar="SECONDS",
        help="hold the process before it writes, to look at it from outside",
    )  # fmt: skip
    options = parser.parse_args(argv)
    report = describe()
    if not options.quick:
        make_deterministic()
        device = select_device(options.gpu)
        report["device"] = device.type
        if device.type == "cuda":
            report["device_name"] = torch.cuda.get_device_name(device)
        report["trial"] = trial(device)
    if options.sleep > 0:
        print(f"osad doctor: process {os.getpid()} waits", file=sys.stderr, flush=True)
        time.sleep(options.sleep)
    write_json(options.output, report)
    return [options.output]
