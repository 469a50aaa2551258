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

CHECKSUM_BYTES = 100_000_000_000
"""Up to which Snakemake compares contents, as ``profiles/default`` says."""
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


def compares_as_usual(workflow: Any) -> bool:
    """Tell whether Snakemake compares all that its targets need, here, and forces nothing.

    Args:
        workflow: Snakemake's object, once it plans; a profile may have set what decides it.
    """
    from snakemake.settings.types import DAGSettings

    usual = vars(DAGSettings(max_checksum_file_size=CHECKSUM_BYTES))
    free = ("targets", "force_incomplete", "print_dag_as")
    return bool(
        all((value or None) == (usual[name] or None)  # None, or an empty set, by who set it.
            for name, value in vars(workflow.dag_settings).items() if name not in free)
        and not workflow.execution_settings.ignore_incomplete
        and not workflow.workflow_settings.consider_ancient
        and not workflow.storage_settings.default_storage_provider
    )  # fmt: skip


def asks_for_all(workflow: Any) -> bool:
    """Tell whether the rule ``all`` alone is asked for, and compared as usual."""
    return {*workflow.dag_settings.targets} <= {"all"} and compares_as_usual(workflow)


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
