"""What Snakemake is asked to compare, and when it has found nothing to do."""

import logging
from collections.abc import Callable
from typing import Any

CHECKSUM_BYTES = 100_000_000_000
"""Up to which Snakemake compares contents, as ``profiles/default`` says."""


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


def when_complete(act: Callable[[], None]) -> None:
    """Call a function when Snakemake says that nothing is to be done."""
    from snakemake.common import NOTHING_TO_BE_DONE_MSG
    from snakemake.logging import logger

    def notice(told: logging.LogRecord) -> bool:
        if told.msg == NOTHING_TO_BE_DONE_MSG:
            act()
        return True

    logger.addFilter(notice)
