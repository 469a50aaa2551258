"""Nothing in the package runs or unpickles what it reads (SECURITY.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import osad

SOURCE = Path(osad.__file__).parent
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "runpy"}
"""Modules that make objects, or run code, out of a file."""
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.load_all",
    "yaml.full_load", "yaml.unsafe_load", "yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader",
    "pd.read_pickle", "torch.hub.load", "torch.jit.load", "yte.process_yaml",
}  # fmt: skip
NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""Functions that are safe with an argument."""


def name_of(node: ast.AST) -> str:
    """Return a name with dots, such as ``torch.hub.load``; empty for what is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := name_of(node.value)):
        return f"{before}.{node.attr}"
    return ""


def unsafe(text: str) -> Iterator[str]:
    """Yield what in a source loads or runs what it should not."""
    for node in ast.walk(ast.parse(text)):
        name = name_of(node)
        module, dot, _ = name.partition(".")
        if name in CALLS or (dot and module in MODULES):
            yield name
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"from {node.module}"
        if isinstance(node, ast.Call):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            called = name_of(node.func).replace("numpy.", "np.")
            if called in NEEDED and given.get(NEEDED[called][0]) is not NEEDED[called][1]:
                yield called
            unpacked = called.endswith(".extractall") and given.get("filter") != "data"
            if given.get("shell") or unpacked:
                yield called or "shell=True"


def test_nothing_that_is_read_is_run_or_unpickled():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 150
    found = {
        (path.relative_to(SOURCE).as_posix(), name)
        for path in files
        for name in unsafe(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    ["eval(text)", "exec(text)", "import pickle\npickle.loads(x)", "from pickle import loads",
     "torch.load(path)", "torch.load(path, weights_only=False)", "numpy.load(p, allow_pickle=True)",
     "yaml.load(x, yaml.SafeLoader)", "class L(yaml.FullLoader): pass", "os.system('ls')",
     "subprocess.run('ls', shell=True)", "tar.extractall(folder)", "read = yaml.unsafe_load"],
)  # fmt: skip
def test_what_is_unsafe_is_found(text):
    assert [*unsafe(text)]


@pytest.mark.parametrize(
    "text",
    ["model.eval()", "re.compile(x)", "yaml.safe_load(x)", "torch.load(p, weights_only=True)",
     "np.load(p, allow_pickle=False)", "json.load(x)", "subprocess.run(['ls'])",
     "tar.extractall(folder, filter='data')"],
)  # fmt: skip
def test_what_is_safe_is_not_found(text):
    assert not [*unsafe(text)]
