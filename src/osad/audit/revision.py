"""The project as a commit has it: what another machine made, saved and sent."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from osad.audit import git, remote
from osad.core.errors import ConfigError


@contextlib.contextmanager
def checked_out(root: Path, revision: str, results: str) -> Iterator[Path]:
    """Give a temporary folder with the files of a commit, and with outputs that DVC has of it.

    Outputs are links into this project's cache, to which they come from its remote; those that are
    in neither are not there.

    Args:
        root: the project's folder.
        revision: commit, branch or tag that git knows here.
        results: the folder of results that is asked for.

    Raises:
        ConfigError: there is no such revision.
        CheckError: DVC fails.
    """
    try:
        asked = f"{revision}^{{commit}}"
        commit = git.run(root, "rev-parse", "--verify", "--end-of-options", asked).strip()
    except ConfigError:
        raise ConfigError(
            f"{revision}: is neither a folder nor a revision that git has here; `git fetch` brings "
            "those of others"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "project"
        git.run(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(place))
        git.run(place, "checkout", "--quiet", "--detach", commit)
        own = root / ".dvc/config.local"
        if own.is_file():
            shutil.copyfile(own, place / ".dvc/config.local")
        cache = remote.dvc("cache", "dir", cwd=root).stdout.strip()
        for name, value in (("cache.dir", str(root / cache)), ("cache.type", "symlink")):
            remote.dvc("config", "--local", name, value, cwd=place)
        stores = remote.stores(root)
        for name, url in stores.items():  # Which may be relative to the project's folder.
            remote.dvc("remote", "add", "--quiet", "--local", "--force", name, url, cwd=place)
        targets = [
            name for name in remote.digests(place)
            if name == results
            or (name.startswith(f"{results}/") and not (place / f"{name}.dvc").exists())
        ]  # fmt: skip
        if targets:
            command = ("pull" if stores else "checkout", "--allow-missing", *targets)
            remote.afresh(*command, cwd=place)
        yield place
