"""Uniting what several machines made of one grid: their outputs and their ledgers.

Nothing is believed that its own ledger does not vouch for, and nothing is copied before everything
is checked: a file must have the digest of its line, and of an output that two have made the bytes,
and all that they were made of, must be equal.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from osad.audit import ledger
from osad.audit.ledger import Entry, Ledger
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import replacing, sha256_file

SHOWN = 5
"""Most conflicts that a message names."""


@dataclass(frozen=True)
class Other:
    """A project that has made outputs of the same grid.

    Attributes:
        root: its folder.
        ledger: what it says of its outputs.
    """

    root: Path
    ledger: Ledger


@dataclass(frozen=True)
class Merged:
    """What a merge brought: paths of new outputs, and those that were there with equal bytes."""

    new: list[str]
    equal: list[str]


def merge(root: Path, results: str, folders: list[Path]) -> Merged:
    """Unite the outputs and ledgers of other projects with those below ``root``.

    Args:
        root: the project's folder.
        results: folder of the grid's results.
        folders: other copies of the project.

    Raises:
        CheckError: an output differs from its line, or from the same output of another; the
            message names the files, and nothing is changed.
        ConfigError: a folder has no ledger, or is this one.
        DataError: a file that a line speaks of is not there, or a ledger is damaged.
    """
    where = ledger.folder(results)
    previous = ledger.read(root / where)
    others = [_read(root, folder, where) for folder in folders]
    united, sources = _united(Other(Path("this folder"), previous), others)
    _check_files(united, sources)
    for path, other in sources.items():
        if united.entries[path].rule == "fetch":  # It says that what is beside it is complete.
            place, aside = Path(path).parent, shutil.ignore_patterns(Path(path).name)
            shutil.copytree(other.root / place, root / place, ignore=aside, dirs_exist_ok=True)
        with replacing(root / path) as part:
            shutil.copyfile(other.root / path, part)
    ledger.write(root / where, united, previous)
    named = [path for other in others for path in other.ledger.entries]
    return Merged([*sources], sorted({*named} - sources.keys()))


def _read(root: Path, other: Path, where: Path) -> Other:
    """Return another project after a check of its ledger."""
    if other.resolve() == root.resolve():
        raise ConfigError(f"{other}: is this folder; name the others")
    if not (other / where / ledger.SUMS).is_file():
        raise ConfigError(f"{other}: has no ledger in {where}; let snakemake come to its end there")
    if problems := ledger.check_sums(other / where):
        raise CheckError(problems[0])
    return Other(other, ledger.read(other / where))


def _united(known: Other, others: list[Other]) -> tuple[Ledger, dict[str, Other]]:
    """Return the ledger of all, and by path who has what is new here.

    Raises:
        CheckError: two have made an output differently.
    """
    owner = dict.fromkeys(known.ledger.entries, known)
    parts = [known.ledger]
    conflicts = []
    for other in others:
        parts.append(other.ledger)
        for path, entry in other.ledger.entries.items():
            first = owner.setdefault(path, other)
            if reason := _difference(first.ledger.entries[path], entry):
                conflicts.append(f"{path}: {first.root} and {other.root} have {reason}")
    if conflicts:
        more = [f"and {len(conflicts) - SHOWN} more"] if len(conflicts) > SHOWN else []
        raise CheckError("\n".join([*conflicts[:SHOWN], *more, "nothing is merged"]))
    united = Ledger(
        entries={path: owner[path].ledger.entries[path] for path in owner},
        commands=_join(*(part.commands for part in parts)),
        closures=_join(*(part.closures for part in parts)),
        modules=_join(*(part.modules for part in parts)),
    )
    return united, {path: one for path, one in owner.items() if one is not known}


def _join(*parts: Mapping[str, object]) -> dict:  # type: ignore[type-arg]
    return {name: value for part in reversed(parts) for name, value in part.items()}


def _difference(one: Entry, other: Entry) -> str:
    """Return how two lines of one output differ; empty where they are one."""
    if one.sha256 != other.sha256:
        return f"other bytes (sha256 {one.sha256[:12]}... and {other.sha256[:12]}...)"
    # The same bytes may come from several releases of Python, or from both kinds of devices.
    lines = [replace(e, env={"lock": e.env.get("lock", "")}) for e in (one, other)]
    names = [name for name in vars(lines[0]) if getattr(lines[0], name) != getattr(lines[1], name)]
    return f"the same bytes made of other {', '.join(names)}" if names else ""


def _check_files(united: Ledger, sources: Mapping[str, Other]) -> None:
    """Check that each new output is there and is what its line says."""
    for path, other in sources.items():
        file = other.root / path
        if not file.is_file():
            raise DataError(f"{other.root}: {path} is missing; get it there with `dvc pull`")
        found, stated = sha256_file(file), united.entries[path].sha256
        if found != stated:
            raise CheckError(
                f"{other.root}: {path} differs from its ledger (sha256 {found[:12]}..., ledger "
                f"{stated[:12]}...); delete it there and run snakemake; nothing is merged"
            )
