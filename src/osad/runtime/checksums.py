"""Let Snakemake hash a large file once a run.

After each job Snakemake hashes all inputs of the job again, which for feature packs of hundreds of
megabytes takes most of its own time: 0.2 s of each job here, more than all else that it does.
"""

from __future__ import annotations

import os
from typing import Any

SMALLEST = 1_000_000
"""Bytes from which remembering pays; smaller files are hashed each time."""


def remember_checksums() -> None:
    """Make Snakemake remember the digests of large files by name, size, time and inode.

    Every way in which a job or a person replaces a file changes one of these. A file that is
    edited in place with its time set back would be noticed by the ledger, which hashes anew.
    """
    from snakemake.io import _IOFile

    original = _IOFile.checksum
    if getattr(original, "remembers", False):
        return
    known: dict[tuple[Any, ...], Any] = {}

    async def checksum(
        self: Any, threshold: Any = None, force: bool = False, algorithm: Any = None
    ) -> Any:
        try:
            stat = os.stat(self.file)
        except OSError:
            return await original(self, threshold, force, algorithm)
        if stat.st_size < SMALLEST or self.is_storage:
            return await original(self, threshold, force, algorithm)
        identity = (str(self.file), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        key = (*identity, threshold, force, algorithm)
        if key not in known:
            known[key] = await original(self, threshold, force, algorithm)
        return known[key]

    checksum.remembers = True  # type: ignore[attr-defined]
    _IOFile.checksum = checksum
