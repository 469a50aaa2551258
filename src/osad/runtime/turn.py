"""One run at a time in a folder, and what a run that was ended has left there.

Snakemake's own lock outlives a run that is killed, and two runs that start together both get it.
This one is the system's: it goes when the process, its fork server and the jobs of that have gone.
"""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from osad.core.errors import ConfigError
from osad.runtime import snakemake_records as records

PLACE = Path(".osad/run")
"""Locked while a run is here; says whose run it is, from its first job until it is complete."""
ENDING_SECONDS = 10.0
"""How long the jobs of a run that was killed may take to end."""


class Turn:
    """The turn of this process to run in the current folder.

    Attributes:
        file: descriptor of what is locked; the fork server inherits it. None where there are no
            such locks.
        mine: whether this process has it.
    """

    def __init__(self) -> None:
        """Have no turn yet."""
        self.file: int | None = None
        self.mine = False

    def take(self, outputs: Iterable[str]) -> bool:
        """Take the turn unless another run has it, and remove what Snakemake has left locked.

        Args:
            outputs: what runs here make.

        Returns:
            whether the run before did not come to its end.

        Raises:
            ConfigError: the folder cannot be written to.
        """
        with _told():
            PLACE.parent.mkdir(exist_ok=True)
            self.file = os.open(PLACE, os.O_RDWR | os.O_CREAT, 0o666)
        deadline = time.monotonic() + ENDING_SECONDS
        try:
            while not self._lock() and time.monotonic() < deadline and not _lives(self._owner()):
                time.sleep(0.05)
        except OSError:  # A file system without such locks: Snakemake's must do.
            self.file = None
        owner = self._owner() if self.mine else ""
        if self.mine and owner.partition(" ")[2] in ("", socket.gethostname()):
            records.unlock(outputs)
        return bool(owner)

    def begin(self) -> None:
        """Say that jobs are about to run.

        Raises:
            ConfigError: another run has the turn, or the folder cannot be written to.
        """
        if self.file is None:
            return
        if not self.mine and not self._lock():
            owner = self._owner().partition(" ")[0]
            who = f", process {owner}," if owner else ""
            raise ConfigError(f"another snakemake{who} runs in this folder; wait for its end")
        self._say(f"{os.getpid()} {socket.gethostname()}")

    def complete(self) -> None:
        """Say that nothing is left to do."""
        if self.mine:
            self._say("")

    def _say(self, text: str) -> None:
        if self.file is not None:
            with _told():
                os.ftruncate(self.file, 0)
                os.pwrite(self.file, text.encode(), 0)

    def _lock(self) -> bool:
        if self.file is not None:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.mine = True
        return self.mine

    def _owner(self) -> str:
        return "" if self.file is None else os.pread(self.file, 1000, 0).decode()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{PLACE}: cannot be written ({error.strerror}); see to it") from error


def _lives(owner: str) -> bool:
    """Tell whether the process of an owner may live; one that has not said so yet may."""
    name, _, host = owner.partition(" ")
    if not name.isdigit() or host != socket.gethostname():
        return True
    try:
        os.kill(int(name), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
