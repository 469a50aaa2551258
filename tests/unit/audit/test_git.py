"""What git says of sources, whatever the user has told it about them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from project_cases import ROOT

from osad.audit import git

WHO = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]


def run(*arguments: str) -> None:
    subprocess.run(
        ["git", *WHO, *arguments], check=True, capture_output=True, env=git.environment()
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of two commits, of which the second does not touch the ledger."""
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    (root / "params.yaml").write_text("a: 1\n")
    (root / "src/a.py").write_text("a = 1\n")
    (root / "ledger").write_text("digest\n")
    (root / ".gitignore").write_text("*.pyc\n")
    shutil.copy(ROOT / ".gitattributes", root)
    run("init", "--quiet", str(root))
    for message in ("brings it", "does not"):
        (root / "other").write_text(message)
        run("-C", str(root), "add", "--all")
        run("-C", str(root), "commit", "--quiet", "--message", message)
    return root


def test_sources_that_git_was_told_to_overlook_are_changes(root):
    assert git.changes(root) == []
    run("-C", str(root), "update-index", "--skip-worktree", "params.yaml")
    run("-C", str(root), "update-index", "--assume-unchanged", "src/a.py")
    (root / ".git/info/exclude").write_text("b c.py\n")
    (root / "src/a.pyc").touch()
    assert git.changes(root) == []
    (root / "params.yaml").write_text("a: 2\n")
    (root / "src/a.py").unlink()
    (root / "src/b c.py").touch()
    (root / "no source").touch()
    assert git.changes(root) == ["params.yaml", "src/a.py", "src/b c.py"]
    assert git.stamp(root)[0].endswith(" with uncommitted changes")


def test_a_shallow_clone_does_not_say_that_its_oldest_commit_brought_a_number(root, tmp_path):
    assert git.origin(root, "digest", "ledger").endswith(" brings it")
    assert git.origin(root, "another", "ledger") == ""
    run("clone", "--quiet", "--depth", "1", root.as_uri(), str(tmp_path / "clone"))
    said = "a commit that this shallow clone has not (git fetch --unshallow)"
    assert git.origin(tmp_path / "clone", "digest", "ledger") == said


def test_no_end_of_a_line_is_converted(root, tmp_path):
    run("clone", "--quiet", "--config", "core.autocrlf=true", str(root), str(tmp_path / "clone"))
    assert (tmp_path / "clone/ledger").read_bytes() == b"digest\n"
