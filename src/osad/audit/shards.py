"""How the lines of a ledger are cut into files that git handles quickly, whatever the grid's size.

The lines of a data set stand in one file; where that would be a large one, in one for each
category, then for each protocol (network, of features), then for each method. So a run that is made
again changes the file that has its lines, and that of the tables. A table is made of the metrics
and scores of all runs: where a line names all files of a folder that have lines, and these are
many, the folder stands for them, with one digest of all.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from osad.core.files import sha256_bytes

SHARED = "_shared"
"""Name of the shard of no data set; data sets' names do not begin with an underscore."""
LARGEST = 8_000_000
"""Bytes from which a shard is cut further."""
MANY = 2_000
"""Inputs from which a folder stands for its files."""
KINDS = ("splits", "features", "checkpoints", "scores", "maps", "metrics")
OF_PAGE = ("cells", "images", "manifests", "gallery")
"""Folders of the page that have files of data sets."""


def placed(path: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder of an output's kind, and what of its path tells outputs of it apart.

    Example:
        >>> placed("results/scores/elpv/all/general-m10/dra/s0.csv")
        ('results/scores', ('elpv', 'all', 'general-m10', 'dra', 's0'))
        >>> placed("data/weights/w.pth")
        ('', ('_shared',))
    """
    parts = PurePosixPath(path).with_suffix("").parts
    if parts[:2] in (("data", "raw"), ("data", "manifests")):
        return "/".join(parts[:2]), parts[2:3]
    places = [at for at, part in enumerate(parts[:-1], start=1) if part in KINDS]
    places += [
        at for at, (page, kind) in enumerate(itertools.pairwise(parts[:-1]), start=2)
        if page == "report" and kind in OF_PAGE
    ]  # fmt: skip
    return ("/".join(parts[: places[0]]), parts[places[0] :]) if places else ("", (SHARED,))


def cut(lines: Iterable[tuple[str, str]], name: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Return the lines of each shard, in their order.

    Args:
        lines: path and text of each line.
        name: what all paths have in common (see `placed`); not empty below the first cut.
    """
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for path, text in lines:
        groups[placed(path)[1][: len(name) + 1]].append((path, text))
    found: dict[str, list[str]] = {}
    for key, group in groups.items():
        large = sum(len(text) for _, text in group) > LARGEST
        if large and len(key) > len(name):
            found |= cut(group, key)
        else:
            found[".".join(key)] = [text for _, text in group]
    return found


class Folders:
    """The lines of a ledger by the folder of their kind."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        """Sort the lines by folder; ``digests`` has theirs by path."""
        self._files: dict[str, dict[str, str]] = defaultdict(dict)
        for path, sha256 in digests.items():
            self._files[placed(path)[0]][path] = sha256

    def folded(self, inputs: dict[str, str]) -> dict[str, str]:
        """Return the inputs of a line with folders in the place of all their files."""
        if len(inputs) <= MANY:
            return inputs
        rest = {**inputs}
        for folder, files in self._files.items():
            if folder and len(files) > MANY and files.items() <= rest.items():
                rest = {path: sha256 for path, sha256 in rest.items() if path not in files}
                rest[f"{folder}/"] = _digest(files)
        return rest

    def unfolded(self, inputs: dict[str, str]) -> dict[str, str]:
        """Return the inputs of a line with files in the place of their folders, sorted by path.

        A folder stays where its files are not those that the line was made from.
        """
        if not any(path.endswith("/") for path in inputs):
            return inputs
        found: dict[str, str] = {}
        for path, sha256 in inputs.items():
            files = self._files.get(path.removesuffix("/"), {}) if path.endswith("/") else {}
            found |= files if _digest(files) == sha256 else {path: sha256}
        return dict(sorted(found.items()))


def _digest(files: Mapping[str, str]) -> str:
    text = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(files.items()))
    return sha256_bytes(text.encode())
