"""Which modules a fingerprint covers: an edit changes exactly what depends on it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

import osad
from osad.core.errors import ConfigError
from osad.core.files import sha256_bytes
from osad.pipeline import fingerprint
from osad.pipeline.fingerprint import closure, code_digests, code_fingerprint

SOURCE = Path(osad.__file__).parents[1]

FILES = {
    "__init__.py": "import osad.unused",
    "unused.py": "",
    "runtime/environment.py": "",
    "runtime/__init__.py": "",
    "base.py": "import os, numpy\nfrom collections import abc",
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
    "typed.py": "if TYPE_CHECKING:\n    from osad import base",
}
ALWAYS = ["runtime.environment"]


@pytest.fixture
def tree(tmp_path):
    """Return the source folder of a small package of the same name."""
    for name, text in FILES.items():
        path = tmp_path / "osad" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return tmp_path


def covered(root: str, tree: Path) -> list[str]:
    return [name.removeprefix("osad.") for name in closure([f"osad.{root}"], tree)]


@pytest.mark.parametrize(
    ("root", "modules"),
    [
        ("base", ["base"]),
        ("first", ["base", "first"]),
        ("second", [
            "base", "pack", "pack.helper", "pack.inner", "pack.sibling", "second", "third",
        ]),
        ("pack.inner", ["base", "pack", "pack.helper", "pack.inner", "pack.sibling"]),
        ("pack", ["pack", "pack.helper"]),
        ("pack.deep.leaf", [
            "base", "pack", "pack.deep.leaf", "pack.helper", "pack.inner", "pack.sibling", "unused",
        ]),
        ("loop_a", ["loop_a", "loop_b"]),
        ("typed", ["base", "typed"]),
    ],
)  # fmt: skip
def test_closure_follows_every_kind_of_import(tree, root, modules):
    assert covered(root, tree) == sorted(modules + ALWAYS)


def test_roots_are_joined(tree):
    assert closure(["osad.base", "osad.unused"], tree) == [
        "osad.base", "osad.runtime.environment", "osad.unused",
    ]  # fmt: skip


def prints(tree: Path) -> dict[str, str]:
    """Return the fingerprint of every module of a tree, nothing remembered."""
    fingerprint.imported_modules.cache_clear()
    fingerprint._file_digest.cache_clear()
    fingerprint._fingerprint.cache_clear()
    paths = [path.relative_to(tree).with_suffix("") for path in tree.rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return {name: code_fingerprint([name], tree) for name in names if name != "osad"}


@pytest.mark.parametrize("edited", [name for name in FILES if name != "__init__.py"])
def test_an_edit_changes_exactly_the_modules_that_depend_on_it(tree, edited):
    before = prints(tree)
    module = ".".join(["osad", *Path(edited).with_suffix("").parts]).removesuffix(".__init__")
    dependent = {name for name in before if module in closure([name], tree)}
    assert module in dependent
    with (tree / "osad" / edited).open("a", encoding="utf-8") as stream:
        stream.write("# A comment counts.\n")
    after = prints(tree)
    assert {name for name in before if before[name] != after[name]} == dependent


def test_the_version_changes_no_fingerprint(tree):
    before = prints(tree)
    (tree / "osad/__init__.py").write_text("VERSION = 2\n", encoding="utf-8")
    assert prints(tree) == before


def test_digests_are_those_of_the_files(tree):
    digests = code_digests(["osad.first"], tree)
    assert digests == {
        "osad.base": sha256_bytes((FILES["base.py"] + "\n").encode()),
        "osad.first": sha256_bytes((FILES["first.py"] + "\n").encode()),
        "osad.runtime.environment": sha256_bytes(b"\n"),
    }
    assert code_fingerprint(["osad.first"], tree) != code_fingerprint(["osad.base"], tree)


def test_a_missing_module_is_named(tree):
    with pytest.raises(ConfigError, match=r"module osad\.nothing does not exist"):
        closure(["osad.nothing"], tree)


def test_a_file_that_is_not_python_is_named(tree):
    (tree / "osad/broken.py").write_text("x = 1\ndef f(:\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.py, line 2: "):
        closure(["osad.broken"], tree)


# --- the real package ---------------------------------------------------------------------

STEPS = {
    step: [f"osad.pipeline.steps.{step}"]
    for step in ("weights", "fetch", "manifest", "split", "features", "metrics", "tables")
}
METHODS = ("devnet", "dra", "dpdl", "patchcore", "mahalanobis", "random")


def runs() -> dict[str, list[str]]:
    """Return the roots of the code of steps without and with a method."""
    trained = {
        f"{step} {name}": [f"osad.pipeline.steps.{step}", f"osad.methods.{name}"]
        for step in ("train", "score")
        for name in METHODS
    }
    return STEPS | trained


def test_a_method_depends_on_no_other_method():
    for name in METHODS:
        modules = closure(
            [f"osad.methods.{name}", "osad.pipeline.steps.train", "osad.pipeline.steps.score"],
            SOURCE,
        )
        found = {module for module in modules if module.startswith("osad.methods.")}
        assert found == {"osad.methods.registry", f"osad.methods.{name}"}


def test_steps_depend_on_what_they_compute_with():
    for step, own in {
        "split": "osad.data.splits",
        "features": "osad.features.extract", "metrics": "osad.evaluation.metrics",
        "tables": "osad.evaluation.tables.layout", "manifest": "osad.data.manifest",
    }.items():  # fmt: skip
        modules = closure(STEPS[step], SOURCE)
        assert own in modules
        assert not any(module.startswith("osad.methods.") for module in modules)
    for roots in runs().values():
        modules = closure(roots, SOURCE)
        assert "osad.runtime.environment" in modules
        assert not {
            "osad.pipeline.workflow",
            "osad.pipeline.handlers",
            "osad.pipeline.config",
            "osad",
        } & set(modules)


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("methods/devnet.py", {"train devnet", "score devnet"}),
        ("learn/lightsb.py", {"train dpdl", "score dpdl"}),
        ("learn/gaussian.py", {
            f"{step} {name}"
            for step in ("train", "score")
            for name in ("devnet", "dra", "dpdl", "mahalanobis")
        }),
        ("metrics.py", {"metrics"}),
        ("tables/latex.py", {"tables"}),
        ("features/views.py", {"features"}),
        ("steps/split.py", {"split"}),
        ("workflow.py", set()),
        ("config.py", set()),
    ],
)  # fmt: skip
def test_an_edit_of_the_package_reruns_only_what_depends_on_it(tmp_path, edited, stale):
    shutil.copytree(SOURCE / "osad", tmp_path / "osad", ignore=shutil.ignore_patterns("*.pyc"))
    before = {name: code_fingerprint(roots, SOURCE) for name, roots in runs().items()}
    with (tmp_path / "osad" / edited).open("a", encoding="utf-8") as stream:
        stream.write("# edited\n")
    after = {name: code_fingerprint(roots, tmp_path) for name, roots in runs().items()}
    assert {name for name in before if before[name] != after[name]} == stale


def test_the_root_package_holds_only_its_docstring_and_version():
    tree = ast.parse((SOURCE / "osad/__init__.py").read_text(encoding="utf-8"))
    docstring, version = tree.body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(version, ast.Assign)
    assert ast.unparse(version.targets[0]) == "__version__"
