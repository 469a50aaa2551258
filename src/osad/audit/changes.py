"""What differs in how an output was made, from two ledgers."""

from collections.abc import Iterator
from typing import Any

from osad.audit.ledger import Ledger
from osad.pipeline.rule import as_text

CODE = "code "
"""Before the name of a module."""
LONGEST = 200
"""Characters of two values that are still repeated."""


def leaves(now: object, before: object, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name and both values of all that differs in nested objects.

    Example:
        >>> list(leaves({"hyper": {"lr": 1, "batch": 8}}, {"hyper": {"lr": 2, "batch": 8}}))
        [('hyper.lr', 1, 2)]
    """
    if isinstance(now, dict) and isinstance(before, dict):
        for key in sorted(now.keys() | before.keys()):
            yield from leaves(now.get(key), before.get(key), f"{name}.{key}" if name else key)
    elif as_text(now) != as_text(before):
        yield name, now, before


def between(old: Ledger, new: Ledger, path: str) -> list[str]:
    """Say what differs in how an output was made, except for what its inputs hold.

    Both ledgers must have its line. Parameters have the names that they have in ``params.yaml``.
    """
    before, after = old.entries[path], new.entries[path]
    told = [
        _change(_place(name, after.params), was, now)
        for name, now, was in leaves(after.params, before.params)
    ]
    if before.code != after.code:
        was, now = old.modules_of([before]), new.modules_of([after])
        syntax = [{name: m.syntax for name, m in modules.items()} for modules in (now, was)]
        told += [f"{CODE}{name}" for name in sorted(now.keys() | was.keys())
                 if syntax[0].get(name) != syntax[1].get(name)]  # fmt: skip
    for name, version, earlier in leaves(after.env, before.env):
        told.append(
            "packages of requirements/numeric.lock" if name == "lock"
            else _change(name, earlier, version)
        )  # fmt: skip
    if before.command != after.command:
        told.append(f"command of rule {after.rule}")
    folders = {"/".join(path.split("/")[:2]) for path in before.inputs.keys() ^ after.inputs.keys()}
    told += [f"other files of {folder}" for folder in sorted(folders)]
    return told


def _place(name: str, params: dict[str, Any]) -> str:
    """Return where a parameter of a job stands in ``params.yaml``, for those that users set."""
    first, _, rest = name.partition(".")
    owner = str(params.get("cell", "")).split("/")
    if first == "hyper" and len(owner) == 5:
        return f"methods.{owner[3]}.{rest}"
    if first == "settings" and "dataset" in params:
        return f"datasets.{params['dataset']}.{rest}"
    return name


def _change(name: str, before: object, now: object) -> str:
    text = f"{as_text(before)} -> {as_text(now)}"
    return f"{name}: {text}" if len(text) <= LONGEST else name
