"""Whether the packages installed are those of a lock file."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, distribution, version
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
        ConfigError: a package is missing, has another version or is not the one that Python finds,
            so that numbers would be attributed to a lock file that they were not made with.
    """
    needed = [pin for pin in pins(lock) if pin.marker is None or pin.marker.evaluate()]
    for wanted in needed:
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or installed not in wanted.specifier:
            raise ConfigError(
                f"{lock.name}: {wanted.name} must be {wanted.specifier}, here it is "
                f"{installed or 'not installed'}; run `make setup` or install the lock file"
            )
    _check_first(needed)


def _check_first(needed: list[Requirement]) -> None:
    """Check that PYTHONPATH puts nothing, of no version, before an installed package.

    Raises:
        ConfigError: a module there has the name of one of a package's.
    """
    path = os.environ.get("PYTHONPATH")
    for folder in map(Path, path.split(os.pathsep) if path else ()):
        first = {file.stem for file in folder.glob("*.py")}
        first |= {file.parent.name for file in folder.glob("*/__init__.py")}
        for wanted in needed if first - {"osad"} else ():
            found = distribution(wanted.name)
            if Path(str(found.locate_file(""))) == folder:
                continue
            parts = (file.parts for file in found.files or ())
            names = {p[0].removesuffix(".py") for p in parts if p[1:] in ((), ("__init__.py",))}
            if clash := sorted(first & names):
                raise ConfigError(
                    f"PYTHONPATH: {folder / clash[0]} comes before {wanted.name} {found.version}, "
                    "which would be recorded; take its folder out of PYTHONPATH"
                )
