"""Whether the packages installed are those of a lock file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from osad.core.errors import ConfigError


def check_installed(lock: Path) -> None:
    """Check that every package of a lock file is installed in its version.

    A local part of the installed version (``+cpu``, ``+cu130``) does not count.

    Args:
        lock: lines ``name==version``, with or without a marker.

    Raises:
        ConfigError: a package is missing or has another version, so that numbers would be
            attributed to a lock file that they were not made with.
    """
    from packaging.requirements import Requirement

    for line in lock.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            installed = "not installed"
        if installed not in wanted.specifier and installed.partition("+")[0] not in {
            part.version for part in wanted.specifier
        }:
            raise ConfigError(
                f"{lock.name}: {wanted.name} must be {wanted.specifier}, here it is {installed}; "
                "run `make setup` or install the lock file"
            )
