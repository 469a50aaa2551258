"""The files and entities of an RO-Crate, put together before anything is written.

Everything has a name that follows from the content, and entities and their links keep the order
in which they were added: equal content gives equal bytes.
"""

from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from osad.core.errors import CheckError, DataError
from osad.core.files import sha256_bytes

LIMIT = 10_000_000
"""Files of this many bytes or more are described and not copied."""
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
"""The context that defines ``sha256``, ``connection`` and other terms that RO-Crate 1.1 lacks."""
FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".pth": "application/octet-stream",
    ".rst": "text/x-rst",
    ".safetensors": "application/octet-stream",
    ".yaml": "application/yaml",
}


def identifier(kind: str, name: str) -> str:
    """Return the id of an entity that is no file of the crate.

    Example:
        >>> identifier("run", "results/my scores.csv")
        '#run/results/my%20scores.csv'
    """
    return f"#{kind}/{quote(name)}"


class Bundle:
    """An RO-Crate in the making."""

    def __init__(self, root: Path) -> None:
        """Start an empty one; paths are relative to the project's folder."""
        from rocrate.rocrate import ROCrate

        self._root = root
        self._crate: Any = ROCrate(version="1.1")
        self._crate.metadata.extra_contexts.append(TERMS)
        self._files: dict[str, tuple[str, str]] = {}
        self._links: dict[tuple[str, str], dict[str, None]] = {}

    @property
    def root_id(self) -> str:
        """Return the id of the crate itself."""
        return str(self._crate.root_dataset.id)

    def describe(self, **properties: str) -> None:
        """Set properties of the crate itself."""
        for name, value in properties.items():
            self._crate.root_dataset[name] = value

    def entity(self, name: str, kind: str, /, **properties: Any) -> str:
        """Add an entity that is no file, unless the id is there already; return the id.

        Properties without a value (None) are left out.
        """
        if name not in self._crate:
            given = {key: value for key, value in properties.items() if value is not None}
            self._crate.add_jsonld({"@id": name, "@type": kind, **given})
        return name

    def link(self, subject: str, name: str, *objects: str) -> None:
        """Let a property of an entity point to others, after those that it points to already."""
        if objects:
            self._links.setdefault((subject, name), {}).update(dict.fromkeys(objects))

    def text(self, path: str, text: str, /, **properties: str) -> str:
        """Add a file with a text; return its id."""
        return self._add(path, text.encode(), **properties)

    def file(self, path: str, sha256: str = "", size: int | None = None) -> str:
        """Add a file of the project; return its id.

        It is copied if it is on disk and small, else described by path, digest and size.

        Args:
            path: relative to the project.
            sha256: the digest that it must have; empty if nothing is known of it.
            size: its size, if known.

        Raises:
            CheckError: it has another digest.
            DataError: it is not on disk and nothing is known of it.
        """
        if path not in self._files:
            self._files[path] = self._file(path, sha256, size)
        name, found = self._files[path]
        if sha256 and found != sha256:
            raise CheckError(
                f"{path}: differs from the ledger (sha256 {found[:12]}..., ledger "
                f"{sha256[:12]}...); see `osad audit verify`"
            )
        return name

    def _file(self, path: str, sha256: str, size: int | None) -> tuple[str, str]:
        """Return id and digest of a file that is new in the crate."""
        source = self._root / path
        if source.is_file() and source.stat().st_size < LIMIT:
            content = self._read(path)
            return self._add(path, content), sha256_bytes(content)
        if not sha256:
            raise DataError(f"{path}: is missing or too large for a crate; restore the file")
        name = self.entity(
            identifier("file", path),
            "File",
            name=path,
            description="Not in this crate; `dvc pull` or a run of the workflow brings it.",
            sha256=sha256,
            contentSize=None if size is None else str(size),
            encodingFormat=_format(path),
        )
        return name, sha256

    def workflow(self, path: str, **properties: Any) -> str:
        """Add the file of the workflow, the crate's main entity; return its id.

        Raises:
            DataError: it is not there.
        """
        content = self._read(path)
        types = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
        facts = {**_facts(path, content), **properties, "@type": types}
        added = self._crate.add_workflow(
            BytesIO(content), dest_path=path, main=True, lang="snakemake", properties=facts
        )
        return str(added.id)

    def _read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            message = f"{path}: cannot be read ({error.strerror}); restore the file"
            raise DataError(message) from error

    def _add(self, path: str, content: bytes, **properties: str) -> str:
        """Add a file with a content."""
        # The bytes that were hashed are those that are written, whatever happens to the file.
        facts = _facts(path, content) | properties
        return str(self._crate.add_file(BytesIO(content), dest_path=path, properties=facts).id)

    def write(self, output: Path) -> None:
        """Write everything to a folder."""
        for (subject, name), objects in self._links.items():
            # RO-Crate wants single references without a list around them.
            references = [{"@id": other} for other in objects]
            self._crate.get(subject)[name] = references if len(references) > 1 else references[0]
        self._crate.write(output)


def _facts(path: str, content: bytes) -> dict[str, Any]:
    """Return what is said of every file of the crate."""
    return {
        "name": path,
        "sha256": sha256_bytes(content),
        "contentSize": str(len(content)),
        "encodingFormat": _format(path),
    }


def _format(path: str) -> str:
    return FORMATS.get(Path(path).suffix, "text/plain")
