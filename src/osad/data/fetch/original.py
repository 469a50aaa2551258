"""The original files of a data set: archives that a user has or that are downloaded."""

import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_json, write_json
from osad.core.kinds import fits
from osad.data.fetch.archives import is_archive, stem, unpack
from osad.data.fetch.download import Stopped, Unreachable, digest_of, download
from osad.data.registry import Archive, DatasetSpec, Settings
from osad.data.source import Files, fill, tell

DOWNLOADS = Path("data/downloads")
"""Where archives are kept, one folder for each data set."""

DIGESTS = "digests.json"
"""File beside the archives: digests found at first sight, of archives that have no known one."""

KEPT = re.compile("sha256:[0-9a-f]{64}")

PARALLEL = 4
"""Archives that are downloaded at the same time."""

UNPACKED = "unpacked-"
DEPTH = 5
"""Folders inside each other that are searched."""


class MissingData(DataError):
    """The original files are not here, and a person has to get them."""


def published(
    raw_files: Callable[[Path, Settings], Files], *, source: str
) -> Callable[[DatasetSpec, Path, Settings], None]:
    """Return the fetch of a data set that its authors publish as archives.

    Args:
        raw_files: returns the raw files from the folder with the unpacked archives; raises
            DataError if they are not as published.
        source: where the files come from, kept in ``SOURCE.json``.
    """

    def fetch(spec: DatasetSpec, raw_dir: Path, settings: Settings) -> None:
        with originals(spec.name, spec.archives, settings) as root:
            fill(raw_dir, spec.name, source=source, files=raw_files(root, settings))

    return fetch


@contextmanager
def originals(dataset: str, archives: Sequence[Archive], settings: Settings) -> Iterator[Path]:
    """Give a folder with the unpacked original files of a data set, for the time of the block.

    The files come from, in this order: the setting ``raw_path`` (a folder with the unpacked files,
    a folder with all the archives, or one archive; nothing in it is changed); archives that lie in
    ``data/downloads/{dataset}``; their addresses. Archives are unpacked to a temporary folder,
    which is deleted at the end. Several archives are unpacked to one folder each, named after
    them; the files of a single one lie in the folder given.

    Raises:
        MissingData: a person has to get a file; the message says which, where, and where to put it.
        ConfigError: ``raw_path`` overlaps the project's copy of the data set.
        CheckError: an archive has not the digest that it must have.
        DataError: an archive is damaged or refused, or the disk is full.
    """
    place = DOWNLOADS / dataset
    raw_path = settings.get("raw_path")
    fresh: dict[str, str] = {}
    if raw_path is None:
        paths = _downloaded(dataset, archives)
        fresh = _check_kept(place, archives)
    else:
        paths = _named(dataset, archives, raw_path)
        if not paths:
            yield Path(raw_path)
            return
    place.mkdir(parents=True, exist_ok=True)
    for leftover in place.glob(f"{UNPACKED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=UNPACKED, dir=place) as temporary:
        root = Path(temporary, "originals")
        for path in paths:
            tell(dataset, f"unpacking {path.name}")
            unpack(path, root if len(paths) == 1 else root / stem(path.name))
        yield root
    _keep(place, fresh)


def locate(root: Path, *names: str) -> Path:
    """Find the folder that holds some entries: ``root`` itself or the one nearest below it.

    Archives often wrap their content in one or more folders.

    Raises:
        DataError: there is no such folder, or there are several as near.
    """
    level = [root]
    for _ in range(DEPTH):
        hits = [folder for folder in level if all((folder / name).exists() for name in names)]
        if len(hits) > 1:
            raise DataError(f"{hits[0]} and {hits[1]} both hold {', '.join(names)}; remove one")
        if hits:
            return hits[0]
        level = sorted(
            entry
            for folder in level
            for entry in (folder.iterdir() if folder.is_dir() else ())
            if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
        )
    raise DataError(
        f"{root}: no folder in it holds {', '.join(names)}; it is not the data set as its authors "
        "publish it, get it again"
    )


def locate_named(root: Path, name: str) -> Path:
    """Find the folder of this name that is nearest, or the one of the same name right inside it.

    An archive ``x.zip`` among several may or may not wrap its content in a folder ``x``.

    Raises:
        DataError: there is none, or there are several as near.
    """
    folder = locate(root, name) / name
    return folder / name if (folder / name).is_dir() else folder


def how_to_get(dataset: str, archives: Sequence[Archive]) -> str:
    """Return how a person gets the archives of a data set, and where to put them.

    Example:
        >>> archive = Archive(file="x.zip", page="https://x.org/data", needs="an account")
        >>> how_to_get("x", [archive])
        'get x.zip from https://x.org/data (needs an account) and put it into data/downloads/x'
    """
    pages: dict[tuple[str, str], list[str]] = {}
    for archive in archives:
        pages.setdefault((archive.page, archive.needs), []).append(archive.file)
    texts = [
        f"{', '.join(files)} from {page}" + (f" (needs {needs})" if needs else "")
        for (page, needs), files in pages.items()
    ]
    pronoun = "it" if len(archives) == 1 else "them"
    return f"get {'; '.join(texts)} and put {pronoun} into {(DOWNLOADS / dataset).as_posix()}"


def _named(dataset: str, archives: Sequence[Archive], raw_path: str) -> list[Path]:
    """Return the archives that ``raw_path`` names; none when it is a folder of unpacked files."""
    where = f"datasets.{dataset}.raw_path"
    path, copy = Path(raw_path), Path("data/raw", dataset)
    here, there = path.resolve(), copy.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ConfigError(f"params.yaml, {where}: {path} must not overlap {copy}")
    if path.is_file():
        if not is_archive(path):
            raise DataError(f"{path}: {where} is neither a folder nor an archive; correct it")
        if len(archives) > 1:
            raise DataError(
                f"{path}: {where} is one archive, but {dataset!r} has {len(archives)}: "
                f"{', '.join(archive.file for archive in archives)}; name the folder of them"
            )
        for archive in archives:
            if archive.file == path.name:  # Another name is another archive, a person's own.
                _check(path, archive.digest)
        return [path]
    if not path.is_dir():
        raise MissingData(
            f"{path}: {where} does not exist; correct it, or {how_to_get(dataset, archives)} and "
            "remove the setting"
        )
    if not archives or not all((path / archive.file).is_file() for archive in archives):
        return []
    for archive in archives:
        _check(path / archive.file, archive.digest)
    return [path / archive.file for archive in archives]


def _downloaded(dataset: str, archives: Sequence[Archive]) -> list[Path]:
    """Return the archives in the folder of downloads after downloading those that are not there."""
    if not archives:
        raise MissingData(
            f"data set {dataset!r}: nothing can be downloaded; name the folder of its files as "
            f"datasets.{dataset}.raw_path in params.yaml"
        )
    place = DOWNLOADS / dataset
    absent = [archive for archive in archives if not (place / archive.file).is_file()]
    by_hand = [archive for archive in absent if not archive.url]
    if by_hand:
        raise MissingData(
            f"data set {dataset!r} is not here and a person has to get it: "
            f"{_remedy(dataset, by_hand)}"
        )
    _download_all(dataset, absent, place)
    return [place / archive.file for archive in archives]


def _remedy(dataset: str, archives: Sequence[Archive]) -> str:
    return (
        f"{how_to_get(dataset, archives)}, or name your copy as datasets.{dataset}.raw_path in "
        "params.yaml; then run the same command again"
    )


def _download_all(dataset: str, archives: Sequence[Archive], place: Path) -> None:
    """Download several archives at the same time; the first failure stops the others."""
    stop = threading.Event()

    def fetch(archive: Archive) -> None:
        tell(dataset, f"downloading {archive.url}")
        target, digest, size = place / archive.file, archive.digest, archive.size
        try:
            download(archive.url, target, digest=digest, size=size, stop=stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(PARALLEL) as pool:
        tasks = [pool.submit(fetch, archive) for archive in archives]
        try:
            errors = [error for task in tasks if (error := task.exception()) is not None]
        except BaseException:  # The process is asked to end.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    # What a server gave is wrong before one that cannot be reached, and that before the stopped.
    errors.sort(key=lambda error: isinstance(error, Unreachable) + isinstance(error, Stopped))
    if errors and isinstance(errors[0], Unreachable):
        raise MissingData(
            f"{errors[0]}; data set {dataset!r} is not here: connect to the network and run the "
            f"same command again, or {_remedy(dataset, archives)}"
        ) from errors[0]
    if errors:
        raise errors[0]


def _check(path: Path, digest: str) -> str:
    """Check the digest of an archive if one is known; return the digest of the file.

    Raises:
        CheckError: it is another one.
    """
    actual = digest_of(path, digest)
    if digest and actual != digest.lower():
        (kind, value), expected = actual.split(":"), digest.partition(":")[2]
        raise CheckError(
            f"{path}: its {kind} is {value}, expected {expected}; it is damaged or another "
            "version. Delete it and get it again"
        )
    return actual


def _check_kept(place: Path, archives: Sequence[Archive]) -> dict[str, str]:
    """Check the archives in the folder of downloads.

    Returns:
        the digests of archives that have no known one and none that was kept.

    Raises:
        CheckError: a digest is another one than the known or the kept one.
        DataError: an archive, or the list of those that were kept, cannot be read.
    """
    kept, fresh = _kept(store := place / DIGESTS), {}
    for archive in archives:
        try:
            digest = _check(place / archive.file, archive.digest or kept.get(archive.file, ""))
        except CheckError as error:
            if archive.digest:
                raise
            raise CheckError(
                f"{error}, or, if its authors have published another one, delete {store}"
            ) from error
        if not archive.digest and archive.file not in kept:
            fresh[archive.file] = digest
    return fresh


def _kept(store: Path) -> dict[str, str]:
    """Return the digests that were kept, by file; none where there is no such list."""
    kept = read_json(store) if store.is_file() else {}
    if not fits(kept, dict[str, str]) or not all(map(KEPT.fullmatch, kept.values())):
        raise DataError(f"{store}: is no list of digests; delete it")
    return dict(kept)


def _keep(place: Path, fresh: Mapping[str, str]) -> None:
    """Keep digests of archives that turned out to be good, and say so."""
    store = place / DIGESTS
    if fresh:
        write_json(store, _kept(store) | dict(fresh))
    for name, digest in fresh.items():
        tell(
            name,
            f"its digest is not published; {digest} is kept in {store} and compared from now on",
        )
