"""Digests of the code that a result depends on: they change only where a number can change.

The code of a step is the closure of its modules over imports inside this package, found by
parsing, so that an edited method reruns that method's runs and no others. Of each module the
syntax tree counts, without comments, layout, docstrings, the order of imports, imports for type
checkers and the texts of raised errors. The ledger keeps the digests of the files beside it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import osad
from osad.core.errors import ConfigError
from osad.core.files import sha256_bytes, sha256_file

PACKAGE = "osad"
ALWAYS = ("osad.runtime.environment",)
"""Modules that every computing process depends on without importing them."""
NEUTRAL = frozenset({"osad.core.errors"})
"""Modules that no number can depend on: an error ends a job without one."""
TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
"""Conditions of what only type checkers read."""


class Module(NamedTuple):
    """Digests of a module: of its file, and of what it computes.

    The latter is that of the syntax tree without what only people and type checkers read.
    """

    file: str
    syntax: str


def check_running(source: Path) -> None:
    """Check that the package that runs is the one below ``source``, whose code is vouched for.

    Raises:
        ConfigError: another one runs, so what it computes would stand under the wrong digests.
    """
    running = Path(osad.__file__).resolve().parent.parent
    if running != source.resolve():
        raise ConfigError(
            f"{running / PACKAGE}: this package runs, not that of {source.resolve()}, whose code "
            "would be recorded; `make setup` and `source .venv/bin/activate` here, unset PYTHONPATH"
        )


def module_file(name: str, source: Path) -> Path | None:
    """Return the file of a module of this package below ``source``, or None if there is none."""
    path = source.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _tree(name: str, source: Path) -> ast.Module:
    """Return the syntax tree of a module (see `_parsed`).

    Raises:
        ConfigError: the module does not exist or cannot be parsed.
    """
    return _parsed(_existing(name, source), source)


def _existing(name: str, source: Path) -> Path:
    path = module_file(name, source)
    if path is None:
        raise ConfigError(f"module {name} does not exist below the package's source folder")
    return path


def _parsed(path: Path, source: Path) -> ast.Module:
    """Return the syntax tree of a file without imports for type checkers.

    Raises:
        ConfigError: it cannot be parsed.
    """
    where = path.relative_to(source.parent).as_posix()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) in TYPES_ONLY:
                node.body = []
    except (RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: nests too deeply to be read; restore the file") from error
    except SyntaxError as error:
        raise ConfigError(f"{where}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not UTF-8 text ({error.reason})") from error
    return tree


@functools.cache
def imported_modules(name: str, source: Path) -> frozenset[str]:
    """Return the modules of this package that a module imports, at its top or inside functions.

    Raises:
        ConfigError: the module does not exist or cannot be parsed.
    """
    tree, path = _tree(name, source), module_file(name, source)
    package = name if path and path.name == "__init__.py" else name.rpartition(".")[0]
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                parent = ".".join([*base, parent]) if parent else ".".join(base)
            modules |= {parent, *(f"{parent}.{alias.name}" for alias in node.names)}
    # Packages on the way to a module run their __init__ too. The root's is left out: it holds
    # the version and `load`, which no step uses.
    for dotted in list(modules):
        parts = dotted.split(".")
        modules |= {".".join(parts[:count]) for count in range(2, len(parts))}
    return frozenset(
        dotted
        for dotted in modules
        if dotted.startswith(f"{PACKAGE}.") and module_file(dotted, source) is not None
    )


def closure(roots: Iterable[str], source: Path) -> tuple[str, ...]:
    """Return the modules that ``roots`` depend on in the package, themselves included, sorted."""
    return _closure(tuple(roots), source)


@functools.cache
def _closure(roots: tuple[str, ...], source: Path) -> tuple[str, ...]:
    # A large grid asks for the same few thousands of times.
    done: set[str] = set()
    waiting = {*roots, *ALWAYS}
    while waiting:
        name = waiting.pop()
        done.add(name)
        waiting |= imported_modules(name, source) - done
    return tuple(sorted(done - NEUTRAL))


@functools.cache
def code_fingerprint(roots: tuple[str, ...], source: Path) -> str:
    """Return one digest of the code that ``roots`` depend on (see `closure`)."""
    digests = code_digests(roots, source)
    return sha256_bytes("".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode())


def code_digests(roots: Iterable[str], source: Path) -> dict[str, str]:
    """Return the digest of what each module computes in the closure of ``roots``."""
    return {name: module_digests(name, source).syntax for name in closure(roots, source)}


@functools.cache
def module_digests(name: str, source: Path) -> Module:
    """Return the digests of a module, both of the file as it was when this was first asked.

    Raises:
        ConfigError: the module does not exist or cannot be parsed.
    """
    path = _existing(name, source)
    return Module(sha256_file(path), _digest(_tree(name, source), path))


def syntax_digest_of(path: Path, source: Path) -> str:
    """Return the digest of what a file computes as it is now (see `Module`).

    Raises:
        ConfigError: it cannot be parsed.
    """
    return _digest(_parsed(path, source), path)


def _digest(tree: ast.Module, path: Path) -> str:
    try:
        return sha256_bytes("".join(_tokens(tree)).encode())
    except RecursionError as error:
        raise ConfigError(f"{path}: nests too deeply to be read; restore the file") from error


def _tokens(value: object) -> Iterator[str]:
    """Yield a text of a syntax tree that is the same in every version of Python.

    `ast.dump` is not: what it leaves out, and the fields that nodes have, changed over time; those
    without a value are left out here.
    """
    if isinstance(value, ast.AST):
        yield type(value).__name__ + "("
        for name, field in ast.iter_fields(value):
            if name == "body":
                field = _statements(field)
            if name == "exc" and isinstance(field, ast.Call):
                field = field.func  # What an error says is for people.
            if name not in ("ctx", "kind", "type_comment") and field not in (None, []):
                yield name + "="
                yield from _tokens(field)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for item in value:
            yield from _tokens(item)
            yield ","
        yield "]"
    else:
        yield ascii(value)  # Which characters `repr` shows depends on the version of Unicode.


def _statements(body: object) -> object:
    """Return statements without texts that nothing uses; imports come first, sorted."""
    if not isinstance(body, list):
        return body  # That of a lambda or a conditional expression.
    used = [node for node in body if not _is_silent(node)]
    imports = [node for node in used if isinstance(node, ast.Import | ast.ImportFrom)]
    return [*sorted(imports, key=ast.unparse), *(node for node in used if node not in imports)]


def _is_silent(statement: ast.stmt) -> bool:
    """Tell whether a statement is a text, or for type checkers alone."""
    match statement:
        case (
            ast.Expr(value=ast.Constant())
            | ast.If(body=[], orelse=[])
            | ast.ImportFrom(module="typing")
        ):
            return True
    return False
