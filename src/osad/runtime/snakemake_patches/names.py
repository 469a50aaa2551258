"""Patches of how Snakemake makes, marks, compares and checks names of files."""

import functools
import importlib
import re
import sys
from typing import Any

from osad.runtime.snakemake_patches.inside import check, find


def look_up_flags() -> None:
    """Make Snakemake look up the marks of a file (temporary, protected, ...) without detours.

    Saves a tenth of planning: it does so some 300 times a job, each time by way of an abstract
    class and two properties.
    """
    module, original = find("snakemake.io", "is_flagged", "value flag")
    file, marked = (getattr(module, kind, None) for kind in ("_IOFile", "AnnotatedString"))
    check("is_flagged", hasattr(file, "flags") and hasattr(marked, "flags"))

    def is_flagged(value: Any, flag: str) -> bool:
        kind = type(value)
        if kind is file:
            value = value._file
            kind = type(value)
        if kind is marked:
            return bool(value._flags.get(flag))
        return False if kind is str else bool(original(value, flag))

    for other in [*sys.modules.values()]:
        if getattr(other, "__dict__", {}).get("is_flagged") is original:
            vars(other)["is_flagged"] = is_flagged


def look_up_storage() -> None:
    """Make Snakemake see without a search that a plain name is not in a storage."""
    cls, original = find("snakemake.io", "_IOFile.is_storage", "self")

    def is_storage(self: Any) -> Any:
        return type(self._file) is not str and original(self)

    cls.is_storage = property(is_storage)


def keep_plain_names() -> None:
    """Make Snakemake give a file a copy of another's marks only if there are any.

    Saves a fifth of the memory of a plan: else each name, of which a job has some 20, is held twice
    with an empty list of marks.
    """
    name = "_IOFile.clone_flags"
    cls, original = find("snakemake.io", name, "self other skip_storage_object")
    marked: Any = getattr(importlib.import_module("snakemake.io"), "AnnotatedString", None)
    check(name, isinstance(vars(cls).get("flags"), property) and hasattr(marked, "flags"))

    class Marks(dict[str, Any]):
        """Those of a plain name: none, until one is set."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __setitem__(self, key: str, value: Any) -> None:
            if type(self.file._file) is str:
                self.file._file = marked(self.file._file)
            self.file._file.flags[key] = value

    def clone_flags(self: Any, other: Any, skip_storage_object: bool = False) -> None:
        copied = skip_storage_object or getattr(other._file, "flags", None)
        if copied or type(self._file) is not str:
            original(self, other, skip_storage_object)

    def flags(self: Any) -> Any:
        if type(self._file) is str:
            return Marks(self)
        return getattr(self._file, "flags", {})

    cls.clone_flags, cls.flags = clone_flags, property(flags)


def share_guards() -> None:
    """Make Snakemake's lists of names share what guards their methods: a kilobyte or two a job."""
    module, original = find("snakemake.iocontainers", "AttributeGuard", "name")
    made = functools.cache(original)
    kind = {"__new__": lambda _, name: made(name)}
    module.AttributeGuard = type("AttributeGuard", (original,), kind)


def compare_names_as_texts() -> None:
    """Make Snakemake compare and hash names of files as the texts that they are.

    Saves a twentieth of planning: a name is a text, and compares another one that is equal to it.
    """
    cls, _ = find("snakemake.io", "_IOFile.__eq__", "self other")
    find("snakemake.io", "_IOFile.__hash__", "self")
    check("_IOFile.__eq__", issubclass(cls, str))
    cls.__eq__, cls.__hash__ = str.__eq__, str.__hash__


def copy_concrete_names() -> None:
    """Make Snakemake copy a name without wildcards or marks where it would fill wildcards in."""
    name = "_IOFile.apply_wildcards"
    cls, original = find("snakemake.io", name, "self wildcards")

    def apply_wildcards(self: Any, wildcards: Any) -> Any:
        if type(self._file) is not str or "{" in self._file:
            return original(self, wildcards)
        made = str.__new__(cls, self._file)
        made._is_callable, made._file, made.rule = False, self._file, self.rule
        made._regex = made._wildcard_constraints = None
        return made

    cls.apply_wildcards = apply_wildcards


def fill_in_wildcards_by_parts() -> None:
    """Make Snakemake take a pattern apart once, and not for each name that is made of it.

    Saves a fourteenth of planning.
    """
    module, original = find("snakemake.io", "apply_wildcards", "pattern wildcards")
    regex: Any = getattr(module, "WILDCARD_REGEX", None)
    check("apply_wildcards", "name" in getattr(regex, "groupindex", ()))
    name = regex.groupindex["name"]

    @functools.cache
    def parts(pattern: str) -> list[str]:
        """Return texts and names of wildcards in turn."""
        found, step = regex.split(pattern), regex.groups + 1  # All groups follow each text.
        return [part for place, part in enumerate(found) if place % step in (0, name)]

    def apply_wildcards(pattern: Any, wildcards: Any) -> str:
        filled = [*parts(pattern)]
        try:
            filled[1::2] = [str(wildcards[name]) for name in filled[1::2]]
        except KeyError:  # Which Snakemake tells in its own way.
            return str(original(pattern, wildcards))
        return "".join(filled)

    module.apply_wildcards = apply_wildcards


def remember_folders() -> None:
    """Make Snakemake take the folder of a name apart once a name, to see whether it knows it."""
    name = "_IOFile.get_inventory_parent"
    cls, original = find("snakemake.io", name, "self")
    known = functools.cache(original)

    def get_inventory_parent(self: Any) -> Any:
        return (original if self.is_storage else known)(self)

    cls.get_inventory_parent = get_inventory_parent


def modify_no_inputs() -> None:
    """Make Snakemake leave names of inputs alone where nothing modifies them.

    It would hold each twice, after it has found neither a prefix to replace nor a storage.
    """
    name = "Rule.expand_input"
    cls, original = find("snakemake.rules", name, "self wildcards groupid")
    taken = "self item path_modifier property"
    _, modify = find("snakemake.rules", "Rule.apply_path_modifier", taken)
    kind, made = find(
        "snakemake.path_modifier", "PathModifier.__init__",
        "self replace_prefix prefix workflow inner_modifier",
    )  # fmt: skip
    known = {"prefix", "inner_modifier"} <= {*made.__code__.co_names}
    check(name, known and hasattr(kind, "modifies_prefixes"))

    def expand_input(self: Any, wildcards: Any, groupid: Any = None) -> Any:
        kept, storage = self.input_modifier, self.workflow.storage_settings
        own = kept and (kept.modifies_prefixes or kept.prefix or kept.inner_modifier)
        if not own and not storage.default_storage_provider:
            self.input_modifier = None
        try:
            return original(self, wildcards, groupid)
        finally:
            self.input_modifier = kept

    def apply_path_modifier(self: Any, item: Any, path_modifier: Any, property: Any = None) -> Any:
        # A function of inputs may ask for the inputs of its own rule.
        return modify(self, item, path_modifier, property) if path_modifier else item

    cls.expand_input, cls.apply_path_modifier = expand_input, apply_path_modifier


def pass_usual_names() -> None:
    """Make Snakemake look at a usual name once to see that there is nothing to warn of."""
    module, original = find("snakemake.io", "check", "iofile rule is_storage")
    usual = re.compile(r"[\w-][\w.-]*(?:/[\w.-]+)*").fullmatch  # No "./", no "//", no wildcard.

    def check_name(iofile: str, rule: Any = None, is_storage: bool = False) -> None:
        if not usual(iofile):
            original(iofile, rule, is_storage)

    module.check = check_name


def ask_for_files_without_detours() -> None:
    """Make Snakemake look up whether it knows of a file, which it does some 20 times a job."""
    cls, original = find("snakemake.io", "_IOFile.exists", "self")
    cache = importlib.import_module("snakemake.io").IOCache(1)
    check("_IOFile.exists", hasattr(cache, "active") and hasattr(cache, "exists_local"))

    async def exists(self: Any) -> Any:
        if not self.is_storage:
            cache = self.rule.workflow.iocache
            if cache.active and self in cache.exists_local:
                return cache.exists_local[self]
        return await original(self)

    cls.exists = exists
