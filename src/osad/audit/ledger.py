"""The ledger: one line for each output, which says what it was made of.

``provenance/{dataset}.jsonl`` holds the lines of a data set, ``_shared.jsonl`` those of the
weights and the tables; large ones are cut (`osad.audit.shards`). A line names its rule's shell
command and its code by digests; the texts stand in ``commands.json``, and in ``code.json`` the
modules of each closure, with the digests of their files and of what they compute (see
`osad.pipeline.fingerprint`). ``SHA256SUMS`` has the digests of all these files, so that a damaged
line is noticed. Nothing in them depends on time, place or number of cores: a complete rebuild
writes the same bytes.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from osad.audit.shards import Folders, cut
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import (
    parse_json,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
    write_text,
)
from osad.core.kinds import fits
from osad.data.manifest import path_problem
from osad.pipeline.fingerprint import Module

COMMANDS = "commands.json"
CODE = "code.json"
SUMS = "SHA256SUMS"
WRITING = ".writing"
"""Is there while a ledger is written."""
SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^/\n]+)\n")
TELLING = 32
"""Equal digits, of 64, by which two digests are taken for one that was edited; chance gives 4."""


@dataclass(frozen=True)
class Entry:
    """One line: how one output was made.

    Attributes:
        path: of the output, relative to the project.
        sha256: its digest.
        size: bytes.
        rule: the Snakemake rule.
        command: digest of the rule's shell command.
        code: fingerprint of the code.
        params: resolved parameters by name.
        inputs: digest of each input by path.
        env: ``lock`` (digest of the packages' versions), ``python``, ``torch`` and ``device``;
            empty for what does not depend on them.
    """

    path: str
    sha256: str
    size: int
    rule: str
    command: str
    code: str
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """All lines by path, and what they name by digests.

    Attributes:
        entries: the lines.
        commands: shell commands of rules by digest.
        closures: names of the modules of each code by fingerprint.
        modules: digests of all these modules by name.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    closures: dict[str, list[str]] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)

    @functools.cached_property
    def results(self) -> str:
        """The folder of results that the lines are of.

        Raises:
            ConfigError: the ledger has no cell.
        """
        for path in self.entries:
            folder, found, _ = path.partition("/metrics/")
            if found:
                return folder
        raise ConfigError("the ledger has no cell; run snakemake, or `osad audit record` after it")

    def modules_of(self, entries: Iterable[Entry]) -> dict[str, Module]:
        """Return the modules of the code of lines by name, sorted."""
        names = {name for code in {e.code for e in entries} for name in self.closures[code]}
        return {name: self.modules[name] for name in sorted(names)}


class Digests(dict[str, str | None]):
    """SHA-256 of files by path, each read once; None where there is no such file."""

    def __missing__(self, path: str) -> str | None:
        """Read the file."""
        return self.setdefault(path, sha256_file(path) if Path(path).is_file() else None)


def vouched(root: Path, known: Ledger, path: str) -> Path:
    """Return where a file is that is there and is what its line says.

    Raises:
        DataError: it is missing, or has no line.
        CheckError: it differs from its line.
    """
    if not (root / path).is_file():
        raise DataError(f"{path}: is missing; get it with `dvc pull` or run snakemake")
    if path not in known.entries:
        raise DataError(
            f"{path}: has no line in the ledger, so it cannot be checked; run snakemake"
        )
    if sha256_file(root / path) != known.entries[path].sha256:
        raise CheckError(f"{path}: differs from the ledger; see `osad audit verify`")
    return root / path


def folder(results: str) -> Path:
    """Return where the ledger of a folder of results is; that of ``results`` is in git."""
    return Path("provenance") if results == "results" else Path(results) / "provenance"


def line(entry: Entry) -> str:
    """Return an entry as one line of JSON with sorted keys.

    Raises:
        ValueError: it holds NaN or infinity, which JSON does not have.
    """
    return json.dumps(
        vars(entry), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def write(where: Path, ledger: Ledger, previous: Ledger = Ledger()) -> bool:
    """Write a ledger and delete shards that nothing belongs to any more.

    Whenever it is ended, what is there can be read: the texts are first those of both ledgers.

    Args:
        where: its folder.
        ledger: the lines.
        previous: what is in the folder.

    Returns:
        whether any file changed.
    """
    folders = Folders({path: entry.sha256 for path, entry in ledger.entries.items()})
    shards = cut(
        (path, line(replace(entry, inputs=folders.folded(entry.inputs))) + "\n")
        for path, entry in sorted(ledger.entries.items(), key=lambda item: item[0].encode())
    )
    before = sums(where)
    write_text(where / WRITING, "")
    _write_texts(where, previous, ledger)
    for file in (*where.glob("*.jsonl"), *where.glob(".*.part")):
        if file.name.removesuffix(".jsonl") not in shards:
            file.unlink()  # First: if its lines are in others now, they would be there twice.
    for name, lines in shards.items():
        write_text(where / f"{name}.jsonl", "".join(lines))
    _write_texts(where, ledger)
    after = sums(where)
    write_text(where / SUMS, _listing(after))
    (where / WRITING).unlink()
    return before != after


def _write_texts(where: Path, *ledgers: Ledger) -> None:
    """Write what the lines of ledgers name."""
    lines = [(one, entry) for one in ledgers for entry in one.entries.values()]
    commands = {entry.command: one.commands[entry.command] for one, entry in lines}
    closures = {entry.code: one.closures[entry.code] for one, entry in lines}
    of_each = (one.modules_of(one.entries.values()) for one in ledgers)
    modules = {name: module for known in of_each for name, module in known.items()}
    write_json(where / COMMANDS, commands)
    write_json(where / CODE, {"closures": closures, "modules": modules})


def sums(where: Path) -> dict[str, str]:
    """Return the digests of the files of a ledger by name, sorted."""
    others = (where / name for name in (COMMANDS, CODE))
    files = [*where.glob("*.jsonl"), *(path for path in others if path.is_file())]
    return {path.name: sha256_file(path) for path in sorted(files)}


def _listing(digests: Mapping[str, str]) -> str:
    """Return the content of ``SHA256SUMS``."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def read(where: Path) -> Ledger:
    """Read a ledger; an absent one is empty.

    Raises:
        DataError: a line is damaged.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(where.glob("*.jsonl")):
        for entry in _entries(path):
            if entry.path in entries:
                raise DataError(f"{path}: {entry.path} is there twice; {_remedy(path)}")
            entries[entry.path] = entry
    if not entries:
        return Ledger()
    folders = Folders({path: entry.sha256 for path, entry in entries.items()})
    for name, entry in entries.items():
        entries[name] = replace(entry, inputs=folders.unfolded(entry.inputs))
    try:
        texts, code = read_json(where / COMMANDS), read_json(where / CODE)
        commands = {entry.command: texts[entry.command] for entry in entries.values()}
        modules = {name: Module(*digests) for name, digests in code["modules"].items()}
        known = Ledger(entries, commands, code["closures"], modules)
        known.modules_of(entries.values())
        values = [*commands.values(), *itertools.chain(*modules.values(), *known.closures.values())]
        if not all(isinstance(value, str) for value in values):
            raise TypeError("a command, a digest or a name is no text")
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{where}: {COMMANDS} and {CODE} do not have what every line names ({error}); "
            f"{_remedy(where)}"
        ) from error
    return known


def _entries(path: Path) -> Iterable[Entry]:
    try:
        content = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {_remedy(path)}") from error
    # Not `splitlines`: it also divides at characters that stand inside texts of JSON.
    *lines, rest = content.split("\n")
    for number, text in enumerate([*lines, rest] if rest else lines, start=1):
        try:
            entry = Entry(**parse_json(text))
            _check(entry)
            if line(entry) != text or number > len(lines):
                raise ValueError("it is cut off, or was not written by osad")
        except (ValueError, TypeError) as error:
            if text.startswith(("<<<<<<<", "=======", ">>>>>>>")):
                raise DataError(
                    f"{path}, line {number}: is of a merge conflict; `git checkout --ours "
                    f"{path.parent}` takes the lines of this branch, and osad audit merge both"
                ) from None
            raise DataError(
                f"{path}, line {number}: is not a line of a ledger ({error}); {_remedy(path)}"
            ) from error
        yield entry


_path_problem = functools.cache(path_problem)  # Lines of a grid name the same few thousand paths.


def _check(entry: Entry) -> None:
    """Check the types of a line's values, and its paths.

    Raises:
        ValueError: a value is of another type, or a path leads out of the project.
    """
    for one in fields(Entry):
        if not fits(value := getattr(entry, one.name), one.type):
            raise ValueError(f"{one.name} is {value!r:.60}")
    for path in (entry.path, *(name.removesuffix("/") for name in entry.inputs)):
        if problem := _path_problem(path):
            raise ValueError(f"path {path!r} {problem}")


def _remedy(path: Path) -> str:
    return f"restore it with `git checkout {path}`"


def check_sums(where: Path) -> list[str]:
    """Return one message for each file of a ledger that is not as it was written.

    The message begins with the file's path. Where it can be told that the listing itself was
    edited, and not the files in it, there is one message on the listing.

    Raises:
        CheckError: there is no ledger.
    """
    listing = where / SUMS
    if not listing.is_file():
        lines = any(where.glob("*.jsonl"))
        remedy = _remedy(listing) if lines else "run `osad audit record` after a complete run"
        raise CheckError(f"{listing}: is missing; {remedy}")
    found, messages = sums(where), []
    content = listing.read_bytes().decode(errors="replace")
    stated = {name: digest for digest, name in SUM_LINE.findall(content)}
    if _listing(stated) != content:
        return [f"{listing}: is no list of digests; {_remedy(listing)}"]
    for name, digest in stated.items():
        if _is_edited(name, digest, found, stated):
            return [f"{listing}: the line of {name} was edited; {_remedy(listing)}"]
    for name in sorted(found.keys() | stated.keys()):
        if name not in stated or name not in found:
            where_missing = SUMS if name in found else where
            messages.append(f"{where / name}: is not in {where_missing}; {_remedy(where / name)}")
        elif found[name] != stated[name]:
            messages.append(
                f"{where / name}: differs from what {SUMS} states (sha256 {found[name][:12]}..., "
                f"stated {stated[name][:12]}...); {_remedy(where)}"
            )
    return messages


def damage(where: Path) -> list[str]:
    """Return what is wrong with a ledger as `check_sums` does; nothing where there is none.

    Nothing either after a process was ended while it wrote one: the next one writes it again.
    """
    there = (where / SUMS).is_file() or any(where.glob("*.jsonl"))
    if not there or (where / WRITING).exists():
        return []
    try:
        return check_sums(where)
    except CheckError as error:
        return [str(error)]


def _is_edited(name: str, digest: str, found: Mapping[str, str], stated: Mapping[str, str]) -> bool:
    """Tell whether a line of the listing is wrong, and not the file that it names."""
    if name not in found:  # Another file has its digest and no line: the name was edited.
        return any(found[other] == digest for other in found.keys() - stated.keys())
    # A file that changes gets a digest with nothing in common with the old one.
    equal = sum(one == other for one, other in zip(found[name], digest, strict=True))
    return TELLING <= equal < len(digest)


def digest_text(text: str) -> str:
    """Return the SHA-256 of a text."""
    return sha256_bytes(text.encode())
