"""Whether the packages installed are those of a lock file."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from osad.core.errors import ConfigError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def pins(lock: Path) -> list[Requirement]:
    """Return the requirements of a lock file, ``name==version`` with or without a marker.

    Their hashes are left out: they say which files hold a version, and the version says it all.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = (re.sub(r"\s+--hash=\S+|\s*#.*", "", line).strip() for line in text.split("\n"))
        return [Requirement(line) for line in lines if line]
    except (OSError, UnicodeDecodeError, InvalidRequirement) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{lock}: cannot be read ({reason}); restore it") from error


def check_installed(lock: Path) -> None:
    """Check that every package of a lock file is installed in its version.

    A local part of the installed version (``+cpu``, ``+cu130``) does not count.

    Raises:
        ConfigError: a package is missing or has another version, so that numbers would be
            attributed to a lock file that they were not made with.
    """
    for wanted in pins(lock):
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or installed not in wanted.specifier:
            raise ConfigError(
                f"{lock.name}: {wanted.name} must be {wanted.specifier}, here it is "
                f"{installed or 'not installed'}; run `make setup` or install the lock file"
            )
