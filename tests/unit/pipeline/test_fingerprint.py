"""Which modules a fingerprint covers, and which edits of them change it."""

import ast
import re
from pathlib import Path

import pytest
from project_cases import rules_of

import osad
from osad.core.errors import ConfigError
from osad.pipeline import fingerprint
from osad.pipeline.fingerprint import closure, code_digests, code_fingerprint, syntax_digest_of
from osad.pipeline.jobs import jobs

SOURCE = Path(osad.__file__).parents[1]

FILES = {
    "__init__.py": "import osad.unused",
    "unused.py": "",
    "runtime/environment.py": "",
    "runtime/__init__.py": "",
    "core/errors.py": "",
    "base.py": "import os, numpy\nfrom collections import abc\nfrom osad.core import errors",
    "first.py": "from osad.base import thing",
    "second.py": "def f():\n    from osad import third as x\n    return x",
    "third.py": "import osad.pack.inner",
    "pack/__init__.py": "from . import helper",
    "pack/helper.py": "",
    "pack/inner.py": "from .. import base\nfrom .sibling import value",
    "pack/sibling.py": "from __future__ import annotations",
    "pack/deep/__init__.py": "",
    "pack/deep/leaf.py": "from ..inner import value\nfrom ...unused import *",
    "loop_a.py": "import osad.loop_b",
    "loop_b.py": "import osad.loop_a",
    "typed.py": "if TYPE_CHECKING:\n    from osad import base\nelse:\n    from osad import unused",
    "untyped.py": "if not TYPE_CHECKING:\n    from osad import base",
}


@pytest.fixture
def tree(tmp_path):
    """Return the source folder of a small package of the same name."""
    for name, text in FILES.items():
        path = tmp_path / "osad" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return tmp_path


INNER = ["base", "pack", "pack.helper", "pack.inner", "pack.sibling"]


@pytest.mark.parametrize(
    ("root", "modules"),
    [
        ("base", []),
        ("first", ["base"]),
        ("second", [*INNER, "third"]),
        ("pack.inner", INNER),
        ("pack", ["pack.helper"]),
        ("pack.deep.leaf", [*INNER, "unused"]),
        ("loop_a", ["loop_b"]),
        ("typed", ["unused"]),
        ("untyped", ["base"]),
    ],
)
def test_closure_follows_every_kind_of_import(tree, root, modules):
    expected = {f"osad.{name}" for name in (*modules, root, "runtime.environment")}
    assert closure([f"osad.{root}"], tree) == tuple(sorted(expected))
    both = sorted({*expected, "osad.base", "osad.first"})
    assert closure([f"osad.{root}", "osad.first"], tree) == tuple(both)


def prints(tree: Path) -> dict[str, str]:
    """Return the fingerprint of every module of a tree, nothing remembered."""
    for function in vars(fingerprint).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    paths = [path.relative_to(tree).with_suffix("") for path in tree.rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return {name: code_fingerprint((name,), tree) for name in names if name != "osad"}


@pytest.mark.parametrize("edited", FILES)
def test_an_edit_changes_exactly_the_modules_that_depend_on_it(tree, edited):
    """Nothing depends on the version in the root package, nor on the errors."""
    before, path = prints(tree), tree / "osad" / edited
    module = ".".join(["osad", *Path(edited).with_suffix("").parts]).removesuffix(".__init__")
    dependent = {name for name in before if module in closure([name], tree)}
    assert (module in dependent) == (module not in ("osad", "osad.core.errors"))
    text = path.read_text(encoding="utf-8")
    path.write_text(f"# A comment.\n'A docstring.'\n{text}", encoding="utf-8")
    assert prints(tree) == before
    path.write_text(f"{text}EDITED = 1\n", encoding="utf-8")
    after = prints(tree)
    assert {name for name in before if before[name] != after[name]} == dependent


def test_a_missing_or_broken_module_is_named(tree):
    with pytest.raises(ConfigError, match=r"module osad\.nothing does not exist"):
        closure(["osad.nothing"], tree)
    (tree / "osad/broken.py").write_text("x = 1\ndef f(:\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"osad/broken\.py, line 2: "):
        code_digests(["osad.broken"], tree)
    (tree / "osad/latin.py").write_bytes(b"x = '\xe4'")
    with pytest.raises(ConfigError, match=r"osad/latin\.py: is not UTF-8"):
        code_digests(["osad.latin"], tree)


@pytest.mark.parametrize("text", ["x = " + "-1" * 3000, "x = " + "[" * 5000, "(" * 300 + ")" * 300])
def test_a_source_that_nests_too_deeply_is_refused(tree, text):
    (tree / "osad/deep.py").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"osad/deep\.py"):
        code_digests(["osad.deep"], tree)


# --- what counts in a file --------------------------------------------------------------------


@pytest.fixture
def digest(tmp_path):
    """Return a function that gives the digest of a text as a module."""

    def digest(text: str) -> str:
        path = tmp_path / "module.py"
        path.write_text(text, encoding="utf-8")
        return syntax_digest_of(path, tmp_path)

    return digest


TYPES = "if TYPE_CHECKING:\n    import a\n"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x = f(1, 2)", "# why\nx = f(\n    1,\n    2,\n)  # how\n\n\n"),
        ("x = 'ab' + \"c\"", "x = ('a' 'b' + u'c')"),
        ("x = 1000 + 0.5", "x = 0x3E8 + 5e-1"),
        ("x = 'ä\U00011f00'", "x = '\\xe4\\U00011f00'"),
        ("x = a\nif a: b()", "x = \\\n  a;\nif a:\n\n        b()"),
        ("def f(): g()", 'def f():\n    """Do.\n\n    Args: none.\n    """\n    g()'),
        ("class A:\n    x: int", "class A:\n    'One.'\n    x: int\n    'The size.'"),
        ("import a\nfrom b import c", "from b import c\nimport a"),
        ("def f():\n import a, b\n from c import d", "def f():\n from c import d\n import a, b"),
        ("x = 1", f"from typing import TYPE_CHECKING, Any\n{TYPES}x = 1"),
        (f"import typing\n{TYPES}", "import typing\nif typing.TYPE_CHECKING:\n    import b"),
        ("raise E('a') from e", "raise E(f'b {c}', d) from e"),
        ("if x: raise a.E(\n    'a')", "if x: raise a.E"),
    ],
)
def test_what_people_and_type_checkers_read_does_not_count(digest, text, other):
    assert digest(text) == digest(other)


OTHERS = r"""
g(1)   g(1.0)   g(True)   g(None)   g('1')   g(b'1')   g(1j)   g(-1)   g(...)   g('')   g(' ')
g('a')   g('A')   g('ab')   g('a', 'b')   g(r'\\a')   g()   g   x = y   y = x   x = y,   x = [y]
x += y   x -= y   x: y   x: y = y   (x := y)   del x
a + b * c   (a + b) * c   a + b + c   a + (b + c)   a and b or c   a and (b or c)   assert a
assert a, b   await a   a == b   a < b   a <= b   b < a   a is b   a in b   a not in b   not a
f(a, b)   f(b, a)   f(a=b)   f(*a, b)   f(*a, **b)   f(a)(b)   f(a=1, b=2)   f(b=2, a=1)
f[a, b]   f[a]   f[a:b]   f[:b]   f[a:]   f[::b]   f[...]   f[None]   f.a   f(a.b)   f(**a)
def f(a, b): x   def f(a, b=0): x   def f(a, b=0.0): x   def f(a, *, b=0): x   def f(a, *b): x
def f(a, **b): x   def f(a, /, b): x   async def f(a, b): x   def f(a, b): return   def g(a, b): x
def f(a, b): pass   def f(a, b) -> c: x   def f(a: c, b): x   def f(*, a=1, b): x   class f(a, b): x
def f(*, a, b=1): x   def f(*, a=None, b=1): x   @a\n@b\ndef f(): x   @b\n@a\ndef f(): x
@a\ndef f(): x   def f(): x   lambda: 1   lambda: 2   lambda: None   lambda x: 1   lambda x=1: 1
a if b else c   c if b else a   a if b else 1   def f():\n global a   def f():\n nonlocal a
f'{a}'   f'{a!r}'   f'{a:.2}'   f'{a:.3}'   f'{b}'   f'{a} '   f'{{a}}'   f'b'   f'{a}{b}'
match a:\n case 1: x   match a:\n case 1.0: x   match a:\n case b: x   match a:\n case None: x
match a:\n case [1]: x   match a:\n case [1, *_]: x   match a:\n case {1: b}: x
match a:\n case A(b=1): x   match a:\n case A(1): x   match a:\n case 1 if x: x
match a:\n case 1 | 2: x   match a:\n case _: x   match b:\n case 1: x   match a:\n case 1: y
[a for b in c]   {a for b in c}   (a for b in c)   [b for a in c]   [a async for b in c]
[a for b in c if b]   {a: a for b in c}   {1: a, **b}   {**b, 1: a}   {1: a, 2: b}   {None: b, 1: a}
for a in b: c   while b: c   for a in b:\n c\nelse: d   for a in b:\n c\nd   with a as b: c
if a: b\nelse: c   if a: c\nelse: b   if a: b\nc   if a:\n b\n c   with a as b, d: c   with a: c
try: a()\nexcept E: b()   try: a()\nfinally: b()   try: a()\nexcept: b()   with d, a as b: c
try: a()\nexcept E as e: b()   try: b()\nexcept E: a()   try: a()\nexcept* E: b()   return E   raise
import a   import b   import a as b   from a import b   from . import a   from .. import a
from a import *   from a import b as c   raise E('a')   raise F('a')   raise E from f
raise E from None   if not TYPE_CHECKING: a()   if not TYPE_CHECKING: b()   if TYPES: a()
"""
"""Texts of modules, no two of which mean the same."""


def test_everything_else_counts(digest):
    texts = [text.replace(r"\n", "\n") for text in re.split(r" {3}|\n", OTHERS.strip())]
    digests: dict[str, str] = {}
    assert len(texts) > 160
    for text in texts:
        same = digests.setdefault(digest(text), text)
        assert same is text, f"{text} counts as {same}"


def test_digests_do_not_depend_on_the_version_of_python(digest, monkeypatch):
    text = "def f(a, *, b=1.5):\n    return {a: None, **b}, 'ä'\n"
    assert "".join(fingerprint._tokens(ast.parse(text))) == (
        "Module(body=[FunctionDef(name='f'args=arguments(args=[arg(arg='a'),]kwonlyargs=[arg(arg="
        "'b'),]kw_defaults=[Constant(value=1.5),])body=[Return(value=Tuple(elts=[Dict(keys=[Name(id"
        "='a'),None,]values=[Constant(),Name(id='b'),]),Constant(value='\\xe4'),])),]),])"
    )
    before = digest(text)
    # Fields that other versions have and this text does not use.
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "types", "more"))
    monkeypatch.setattr(ast.FunctionDef, "types", [], raising=False)
    monkeypatch.setattr(ast.FunctionDef, "more", None, raising=False)
    assert digest(text) == before


# --- the real package -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def holders() -> dict[str, set[str]]:
    """The rules, and instead of runs their methods, whose code holds a module."""
    holders: dict[str, set[str]] = {}
    for job in jobs(rules_of()):
        method = job.wildcards.get("method", "").partition(".")[0]
        for module in job.modules:
            holder = method if job.rule.name == "run" else job.rule.name
            holders.setdefault(module.removeprefix("osad."), set()).add(holder)
    return holders


METHODS = {name.partition(".")[0] for name in rules_of().grid.params.methods}
CONTROLS = {"constant", "random", "true_labels"}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("methods.devnet", {"devnet"}),
        ("methods.dpdl.bridge", {"dpdl"}),
        ("learn.dra_heads", {"dra", "ahl"}),
        ("learn.velocity", {"wt_flow", "flow_mismatching"}),
        ("methods.inputs", METHODS),
        ("pipeline.steps.run", METHODS),
        ("features.views", {"pixels", "pack"}),
        ("backbones.efficientnet_lite", {"weights", "pack"}),
        ("data.sets.elpv", {"fetch", "manifest"}),
        ("data.layouts.mvtec", set()),
        ("evaluation.metrics", {"metrics", "comparison"}),
        ("evaluation.localisation", {"metrics"}),
        ("evaluation.figures.draw", {"figure"}),
        ("pipeline.steps.split", {"split"}),
        ("report.page", {"report_page"}),
        ("core.errors", set()),
        *((f"pipeline.{name}", set()) for name in ("config", "grid", "rule", "rules", "jobs")),
        *((f"pipeline.{name}", set()) for name in ("page", "describe", "handlers", "failures")),
        *((name, set()) for name in ("audit.record", "crate.crate", "predict.step", "cli")),
    ],
)
def test_code_of_the_package_is_held_by_what_computes_with_it(holders, module, expected):
    assert (SOURCE / "osad" / module.replace(".", "/")).with_suffix(".py").is_file()
    assert holders.get(module, set()) == expected


def test_a_run_holds_its_own_method_alone_and_every_job_its_environment(holders):
    assert holders["runtime.environment"] == set().union(*holders.values())
    own = {module: names for module, names in holders.items() if module.startswith("methods.")}
    for module in ("registry", "fields", "images", "inputs"):
        del own[f"methods.{module}"]
    for module, names in own.items():
        assert names == (CONTROLS if module == "methods.controls" else {module.split(".")[1]})


def test_the_root_package_holds_nothing_that_a_step_uses():
    """It is in no closure."""
    tree = ast.parse((SOURCE / "osad/__init__.py").read_text(encoding="utf-8"))
    names = [ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)]
    names += [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names == ["STARTED", "TYPE_CHECKING", "__all__", "__version__", "__getattr__"]
    used = {
        alias.name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "osad"
        for alias in node.names
    }
    rooms = {path.stem for path in SOURCE.joinpath("osad").iterdir()}
    assert used - rooms == {"__version__"}
