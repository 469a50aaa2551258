"""What a job's numbers may depend on besides its inputs, and facts of the machine it ran on."""

import platform
import re
import resource
import sys
from importlib import metadata
from pathlib import Path

from osad.core.files import sha256_file


def environment_facts() -> dict[str, str]:
    """Return the versions of Python (major, minor) and torch and the kind of device.

    The device is ``cpu``, or the GPU's name when this process has used CUDA. Python's patch
    release and the processor are `machine_facts`: they differ between machines of one kind.
    """
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        # Without its local part (+cpu, +cu130): the device says which of them it was.
        "torch": metadata.version("torch").partition("+")[0],
        "device": _device(),
    }


def machine_facts(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return facts that a rebuild need not share: Python's release, processor, system and GPU."""
    return {
        "python": platform.python_version(),
        "processor": _processor(cpuinfo),
        "system": f"{platform.system()} {platform.machine()}",
        **gpu_facts(),
    }


def gpu_facts(driver: Path = Path("/proc/driver/nvidia/version")) -> dict[str, str]:
    """Return the GPU's name, torch's version of CUDA and the driver's; of no GPU used, nothing."""
    torch = sys.modules.get("torch")
    if torch is None or (name := _device()) == "cpu":
        return {}
    try:
        found = re.search(r"Module\s.*?(\d+\.[\d.]+)", driver.read_text(encoding="utf-8"))
    except OSError:
        found = None
    return {
        "gpu": name,
        "cuda": str(torch.version.cuda),
        "driver": found[1] if found else "unknown",
    }


def code_facts() -> dict[str, str]:
    """Return the digest of the file of each module of this package that this process imported."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return {n: sha256_file(file) for n, file in files.items() if file and n.startswith("osad.")}


def peak_memory() -> int:
    """Return the most memory that this process had at a time, MB; of a GPU, where it used one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated() / 1e6)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def _device() -> str:
    torch = sys.modules.get("torch")  # A job that has not imported it has not used a GPU.
    if torch is None or not torch.cuda.is_initialized():
        return "cpu"
    return str(torch.cuda.get_device_name())


def _processor(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
