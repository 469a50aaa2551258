"""The page of the results in a folder that a web server shows as it is.

`MARKER` in that folder lists what was put there, so that the next time those files, and no others,
are replaced. All links of the page are relative, so the folder may lie anywhere below an address.
"""

import shutil
from pathlib import Path, PurePosixPath

from osad.audit.ledger import Ledger
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_json, replacing, sha256_file, write_json
from osad.pipeline.page import folder
from osad.pipeline.rules import Rules

MARKER = "osad-page.json"
RULES = ("report_images", "report_cell", "report_assets", "report_page")
NEEDED = ("index.html", "data.js", "assets/core.js")


def publish(rules: Rules, known: Ledger, output: Path) -> int:
    """Copy the files of the page to a folder, and take away those of an earlier copy.

    A page that was made of a run with failed jobs has files without a line in the ledger; they are
    copied. Where there is a line, the file has to be what it says.

    Returns:
        how many files the copy has.

    Raises:
        CheckError: a file differs from the ledger.
        ConfigError: the folder holds something that this function did not write, or is in the
            folder of the page.
        DataError: the page is not made.
    """
    start = rules.grid.root / folder(rules.grid)
    listed = {path for name in RULES for path in getattr(rules, name).files}
    pages = {PurePosixPath(path).relative_to(folder(rules.grid)): path for path in sorted(listed)}
    files = {path: full for path, full in pages.items() if (start / path).is_file()}
    for name in NEEDED:
        if PurePosixPath(name) not in files:
            raise DataError(f"{start / name}: is missing; run `snakemake report_all --cores 2`")
    for full in files.values():
        entry = known.entries.get(full)
        if entry and sha256_file(rules.grid.root / full) != entry.sha256:
            raise CheckError(f"{full}: differs from the ledger; see `osad audit verify`")
    if output.resolve().is_relative_to(start.resolve()):
        raise ConfigError(f"--publish {output}: is the page's own folder; choose another")
    before = earlier(output)
    for path in before - set(files):
        (output / path).unlink(missing_ok=True)
    for path in files:
        with replacing(output / path) as temporary:
            shutil.copyfile(start / path, temporary)
    write_json(output / MARKER, {"files": sorted(str(path) for path in files)})
    return len(files)


def earlier(output: Path) -> set[PurePosixPath]:
    """Return what an earlier call wrote to a folder: its files, without the marker.

    Raises:
        ConfigError: the folder is not empty and not of this command, or is no folder.
        DataError: its marker is damaged.
    """
    if not output.exists():
        return set()
    if not output.is_dir() or not (output / MARKER).is_file():
        if output.is_dir() and not any(output.iterdir()):
            return set()
        raise ConfigError(
            f"--publish {output}: is not empty and has no {MARKER}, so this command did not make "
            "it; choose another folder"
        )
    value = read_json(output / MARKER)
    names = value.get("files") if isinstance(value, dict) else None
    paths = {PurePosixPath(str(name)) for name in names} if isinstance(names, list) else None
    if paths is None or any(path.is_absolute() or ".." in path.parts for path in paths):
        raise DataError(f"{output / MARKER}: is damaged; delete the folder and publish again")
    return paths
