"""Made-up archives: unpacked inside their folder, or refused without leaving anything."""

import bz2
import gzip
import io
import lzma
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from fuzz_cases import ODD, damaged, tried

from osad.core.errors import DataError
from osad.data.fetch.archives import Limits, unpack

pytestmark = pytest.mark.fuzz
GOOD = ["a.png", "b/a.png", "c/é.png", "./d.png", "x"]
NAMES = ["a.png", "A.png", "b/a.png", "b", "b/", "./a.png", "../a", "/etc/a", "b/../../a", "C:\\a",
         "a\\b", "a//b", ".", "", "b/.", "con", "\x1b[31m", "x" * 300, "d/" * 200 + "a",
         *(odd[:400] for odd in ODD if odd != "\ud800")]  # fmt: skip
LIMITS = Limits(total=100_000, ratio=50, free_of_ratio=5000, members=6)
KINDS = [tarfile.REGTYPE] * 20 + [
    tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
    tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE,
]  # fmt: skip
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress,
}  # fmt: skip


def members(draw: random.Random) -> list[tuple[str, bytes]]:
    """Draw names and contents; half of the archives have only good ones."""
    if draw.randrange(2):
        return [(name, bytes(draw.choice([0, 1, 600]))) for name in draw.sample(GOOD, k=3)]
    sizes = (0, 1, 10, 600, 9000, 200_000)
    return [(draw.choice(NAMES), bytes(draw.choice(sizes))) for _ in range(draw.randint(0, 7))]


def made_tar(draw: random.Random) -> bytes:
    stream = io.BytesIO()
    form = draw.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=stream, mode="w", format=form) as target:
        for name, content in members(draw):
            info = tarfile.TarInfo(name)
            info.type, info.size = draw.choice(KINDS), len(content)
            info.linkname = draw.choice(["", "a.png", "/etc/passwd", "../../x"])
            info.mode = draw.choice([0o644, 0, 0o4777])
            if form == tarfile.PAX_FORMAT and not draw.randrange(5):
                info.pax_headers = {draw.choice(["path", "size", "GNU.sparse.size"]): "5"}
            try:
                target.addfile(info, io.BytesIO(content))
            except (ValueError, OverflowError):
                continue  # Python writes no such member.
    return stream.getvalue()


def made_zip(draw: random.Random) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, content in members(draw):
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, draw.choice([0o100644, 0o120777, 0]) << 16
            kind = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
            target.writestr(info, content, kind)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", *PACKED])
def test_any_archive_is_unpacked_in_its_place_or_refused(tmp_path, kind):
    path, out = tmp_path / f"x.{kind}", tmp_path / "out"
    unpacked = 0

    def one(draw: random.Random) -> None:
        nonlocal unpacked
        content = made_zip(draw) if kind == "zip" else made_tar(draw)
        if not draw.randrange(3):
            content = damaged(content, draw)
        content = PACKED.get(kind, bytes)(content)
        path.write_bytes(content if draw.randrange(4) else damaged(content, draw))
        shutil.rmtree(out, ignore_errors=True)
        try:
            unpack(path, out / "x", LIMITS)
        except DataError:
            assert not [*out.rglob("*")]
            raise
        finally:
            assert sorted(found.name for found in tmp_path.iterdir()) == ["out", path.name]
        files = [found for found in out.rglob("*") if not found.is_dir()]
        assert not any(found.is_symlink() or not found.is_file() for found in files)
        assert sum(found.stat().st_size for found in files) <= LIMITS.total
        assert all(found.stat().st_mode & 0o7000 == 0 for found in files)
        unpacked += bool(files)

    messages, _ = tried(100, one)
    assert len(messages) > 20
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert unpacked > 2
