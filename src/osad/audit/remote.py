"""DVC as a command, and transfers that rely on nothing that an earlier one has left."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from osad.audit import git
from osad.core.config_files import read_yaml
from osad.core.errors import CheckError

ABSENT = "Some of the cache files do not exist neither locally nor on remote"
MISSING = re.compile(r"\bmd5: ([0-9a-f]+(?:\.dir)?)")
NEVER = re.compile(r"Output '(.+?)'\(stage: .+?\) is missing version info")
STORE = re.compile(r"^(\S+)\s+(.+?)(?:\s+\(default\))?$", re.MULTILINE)
"""How DVC says what is nowhere, what nobody has ever saved, and which remotes there are."""
WRITING = re.compile(r"\.[\w-]{22}\.tmp")
"""What DVC calls a file while it writes it."""


def dvc(
    *command: str, capture: bool = True, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run DVC, here or in a folder; keep what it says, or let it speak for itself.

    Raises:
        CheckError: it fails; with its message, where that is captured.
    """
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dvc"), *command], env=git.environment() | variables,
        capture_output=capture, encoding="utf-8", errors="replace", check=False,
        cwd=cwd,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or "").strip() or (done.stdout or "").strip()
        raise CheckError(f"dvc {' '.join(command)}: {said or 'failed, as it says above'}")
    return done


def afresh(
    *command: str, capture: bool = True, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of DVC that speaks with a remote, with an empty memory.

    DVC keeps the list of what it is to send or get from one call to the next, output by output.
    Where a call is killed while it makes the list, the next ones take the part for the whole:
    ``dvc push`` ends well and leaves files behind, for good if there is nothing else to send.
    """
    with tempfile.TemporaryDirectory() as empty:
        return dvc(*command, capture=capture, cwd=cwd, DVC_SITE_CACHE_DIR=empty)


def transfer(
    options: argparse.Namespace, *command: str, capture: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run such a command with the remote that is asked for; see `afresh`."""
    named = ["--remote", options.remote] if options.remote else []
    return afresh(*command, *named, capture=capture)


def stores(root: Path) -> dict[str, str]:
    """Return the addresses of a project's remotes by name."""
    return dict(STORE.findall(dvc("remote", "list", cwd=root).stdout))


def push(options: argparse.Namespace) -> None:
    """Send the outputs to the DVC remote, then check that all are there."""
    changed = _changed(json.loads(dvc("status", "--json").stdout))
    if unsaved := sorted(name for name, what in changed.items() if what == "modified"):
        raise CheckError(
            f"{unsaved[0]}: is not what DVC has ({len(unsaved)} such outputs); run osad audit "
            "save, then push"
        )
    transfer(options, "push")
    state = transfer(options, "status", "--cloud", "--json", capture=True)
    lacking = sorted(name for name, what in json.loads(state.stdout).items() if what == "new")
    if lacking:
        raise CheckError(
            f"{lacking[0]}: is not in the remote ({len(lacking)} such files); push again"
        )
    # What has neither a file here nor a list of its files in the cache was not made here.
    elsewhere = {
        digest: name
        for name, digest in digests(Path()).items()
        if changed.get(name) == "not in cache" and not os.path.lexists(name)
    }
    names = {name for name in NEVER.findall(state.stderr) if not os.path.lexists(name)}
    missing = set(MISSING.findall(state.stderr))
    doubts = [
        line for line in state.stderr.splitlines()
        if line.startswith("WARNING: ") and ABSENT not in line
        and not names.issuperset(NEVER.findall(line) or [""])
    ]  # fmt: skip
    if doubts or not missing <= elsewhere.keys():
        first = (doubts or [ABSENT])[0]
        raise CheckError(
            f"the remote may lack outputs (dvc status --cloud: {first}). All else is there; make "
            "them with snakemake, run osad audit save and push again"
        )
    if names := names | {elsewhere[digest] for digest in missing}:
        print(
            "all that was made here is in the remote; not made here, and not in the remote, are "
            f"{', '.join(sorted(names))}"
        )


def _changed(status: dict[str, list[Any]]) -> dict[str, str]:
    """Return how outputs differ from what was saved, by path, of what ``dvc status`` says."""
    kinds = [kind for stage in status.values() for kind in stage if isinstance(kind, dict)]
    outputs = [kind.get("changed outs", {}) for kind in kinds]
    return {name: what for found in outputs for name, what in found.items()}


def stages(root: Path) -> list[dict[str, Any]]:
    """Return the stages of a project's ``dvc.lock`` that its ``dvc.yaml`` has.

    DVC leaves those of former pipelines there, with digests that outputs have no more.

    Raises:
        ConfigError: a file is damaged.
    """
    if not (root / "dvc.lock").is_file():
        return []
    locked = read_yaml(root / "dvc.lock").get("stages", {})
    known = read_yaml(root / "dvc.yaml").get("stages", {})
    return [stage for name, stage in locked.items() if name in known]


def digests(root: Path) -> dict[str, str]:
    """Return the digest that DVC's files in a project state of each output, by path."""
    import yaml

    found = {}
    others = (*root.glob("*.dvc"), *root.glob("results/*.dvc"))
    tracked = [(root, stage) for stage in stages(root)]
    tracked += [
        (file.parent, yaml.safe_load(file.read_bytes()) or {})
        for file in others
        if file.is_file()  # The folder .dvc has such a name.
    ]
    for folder, stage in tracked:
        for output in stage.get("outs", []):
            path = (folder / output["path"]).relative_to(root)
            found[path.as_posix()] = output["md5"]
    return found


def pull(options: argparse.Namespace) -> None:
    """Get the outputs from the DVC remote, also after a transfer that was killed."""
    # DVC takes what it was writing then for a file of the user's, and brings nothing beside one.
    for folder in filter(Path.is_dir, map(Path, digests(Path()))):
        for path in folder.rglob(".*.tmp"):
            if WRITING.fullmatch(path.name):
                path.unlink()
    transfer(options, "pull")
