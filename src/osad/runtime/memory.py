"""Whether what is about to be computed fits into memory and onto the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from osad.core.errors import ConfigError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def gigabytes(number: int) -> str:
    """Return a number of bytes for people.

    Example:
        >>> gigabytes(1_500_000_000), gigabytes(20_000)
        ('1.50 GB', '0.00002 GB')
    """
    return f"{number / 1e9:.2f} GB" if number >= 5_000_000 else f"{number / 1e9:.5f} GB"


def available_memory() -> int | None:
    """Return the bytes that this process can get: of the machine and of its control group.

    Returns:
        None where Linux does not say.
    """
    found = []
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            # Cached files count for the group but give way.
            stat = (CGROUP / "memory.stat").read_text().splitlines()
            used = next(int(line.split()[1]) for line in stat if line.startswith("anon "))
            found.append(int(limit) - used)
    except (OSError, ValueError, KeyError, StopIteration):
        pass
    return min(found, default=None)


def check_memory(needed: int, *, what: str, remedy: str) -> None:
    """Check that bytes of memory are available.

    Raises:
        ConfigError: they are not; the message names ``what``, both numbers and the ``remedy``.
    """
    there = available_memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"{what}: needs {gigabytes(needed)} of memory, {gigabytes(there)} are available; "
            f"{remedy}, or use a machine with more"
        )


def check_disk(needed: int, folder: Path, *, what: str, remedy: str) -> None:
    """Check that a folder, which need not exist yet, has room for a file of ``needed`` bytes.

    Raises:
        ConfigError: it has not; the message names ``what``, both numbers and the ``remedy``.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ConfigError(
            f"{what}: needs {gigabytes(needed)} on the disk of {folder}, {gigabytes(free)} are "
            f"free; {remedy}, or make room"
        )
