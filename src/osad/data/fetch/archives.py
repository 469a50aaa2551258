"""Unpacking archives that others made, without trusting them.

Only plain files and folders are unpacked; nothing is ever written outside the target folder, and
an archive that is refused leaves no file behind. Sizes are counted while writing, since the sizes
that an archive declares may be wrong.
"""

import errno
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from osad.core.errors import DataError
from osad.data.manifest import path_problem

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
"""Endings of the archives that can be unpacked, in lower case."""

FOREIGN = (".7z", ".rar")
"""Endings of archives that a person has to unpack."""

CHUNK = 1 << 20
MAX_HEADER = 1 << 20
"""Bytes of a tar archive's extended header."""


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    Attributes:
        total: bytes of all files.
        ratio: bytes of all files for each byte of the archive, beyond ``free_of_ratio`` bytes.
        free_of_ratio: bytes that any archive may unpack to.
        members: files and folders.
    """

    total: int = 64 * 10**9
    ratio: int = 200
    free_of_ratio: int = 10**9
    members: int = 500_000

    def allowed(self, size: int) -> int:
        """Return how many bytes an archive of ``size`` bytes may unpack to."""
        return min(self.total, max(self.free_of_ratio, self.ratio * size))


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive, one that can be unpacked here or not."""
    return path.name.lower().endswith((*ENDINGS, *FOREIGN))


def stem(name: str) -> str:
    """Return an archive's name without its ending.

    Example:
        >>> stem("mvtec_anomaly_detection.tar.xz"), stem("Class1.zip")
        ('mvtec_anomaly_detection', 'Class1')
    """
    endings = [ending for ending in (*ENDINGS, *FOREIGN) if name.lower().endswith(ending)]
    return name[: -max(map(len, endings))] if endings else name


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> None:
    """Unpack a zip or tar archive into a folder that does not exist yet.

    Refused are absolute paths, drive letters, ``..``, backslashes, names with control characters
    or that are not valid Unicode, names that differ in case only or occur twice, links, devices,
    sparse files, encrypted files, and archives that unpack to more than the limits or than the
    disk has room for. Rights, owners and times of the archive are not taken over.

    The archive's name says its kind (see `ENDINGS`). The folder appears only when all is unpacked.

    Raises:
        DataError: the archive is of an unknown kind, damaged or refused, or cannot be written.
    """
    name = archive.name.lower()
    if not name.endswith(ENDINGS):
        raise DataError(
            f"{archive}: is not a zip or tar archive, others cannot be unpacked here; unpack it by "
            "hand and name the folder as raw_path of the data set in params.yaml"
        )
    if folder.exists():
        raise DataError(f"{folder}: is there already; delete it and try again")
    temporary = folder.with_name(f".{folder.name}.unpacking")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        writer = _Writer(archive, temporary, limits or Limits())
        unpack_kind = _unpack_zip if name.endswith(".zip") else _unpack_tar
        unpack_kind(archive, writer)
        temporary.rename(folder)
    except DataError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{archive}: the disk of {folder.parent} is full; free space and try again"
            ) from error
        raise DataError(
            f"{archive}: cannot be unpacked ({error.strerror or error}); check the file and the "
            f"rights of {folder.parent}, or get the archive again"
        ) from error
    except Exception as error:  # Damaged archives make the readers raise nearly anything.
        raise DataError(
            f"{archive}: is damaged or no such archive ({error or type(error).__name__}); delete "
            "it and get it again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass
class _Writer:
    """Writes the members of one archive and keeps count.

    Attributes:
        archive: the archive, for messages.
        folder: where the members are written.
        limits: what the archive may unpack to.
        seen: path and whether it is a folder, by the path in the form by which names clash.
        written: bytes so far.
        members: number so far.
    """

    archive: Path
    folder: Path
    limits: Limits
    seen: dict[str, tuple[str, bool]] = field(default_factory=dict)
    written: int = 0
    members: int = 0

    def __post_init__(self) -> None:
        self.allowed = self.limits.allowed(self.archive.stat().st_size)

    def refuse(self, member: str, problem: str) -> DataError:
        """Return the error for a member that is not unpacked."""
        return DataError(
            f"{self.archive}: the member {member!a} {problem}; the archive is refused. Get it again"
            " from its authors, or unpack it by hand and name the folder as raw_path"
        )

    def add(self, name: str, *, is_folder: bool, size: int) -> Path | None:
        """Check a member and return where to write it, or None for the top folder itself."""
        self.members += 1
        if self.members > self.limits.members:
            raise self.refuse(name, f"is one of more than {self.limits.members}")
        plain = name.removesuffix("/") if is_folder else name
        while plain.startswith("./"):
            plain = plain[2:]
        if plain in ("", ".") and is_folder:
            return None
        problem = path_problem(plain)
        if problem:
            raise self.refuse(name, problem)
        self._claim(plain, is_folder=is_folder)
        if size < 0 or self.written + size > self.allowed:
            raise self.refuse(name, self._too_much())
        if size > shutil.disk_usage(self.folder).free:
            raise OSError(errno.ENOSPC, "no space left")
        target = self.folder / plain
        (target if is_folder else target.parent).mkdir(parents=True, exist_ok=True)
        return target

    def _too_much(self) -> str:
        return f"makes more than the {self.allowed} bytes that it may unpack to"

    def _claim(self, plain: str, *, is_folder: bool) -> None:
        """Check that a path and the folders on the way to it clash with no other name."""
        parts = plain.split("/")
        for end in range(1, len(parts) + 1):
            path, kind = "/".join(parts[:end]), is_folder or end < len(parts)
            key = unicodedata.normalize("NFC", path).casefold()
            known = self.seen.get(key)
            if known is None:
                self.seen[key] = (path, kind)
            elif known != (path, True) or not kind:
                raise self.refuse(plain, f"clashes with {known[0]!a}")

    def write(self, name: str, stream: IO[bytes], target: Path) -> None:
        """Write a file from a stream, never more than is allowed."""
        with target.open("xb") as output:
            while chunk := stream.read(CHUNK):
                self.written += len(chunk)
                if self.written > self.allowed:
                    raise self.refuse(name, self._too_much())
                output.write(chunk)


def _unpack_zip(archive: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            name = info.orig_filename  # `filename` ends at a NUL.
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise writer.refuse(name, "is a link or a special file")
            if info.flag_bits & 1:
                raise writer.refuse(name, "is encrypted")
            is_folder = name.endswith("/")
            target = writer.add(name, is_folder=is_folder, size=info.file_size)
            if target is not None and not is_folder:
                with source.open(info) as stream:
                    writer.write(name, stream, target)


class _TarMember(tarfile.TarInfo):
    """A member whose extended header, which is read into memory, is not too large."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        # tarfile's own place for special treatment of kinds of members.
        if self.size > MAX_HEADER and not (self.isreg() or self.isdir()):
            raise DataError(
                f"{archive.name!s}: a header of {self.size} bytes; the archive is refused. Get it "
                "again from its authors, or unpack it by hand and name the folder as raw_path"
            )
        return super()._proc_member(archive)  # type: ignore[misc]


def _unpack_tar(archive: Path, writer: _Writer) -> None:
    # As a stream: an archive of several GB is decompressed once only.
    with tarfile.open(archive, mode="r|*", tarinfo=_TarMember) as source:
        for member in source:
            name = member.name
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise writer.refuse(name, "is a link, a sparse file or a special file")
            target = writer.add(name, is_folder=member.isdir(), size=member.size)
            if hasattr(tarfile, "data_filter"):  # A second opinion, from Python 3.11.4 on.
                try:
                    tarfile.data_filter(member, str(writer.folder))
                except tarfile.FilterError as error:
                    raise writer.refuse(name, f"is refused ({error})") from error
            stream = source.extractfile(member) if member.isreg() else None
            if target is not None and stream is not None:
                writer.write(name, stream, target)
