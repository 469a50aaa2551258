"""Unpacking: good archives, and every kind of hostile one."""

import errno
import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from data_cases import tree

from osad.core.errors import DataError
from osad.data.fetch import archives
from osad.data.fetch.archives import Limits, unpack

FILES = {"set/a.png": b"one", "set/deep er/b.png": b"two" * 100, "c.csv": b""}


Members = dict[str, bytes] | list[tuple[str, bytes]]


def zip_file(path: Path, members: Members, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = zipfile.ZipInfo("x")
            info.filename = name  # unlike the constructor this changes nothing in the name
            info.external_attr = int(options.get("mode", 0o644 | stat.S_IFREG)) << 16
            target.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def tar_file(path: Path, members: Members, **fields: object) -> Path:
    kind: Any = "w:" + {".gz": "gz", ".xz": "xz", ".bz2": "bz2"}.get(path.suffix, "")
    with tarfile.open(path, kind) as target:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            target.addfile(info, io.BytesIO(content))
    return path


MAKERS = {"zip": zip_file, "tar": tar_file}


def refused(tmp_path: Path, archive: Path, message: str, limits: Limits | None = None) -> None:
    """Check that an archive is refused with one message and leaves nothing, inside or outside."""
    before = sorted(path.as_posix() for path in tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message) as caught:
        unpack(archive, tmp_path / "out" / "x", limits)
    assert str(caught.value).startswith(f"{archive}: ")
    after = sorted(path.as_posix() for path in tmp_path.rglob("*"))
    assert after == sorted({*before, (tmp_path / "out").as_posix()})


@pytest.mark.parametrize("ending", ["zip", "ZIP", "tar", "tar.gz", "tar.xz", "tar.bz2", "tgz"])
def test_good_archives(tmp_path, ending):
    make = zip_file if ending.lower() == "zip" else tar_file
    archive = make(tmp_path / f"x.{ending}", FILES)
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", f"x.{ending}"]


def test_folders_and_leading_dots_are_no_problem(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as target:
        for name in (".", "./set", "./set/", "./empty"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0
            target.addfile(info)
        info = tarfile.TarInfo("./set/a.png")
        info.size, info.mode = 3, 0o4000
        target.addfile(info, io.BytesIO(b"one"))
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert tree(tmp_path / "out") == {"set/a.png": b"one"}
    assert (tmp_path / "out/empty").is_dir()
    assert (tmp_path / "out/set/a.png").stat().st_mode & 0o7400 == 0o400, "ordinary rights"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "is absolute"), ("C:/x.png", "is absolute"), ("../x.png", r"'\.\.'"),
        ("a/../../x.png", r"'\.\.'"), ("a/./x.png", r"'\.'"), ("a//x.png", "empty part"),
        ("a\\x.png", "backslash"), ("..\\x.png", "backslash"), ("a\nx.png", "control character"),
        ("a\x1b[31mx.png", "control character"), ("a\u2028x.png", "control character"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", MAKERS)
def test_hostile_names(tmp_path, kind, name, message):
    archive = MAKERS[kind](tmp_path / f"x.{kind}", {"a.png": b"one", name: b"evil"})
    refused(tmp_path, archive, message)


def test_names_that_are_not_unicode_or_end_early(tmp_path):
    archive = tar_file(tmp_path / "x.tar", {"aXb.png": b"one"})
    raw = bytearray(archive.read_bytes())
    raw[1] = 0xFF
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
    archive.write_bytes(raw)
    refused(tmp_path, archive, "not valid Unicode")
    archive = zip_file(tmp_path / "x.zip", {"aXb.png": b"one"})
    archive.write_bytes(archive.read_bytes().replace(b"aXb.png", b"a\0b.png"))
    refused(tmp_path, archive, "control character")


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.png"), ("a.png", "A.PNG"), ("a/x.png", "A/y.png"), ("a", "a/x.png"),
        ("a/x.png", "a"), ("stra\u00dfe.png", "STRASSE.png"), ("\u00e9.png", "e\u0301.png"),
        ("a.png", "./a.png"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_names_that_clash(tmp_path, kind, names):
    archive = MAKERS[kind](tmp_path / f"x.{kind}", [(name, b"x") for name in names])
    refused(tmp_path, archive, "clashes with")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *(
            ("tar", {"type": tarfile.SYMTYPE, "linkname": link})
            for link in ("/etc/passwd", "a.png")
        ),
        *(("tar", {"type": tarfile.LNKTYPE, "linkname": link}) for link in ("../../x", "a.png")),
        *(("tar", {"type": kind}) for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)),
        *(("zip", {"mode": m}) for m in (stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR)),
    ],
)
def test_links_and_devices(tmp_path, kind, fields):
    content = b"" if kind == "tar" else b"/etc/passwd"
    archive = MAKERS[kind](tmp_path / f"x.{kind}", {"b.png": content}, **fields)
    refused(tmp_path, archive, "is a link(, a sparse file)? or a special file")


def test_bombs_are_stopped_by_the_bytes_written(tmp_path):
    """Each file is within its declared size; together they are more than is allowed."""
    bomb = {f"{number}.bin": bytes(100_000) for number in range(3)}
    limits = Limits(total=250_000)
    for archive in (zip_file(tmp_path / "x.zip", bomb), tar_file(tmp_path / "x.tar.gz", bomb)):
        assert archive.stat().st_size < 2_000
        refused(tmp_path, archive, "'2.bin' makes more than the 250000 bytes", limits)
    unpack(tmp_path / "x.zip", tmp_path / "good", Limits(total=300_000))
    assert len(tree(tmp_path / "good")) == 3
    archive = zip_file(tmp_path / "y.zip", {"0.bin": bytes(1_000_000)})
    ratio = 1_000_000 // archive.stat().st_size
    refused(tmp_path, archive, "makes more than", Limits(free_of_ratio=0, ratio=ratio))
    unpack(archive, tmp_path / "fine", Limits(free_of_ratio=0, ratio=ratio + 1))


def test_a_zip_that_lies_about_its_size_or_is_encrypted(tmp_path):
    archive = zip_file(tmp_path / "x.zip", {"0.bin": bytes(100_000)})
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    refused(tmp_path, archive, "is damaged", Limits(total=1_000))
    encrypted = bytearray(raw)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[raw.index(mark) + offset] |= 1
    archive.write_bytes(encrypted)
    refused(tmp_path, archive, "is encrypted")


def test_claims_of_gigabytes_and_too_many_members(tmp_path):
    """A sparse file whose 10 GB are a claim of its header, a plain one cut short, and a header."""
    sparse = tmp_path / "sparse.bin"
    with sparse.open("wb") as stream:
        stream.truncate(10 * 10**9)
    shutil.which("tar") or pytest.fail("GNU tar makes the archive of this test")
    subprocess.run(
        ["tar", "--sparse", "--format=gnu", "-cf", "x.tar", sparse.name], cwd=tmp_path, check=True
    )
    sparse.unlink()
    assert (tmp_path / "x.tar").stat().st_size < 20_000
    refused(tmp_path, tmp_path / "x.tar", "sparse file")
    for name, size, kind, message in (
        ("big.bin", 10 * 10**9, tarfile.REGTYPE, "makes more than the 1000000000 bytes"),
        ("././@LongLink", 3 * 10**9, tarfile.GNUTYPE_LONGNAME, "header of 3000000000 bytes"),
    ):
        info = tarfile.TarInfo(name)
        info.size, info.type = size, kind
        (tmp_path / "y.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
        refused(tmp_path, tmp_path / "y.tar", message)
    archive = zip_file(tmp_path / "x.zip", {f"{number}": b"" for number in range(5)})
    refused(tmp_path, archive, "one of more than 4", Limits(members=4))


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz", "tar.bz2", "tar"])
def test_damaged_archives(tmp_path, ending):
    make = zip_file if ending == "zip" else tar_file
    good = make(tmp_path / f"x.{ending}", {"a.bin": os.urandom(50_000)}).read_bytes()
    for damaged in (good[: len(good) // 2], b"<html>not found</html>" * 50, b""):
        (tmp_path / f"x.{ending}").write_bytes(damaged)
        refused(tmp_path, tmp_path / f"x.{ending}", "is damaged|cannot be unpacked")


def test_a_full_disk_and_an_interrupt_leave_nothing(tmp_path, monkeypatch):
    def failing(error: BaseException):
        def write(*_: object) -> None:
            raise error

        return write

    archive = zip_file(tmp_path / "x.zip", FILES)
    with monkeypatch.context() as patch:
        patch.setattr(archives._Writer, "write", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(archives._Writer, "write", failing(full))
        refused(tmp_path, archive, "the disk of .* is full; free space")
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused(tmp_path, archive, "is full")


def test_archives_for_a_person_to_unpack_and_a_folder_that_is_there(tmp_path):
    for name in ("x.7z", "x.RAR", "x.exe"):
        (tmp_path / name).write_bytes(b"7z")
        with pytest.raises(DataError, match="unpack it by hand and name the folder as raw_path"):
            unpack(tmp_path / name, tmp_path / "out")
    archive = zip_file(tmp_path / "x.zip", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("times", [1, -1])
def test_a_name_in_broken_unicode_is_damage(tmp_path, times):
    """In the header before a file, or in the list at the end, too."""
    archive = zip_file(tmp_path / "x.zip", {"\u00e9.png": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"\xc3\xa9", b"\xc3\xc3", times))
    refused(tmp_path, archive, "is damaged or no such archive .'utf-8' codec can't decode")


@pytest.mark.parametrize("size", [0, 1, 3, 9, 10, 30])
@pytest.mark.parametrize("ending", ["tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_is_cut_is_damage(tmp_path, ending, size):
    """Also in the middle of the header of its compression, with a name in it."""
    archive = tar_file(tmp_path / f"x.{ending}", FILES)
    whole = bytearray(archive.read_bytes())
    if ending == "tar.gz":
        whole[3] |= 0x1C  # Further fields, a name and a comment.
    archive.write_bytes(whole[:size])
    refused(tmp_path, archive, "is damaged or no such archive|cannot be unpacked")
