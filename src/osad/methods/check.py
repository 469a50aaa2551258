"""``osad check-method FILE_OR_NAME``: the contract of methods, tried on a method or its file."""

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from osad.core.cells import METHOD_PATTERN
from osad.core.errors import CheckError, ConfigError, OsadError
from osad.methods import registry
from osad.methods.checks import CHECKS, Check
from osad.methods.registry import MethodSpec
from osad.methods.trial import Trial


def load(name_or_file: str) -> list[MethodSpec]:
    """Return the descriptions of a method and its variants, or of one variant.

    Args:
        name_or_file: a registered name, or a method's file (of a package, its folder) anywhere,
            which is registered as if it lay in `osad.methods`.

    Raises:
        ConfigError: there is no such method or file, or its name is taken or not well formed.
        CheckError: the file cannot be imported or registers no method.
    """
    path = Path(name_or_file)
    if path.suffix != ".py" and not path.is_dir():
        variant = "." in name_or_file
        return [registry.registered(name_or_file)] if variant else registry.variants(name_or_file)
    name, file = path.stem, path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; name a method or its file")
    if not METHOD_PATTERN.fullmatch(name) or "." in name:
        raise ConfigError(f"{path}: a method's name has a-z, 0-9 and _ only; rename the file")
    if name in registry.modules():
        own = importlib.util.find_spec(registry.module(name))
        if own is None or own.origin is None or not file.samefile(own.origin):
            raise ConfigError(f"{path}: a method {name} exists already; rename the file")
        return registry.variants(name)
    source = importlib.util.spec_from_file_location(f"osad.methods.{name}", file)
    assert source is not None  # noqa: S101 - for mypy: a .py file has a loader.
    assert source.loader is not None  # noqa: S101
    sys.modules[source.name] = module = importlib.util.module_from_spec(source)
    try:
        source.loader.exec_module(module)
    except Exception as error:
        del sys.modules[source.name]
        raise CheckError(f"{path}: {explained(error, file)}") from error
    try:
        return registry.variants(name)
    except ConfigError as error:
        raise CheckError(f"{path}: registers no method; decorate its class with @method") from error


def explained(error: Exception, file: Path) -> str:
    """Return an error as one line, with its place in the method's folder unless it is ours."""
    if isinstance(error, OsadError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == file.resolve().parent]
    place = (own or frames)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}, line {place.lineno})"


def run(spec: MethodSpec) -> Iterator[tuple[Check, str]]:
    """Yield each check, and why it failed; empty where it did not."""
    trial, file = Trial(spec), Path(sys.modules[spec.hyper.__module__].__file__ or "")
    for check in CHECKS:
        try:
            check(trial)
        except Exception as error:
            yield check, explained(error, file)
        else:
            yield check, ""


def report(name_or_file: str) -> None:
    """Check a method and its variants; print a line for each check, and why it failed.

    Raises:
        ConfigError: see `load`.
        CheckError: a check failed, or see `load`.
    """
    reasons = []
    for spec in load(name_or_file):
        for check, reason in run(spec):
            reasons.append(reason)
            line = (check.__doc__ or "").split("\n")[0].rstrip(".")
            print(f"{spec.name}: {'FAILED' if reason else 'ok'}: {line}", flush=True)
            if reason:
                print(f"    {reason}", flush=True)
    failed = len([reason for reason in reasons if reason])
    if failed:
        raise CheckError(f"{failed} of {len(reasons)} checks failed")
