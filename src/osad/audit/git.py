"""What git knows: the commit, changes since, and which commit brought a digest."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from osad.core.errors import ConfigError

SOURCES = ("Snakefile", "params.yaml", "configs", "src", "workflow", "profiles", "requirements",
           "data/published", "data/manifests", "dvc.yaml")  # fmt: skip
"""What in git decides the numbers."""


def environment() -> dict[str, str]:
    """Return this process's environment without what makes git speak of another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def run(root: Path, *arguments: str, **variables: str) -> str:
    """Run git, with further variables in its environment, and return what it prints.

    Raises:
        ConfigError: git is not there or fails.
    """
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            env=environment() | variables,
            errors="surrogateescape",  # Paths of files need not be UTF-8.
        )
    except OSError as error:
        raise ConfigError(f"git cannot be run ({error.strerror}); install it") from error
    if result.returncode:
        raise ConfigError(f"git {arguments[0]}: {result.stderr.strip() or 'failed'}")
    return result.stdout


def is_repository(root: Path) -> bool:
    """Tell whether a folder is the top of a git repository with a commit."""
    try:
        run(root, "rev-parse", "--verify", "--quiet", "HEAD")
    except ConfigError:
        return False
    return (root / ".git").exists()


def head(root: Path) -> str:
    """Return the commit that is checked out."""
    return run(root, "rev-parse", "HEAD").strip()


def stamp(root: Path) -> tuple[str, str]:
    """Return what an export is marked with: the commit, and its date in ISO 8601.

    The commit is followed by "with uncommitted changes" where a file that decides numbers has any.

    Raises:
        ConfigError: the folder is no repository with a commit.
    """
    if not is_repository(root):
        raise ConfigError(
            "git: this folder is no repository with a commit, and what is exported is dated by "
            "its commit; export from a clone, or commit first"
        )
    commit = head(root) + (" with uncommitted changes" if changes(root) else "")
    return commit, run(root, "show", "--no-patch", "--format=%cI", "HEAD").strip()


def changes(root: Path, paths: Sequence[str] = SOURCES) -> list[str]:
    """Return the files below some paths that differ from the commit, new ones included, sorted.

    Asked with an index of its own: that of the user may hold files for unchanged, and their list of
    ignored files may hold sources (``skip-worktree``, ``.git/info/exclude``).
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        run(root, "read-tree", "HEAD", **index)
        there = [p for p in paths if (root / p).exists() or run(root, "ls-files", "--", p, **index)]
        if not there:
            return []
        status = ("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--")
        edited = run(root, *status, *there, **index).split("\0")
        others = ("ls-files", "-z", "--others", "--exclude-per-directory=.gitignore", "--")
        new = run(root, *others, *there, **index).split("\0")
    return sorted({*(entry[3:] for entry in edited), *new} - {""})


def origin(root: Path, text: str, where: str) -> str:
    """Return the commit that first brought a text into a file, with date and subject, or empty.

    The oldest commit of a shallow clone holds what all before it have brought, so it is not named.
    """
    form = "--format=%h %cs %s%x00%p"
    commits = run(root, "log", "--reverse", f"-S{text}", form, "--", where)
    said, _, parents = commits.partition("\n")[0].partition("\0")
    shallow = "rev-parse", "--is-shallow-repository"
    if said and not parents and run(root, *shallow).strip() == "true":
        return "a commit that this shallow clone has not (git fetch --unshallow)"
    return said
