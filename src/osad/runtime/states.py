"""What the system says of files, so that it is known later whether any of them has changed.

Size, times and number of a file change when it is written, replaced or linked; nobody but the
system sets the time of the last change, so bytes that were edited and given their old time show.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import osad

TICK_SECONDS = 2.0
"""What a file system's times may lag behind the clock; some count whole seconds."""


@dataclass(frozen=True)
class State:
    """The state of files.

    Attributes:
        digest: SHA-256 of what the system says of each.
        settled: whether all of them are older than this process, so that it has read what is there.
    """

    digest: str
    settled: bool


def state(paths: Iterable[str]) -> State:
    """Return the state of files, in this order; one that is not there has a state too."""
    digest, settled = hashlib.sha256(), True
    latest = (osad.STARTED - TICK_SECONDS) * 1e9
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            told = "absent"
        else:
            told = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
            settled = settled and found.st_ctime_ns < latest
        digest.update(f"{path}\0{told}\0".encode(errors="surrogateescape"))
    return State(digest.hexdigest(), settled)


def below(places: Iterable[str]) -> Iterator[str]:
    """Yield files, and all below folders and linked ones but compiled ones, ordered by name."""
    for place in places:
        if not os.path.isdir(place):
            yield place
            continue
        seen: set[str] = set()
        for folder, folders, names in os.walk(place, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # A link that leads back.
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(set(folders) - {"__pycache__"})
            yield from (f"{folder}/{name}" for name in sorted(names))
