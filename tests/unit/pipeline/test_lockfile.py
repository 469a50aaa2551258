"""Whether the packages of a lock file are installed."""

import contextlib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from osad.core.errors import ConfigError
from osad.pipeline import lockfile
from osad.pipeline.lockfile import check_installed, pins

NUMPY = version("numpy")


@pytest.mark.parametrize(
    ("line", "installed", "message"),
    [
        (f"numpy=={NUMPY}", None, ""),
        ("numpy==2.1", "2.1+cu130", ""),  # A build for another device is the same version.
        ("numpy==0.1 ; sys_platform == 'nowhere'", None, ""),
        ("numpy==0.1", None, f"x.lock: numpy must be ==0.1, here it is {NUMPY}; run `make setup`"),
        ("numpy==2.1", "2.1.1", "must be ==2.1, here it is 2.1.1"),
        ("no-such-thing==1", None, "no-such-thing must be ==1, here it is not installed"),
    ],
)
def test_other_versions_than_those_of_the_lock_are_named(
    tmp_path, monkeypatch, line, installed, message
):
    if installed:
        monkeypatch.setattr(lockfile, "version", lambda name: installed)
    (tmp_path / "x.lock").write_text(f"{line} \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext():
        check_installed(tmp_path / "x.lock")


def test_what_comes_before_a_package_is_named(tmp_path, monkeypatch):
    """It has no version, as a copy of sources has none, so that the installed one would be told."""
    lock = tmp_path / "x.lock"
    lock.write_text(f"numpy=={NUMPY}\n")
    for name in ("numpy", "osad", "PIL"):
        (tmp_path / "other" / name).mkdir(parents=True)
    for name in ("osad", "PIL"):
        (tmp_path / "other" / name / "__init__.py").touch()
    installed = Path(str(distribution("numpy").locate_file("")))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/none:{tmp_path}/other:{installed}")
    check_installed(lock)  # A folder that is no package comes after one that is.
    (tmp_path / "other/numpy/__init__.py").touch()
    with pytest.raises(ConfigError, match=f"other/numpy comes before numpy {NUMPY}, which would"):
        check_installed(lock)
    (tmp_path / "numpy.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    check_installed(lock)
    monkeypatch.setenv("PYTHONPATH", ":/none")
    with pytest.raises(ConfigError, match="PYTHONPATH: numpy comes before numpy"):
        check_installed(lock)


@pytest.mark.parametrize("content", [None, b"\xff", b"numpy = = 2\n", b"[1]"])
def test_a_damaged_lock_file_is_named(tmp_path, content):
    lock = tmp_path / "numeric.lock"
    if content is not None:
        lock.write_bytes(content)
    with pytest.raises(ConfigError, match=r"numeric\.lock: cannot be read .*; restore it"):
        pins(lock)
