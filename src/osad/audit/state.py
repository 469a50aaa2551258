"""Digests of files on disk, each read once."""

from pathlib import Path

from osad.core.files import sha256_file


class Digests:
    """SHA-256 of files by path."""

    def __init__(self) -> None:
        """Start without any."""
        self._known: dict[str, str | None] = {}

    def get(self, path: str) -> str | None:
        """Return a file's digest, or None if there is no such file."""
        if path not in self._known:
            self._known[path] = sha256_file(path) if Path(path).is_file() else None
        return self._known[path]

    def forget(self, path: str) -> None:
        """Note that a file has been moved away."""
        self._known[path] = None
