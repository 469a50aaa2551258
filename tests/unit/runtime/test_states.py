"""Every way to change a file shows in its state."""

import os
import shutil
from pathlib import Path

import pytest

import osad
from osad.runtime.states import below, state


def edit(path: Path) -> None:
    """Write other bytes of the same size and put the time back."""
    times = path.stat()
    path.write_bytes(b"b")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path: Path) -> None:
    """Put a copy of the same bytes and time in its place."""
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        edit,
        replace,
        Path.unlink,
        lambda path: path.write_bytes(b"aa"),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.rename(path.with_name("c")),
    ],
)
def test_a_change_shows(tmp_path, change):
    path = tmp_path / "a"
    path.write_bytes(b"a")
    os.utime(path, (5, 5))
    before = state([str(path)]).digest
    assert state([str(path)]).digest == before
    change(path)
    assert state([str(path)]).digest != before


def test_a_file_that_comes_shows(tmp_path):
    path = tmp_path / "a"
    before = state([str(path)]).digest
    assert state([str(path)]).digest == before
    path.touch()
    assert state([str(path)]).digest != before


def test_only_files_older_than_the_process_are_settled(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"a")
    os.utime(path, (5, 5))  # An old time of the content does not make it old.
    assert not state([str(path)]).settled
    monkeypatch.setattr(osad, "STARTED", path.stat().st_ctime + 1)
    assert not state([str(path)]).settled
    monkeypatch.setattr(osad, "STARTED", path.stat().st_ctime + 3)
    assert state([str(path), "absent"]).settled


def test_all_files_of_folders_but_compiled_ones_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/x", "b/a/z", "b/a/y", "b/__pycache__/x", "c"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("b/back").symlink_to("..")
    assert "b/back/c" in [*below(["b"])]  # Each folder once.
    assert [*below(["b"])].count("b/back/b/x") == 0
    Path("b/back").unlink()
    assert [*below(["c", "b", "absent"])] == ["c", "b/x", "b/a/y", "b/a/z", "absent"]
