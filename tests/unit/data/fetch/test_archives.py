"""Unpacking: good archives, and every kind of hostile one."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from data_cases import tree

from osad.core.errors import DataError
from osad.data.fetch import archives
from osad.data.fetch.archives import Limits, unpack

FILES = {"set/a.png": b"one", "set/deep er/b.png": b"two" * 100, "c.csv": b""}


def zip_file(path: Path, members: dict[str, bytes], **options: object) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # unlike the constructor this changes nothing in the name
            info.external_attr = int(options.get("mode", 0o644 | stat.S_IFREG)) << 16
            target.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def tar_file(path: Path, members: dict[str, bytes], **fields: object) -> Path:
    kind = {".gz": "gz", ".xz": "xz", ".bz2": "bz2"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{kind}") as target:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            target.addfile(info, io.BytesIO(content))
    return path


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


NAMES = [
    ("/etc/passwd", "is absolute"),
    ("C:/x.png", "is absolute"),
    ("../x.png", r"'\.\.'"),
    ("a/../../x.png", r"'\.\.'"),
    ("a/./x.png", r"'\.'"),
    ("a//x.png", "empty part"),
    ("a\\x.png", "backslash"),
    ("..\\x.png", "backslash"),
    ("a\nx.png", "control character"),
    ("a\x1b[31mx.png", "control character"),
    ("a\u2028x.png", "control character"),
]


@pytest.mark.parametrize(("name", "message"), NAMES)
@pytest.mark.parametrize("make", [zip_file, tar_file])
def test_hostile_names(tmp_path, make, name, message):
    ending = "zip" if make is zip_file else "tar"
    archive = make(tmp_path / f"x.{ending}", {"a.png": b"one", name: b"evil"})
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
        ("a.png", "a.png"),
        ("a.png", "A.PNG"),
        ("a/x.png", "A/y.png"),
        ("a", "a/x.png"),
        ("a/x.png", "a"),
        ("stra\u00dfe.png", "STRASSE.png"),
        ("\u00e9.png", "e\u0301.png"),
        ("a.png", "./a.png"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_names_that_clash(tmp_path, kind, names):
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as target:
            for name in names:
                target.writestr(name, b"x")
    else:
        with tarfile.open(path, "w") as target:
            for name in names:
                target.addfile(tarfile.TarInfo(name))
    refused(tmp_path, path, "clashes with")


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "a.png"),
        (tarfile.LNKTYPE, "../../x"),
        (tarfile.LNKTYPE, "a.png"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_tar(tmp_path, kind, link):
    archive = tar_file(tmp_path / "x.tar", {"b.png": b""}, type=kind, linkname=link)
    refused(tmp_path, archive, "is a link, a sparse file or a special file")


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR])
def test_links_and_devices_in_zip(tmp_path, mode):
    archive = zip_file(tmp_path / "x.zip", {"b.png": b"/etc/passwd"}, mode=mode)
    refused(tmp_path, archive, "is a link or a special file")


def test_an_encrypted_zip(tmp_path):
    archive = zip_file(tmp_path / "x.zip", {"b.png": b"secret"})
    raw = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + offset] |= 1
    archive.write_bytes(raw)
    refused(tmp_path, archive, "is encrypted")


def test_bombs_are_stopped_by_the_bytes_written(tmp_path):
    """Each file is within its declared size; together they are more than is allowed."""
    bomb = {f"{number}.bin": bytes(100_000) for number in range(3)}
    limits = Limits(total=250_000)
    for archive in (zip_file(tmp_path / "x.zip", bomb), tar_file(tmp_path / "x.tar.gz", bomb)):
        assert archive.stat().st_size < 2_000
        refused(tmp_path, archive, "'2.bin' makes more than the 250000 bytes", limits)
    unpack(tmp_path / "x.zip", tmp_path / "good", Limits(total=300_000))
    assert len(tree(tmp_path / "good")) == 3


def test_bombs_are_stopped_by_their_ratio(tmp_path):
    archive = zip_file(tmp_path / "x.zip", {"0.bin": bytes(1_000_000)})
    size = archive.stat().st_size
    ratio = 1_000_000 // size
    refused(tmp_path, archive, "makes more than", Limits(free_of_ratio=0, ratio=ratio))
    unpack(archive, tmp_path / "good", Limits(free_of_ratio=0, ratio=ratio + 1))


def test_a_zip_that_lies_about_its_size(tmp_path):
    archive = zip_file(tmp_path / "x.zip", {"0.bin": bytes(100_000)})
    raw = archive.read_bytes().replace(struct.pack("<I", 100_000), struct.pack("<I", 10))
    archive.write_bytes(raw)
    refused(tmp_path, archive, "is damaged", Limits(total=1_000))


def test_claims_of_ten_gigabytes(tmp_path):
    """A sparse file whose 10 GB are a claim of its header, and a plain one cut short."""
    sparse = tmp_path / "sparse.bin"
    with sparse.open("wb") as stream:
        stream.truncate(10 * 10**9)
    shutil.which("tar") or pytest.fail("GNU tar makes the archive of this test")
    os.system(f"cd {tmp_path} && tar --sparse --format=gnu -cf x.tar sparse.bin")
    sparse.unlink()
    assert (tmp_path / "x.tar").stat().st_size < 20_000
    refused(tmp_path, tmp_path / "x.tar", "sparse file")
    info = tarfile.TarInfo("big.bin")
    info.size = 10 * 10**9
    (tmp_path / "y.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    refused(tmp_path, tmp_path / "y.tar", "makes more than the 1000000000 bytes")


def test_an_extended_header_that_would_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.size, info.type = 3 * 10**9, tarfile.GNUTYPE_LONGNAME
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    refused(tmp_path, tmp_path / "x.tar", "header of 3000000000 bytes")


def test_too_many_members(tmp_path):
    archive = zip_file(tmp_path / "x.zip", {f"{number}": b"" for number in range(5)})
    refused(tmp_path, archive, "one of more than 4", Limits(members=4))


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz", "tar.bz2", "tar"])
def test_damaged_archives(tmp_path, ending):
    make = zip_file if ending == "zip" else tar_file
    good = make(tmp_path / f"x.{ending}", {"a.bin": os.urandom(50_000)}).read_bytes()
    for damaged in (good[: len(good) // 2], b"<html>not found</html>" * 50, b""):
        (tmp_path / f"x.{ending}").write_bytes(damaged)
        refused(tmp_path, tmp_path / f"x.{ending}", "is damaged|cannot be unpacked")


def test_a_full_disk(tmp_path, monkeypatch):
    archive = zip_file(tmp_path / "x.zip", FILES)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archives._Writer, "write", full)
        refused(tmp_path, archive, "the disk of .* is full; free space")
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    refused(tmp_path, archive, "is full")


def test_an_interrupted_unpacking_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    archive = zip_file(tmp_path / "x.zip", FILES)
    monkeypatch.setattr(archives._Writer, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize("name", ["x.7z", "x.RAR", "x.exe"])
def test_archives_for_a_person_to_unpack(tmp_path, name):
    (tmp_path / name).write_bytes(b"7z")
    with pytest.raises(DataError, match="unpack it by hand and name the folder as raw_path"):
        unpack(tmp_path / name, tmp_path / "out")


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    archive = zip_file(tmp_path / "x.zip", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine.txt": b"mine"}
