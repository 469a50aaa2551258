"""Make Snakemake read files of parameters as the package does, before it reads any.

By itself Snakemake lets the last of two equal keys win, and runs the Python code of a file that
asks for it (``__use_yte__``), before the first line of the Snakefile. So
``profiles/default/config.yaml``, which it reads before all else, calls `install`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from osad.core.config_files import read_yaml
from osad.core.errors import CheckError, ConfigError, OsadError
from osad.runtime import snakemake_patches

_read: list[tuple[str, dict[str, Any]]] = []
"""Name and content of the files that were read this way."""


def install() -> None:
    """Replace the function with which Snakemake reads files of parameters."""
    from snakemake.common import configfile
    from snakemake.exceptions import WorkflowError

    snakemake_patches.apply()  # So that what is wrong with a file is told in one line.

    def load(path: Path | str, filetype: str = "Config") -> dict[str, Any]:
        try:
            content = read_yaml(Path(path))
        except OsadError as error:
            raise WorkflowError(str(error)) from error
        _read.append((Path(path).name, content))
        return content

    configfile._load_configfile = load


def files() -> list[tuple[str, dict[str, Any]]]:
    """Return name and content of the files that were read this way, ``params.yaml`` first."""
    return sorted(_read, key=lambda file: file[0] != "params.yaml")


def check_given(arguments: Sequence[str]) -> None:
    """Check that files of parameters are named by one option.

    Raises:
        ConfigError: by several, of which Snakemake takes the last.
    """
    names = [argument.partition("=")[0] for argument in arguments]
    if sum(name in ("--configfile", "--configfiles") for name in names) > 1:
        raise ConfigError(
            "--configfile: is given more than once, and Snakemake takes the last one alone; give "
            "all files after one, --configfile FILE FILE"
        )


def check_installed() -> None:
    """Check that parameters were read this way.

    Raises:
        CheckError: Snakemake read them by itself.
    """
    if not _read:
        raise CheckError(
            "Snakemake read the parameters by its own rules: it did not load profiles/default, or "
            "is another version; leave --workflow-profile out (--profile names one of your own "
            "beside it) and install requirements/workflow.lock"
        )
