"""Digests of the code and the environment that a result depends on.

The code of a step is the closure of its modules over imports inside this package, found by
parsing, so that an edited method reruns that method's cells and no others. Files are digested as
they are: a changed comment counts, and a reviewer can check each digest against the repository.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from osad.core.errors import ConfigError
from osad.core.files import sha256_bytes, sha256_file

PACKAGE = "osad"
ALWAYS = ("osad.runtime.environment",)
"""Modules that every computing process depends on without importing them."""


def module_file(name: str, source: Path) -> Path | None:
    """Return the file of a module of this package below ``source``, or None if there is none."""
    path = source.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def imported_modules(name: str, source: Path) -> frozenset[str]:
    """Return the modules of this package that a module imports, at its top or inside functions.

    Args:
        name: dotted name of a module of this package.
        source: folder that holds the package.

    Raises:
        ConfigError: the module does not exist or cannot be parsed.
    """
    path = module_file(name, source)
    if path is None:
        raise ConfigError(f"module {name} does not exist below the package's source folder")
    where = path.relative_to(source.parent).as_posix()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(f"{where}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not UTF-8 text ({error.reason})") from error
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                parent = ".".join([*base, parent]) if parent else ".".join(base)
            found |= {parent, *(f"{parent}.{alias.name}" for alias in node.names)}
    # Packages on the way to a module run their __init__ too. The root's is left out: it holds
    # the version, which changes no number.
    for dotted in list(found):
        parts = dotted.split(".")
        found |= {".".join(parts[:count]) for count in range(2, len(parts))}
    return frozenset(
        dotted
        for dotted in found
        if dotted.startswith(f"{PACKAGE}.") and module_file(dotted, source) is not None
    )


def closure(roots: Iterable[str], source: Path) -> list[str]:
    """Return the modules that ``roots`` depend on inside the package, themselves included, sorted.

    Args:
        roots: dotted module names.
        source: folder that holds the package.
    """
    done: set[str] = set()
    waiting = {*roots, *ALWAYS}
    while waiting:
        name = waiting.pop()
        done.add(name)
        waiting |= imported_modules(name, source) - done
    return sorted(done)


def code_digests(roots: Iterable[str], source: Path) -> dict[str, str]:
    """Return the SHA-256 of each module's file in the closure of ``roots``."""
    digests = {}
    for name in closure(roots, source):
        path = module_file(name, source)
        assert path is not None
        digests[name] = _file_digest(path)
    return digests


def code_fingerprint(roots: Iterable[str], source: Path) -> str:
    """Return one digest of the code that ``roots`` depend on."""
    return _fingerprint(tuple(roots), source)


@functools.cache
def _fingerprint(roots: tuple[str, ...], source: Path) -> str:
    # A large grid asks for the same few thousands of times.
    return combined(code_digests(roots, source))


def combined(digests: Mapping[str, str]) -> str:
    """Return one digest of the digests of modules by name."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return sha256_bytes(text.encode())


@functools.cache
def _file_digest(path: Path) -> str:
    return sha256_file(path)
